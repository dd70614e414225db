/** The training methods side by side: a stacked bar each, with its verdict over it. */
import { svg } from "../dom";
import { gib } from "../format";
import { SIGNS } from "../header";
import type { Component, Level, Pinned, Report, Sweep, Value } from "../messages";
import { createBars, outlines } from "./bars";
import { type Geometry, geometry, LARGEST_OVER, type Size } from "./geometry";
import { createGrid } from "./grid";
import { bracketPath, capacityLevel, createCapacity, createCourse, levelCourse } from "./marks";
import { createOverflow } from "./overflow";
import { type Points, sweepPoints } from "./points";
import { textWidth, WIDE } from "./text";

/** Bars that rise over the card's memory more than this many times are broken off. */
const BROKEN_OVER = 4;
/** Room over the bars for the verdicts; the share of a column that a bar takes, and its most. */
const ABOVE = 22;
const BAR = 0.38;
const WIDEST = 58;
/** The most room on the left for the name of the card, as a share. */
const WIDEST_NAME = 0.28;
/** Height of a line of the verdicts (pixels). */
const LINE = 14;

export function createMethods(
  components: Component[],
  levels: Record<Level, string>,
  choose?: (value: Value) => void,
) {
  const grid = createGrid();
  const bars = createBars(components);
  const overflow = createOverflow();
  const before = createCourse("pinned");
  const capacity = createCapacity();
  const labels = svg("g");
  const back = svg(
    "g",
    {},
    grid.element,
    bars.element,
    overflow.element,
    before.element,
    bars.names,
  );
  const front = svg("g", { class: "vw-marks" }, capacity.element, labels);

  function draw(
    sweep: Sweep,
    report: Report,
    pinned: Pinned | null,
    value: Value,
    size: Size,
  ): Points {
    const card = sweep.capacity[0] ?? report.capacity;
    const names = [...sweep.names, ...sweep.refused.map(([name]) => name)];
    const gpu = sweep.gpus[0] ?? report.gpu;
    const name = `${gpu} · ${gib(card)} GiB`;
    const gutter = Math.min(textWidth(name, WIDE) / size.width, WIDEST_NAME);
    const at = names.map((_, index) => gutter + ((1 - gutter) * (index + 0.5)) / names.length);
    const tallest = Math.max(...sweep.high);
    const shown = tallest > BROKEN_OVER * card ? LARGEST_OVER * card : tallest;
    const highest = Math.max(shown, pinned?.expected ?? 0);
    const levelsOfAll = { at, bytes: sweep.bytes, capacity: card, highest };
    const drawn = geometry(levelsOfAll, components, size, ABOVE);
    const column = ((drawn.plot.right - drawn.plot.left) * (1 - gutter)) / names.length;
    const half = Math.min(column * BAR, WIDEST);
    grid.update(drawn);
    bars.update(drawn, half);
    overflow.update(drawn, (geometry) => outlines(geometry, half));
    before.update(drawn, levelCourse(pinned?.expected));
    capacity.update(drawn, gpu);
    labels.replaceChildren(
      ...sweep.values.flatMap((_, index) => verdict(drawn, sweep, index, levels)),
      ...names.map((name, index) => foot(drawn, index, name, sweep.values[index] === value)),
      underline(drawn, sweep.values.indexOf(value), half),
      ...sweep.refused.map((_, index) => none(drawn, sweep.values.length + index)),
    );
    return {
      ...drawn,
      ...sweepPoints(sweep, levels, value, choose),
      half: half + 6,
      name: (index) => names[index] ?? "",
      sections: [],
    };
  }
  return { back, front, draw };
}

/** The band at the top of a bar and the verdict over it, clear of the card's line. */
function verdict(
  drawn: Geometry,
  sweep: Sweep,
  index: number,
  levels: Record<Level, string>,
): SVGElement[] {
  const { plot, x, y, ceiling } = drawn;
  const at = x[index] ?? plot.left;
  const [high, low] = [sweep.high[index] ?? 0, sweep.low[index] ?? 0];
  const level = sweep.verdicts[index] ?? "fits";
  const broken = high > ceiling;
  const top = broken ? plot.top : y(high);
  let base = top - 6;
  const line = capacityLevel(drawn);
  if (drawn.showsCapacity && line > base - 2 * LINE && line < base + 5) {
    base = line - 6;
  }
  const band = bracketPath(at, top, y(low));
  const tear = `M${at - 60},${top + 9}l15,-5 15,5 15,-5 15,5 15,-5 15,5 15,-5 15,5`;
  return [
    svg("path", broken ? { class: "vw-tear", d: tear } : { class: "vw-bracket", d: band }),
    svg(
      "text",
      { class: "vw-mark-name vw-bar-verdict", "data-level": level, x: at, y: base - LINE },
      `${SIGNS[level]} ${levels[level]}`,
    ),
    svg(
      "text",
      { class: "vw-mark-name", x: at, y: base },
      `${broken ? "↑ " : ""}${gib(sweep.expected[index] ?? 0)} GiB`,
    ),
  ];
}

/** The name of a method, on as many lines as it has parts, and whether it is in use. */
function foot({ plot, x }: Geometry, index: number, name: string, used: boolean): SVGElement {
  const at = x[index] ?? plot.left;
  const lines = name.split(", ");
  const parts = lines.map((line, row) =>
    svg("tspan", { x: at, y: plot.bottom + 16 + row * LINE }, line),
  );
  return svg("text", { class: used ? "vw-bar-name vw-used" : "vw-bar-name" }, ...parts);
}

/** The bar in use stands on a line. */
function underline({ plot, x }: Geometry, index: number, half: number): SVGElement {
  const at = x[index];
  const d = at === undefined ? null : `M${at - half},${plot.bottom + 1}H${at + half}`;
  return svg("path", { class: "vw-in-use", d });
}

function none({ plot, x }: Geometry, index: number): SVGElement {
  const place = { x: x[index] ?? plot.left, y: plot.bottom - 8 };
  return svg("text", { class: "vw-bar-name", ...place }, "not possible");
}
