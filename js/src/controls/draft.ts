/** A text input whose half-typed text no update from Python overwrites. */
import { html, on } from "../dom";
import { historyKey } from "../history";

export interface Draft {
  input: HTMLInputElement;
  /** Show a text, unless a person is typing or has to correct what they typed. */
  show(text: string, refused: boolean): void;
  /** Put the last shown text back. */
  revert(): void;
}

/** Enter or leaving the box commits what was typed; Escape takes it back. */
export function createDraft(id: string, name: string, commit: (text: string) => void): Draft {
  const input = html("input", { id, type: "text", class: name, spellcheck: "false" });
  let shown = "";
  let editing = false;

  function finish(): void {
    if (editing) {
      editing = false;
      commit(input.value);
    }
  }
  function revert(): void {
    editing = false;
    input.value = shown;
  }
  on(input, "input", () => {
    editing = true;
  });
  on(input, "change", finish);
  on(input, "keydown", (event) => {
    if (event.key === "Enter") {
      finish();
    } else if (event.key === "Escape" && input.value !== shown) {
      event.stopPropagation();
      revert();
    } else if (editing && historyKey(event)) {
      event.stopPropagation(); // it is the letters that are taken back
    }
  });

  function show(text: string, refused: boolean): void {
    shown = text;
    if (!editing && !refused) {
      input.value = text;
    }
  }
  return { input, show, revert };
}
