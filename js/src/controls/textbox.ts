/** A line of text: an amount of memory, or PEFT's target_modules. */
import { amount } from "../format";
import type { Field, Value } from "../messages";
import { createDraft } from "./draft";
import type { Control, Send } from "./types";

export function createTextBox(field: Field, id: string, send: Send): Control {
  const { input, show } = createDraft(id, "vw-box", (text) => send(read(field, text)));
  return {
    element: input,
    input,
    shape: "beside",
    show: (value, refused) => show(write(field, value), refused),
  };
}

function write(field: Field, value: Value): string {
  if (field.kind === "bytes" && typeof value === "number") {
    return amount(value);
  }
  return Array.isArray(value) ? value.join(", ") : String(value ?? "");
}

function read(field: Field, text: string): Value {
  const trimmed = text.trim();
  if (trimmed === "" && field.nullable) {
    return null;
  }
  if (field.kind === "modules" && /^[\w.-]+(\s*,\s*[\w.-]+)+$/.test(trimmed)) {
    return trimmed.split(/\s*,\s*/);
  }
  if (field.kind === "modules" && field.nullable) {
    return trimmed.split(/,\s+/); // an expression may hold a comma
  }
  return trimmed;
}
