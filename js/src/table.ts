/** The components at the peak, largest decisions first to the eye: amount, share, and why. */
import { html, say } from "./dom";
import { difference, gib } from "./format";
import type { Component, Pinned, Report } from "./messages";
import { createNotices } from "./notices";
import { createSwatch } from "./swatch";

export function createTable(components: Component[]) {
  const rows = new Map(components.map((each) => [each.name, createRow(each)]));
  const moment = html("span");
  const unit = html("span", { class: "vw-unit" }, " GiB on each GPU");
  const total = html("td", { class: "vw-amount" });
  const totalAgainst = html("td", { class: "vw-against" });
  const table = html(
    "table",
    { class: "vw-table" },
    html("caption", {}, moment, unit),
    html(
      "thead",
      { class: "vw-unseen" },
      html(
        "tr",
        {},
        ...["Component", "GiB", "Against the pinned", "Share of the peak", "Made of"].map((name) =>
          html("th", { scope: "col" }, name),
        ),
      ),
    ),
    html("tbody", {}, ...Array.from(rows.values(), (row) => row.element)),
    html(
      "tfoot",
      {},
      html(
        "tr",
        {},
        html("th", { scope: "row" }, "Peak"),
        total,
        totalAgainst,
        html("td"),
        html("td"),
      ),
    ),
  );
  const notices = createNotices();
  const element = html("div", { class: "vw-components" }, table, notices.element);

  function update(report: Report, pinned: Pinned | null): void {
    say(moment, `At the peak: ${report.peak.moment}`);
    for (const { name, bytes, note } of report.components) {
      rows.get(name)?.update(bytes, report.expected, note, pinned?.components[name]);
    }
    say(total, gib(report.expected));
    say(totalAgainst, pinned ? difference(report.expected - pinned.expected) : "");
    table.classList.toggle("vw-compared", pinned !== null);
    notices.update(report.notices);
  }
  return { element, update, notices: notices.element };
}

function createRow(component: Component) {
  const amount = html("td", { class: "vw-amount" });
  const against = html("td", { class: "vw-against" });
  const bar = html("span", { class: "vw-bar" });
  const note = html("td", { class: "vw-note" });
  bar.style.background = component.color;
  const element = html(
    "tr",
    {},
    html("th", { scope: "row" }, createSwatch(component), component.label),
    amount,
    against,
    html("td", { class: "vw-share", "aria-hidden": "true" }, bar),
    note,
  );

  function update(bytes: number, peak: number, made: string, before?: number): void {
    say(amount, gib(bytes));
    say(against, before === undefined ? "" : difference(bytes - before));
    bar.style.width = `${(100 * bytes) / peak}%`;
    say(note, made);
    element.classList.toggle("vw-none", bytes === 0);
  }
  return { element, update };
}
