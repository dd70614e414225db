/** What every control is. */
import type { Value } from "../messages";

export interface Control {
  element: HTMLElement;
  /** The focusable element, which the label names. */
  input: HTMLElement;
  /** How much of the row it takes: what it needs, the side by the label, or the full width. */
  shape: "short" | "beside" | "below";
  /** Show a value; where it was refused, what the person typed stays to be corrected. */
  show(value: Value, refused: boolean): void;
}

export type Send = (value: Value) => void;
