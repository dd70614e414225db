/** A slider, over powers of two where the field asks for a logarithmic scale. */
import { html, on, set } from "../dom";
import { plain } from "../format";
import type { Field, Value } from "../messages";
import type { Send } from "./types";

/** Stops of a linear slider. */
const STEPS = 100;

/** The values a slider stops at: powers of two between the ends, or evenly spaced. */
export function stops(field: Field): number[] {
  const [low, high] = field.slider ?? [0, 1];
  if (field.scale === "log") {
    const values = [low];
    while ((values.at(-1) ?? high) * 2 <= high) {
      values.push((values.at(-1) ?? high) * 2);
    }
    return values;
  }
  const step = Math.ceil(((high - low) / STEPS) * 100) / 100;
  const count = Math.round((high - low) / step);
  return Array.from({ length: count + 1 }, (_, i) => Math.round((low + i * step) * 1e6) / 1e6);
}

/** Where a value lies among the stops, as an index that may fall between two of them. */
export function position(values: number[], value: number): number {
  const above = values.findIndex((stop) => stop >= value);
  if (above === 0) {
    return 0;
  }
  const low = values[above - 1];
  const high = values[above];
  if (above < 0 || low === undefined || high === undefined) {
    return values.length - 1;
  }
  return above - 1 + (value - low) / (high - low);
}

export function createSlider(field: Field, label: string, send: Send) {
  const values = stops(field);
  const last = values.length - 1;
  const element = html("input", {
    type: "range",
    class: "vw-slider",
    min: 0,
    max: last,
    step: "any",
    "aria-labelledby": label,
  });
  let at = 0;

  function go(index: number): void {
    const value = values[Math.min(Math.max(index, 0), last)];
    if (value !== undefined) {
      show(value);
      send(value);
    }
  }
  on(element, "input", () => go(Math.round(element.valueAsNumber)));
  on(element, "keydown", (event) => {
    const next = target(event.key, at, last);
    if (next !== undefined) {
      event.preventDefault();
      go(next);
    }
  });

  function show(value: Value): void {
    at = typeof value === "number" ? position(values, value) : 0;
    element.valueAsNumber = at;
    element.style.setProperty("--fill", `${last > 0 ? (100 * at) / last : 0}%`);
    const words = typeof value === "number" ? plain(value) : "not set";
    set(element, { "aria-valuetext": field.unit ? `${words} ${field.unit}` : words });
  }
  return { element, show };
}

/** The stop a key leads to from `at`, which may lie between two stops. */
function target(key: string, at: number, last: number): number | undefined {
  switch (key) {
    case "ArrowRight":
    case "ArrowUp":
      return Math.floor(at) + 1;
    case "ArrowLeft":
    case "ArrowDown":
      return Math.ceil(at) - 1;
    case "PageUp":
      return Math.floor(at) + Math.ceil(last / 5);
    case "PageDown":
      return Math.ceil(at) - Math.ceil(last / 5);
    case "Home":
      return 0;
    case "End":
      return last;
  }
  return undefined;
}
