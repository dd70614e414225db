import { describe, expect, it } from "vitest";
import { findPlace } from "../src/chart/areas";
import { type Geometry, geometry } from "../src/chart/geometry";
import { exampleForm, exampleReport } from "./browser";

const GIB = 1024 ** 3;
const report = exampleReport();
const { components } = exampleForm();

function draw({ capacity = report.capacity, highest = report.high } = {}): Geometry {
  const { at, bytes } = report.timeline;
  return geometry({ at, bytes, capacity, highest }, components, { width: 760, height: 400 });
}

describe("the geometry of the chart", () => {
  it("stacks the components up to their sum at every moment", () => {
    const top = draw().bands.at(-1)?.upper ?? [];
    const columns = Object.values(report.timeline.bytes);
    expect(top).toHaveLength(report.timeline.at.length);
    for (const [at, level] of top.entries()) {
      expect(level).toBe(columns.reduce((sum, column) => sum + (column[at] ?? 0), 0));
    }
  });

  it("keeps the card's capacity in sight", () => {
    const { y, plot, showsCapacity } = draw({ capacity: 80 * GIB, highest: 30 * GIB });
    expect(showsCapacity).toBe(true);
    expect(y(80 * GIB)).toBeGreaterThan(plot.top);
    expect(y(0)).toBe(plot.bottom);
  });

  it("leaves out a card that would make the areas a strip", () => {
    const { showsCapacity, ceiling } = draw({ capacity: 80 * GIB, highest: 2 * GIB });
    expect(showsCapacity).toBe(false);
    expect(ceiling).toBeLessThan(3 * GIB);
  });

  it("spreads the moments over the whole width, in order", () => {
    const { x, plot } = draw();
    expect(x[0]).toBe(plot.left);
    expect(x.at(-1)).toBe(plot.right);
    expect(x).toEqual([...x].sort((a, b) => a - b));
  });
});

describe("the place of an area's name", () => {
  const [component] = components;
  function place(upper: number[], capacity = 200) {
    if (!component) {
      throw new Error("no component");
    }
    const plot = { left: 0, right: 400, top: 0, bottom: 100 };
    const band = { component, lower: upper.map(() => 0), upper };
    const x = upper.map((_, at) => (at * 400) / (upper.length - 1));
    const y = (level: number) => 100 - level;
    const bands = [band];
    return findPlace(band, { plot, x, y, ceiling: 100, capacity, showsCapacity: true, bands });
  }

  it("is where the area is tall", () => {
    const found = place([5, 5, 80, 80, 80]);
    expect(found?.x).toBeGreaterThan(200);
    expect(found?.y).toBe(60);
  });

  it("is in the middle of an even area", () => {
    expect(place([50, 50, 50])?.x).toBeCloseTo(200, -1);
  });

  it("is clear of the capacity's line", () => {
    expect(place([80, 80, 80], 50)?.y).toBe(75);
  });

  it("is nowhere in a thin area", () => {
    expect(place([8, 8, 8])).toBeUndefined();
  });
});
