/** What a chart says of itself, point by point: by pointer, by keyboard, and to a screen reader. */
import type { Level, Sweep, Value } from "../messages";
import type { Plot } from "./geometry";
import { remarks } from "./remarks";

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

/** What the values of a field have in common, however they are drawn; `now` is the one in use. */
export function sweepPoints(
  sweep: Sweep,
  levels: Record<Level, string>,
  now: Value,
  choose?: (value: Value) => void,
): Pick<Points, "bytes" | "remarks" | "home" | "stride" | "choose"> {
  return {
    bytes: sweep.bytes,
    remarks: (index) => remarks(sweep, index, levels, now, Boolean(choose)),
    home: Math.max(sweep.values.indexOf(now), 0),
    stride: 0,
    ...(choose && { choose: (index) => choose(sweep.values[index] ?? now) }),
  };
}
