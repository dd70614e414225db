/** Which control draws a field. */
import type { Field } from "../messages";
import { createChoice } from "./choice";
import { createCombobox } from "./combobox";
import { createNumber } from "./number";
import { createSegmented } from "./segmented";
import { createSwitch } from "./switch";
import { createTextBox } from "./textbox";
import type { Control, Send } from "./types";

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
