/** How much room words take, in pixels: worked out, as measuring them would lay the page out. */

/** Width of a letter, for the mean of what a chart says in a wide font: at 11 pixels, as most is. */
const LETTER = 6.2;
/** The same at 12 pixels, as the names of marks are, or bold, as those of components. */
export const WIDE = 6.8;
/** Height of a component's name. */
export const NAME_HEIGHT = 15;

export function textWidth(text: string, letter = LETTER): number {
  return text.length * letter;
}
