/** Every component at one point, by pointer or by arrow keys. */
import { html, on, say, set, svg } from "../dom";
import { gib } from "../format";
import type { Component } from "../messages";
import { createSwatch } from "../swatch";
import type { Points } from "./points";

/** Pixels between the point and what is said of it. */
const GAP = 12;
/** What a point is made of is asked for when reading has rested on it so long (milliseconds). */
const REST = 150;

export function createReadout(chart: HTMLElement, components: Component[], signal: AbortSignal) {
  const rows = components.map((component) => ({ component, ...createRow(component) }));
  const heading = html("p", { class: "vw-moment" });
  const remarks = html("div", { class: "vw-tip-remarks vw-small" });
  const made = html("p", { class: "vw-unseen", role: "status" });
  const box = html(
    "div",
    { class: "vw-tip", "aria-hidden": "true", hidden: true },
    heading,
    // The order in which the areas lie.
    ...rows.map((row) => row.element).reverse(),
    remarks,
  );
  const cursor = svg("path", { class: "vw-cursor", display: "none" });
  let points: Points | undefined;
  let at: number | undefined;
  // Whether a finger has just been put down on another point than the one shown.
  let touched = false;
  let rest = 0;
  signal.addEventListener("abort", () => window.clearTimeout(rest), { once: true });

  /** Read out of other points, or of none; a reading that is new begins anew. */
  function update(drawn: Points | undefined, anew: boolean): void {
    points = drawn;
    if (anew || !drawn) {
      hide();
    }
    if (drawn) {
      if (at !== undefined) {
        show(Math.min(at, drawn.x.length - 1));
      }
      describe(drawn, at ?? drawn.home);
    }
  }

  function show(index: number): void {
    if (!points) {
      return;
    }
    at = index;
    const notes = points.notes?.(index);
    window.clearTimeout(rest);
    if (!notes) {
      rest = window.setTimeout(() => points?.explain?.(index), REST);
    }
    const { plot, x, y, half, bytes } = points;
    const place = x[index] ?? plot.left;
    const d = half
      ? `M${place - half},${plot.top}H${place + half}V${plot.bottom}H${place - half}Z`
      : `M${place},${plot.top}V${plot.bottom}`;
    set(cursor, { display: null, d });
    let total = 0;
    const said: string[] = [];
    for (const { component, amount, note, element } of rows) {
      const level = bytes[component.name]?.[index] ?? 0;
      total += level;
      say(amount, gib(level));
      element.hidden = level === 0;
      const why = notes?.[component.name] ?? "";
      say(note, why);
      if (why && level > 0) {
        said.push(`${component.label}: ${why}.`);
      }
    }
    say(made, said.join(" "));
    const name = points.name(index);
    say(heading, total ? `${capitalized(name)} · ${gib(total)} GiB` : capitalized(name));
    const lines = points.remarks(index);
    remarks.replaceChildren(...lines.map((line) => html("p", {}, line)));
    remarks.hidden = lines.length === 0;
    box.hidden = false;
    const away = half + GAP;
    const onRight = plot.right - place > box.offsetWidth + away + 4;
    box.style.left = onRight ? `${place + away}px` : "";
    box.style.right = onRight ? "" : `${chart.clientWidth - place + away}px`;
    const lowest = Math.max(plot.bottom - box.offsetHeight, 0);
    box.style.top = `${Math.max(Math.min(plot.top + 4, lowest), Math.min(y(total), lowest))}px`;
    describe(points, index);
  }

  function hide(): void {
    at = undefined;
    window.clearTimeout(rest);
    say(made, "");
    box.hidden = true;
    set(cursor, { display: "none" });
  }

  /** Tell a screen reader the point, its total and its parts. */
  function describe({ x, bytes, name, remarks }: Points, index: number): void {
    const parts = components
      .map((component) => ({ ...component, amount: bytes[component.name]?.[index] ?? 0 }))
      .filter(({ amount }) => amount > 0);
    const total = parts.reduce((sum, { amount }) => sum + amount, 0);
    const said = [
      total ? `${capitalized(name(index))}: ${gib(total)} GiB` : capitalized(name(index)),
      parts.map(({ label, amount }) => `${label} ${gib(amount)}`).join(", "),
      ...remarks(index),
    ];
    set(chart, {
      "aria-valuemax": x.length - 1,
      "aria-valuenow": index,
      "aria-valuetext": said.filter(Boolean).map(sentence).join(" "),
    });
  }

  function point(event: PointerEvent): void {
    if (points) {
      const left = event.clientX - chart.getBoundingClientRect().left;
      const index = nearest(points.x, left);
      touched = event.pointerType === "touch" && index !== at;
      show(index);
    }
  }
  on(
    chart,
    "pointermove",
    (event) => {
      if (event.pointerType !== "touch") {
        point(event);
      }
    },
    { signal },
  );
  on(chart, "pointerdown", point, { signal });
  on(chart, "pointerleave", hide, { signal });
  on(chart, "blur", hide, { signal });
  on(
    chart,
    "click",
    () => {
      // The first touch of a point says what it is; the second chooses it.
      if (at !== undefined && !touched) {
        points?.choose?.(at);
      }
    },
    { signal },
  );
  on(
    chart,
    "keydown",
    (event) => {
      if (event.key === "Escape" && at !== undefined) {
        event.preventDefault();
        hide();
        return;
      }
      if (!points || event.ctrlKey || event.metaKey || event.altKey) {
        return;
      }
      if (event.key === "Enter" && points.choose && at !== undefined) {
        event.preventDefault();
        points.choose(at);
        return;
      }
      const next = target(event, at ?? points.home, points);
      if (next !== undefined) {
        event.preventDefault();
        show(next);
      }
    },
    { signal },
  );
  return { box, made, cursor, update };
}

/** The point a key leads to. */
function target({ key, shiftKey }: KeyboardEvent, from: number, points: Points) {
  const { x, sections, home } = points;
  const last = x.length - 1;
  const stride = shiftKey ? 0 : points.stride;
  const here = x[from] ?? 0;
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
      return sections.find((first) => first > from) ?? last;
    case "PageUp":
      return sections.findLast((first) => first < from) ?? 0;
    case "Home":
      return 0;
    case "End":
      return last;
    case "Enter":
      return home;
  }
  return undefined;
}

/** The point that lies nearest to a place; the points go from left to right. */
function nearest(x: number[], place: number): number {
  const after = x.findIndex((each) => each >= place);
  const [left, right] = [x[after - 1], x[after]];
  if (left === undefined || right === undefined) {
    return after < 0 ? x.length - 1 : after;
  }
  return place - left < right - place ? after - 1 : after;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function createRow(component: Component) {
  const amount = html("span", { class: "vw-amount" });
  const note = html("span", { class: "vw-why" });
  const element = html(
    "p",
    { class: "vw-part" },
    createSwatch(component),
    html("span", {}, component.label),
    amount,
    note,
  );
  return { element, amount, note };
}
