/** Memory above the card's capacity, hatched: the part of the areas that there is no room for. */
import { set, svg, unique } from "../dom";
import type { Geometry } from "./geometry";

export function createExcess() {
  const [hatch, clip] = [unique("hatch"), unique("clip")];
  const pattern = svg(
    "pattern",
    {
      id: hatch,
      width: 6,
      height: 6,
      patternUnits: "userSpaceOnUse",
      patternTransform: "rotate(45)",
    },
    svg("line", { y2: 6 }),
  );
  const room = svg("rect");
  const shape = svg("path", {
    class: "vw-excess",
    fill: `url(#${hatch})`,
    "clip-path": `url(#${clip})`,
  });
  const defs = svg("defs", {}, pattern, svg("clipPath", { id: clip }, room));
  const element = svg("g", {}, defs, shape);

  function update({ plot, x, y, capacity, bands }: Geometry): void {
    const top = bands.at(-1)?.upper ?? [];
    const over = top.some((level) => level > capacity);
    set(shape, { display: over ? null : "none" });
    if (over) {
      const points = top.map((level, at) => `${x[at]?.toFixed(1)},${y(level).toFixed(1)}`);
      set(shape, { d: `M${plot.left},${plot.bottom}L${points.join("L")}V${plot.bottom}Z` });
      set(room, {
        x: plot.left,
        y: plot.top,
        width: plot.right - plot.left,
        height: Math.max(y(capacity) - plot.top, 0),
      });
    }
  }
  return { element, update };
}
