/** One of a few words, as a native list to open. */
import { html, on } from "../dom";
import type { Field, Value } from "../messages";
import type { Control, Send } from "./types";

export function createChoice(field: Field, id: string, send: Send): Control {
  const input = html("select", { id, class: "vw-select" });
  for (const { value, label } of field.options ?? []) {
    input.append(html("option", { value: value ?? "" }, label));
  }
  on(input, "change", () => send(input.value === "" ? null : input.value));

  function show(value: Value, refused: boolean): void {
    if (refused) {
      return;
    }
    const wanted = String(value ?? "");
    input.value = wanted;
    if (input.value !== wanted) {
      // A name that Python understands and the list does not hold, such as an alias of a GPU.
      input.append(html("option", { value: wanted }, wanted));
      input.value = wanted;
    }
  }
  return { element: input, input, shape: "beside", show };
}
