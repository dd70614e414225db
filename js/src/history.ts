/** Undo and redo: two buttons, and the keys that people expect. */
import { html, on, set, svg } from "./dom";
import type { History } from "./messages";

type Way = "undo" | "redo";

/** An arrow that turns back; redo is its mirror image. */
const ARROW = "M6 2.5 2.5 6 6 9.5M2.5 6H9.5a3.5 3.5 0 0 1 0 7H6.5";

export function createHistory(go: (way: Way) => void) {
  const undo = createButton("undo", go);
  const redo = createButton("redo", go);
  const element = html("div", { class: "vw-history" }, undo.element, redo.element);

  function update(history: History): void {
    undo.update(history.undo);
    redo.update(history.redo);
  }
  return { element, update };
}

function createButton(way: Way, go: (way: Way) => void) {
  const element = html(
    "button",
    { class: "vw-icon", "data-way": way },
    svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: ARROW })),
  );
  on(element, "click", () => go(way));

  function update(what: string | null): void {
    const name = way === "undo" ? "Undo" : "Redo";
    const words = what === null ? name : `${name}: ${what}`;
    // Not `disabled`: the button would lose the focus on the last step back.
    set(element, { "aria-disabled": String(what === null), "aria-label": words, title: words });
  }
  return { element, update };
}

/** Where a key leads: Ctrl or Cmd with Z, with Shift and Z, or with Y. */
export function historyKey({ key, ctrlKey, metaKey, altKey, shiftKey }: KeyboardEvent) {
  if (altKey || !(ctrlKey || metaKey)) {
    return undefined;
  }
  switch (key.toLowerCase()) {
    case "z":
      return shiftKey ? "redo" : "undo";
    case "y":
      return shiftKey ? undefined : "redo";
  }
  return undefined;
}
