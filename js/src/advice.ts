/** What would help, or what there is room for: each change with what it does, and a button. */
import { html, on, say, set } from "./dom";
import { SIGNS } from "./header";
import type { Advice, Changes, Report } from "./messages";

export function createAdvice(apply: (changes: Changes) => void) {
  const heading = html("h3", { tabindex: -1 });
  const list = html("ul");
  const largest = createRow(apply);
  const element = html("section", { class: "vw-advice", hidden: true }, heading, list);
  const rows: ReturnType<typeof createRow>[] = [];

  function update(advice: Advice | null, report: Report): void {
    element.hidden = advice === null;
    if (!advice) {
      return;
    }
    // What was said of an earlier report stays until the moves pause: nothing jumps meanwhile.
    element.classList.toggle("vw-stale", advice.revision !== report.revision);
    const focused = element.matches(":focus-within");
    say(heading, advice.heading);
    while (rows.length < advice.suggestions.length) {
      rows.push(createRow(apply));
    }
    for (const [index, row] of rows.entries()) {
      const suggestion = advice.suggestions[index];
      row.element.hidden = !suggestion;
      if (suggestion) {
        const sign = SIGNS[suggestion.level];
        row.update(suggestion.what, suggestion.effect, suggestion.changes, sign, suggestion.level);
      }
    }
    largest.update(advice.largest.text, "", advice.largest.changes);
    if (list.children.length !== rows.length + 1) {
      list.replaceChildren(...rows.map((row) => row.element), largest.element);
    }
    if (focused && !element.matches(":focus-within")) {
      heading.focus();
    }
  }
  return { element, update };
}

function createRow(apply: (changes: Changes) => void) {
  const what = html("strong");
  const sign = html("span", { class: "vw-then", role: "img" });
  const effect = html("p", { class: "vw-small" });
  const subject = html("span", { class: "vw-unseen" });
  const button = html("button", { class: "vw-button" }, "Apply", subject);
  const element = html("li", {}, html("div", {}, what, sign, effect), button);
  let wanted: Changes = {};
  on(button, "click", () => apply(wanted));

  function update(name: string, does: string, changes: Changes, then = "", level = ""): void {
    wanted = changes;
    say(what, name);
    say(sign, then);
    set(sign, { "data-level": level, title: LEVELS[level], "aria-label": LEVELS[level] });
    sign.hidden = then === "";
    say(effect, does);
    say(subject, `: ${name}`);
    button.hidden = Object.keys(changes).length === 0;
  }
  return { element, update };
}

/** What the sign behind a suggestion means. */
const LEVELS: Record<string, string> = {
  fits: "then it fits",
  likely: "then it likely fits",
  risky: "then it is risky",
  does_not_fit: "it does not fit even then",
};
