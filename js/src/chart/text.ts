/** How much room words take, in pixels: worked out, as measuring them would lay the page out. */

/** Size of most words of the chart, and of the names of marks and of methods (see chart.css). */
const SIZE = 11;
export const LARGE = 12;
/** Width of a letter over its size, for the mean of what a chart says in a wide font. */
const LETTER = 0.565;
/** How much wider a component's name is: bold, and neither figures nor spaces in it. */
const BOLD = 1.094;
/** Height of a component's name. */
export const NAME_HEIGHT = 15;

export function textWidth(text: string, size = SIZE): number {
  return text.length * size * LETTER;
}

/** The width of a component's name, as it stands on its area or bar. */
export function nameWidth(name: string): number {
  return BOLD * textWidth(name);
}
