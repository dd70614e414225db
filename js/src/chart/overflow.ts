/** Memory above the card's capacity, hatched: the part of a shape that there is no room for. */
import { set, svg, unique } from "../dom";
import { createClip } from "./clip";
import type { Geometry } from "./geometry";

export function createOverflow() {
  const hatch = unique("hatch");
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
  const room = createClip();
  const shape = svg("path", {
    fill: `url(#${hatch})`,
    "clip-path": room.path,
  });
  const element = svg("g", {}, svg("defs", {}, pattern, room.element), shape);

  /** `outline` is the path of all that is stacked. */
  function update(geometry: Geometry, outline: (geometry: Geometry) => string): void {
    const { plot, y, capacity, bands } = geometry;
    const over = bands.at(-1)?.upper.some((level) => level > capacity) ?? false;
    set(shape, { display: over ? null : "none" });
    if (over) {
      set(shape, { d: outline(geometry) });
      room.update(plot.left, plot.top, plot.right, y(capacity));
    }
  }
  return { element, update };
}
