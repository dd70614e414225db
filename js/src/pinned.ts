/** The pinned configuration beside the present one: how much more or less, and what differs. */
import { html, on, say, set } from "./dom";
import { difference, gib } from "./format";
import type { Difference, Pinned, Report, Request } from "./messages";

export function createPinned(request: (request: Request) => void) {
  const pin = html(
    "button",
    {
      class: "vw-tool vw-pin",
      title: "Keep this configuration, to compare others with it",
    },
    "Pin",
  );
  const change = html("strong");
  const subject = html("span");
  const differs = html("ul", { "aria-label": "What differs" });
  const back = html("button", { class: "vw-button" }, "Go back");
  const unpin = html("button", { class: "vw-button" }, "Unpin");
  const element = html(
    "section",
    { class: "vw-pinned", "aria-label": "Against the pinned configuration", hidden: true },
    html("div", { class: "vw-pinned-head" }, html("p", {}, change, subject), back, unpin),
    differs,
  );
  set(back, { title: "Take every choice of the pinned configuration again" });
  on(pin, "click", () => request({ type: "pin" }));
  on(back, "click", () => request({ type: "return" }));
  on(unpin, "click", () => {
    // The button goes away, and with it the focus.
    pin.focus();
    request({ type: "unpin" });
  });

  function update(pinned: Pinned | null, report: Report): void {
    element.hidden = pinned === null;
    if (!pinned) {
      return;
    }
    const same = report.differences.length === 0;
    say(change, same ? "No difference" : `${difference(report.expected - pinned.expected)} GiB`);
    const { title, subtitle, expected } = pinned;
    say(subject, ` against the pinned ${title} · ${subtitle} · ${gib(expected)} GiB`);
    back.disabled = same;
    differs.replaceChildren(...report.differences.map(createDifference));
  }
  return { button: pin, element, update };
}

export function createDifference({ label, before, now }: Difference): HTMLElement {
  return html("li", {}, `${label} `, html("span", {}, `${before} → ${now}`));
}
