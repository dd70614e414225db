/** Every component at one moment, by pointer or by arrow keys. */
import { bisectCenter } from "d3-array";
import { html, say, set, svg } from "../dom";
import { gib } from "../format";
import type { Component, Report } from "../messages";
import type { Geometry } from "./geometry";

/** Least distance one press of an arrow key goes (pixels); with Shift it goes to the next moment. */
const STRIDE = 6;

export function createReadout(chart: HTMLElement, components: Component[], signal: AbortSignal) {
  const rows = components.map((component) => ({ component, ...createRow(component) }));
  const heading = html("p", { class: "vw-moment" });
  const box = html(
    "div",
    { class: "vw-tip", "aria-hidden": "true", hidden: true },
    heading,
    // The order in which the areas lie.
    ...rows.map((row) => row.element).reverse(),
  );
  const cursor = svg("line", { class: "vw-cursor", display: "none" });
  let geometry: Geometry | undefined;
  let report: Report | undefined;
  let at: number | undefined;

  function update(drawn: Geometry, latest: Report): void {
    geometry = drawn;
    report = latest;
    if (at !== undefined) {
      show(Math.min(at, drawn.x.length - 1));
    }
    describe(at ?? latest.peak.index);
  }

  function show(index: number): void {
    if (!geometry || !report) {
      return;
    }
    at = index;
    const { plot, x, y } = geometry;
    const place = x[index] ?? plot.left;
    set(cursor, { display: null, x1: place, x2: place, y1: plot.top, y2: plot.bottom });
    let total = 0;
    for (const { component, amount, element } of rows) {
      const bytes = report.timeline.bytes[component.name]?.[index] ?? 0;
      total += bytes;
      say(amount, gib(bytes));
      element.hidden = bytes === 0;
    }
    say(heading, `${moment(report, index)} · ${gib(total)} GiB`);
    box.hidden = false;
    const room = plot.right - place;
    box.style.left = room > box.offsetWidth + 16 ? `${place + 12}px` : "";
    box.style.right = room > box.offsetWidth + 16 ? "" : `${chart.clientWidth - place + 12}px`;
    box.style.top = `${Math.max(plot.top + 4, Math.min(y(total), plot.bottom - box.offsetHeight))}px`;
    describe(index);
  }

  function hide(): void {
    at = undefined;
    box.hidden = true;
    set(cursor, { display: "none" });
  }

  /** Tell a screen reader the moment, its total and its parts. */
  function describe(index: number): void {
    if (!report) {
      return;
    }
    const { bytes } = report.timeline;
    const parts = components
      .map(({ name, label }) => ({ label, amount: bytes[name]?.[index] ?? 0 }))
      .filter(({ amount }) => amount > 0);
    const total = parts.reduce((sum, { amount }) => sum + amount, 0);
    const words = parts.map(({ label, amount }) => `${label} ${gib(amount)}`).join(", ");
    set(chart, {
      "aria-valuemax": report.timeline.at.length - 1,
      "aria-valuenow": index,
      "aria-valuetext": `${moment(report, index)}: ${gib(total)} GiB. ${words}.`,
    });
  }

  function point({ clientX }: PointerEvent): void {
    if (geometry) {
      show(bisectCenter(geometry.x, clientX - chart.getBoundingClientRect().left));
    }
  }
  chart.addEventListener("pointermove", point, { signal });
  chart.addEventListener("pointerdown", point, { signal });
  chart.addEventListener("pointerleave", hide, { signal });
  chart.addEventListener("blur", hide, { signal });
  chart.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Escape" && at !== undefined) {
        event.preventDefault();
        hide();
        return;
      }
      if (!geometry || !report || event.ctrlKey || event.metaKey || event.altKey) {
        return;
      }
      const from = at ?? report.peak.index;
      const next = target(event, from, geometry.x, report);
      if (next !== undefined) {
        event.preventDefault();
        show(next);
      }
    },
    { signal },
  );
  return { box, cursor, update };
}

/** The moment a key leads to. */
function target(
  { key, shiftKey }: KeyboardEvent,
  from: number,
  x: number[],
  report: Report,
): number | undefined {
  const last = x.length - 1;
  const stride = shiftKey ? 0 : STRIDE;
  const here = x[from] ?? 0;
  const { spans } = report.timeline;
  const inside = spans.findIndex((span) => from <= span.last);
  switch (key) {
    case "ArrowRight":
    case "ArrowUp": {
      const next = x.findIndex((place, at) => at > from && place - here >= stride);
      return next < 0 ? last : next;
    }
    case "ArrowLeft":
    case "ArrowDown":
      return Math.max(
        x.findLastIndex((place, at) => at < from && here - place >= stride),
        0,
      );
    case "PageDown":
      return spans[inside + 1]?.first ?? last;
    case "PageUp": {
      const span = spans[inside];
      return span && from > span.first ? span.first : (spans[inside - 1]?.first ?? 0);
    }
    case "Home":
      return 0;
    case "End":
      return last;
    case "Enter":
      return report.peak.index;
  }
  return undefined;
}

/** "Backward, step 2", or "Load". */
function moment(report: Report, index: number): string {
  const span = report.timeline.spans.find(({ last }) => index <= last);
  const name = span ? span.label.charAt(0).toUpperCase() + span.label.slice(1) : "";
  return span && span.step > 0 ? `${name}, step ${span.step}` : name;
}

function createRow(component: Component) {
  const amount = html("span", { class: "vw-amount" });
  const swatch = html("span", { class: "vw-swatch" });
  swatch.style.background = component.color;
  const element = html("p", {}, swatch, html("span", {}, component.label), amount);
  return { element, amount };
}
