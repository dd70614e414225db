/** How long the run takes, and what it costs. */
import { html } from "./dom";
import type { Advice, Report } from "./messages";
import { createNotices } from "./notices";

export function createRun() {
  const body = html("tbody");
  const table = html("table", { class: "vw-table" }, html("caption", {}, "The whole run"), body);
  const notices = createNotices();
  const element = html("section", { class: "vw-run", hidden: true }, table, notices.element);
  let shown = "";

  function update(advice: Advice | null, report: Report): void {
    element.hidden = advice === null;
    if (!advice) {
      return;
    }
    element.classList.toggle("vw-stale", advice.revision !== report.revision);
    const { figures } = advice.run;
    const all = JSON.stringify(figures);
    if (all !== shown) {
      shown = all;
      body.replaceChildren(...figures.map(({ label, value, note }) => row(label, value, note)));
    }
    notices.update(advice.run.notices);
  }
  return { element, update };
}

function row(label: string, value: string, note: string): HTMLElement {
  return html(
    "tr",
    {},
    html("th", { scope: "row" }, label),
    html("td", { class: "vw-amount" }, value),
    html("td", { class: "vw-note" }, note),
  );
}
