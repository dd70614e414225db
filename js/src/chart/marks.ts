/** What the areas are read against: the card's capacity, and the peak with its low-high band. */
import { set, svg } from "../dom";
import { gib } from "../format";
import type { Report } from "../messages";
import type { Geometry } from "./geometry";

/** Width of a letter of the labels (pixels), height of a line, half the width of the bracket. */
const LETTER = 6.6;
const LINE = 16;
const CAP = 5;

export function createMarks() {
  const line = svg("line", { class: "vw-capacity" });
  const card = svg("text", { class: "vw-mark-name" });
  const bracket = svg("path", { class: "vw-bracket" });
  const dot = svg("circle", { class: "vw-peak", r: 3 });
  const peak = svg("text", { class: "vw-mark-name" });
  const element = svg("g", { class: "vw-marks" }, line, bracket, dot, card, peak);

  function update(geometry: Geometry, report: Report): void {
    const { plot, x, y, capacity, showsCapacity } = geometry;
    const level = showsCapacity ? y(capacity) : plot.top;
    set(line, {
      display: showsCapacity ? null : "none",
      x1: plot.left,
      x2: plot.right,
      y1: level,
      y2: level,
    });
    const name = `${report.gpu} · ${gib(capacity)} GiB`;
    card.textContent = showsCapacity ? name : `↑ ${name}`;
    set(card, { x: plot.left + 6, y: level - 6 });

    const at = x[report.peak.index] ?? plot.right;
    const [high, expected, low] = [y(report.high), y(report.expected), y(report.low)];
    const [left, right] = [at - CAP, at + CAP];
    set(bracket, { d: `M${left},${high}H${right}M${at},${high}V${low}M${left},${low}H${right}` });
    set(dot, { cx: at, cy: expected });
    peak.textContent = report.peak.label;

    // Beside the bracket where that is free, clear of the line and of its name.
    const width = report.peak.label.length * LETTER;
    const before = at - CAP - 6 - width >= plot.left;
    let base = (high + low) / 2 + 4;
    if (Math.abs(base - 5 - level) < LINE) {
      base = high < level ? Math.min(high, level) - 8 : level + LINE + 2;
    }
    base = Math.max(base, 11);
    set(peak, {
      x: before ? at - CAP - 6 : at + CAP + 6,
      y: base,
      "text-anchor": before ? "end" : "start",
    });
  }
  return { element, update };
}
