/** What every control is, and which one draws a field. */
import type { Field, Value } from "../messages";
import { createChoice } from "./choice";
import { createCombobox } from "./combobox";
import { createNumber } from "./number";
import { createSegmented } from "./segmented";
import { createSwitch } from "./switch";
import { createTextBox } from "./textbox";

export interface Control {
  element: HTMLElement;
  /** The focusable element, which the label names. */
  input: HTMLElement;
  /** How much of the row it takes: what it needs, the side by the label, or the whole width. */
  shape: "short" | "beside" | "below";
  /** Show a value; where it was refused, what the person typed stays to be corrected. */
  show(value: Value, refused: boolean): void;
}

export type Send = (value: Value) => void;

/** Make the control for a field; `id` goes to its focusable element. */
export function createControl(field: Field, id: string, send: Send): Control {
  switch (field.kind) {
    case "choice":
      return field.segmented ? createSegmented(field, id, send) : createChoice(field, id, send);
    case "switch":
      return createSwitch(id, send);
    case "count":
    case "number":
      return createNumber(field, id, send);
    case "text":
      if (field.suggestions) {
        return createCombobox(field.suggestions, id, send);
      }
      return createTextBox(field, id, send);
    case "bytes":
    case "modules":
      return createTextBox(field, id, send);
  }
}
