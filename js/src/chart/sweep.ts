/** The peak over a field: stacked components over its values, and where the present one stands. */
import { svg } from "../dom";
import { gib, plain } from "../format";
import type { Component, Level, Pinned, Report, Sweep, Value } from "../messages";
import { createAreas, silhouette } from "./areas";
import { createBand } from "./band";
import { createClip } from "./clip";
import { across, geometry, LARGEST_OVER, type Size } from "./geometry";
import { createGrid } from "./grid";
import { createBracket, createCapacity, createCourse, levelCourse } from "./marks";
import { createOverflow } from "./overflow";
import { type Points, sweepPoints } from "./points";
import { createValues } from "./values";

/** Values that Page Up and Page Down pass over. */
const PAGE = 4;

export function createSweep(
  components: Component[],
  levels: Record<Level, string>,
  choose?: (value: Value) => void,
) {
  const grid = createGrid();
  const room = createClip();
  const areas = createAreas(components);
  const overflow = createOverflow();
  const band = createBand();
  const values = createValues();
  const before = createCourse("pinned");
  const capacity = createCapacity();
  const now = createBracket({ stem: true });
  const inside = svg(
    "g",
    { "clip-path": room.path },
    areas.element,
    overflow.element,
    band.element,
    before.element,
    areas.names,
  );
  const defs = svg("defs", {}, room.element);
  const back = svg("g", {}, defs, grid.element, inside, values.element);
  const front = svg("g", { class: "vw-marks" }, capacity.element, now.element);

  function draw(
    sweep: Sweep,
    report: Report,
    pinned: Pinned | null,
    value: Value,
    size: Size,
  ): Points {
    const card = sweep.capacity[0] ?? report.capacity;
    const at = sweep.values.map((each) => placeOf(each, sweep));
    const highest = Math.max(
      Math.min(Math.max(...sweep.high), LARGEST_OVER * card),
      report.high,
      pinned?.expected ?? 0,
    );
    const drawn = geometry({ at, bytes: sweep.bytes, capacity: card, highest }, components, size);
    const { plot } = drawn;
    room.update(plot.left, plot.top, plot.right, plot.bottom);
    grid.update(drawn);
    areas.update(drawn);
    overflow.update(drawn, silhouette);
    band.update(drawn, sweep);
    values.update(drawn, sweep);
    const place = placeOf(value, sweep);
    before.update(drawn, levelCourse(pinned?.expected), place);
    capacity.update(drawn, sweep.gpus[0] ?? report.gpu);
    const present = `now ${plain(Number(value))} · ${gib(report.expected)} GiB`;
    now.update(drawn, across(plot, place), report, present);
    return {
      ...drawn,
      ...sweepPoints(sweep, levels, value, choose),
      half: 0,
      name: (index) => `${sweep.label.replace(/,.*/, "")} ${sweep.names[index]}`,
      sections: sweep.values.map((_, index) => index).filter((index) => index % PAGE === 0),
    };
  }
  return { back, front, draw };
}

/** Where a value lies between the first and the last, from 0 to 1. */
export function placeOf(value: Value, { values, scale }: Sweep): number {
  const scaled = (each: unknown) => (scale === "log" ? Math.log2(Number(each)) : Number(each));
  const [first, last] = [scaled(values[0]), scaled(values.at(-1))];
  const share = last > first ? (scaled(value) - first) / (last - first) : 0.5;
  return Math.min(Math.max(share, 0), 1);
}
