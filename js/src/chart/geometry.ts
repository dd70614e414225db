/** From bytes and places to pixels. Pure functions of what is drawn and the size of the chart. */
import type { Component } from "../messages";

/** What a chart stacks: bytes by component at successive places. */
export interface Levels {
  /** Where each lies along the axis, from 0 to 1. */
  at: number[];
  bytes: Record<string, number[]>;
  /** Bytes of the card. */
  capacity: number;
  /** Bytes that have to be in sight, whatever else is. */
  highest: number;
}

/** Width and height of the chart (pixels). */
export interface Size {
  width: number;
  height: number;
}

/** The rectangle areas are drawn in, inside the chart's own box (pixels). */
export interface Plot {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface Geometry {
  plot: Plot;
  /** Where every place lies, from left to right. */
  x: number[];
  y: (bytes: number) => number;
  /** Bytes at the top of the plot. */
  ceiling: number;
  /** Bytes of the card; it may lie above the ceiling. */
  capacity: number;
  /** Whether the capacity lies inside the plot. */
  showsCapacity: boolean;
  /** The edges of every component's area, bottom up. */
  bands: Band[];
}

export interface Band {
  component: Component;
  lower: number[];
  upper: number[];
}

const MARGIN = { left: 38, right: 22, top: 22, bottom: 42 };

/** A card more than this many times the highest level is left out, or the areas would be a strip. */
const LARGEST_ROOM = 5;
const HEADROOM = 1.06;
/** What rises over the card's memory more than this many times runs out of the picture. */
export const LARGEST_OVER = 3;

/** `above` is room to leave over the plot, beside the usual (pixels). */
export function geometry(
  levels: Levels,
  components: Component[],
  { width, height }: Size,
  above = 0,
): Geometry {
  const { at, bytes, capacity, highest } = levels;
  const plot = {
    left: MARGIN.left,
    right: Math.max(width - MARGIN.right, MARGIN.left + 1),
    top: MARGIN.top + above,
    bottom: Math.max(height - MARGIN.bottom, MARGIN.top + above + 1),
  };
  const showsCapacity = capacity <= LARGEST_ROOM * highest;
  const ceiling = HEADROOM * Math.max(highest, showsCapacity ? capacity : 0);
  const y = (level: number) => plot.bottom - (level / ceiling) * (plot.bottom - plot.top);
  const x = at.map((place) => across(plot, place));
  return { plot, x, y, ceiling, capacity, showsCapacity, bands: stack(at, bytes, components) };
}

/** Where a place on the axis (0 to 1) lies in the plot. */
export function across({ left, right }: Plot, place: number): number {
  return left + place * (right - left);
}

/** The points of a line through levels, as a path has them. */
export function line({ x, y }: Pick<Geometry, "x" | "y">, levels: number[]): string[] {
  return levels.map((level, at) => `${x[at]?.toFixed(1)},${y(level).toFixed(1)}`);
}

function stack(at: number[], bytes: Record<string, number[]>, components: Component[]): Band[] {
  let floor = at.map(() => 0);
  return components.map((component) => {
    const lower = floor;
    const own = bytes[component.name];
    const upper = own?.some(Boolean) ? lower.map((level, i) => level + (own[i] ?? 0)) : lower;
    floor = upper;
    return { component, lower, upper };
  });
}
