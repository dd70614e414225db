/** The whole run: what it works through, how long that takes, and what it costs. */
import { html, on } from "./dom";
import { type Change, createSection, type Read } from "./form";
import type { Advice, Group, Report } from "./messages";
import { createNotices } from "./notices";

export function createRun(group: Group, change: Change) {
  const fields = createSection(group, change);
  const figures = html("dl", { class: "vw-run-figures" });
  const notices = createNotices();
  const element = html("form", { class: "vw-run", "aria-label": "The whole run" });
  element.autocomplete = "off";
  element.append(fields.element, figures, notices.element);
  on(element, "submit", (event) => event.preventDefault());
  let shown = "";

  function update(read: Read, advice: Advice | null, report: Report): void {
    fields.update(read, report, true);
    element.classList.toggle("vw-stale", advice?.revision !== report.revision);
    const { figures: all, notices: remarks } = advice?.run ?? { figures: [], notices: [] };
    notices.update(remarks);
    if (JSON.stringify(all) !== shown) {
      shown = JSON.stringify(all);
      figures.replaceChildren(...all.map(({ label, value, note }) => figure(label, value, note)));
    }
  }
  return { element, update };
}

function figure(label: string, value: string, note: string): HTMLElement {
  return html(
    "div",
    {},
    html("dt", { class: "vw-small" }, label),
    html("dd", {}, html("strong", {}, value), html("p", { class: "vw-small" }, note)),
  );
}
