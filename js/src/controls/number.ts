/** A number: a slider for its usual reach, and a box for any value. */
import { html, on } from "../dom";
import { parseNumber, plain } from "../format";
import type { Field, Value } from "../messages";
import { createDraft } from "./draft";
import { createSlider } from "./slider";
import type { Control, Send } from "./types";

export function createNumber(field: Field, id: string, send: Send): Control {
  const { input, show } = createDraft(id, "vw-box vw-number", (text) => {
    send(text.trim() === "" && field.nullable ? null : parseNumber(text));
  });
  input.inputMode = field.kind === "count" ? "numeric" : "decimal";
  const slider = field.slider && createSlider(field, `${id}-label`, send);
  const element = html("div", { class: "vw-quantity" });
  if (slider) {
    element.append(slider.element);
  }
  element.append(input);

  let current: Value = null;
  on(input, "keydown", (event) => {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (direction !== undefined && typeof current === "number") {
      event.preventDefault();
      const step = field.kind === "count" ? 1 : 0.01;
      send(Math.round((current + direction * step) * 1e6) / 1e6);
    }
  });

  return {
    element,
    input,
    shape: slider ? "beside" : "short",
    show(value, refused) {
      current = value;
      show(typeof value === "number" ? plain(value) : String(value ?? ""), refused);
      slider?.show(value);
    },
  };
}
