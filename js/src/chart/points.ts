/** What a chart says of itself, point by point: by pointer, by keyboard, and to a screen reader. */
import type { Plot } from "./geometry";

export interface Points {
  plot: Plot;
  /** Where each point lies, and half the width of what stands there (pixels). */
  x: number[];
  half: number;
  y: (bytes: number) => number;
  /** Bytes by component at each point. */
  bytes: Record<string, number[]>;
  /** The name of a point, such as "backward, step 2". */
  name(index: number): string;
  /** What else there is to say of it, a line each. */
  remarks(index: number): string[];
  /** What each component is made of at a point, where that is known; and how to ask for it. */
  notes?(index: number): Record<string, string> | undefined;
  explain?: (index: number) => void;
  /** Where reading begins, and what Enter goes to where it does nothing else. */
  home: number;
  /** The points that Page Up and Page Down go to. */
  sections: number[];
  /** Least distance one press of an arrow key goes; with Shift it goes to the next (pixels). */
  stride: number;
  /** What Enter and a click do with a point. */
  choose?: (index: number) => void;
}
