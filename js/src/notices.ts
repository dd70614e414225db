/** What a person should know beside the figures, one sentence a line. */
import { html } from "./dom";

export function createNotices(name = "Notices") {
  const element = html("ul", {
    class: "vw-notices vw-small",
    "aria-label": name,
    tabindex: -1, // the header leads here
  });

  function update(notices: string[]): void {
    if (element.textContent !== notices.join("")) {
      element.replaceChildren(...notices.map((notice) => html("li", {}, notice)));
    }
    element.hidden = notices.length === 0;
  }
  return { element, update };
}
