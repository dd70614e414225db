/** Stacked bars, each component carrying its name where there is room for it. */
import { set, svg } from "../dom";
import type { Component } from "../messages";
import type { Geometry } from "./geometry";
import { NAME_HEIGHT, textWidth, WIDE } from "./text";

/** The least air on both sides of a name together (pixels). */
const AIR = 4;

export function createBars(components: Component[]) {
  const shapes = components.map(({ name, color }) =>
    svg("path", { class: "vw-area", fill: color, "data-component": name }),
  );
  const element = svg("g", {}, ...shapes);
  const names = svg("g");

  /** `half` is half the width of a bar. */
  function update({ bands, x, y, ceiling }: Geometry, half: number): void {
    const texts: SVGElement[] = [];
    for (const [index, { component, lower, upper }] of bands.entries()) {
      const parts: string[] = [];
      for (const [at, middle] of x.entries()) {
        const [top, bottom] = [y(Math.min(upper[at] ?? 0, ceiling)), y(lower[at] ?? 0)];
        if (bottom > top) {
          parts.push(rectangle(middle - half, top, middle + half, bottom));
          const fits = textWidth(component.label, WIDE) + AIR <= 2 * half;
          if (fits && bottom - top >= NAME_HEIGHT) {
            const place = { x: middle, y: (top + bottom) / 2, fill: component.ink };
            const { color: stroke, label } = component;
            texts.push(svg("text", { class: "vw-area-name", stroke, ...place }, label));
          }
        }
      }
      const shape = shapes[index];
      if (shape) {
        set(shape, { d: parts.join("") || null });
      }
    }
    names.replaceChildren(...texts);
  }
  return { element, names, update };
}

/** The outlines of the bars, all components in one. */
export function outlines({ bands, x, y, plot }: Geometry, half: number): string {
  const top = bands.at(-1)?.upper ?? [];
  return x
    .map((middle, at) => rectangle(middle - half, y(top[at] ?? 0), middle + half, plot.bottom))
    .join("");
}

function rectangle(left: number, top: number, right: number, bottom: number): string {
  const [x0, x1] = [left.toFixed(1), right.toFixed(1)];
  return `M${x0},${bottom.toFixed(1)}V${top.toFixed(1)}H${x1}V${bottom.toFixed(1)}Z`;
}
