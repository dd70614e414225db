/** The stacked areas, each carrying its own name where there is room for it. */
import { set, svg } from "../dom";
import type { Component } from "../messages";
import { type Band, type Geometry, line } from "./geometry";
import { NAME_HEIGHT, textWidth, WIDE } from "./text";

/** The air on both sides of a label together (pixels). */
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
export function silhouette(geometry: Geometry): string {
  const { plot, x, bands } = geometry;
  const top = line(geometry, bands.at(-1)?.upper ?? []);
  return `M${x[0] ?? plot.left},${plot.bottom}L${top.join("L")}V${plot.bottom}Z`;
}

/** The top from left to right, then the bottom from right to left. */
function outline({ upper, lower }: Band, geometry: Geometry): string {
  const top = line(geometry, upper);
  const bottom = line(geometry, lower).reverse();
  return `M${top.join("L")}L${bottom.join("L")}Z`;
}

interface Place {
  x: number;
  y: number;
}

/** Where a band's label goes, if it fits anywhere: the middle of where the band is tallest. */
export function findPlace(band: Band, geometry: Geometry): Place | undefined {
  const { x, y, plot } = geometry;
  const half = (textWidth(band.component.label, WIDE) + AIR) / 2;
  const places: (Place & { room: number })[] = [];
  // The first point that a label at this place covers.
  let first = 0;
  for (let middle = plot.left + half; middle <= plot.right - half; middle += STRIDE) {
    while ((x[first] ?? plot.right) < middle - half) {
      first += 1;
    }
    const free = clearance(band, x, first, middle - half, middle + half);
    const [top, bottom] = besideCapacity(free, geometry);
    const room = y(bottom) - y(top);
    if (room >= NAME_HEIGHT) {
      places.push({ x: middle, y: (y(bottom) + y(top)) / 2, room });
    }
  }
  const tallest = Math.max(...places.map((place) => place.room));
  const good = places.filter((place) => place.room >= NEARLY * tallest);
  return good[Math.floor(good.length / 2)];
}

/**
 * Between which levels a band is unbroken from one x to another: its lowest top, highest floor.
 * `first` is the first point there.
 */
function clearance(
  { upper, lower }: Band,
  x: number[],
  first: number,
  from: number,
  to: number,
): [number, number] {
  let top = levelAt(upper, x, first, from);
  let bottom = levelAt(lower, x, first, from);
  let next = first;
  for (; (x[next] ?? to) < to; next += 1) {
    top = Math.min(top, upper[next] ?? 0);
    bottom = Math.max(bottom, lower[next] ?? 0);
  }
  top = Math.min(top, levelAt(upper, x, next, to));
  bottom = Math.max(bottom, levelAt(lower, x, next, to));
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

/** A level at a place between two points: on the straight line that joins them. */
function levelAt(levels: number[], x: number[], next: number, place: number): number {
  const [before, after] = [Math.max(next - 1, 0), Math.min(next, x.length - 1)];
  const [x0 = 0, x1 = 0] = [x[before], x[after]];
  const share = x1 > x0 ? (place - x0) / (x1 - x0) : 0;
  return (levels[before] ?? 0) * (1 - share) + (levels[after] ?? 0) * share;
}
