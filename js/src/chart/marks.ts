/** What areas are read against: the card's capacity, a size with its low-high band, a pinned one. */
import { set, svg } from "../dom";
import { gib } from "../format";
import type { Course } from "../messages";
import { across, type Geometry, line, type Plot } from "./geometry";
import { textWidth, WIDE } from "./text";

/** Height of a line, half the width of the bracket, air between a mark and its name (pixels). */
const LINE = 16;
const CAP = 5;
const GAP = 6;
/** Least distance from the name of a course to that of a mark, as a share of the plot. */
const DISTANCE = 0.4;

/** The height of the card's line, or of its name where that lies above the plot. */
export function capacityLevel({ plot, y, capacity, showsCapacity }: Geometry): number {
  return showsCapacity ? y(capacity) : plot.top;
}

/** The card's capacity, a line with its name. */
export function createCapacity() {
  const rule = svg("line", { class: "vw-capacity" });
  const card = svg("text", { class: "vw-mark-name", "text-anchor": "start" });
  const element = svg("g", {}, rule, card);

  function update(geometry: Geometry, gpu: string): void {
    const { plot, capacity, showsCapacity } = geometry;
    const level = capacityLevel(geometry);
    set(rule, {
      display: showsCapacity ? null : "none",
      x1: plot.left,
      x2: plot.right,
      y1: level,
      y2: level,
    });
    const name = `${gpu} · ${gib(capacity)} GiB`;
    card.textContent = showsCapacity ? name : `↑ ${name}`;
    set(card, { x: plot.left + GAP, y: level - GAP });
  }
  return { element, update };
}

/** An estimate at one place: low, expected and high, in bytes. */
export interface Estimated {
  low: number;
  expected: number;
  high: number;
}

/** From high to low at a place, with a cap at both ends. */
export function bracketPath(at: number, high: number, low: number): string {
  const [left, right] = [at - CAP, at + CAP];
  return `M${left},${high}H${right}M${at},${high}V${low}M${left},${low}H${right}`;
}

/** An estimate with its band, and its name over it; on a stem from the axis where asked. */
export function createBracket({ stem: stands = false } = {}) {
  const stem = svg("line", { class: "vw-stem" });
  const bracket = svg("path", { class: "vw-bracket" });
  const dot = svg("circle", { class: "vw-peak", r: 3 });
  const label = svg("text", { class: "vw-mark-name" });
  const element = svg("g", {}, ...(stands ? [stem] : []), bracket, dot, label);

  function update(geometry: Geometry, at: number, estimated: Estimated, name: string): void {
    const { plot, y } = geometry;
    const [high, expected, low] = [y(estimated.high), y(estimated.expected), y(estimated.low)];
    set(stem, { x1: at, x2: at, y1: low, y2: plot.bottom });
    set(bracket, { d: bracketPath(at, high, low) });
    set(dot, { cx: at, cy: expected });
    label.textContent = name;
    const width = textWidth(name, WIDE);

    // Clear of the card's line and of its name.
    const level = capacityLevel(geometry);
    const close = high >= level && high - 13 - level < LINE;
    const clear = geometry.showsCapacity ? level - GAP - LINE : level + LINE + 2;
    const base = Math.max(close ? clear : high - 8, 11);
    if (base < high) {
      set(label, centred(plot, at, base, width));
      return;
    }
    // There is no room over it: beside it.
    const before = at - CAP - GAP - width >= plot.left;
    set(label, {
      x: before ? at - CAP - GAP : at + CAP + GAP,
      y: base,
      "text-anchor": before ? "end" : "start",
    });
  }
  return { element, update };
}

/** A course that stays on one level; none where there is no level. */
export function levelCourse(bytes?: number): Course | undefined {
  return bytes === undefined ? undefined : { at: [0, 1], total: [bytes, bytes] };
}

/** A course beside the areas, named over its start, or with the size of its peak. */
export function createCourse(name: string, { atStart = false } = {}) {
  const path = svg("path", { class: `vw-course vw-${name}-line` });
  const label = svg("text", { class: "vw-mark-name vw-course-name" });
  const element = svg("g", {}, path, label);

  /**
   * `course` has a place on the axis (0 to 1) and bytes for each moment; none hides the line. Its
   * name keeps away from the mark at the place `taken`.
   */
  function update(geometry: Geometry, course: Course | undefined, taken = 1): void {
    const { plot, y } = geometry;
    set(element, { display: course ? null : "none" });
    if (!course) {
      return;
    }
    const { at, total } = course;
    const x = at.map((place) => across(plot, place));
    set(path, { d: `M${line({ x, y }, total).join("L")}` });
    const free = total.map((bytes, i) => (Math.abs((at[i] ?? 0) - taken) < DISTANCE ? 0 : bytes));
    const named = atStart ? 0 : free.indexOf(Math.max(...free));
    const words = atStart ? name : `${name} ${gib(Math.max(...total))}`;
    label.textContent = words;
    // Clear of the card's name.
    const [top, card] = [y(total[named] ?? 0), capacityLevel(geometry)];
    const over = top > card ? top + LINE - 4 : card - GAP - LINE;
    const base = Math.abs(top - card) < LINE ? over : top - GAP;
    set(label, centred(plot, x[named] ?? plot.left, Math.max(base, 11), textWidth(words)));
  }
  return { element, update };
}

/** Centred on a place, and inside the plot. */
function centred({ left, right }: Plot, x: number, y: number, width: number) {
  const half = width / 2;
  return {
    x: Math.min(Math.max(x, left + half + GAP), right - half),
    y,
    "text-anchor": "middle",
  };
}
