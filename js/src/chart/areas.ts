/** The stacked areas, each carrying its own name where there is room for it. */
import { set, svg } from "../dom";
import type { Component } from "../messages";
import type { Band, Geometry } from "./geometry";

const TEXT_HEIGHT = 15;
/** Width of a letter of the labels, generously, and the air on both sides of a label (pixels). */
const LETTER = 6.8;
const AIR = 12;

export function createAreas(components: Component[]) {
  const shapes = components.map(({ name, label, color, ink }) => ({
    path: svg("path", { class: "vw-area", fill: color, "data-component": name }),
    text: svg("text", { class: "vw-area-name", fill: ink }, label),
  }));
  const element = svg(
    "g",
    {},
    ...shapes.map((shape) => shape.path),
    ...shapes.map((shape) => shape.text),
  );

  function update(geometry: Geometry): void {
    for (const [index, band] of geometry.bands.entries()) {
      const shape = shapes[index];
      if (!shape) {
        continue;
      }
      const empty = band.lower === band.upper;
      set(shape.path, { d: empty ? null : outline(band, geometry) });
      const place = empty ? undefined : findPlace(band, geometry);
      set(shape.text, { display: place ? null : "none", x: place?.x, y: place?.y });
    }
  }
  return { element, update };
}

/** Along the top from left to right, and back along the bottom. */
function outline(band: Band, { x, y }: Geometry): string {
  const point = (level: number, at: number) => `${x[at]?.toFixed(1)},${y(level).toFixed(1)}`;
  const top = band.upper.map(point);
  const bottom = band.lower.map(point).reverse();
  return `M${top.join("L")}L${bottom.join("L")}Z`;
}

export interface Place {
  x: number;
  y: number;
}

/** The middle of the tallest part of a band that a label fits in, if any; later wins a tie. */
export function findPlace(band: Band, geometry: Geometry): Place | undefined {
  const { x, y, plot } = geometry;
  const half = (band.component.label.length * LETTER + AIR) / 2;
  let best: Place | undefined;
  let height = TEXT_HEIGHT;
  const last = plot.right - half;
  for (let middle = plot.left + half; middle <= last; middle += 4) {
    const [top, bottom] = clearance(band, x, middle - half, middle + half);
    const room = y(bottom) - y(top);
    if (room >= height - 0.5) {
      height = Math.max(height, room);
      best = { x: middle, y: (y(bottom) + y(top)) / 2 };
    }
  }
  return best;
}

/** Between which levels a band is unbroken from one x to another: its lowest top, highest floor. */
function clearance(band: Band, x: number[], from: number, to: number): [number, number] {
  let top = Math.min(levelAt(band.upper, x, from), levelAt(band.upper, x, to));
  let bottom = Math.max(levelAt(band.lower, x, from), levelAt(band.lower, x, to));
  for (const [at, place] of x.entries()) {
    if (place > from && place < to) {
      top = Math.min(top, band.upper[at] ?? 0);
      bottom = Math.max(bottom, band.lower[at] ?? 0);
    }
  }
  return [top, bottom];
}

/** A level between two moments: on the straight line that joins them. */
function levelAt(levels: number[], x: number[], place: number): number {
  const after = x.findIndex((each) => each >= place);
  const before = after - 1;
  const [x0, x1] = [x[before], x[after]];
  if (x0 === undefined || x1 === undefined) {
    return levels[Math.max(after, 0)] ?? 0;
  }
  const share = x1 > x0 ? (place - x0) / (x1 - x0) : 0;
  return (levels[before] ?? 0) * (1 - share) + (levels[after] ?? 0) * share;
}
