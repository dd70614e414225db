/** From bytes and moments to pixels. Pure functions of the report and the size of the chart. */
import type { Component, Report, Timeline } from "../messages";

/** The rectangle areas are drawn in, inside the chart's own box (pixels). */
export interface Plot {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface Geometry {
  plot: Plot;
  /** Where every moment of the timeline lies, from left to right. */
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

const MARGIN = { left: 38, right: 14, top: 22, bottom: 42 };

/** A card more than this many times the peak's size is left out, or the areas would be a strip. */
const LARGEST_ROOM = 5;
const HEADROOM = 1.06;

export function geometry(
  report: Report,
  components: Component[],
  width: number,
  height: number,
): Geometry {
  const plot = {
    left: MARGIN.left,
    right: Math.max(width - MARGIN.right, MARGIN.left + 1),
    top: MARGIN.top,
    bottom: Math.max(height - MARGIN.bottom, MARGIN.top + 1),
  };
  const showsCapacity = report.capacity <= LARGEST_ROOM * report.high;
  const ceiling = HEADROOM * Math.max(report.high, showsCapacity ? report.capacity : 0);
  const y = (bytes: number) => plot.bottom - (bytes / ceiling) * (plot.bottom - plot.top);
  const x = report.timeline.at.map((place) => plot.left + place * (plot.right - plot.left));
  const bands = stack(report.timeline, components);
  return { plot, x, y, ceiling, capacity: report.capacity, showsCapacity, bands };
}

function stack(timeline: Timeline, components: Component[]): Band[] {
  let floor = timeline.at.map(() => 0);
  return components.map((component) => {
    const lower = floor;
    const bytes = timeline.bytes[component.name];
    const upper = bytes ? lower.map((level, at) => level + (bytes[at] ?? 0)) : lower;
    floor = upper;
    return { component, lower, upper };
  });
}
