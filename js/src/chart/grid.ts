/** GiB on the left: horizontal lines with their levels, behind what is stacked. */
import { svg } from "../dom";
import { GIB, plain } from "../format";
import type { Geometry } from "./geometry";

/** Pixels one level of the grid takes. */
const GRID = 56;
/** How much closer than that levels may stand, for a rounder step. */
const CLOSEST = 0.75;

export function createGrid() {
  const element = svg("g", { class: "vw-grid" });

  function update({ plot, y, ceiling }: Geometry): void {
    const count = Math.max((plot.bottom - plot.top) / GRID, 2);
    const lines = ticks(ceiling / GIB, count).map((level) => {
      const at = y(level * GIB);
      return svg(
        "g",
        { transform: `translate(0,${at.toFixed(1)})` },
        svg("line", { x1: plot.left, x2: plot.right }),
        svg("text", { x: plot.left - 8, dy: "0.32em" }, plain(level)),
      );
    });
    element.replaceChildren(...lines);
  }
  return { element, update };
}

/** About `count` round levels from 0 to `most`: multiples of 1, 2 or 5 times a power of ten. */
export function ticks(most: number, count: number): number[] {
  const least = most / count;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least * CLOSEST);
  const width = step ?? 10 * power;
  return Array.from({ length: Math.floor(most / width) + 1 }, (_, i) => i * width);
}
