/** How far a look-up on the Hub is, with a way out. */
import { html, on, say, set } from "./dom";
import type { Lookup } from "./messages";

export function createProgress(cancel: () => void) {
  const words = html("p", { role: "status" });
  const bar = html("progress", { class: "vw-bar-of-files", "aria-label": "Files read" });
  const file = html("span", { class: "vw-file vw-small" });
  const button = html("button", { class: "vw-button" }, "Cancel");
  const details = html("div", { class: "vw-lookup", hidden: true }, bar, button, file);
  const element = html("div", {}, words, details);
  on(button, "click", cancel);

  function update(lookup: Lookup | null): void {
    say(words, lookup ? `Looking up ${lookup.model_path} on the Hub` : "");
    details.hidden = lookup === null;
    if (lookup) {
      const { done, total } = lookup;
      // Without a value the bar says that it is not known how far it is.
      set(bar, { max: total || null, value: total ? done : null });
      say(file, total ? `${done} of ${total} files · ${lookup.file}` : "");
    }
  }
  return { element, update };
}
