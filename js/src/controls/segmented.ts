/** One of a few words, side by side: radio buttons, so that arrow keys work as they should. */
import { html, on, unique } from "../dom";
import type { Field, Value } from "../messages";
import type { Control, Send } from "./types";

export function createSegmented(field: Field, id: string, send: Send): Control {
  const name = unique(field.name);
  const radios = (field.options ?? []).map(({ value, label }) => {
    const radio = html("input", { type: "radio", name, value: value ?? "", class: "vw-unseen" });
    on(radio, "change", () => send(radio.value));
    return { radio, element: html("label", {}, radio, html("span", {}, label)) };
  });
  const element = html(
    "div",
    { id, class: "vw-segmented", role: "radiogroup", "aria-labelledby": `${id}-label` },
    ...radios.map((each) => each.element),
  );

  function show(value: Value): void {
    for (const { radio } of radios) {
      radio.checked = radio.value === value;
    }
  }
  return { element, input: element, shape: "below", show };
}
