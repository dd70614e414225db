/** The first line: what is trained on what, and whether it fits. */
import { html, on, say, set } from "./dom";
import type { Level, Report } from "./messages";

/** Signs by which the verdicts differ without their colours. */
export const SIGNS: Record<Level, string> = {
  fits: "✓",
  likely: "≈",
  risky: "!",
  does_not_fit: "✕",
};

/** `beside` stands beside the verdict; `lead` goes to what the figure leaves out. */
export function createHeader(beside: HTMLElement, lead: () => void) {
  const title = html("h2", { class: "vw-title" });
  const subtitle = html("p", { class: "vw-subtitle" });
  const sign = html("span", { class: "vw-sign", "aria-hidden": "true" });
  const words = html("strong");
  const range = html("span", { class: "vw-range" });
  const verdict = html("p", { class: "vw-verdict", role: "status" }, sign, words, " ", range);
  const uncounted = html("button", { class: "vw-uncounted" });
  on(uncounted, "click", lead);
  const element = html(
    "div",
    { class: "vw-header" },
    html("div", { class: "vw-subject" }, title, subtitle),
    html("div", { class: "vw-outcome" }, beside, uncounted, verdict),
    html("div", { class: "vw-progress", "aria-hidden": "true" }),
  );

  function update(report: Report): void {
    say(title, report.title);
    set(title, { title: report.title });
    say(subtitle, report.subtitle);
    set(verdict, { "data-level": report.verdict.level });
    say(sign, SIGNS[report.verdict.level]);
    say(words, report.verdict.words);
    say(range, report.verdict.range);
    uncounted.hidden = !report.uncounted;
    if (report.uncounted) {
      const { words, effect, why } = report.uncounted;
      say(uncounted, words);
      const level = effect === "too_much" ? "fits" : "risky";
      set(uncounted, { title: why, "aria-label": `${words}: ${why}`, "data-level": level });
    }
  }
  return { element, update };
}
