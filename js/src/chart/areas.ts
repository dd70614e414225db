/** The stacked areas, each carrying its own name where there is room for it. */
import { set, svg } from "../dom";
import type { Component } from "../messages";
import type { Band, Geometry } from "./geometry";

const TEXT_HEIGHT = 15;
/** Width of a letter of the labels, generously, and the air on both sides of a label (pixels). */
const LETTER = 6.8;
const AIR = 12;
/** Pixels between the places tried, and how tall a place must be beside the tallest. */
const STRIDE = 4;
const NEARLY = 0.92;

export function createAreas(components: Component[]) {
  const shapes = components.map(({ name, label, color, ink }) => ({
    path: svg("path", { class: "vw-area", fill: color, "data-component": name }),
    // Its edge, in the colour of the area, clears the lines it stands on.
    text: svg("text", { class: "vw-area-name", fill: ink, stroke: color }, label),
  }));
  const element = svg("g", {}, ...shapes.map((shape) => shape.path));
  const names = svg("g", {}, ...shapes.map((shape) => shape.text));

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
  return { element, names, update };
}

/** Everything below the top of the stack. */
export function silhouette({ plot, x, y, bands }: Geometry): string {
  const top = bands.at(-1)?.upper ?? [];
  const points = top.map((level, at) => `${x[at]?.toFixed(1)},${y(level).toFixed(1)}`);
  return `M${x[0] ?? plot.left},${plot.bottom}L${points.join("L")}V${plot.bottom}Z`;
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

/** Where a band's label goes, if it fits anywhere: the middle of where the band is tallest. */
export function findPlace(band: Band, geometry: Geometry): Place | undefined {
  const { x, y, plot } = geometry;
  const half = (band.component.label.length * LETTER + AIR) / 2;
  const places: (Place & { room: number })[] = [];
  for (let middle = plot.left + half; middle <= plot.right - half; middle += STRIDE) {
    const free = clearance(band, x, middle - half, middle + half);
    const [top, bottom] = besideCapacity(free, geometry);
    const room = y(bottom) - y(top);
    if (room >= TEXT_HEIGHT) {
      places.push({ x: middle, y: (y(bottom) + y(top)) / 2, room });
    }
  }
  const tallest = Math.max(...places.map((place) => place.room));
  const good = places.filter((place) => place.room >= NEARLY * tallest);
  return good[Math.floor(good.length / 2)];
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

/** The larger part of a stretch of levels that the line of the capacity may cut in two. */
function besideCapacity(
  [highest, bottom]: [number, number],
  { capacity, ceiling }: Geometry,
): [number, number] {
  const top = Math.min(highest, ceiling);
  if (capacity >= top || capacity <= bottom) {
    return [top, bottom];
  }
  return top - capacity > capacity - bottom ? [top, capacity] : [capacity, bottom];
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
