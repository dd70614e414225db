/** On or off. */
import { html, on } from "../dom";
import type { Value } from "../messages";
import type { Control, Send } from "./types";

export function createSwitch(id: string, send: Send): Control {
  const input = html("input", { id, type: "checkbox", role: "switch", class: "vw-switch" });
  on(input, "change", () => send(input.checked));

  function show(value: Value, refused: boolean): void {
    if (!refused) {
      input.checked = value === true;
    }
  }
  return { element: input, input, shape: "short", show };
}
