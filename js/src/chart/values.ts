/** Below a field: its values as ticks, and the largest that fits. */
import { svg } from "../dom";
import type { Sweep } from "../messages";
import type { Geometry } from "./geometry";
import { textWidth, WIDE } from "./text";

/** The air between two values (pixels). */
const AIR = 14;

export function createValues() {
  const element = svg("g", { class: "vw-values" });

  function update({ plot, x }: Geometry, sweep: Sweep): void {
    const ticks = x.map((at) =>
      svg("line", { x1: at, x2: at, y1: plot.bottom, y2: plot.bottom + 4 }),
    );
    const named = sweep.values.flatMap((value, index) => (isRound(value) ? [index] : []));
    const widest = Math.max(...named.map((index) => textWidth(sweep.names[index] ?? "")));
    const distance = (plot.right - plot.left) / Math.max(named.length - 1, 1);
    const every = Math.ceil((widest + AIR) / distance);
    const names = named
      .filter((_, nth) => nth % every === 0)
      .map((index) => svg("text", { x: x[index], y: plot.bottom + 16 }, sweep.names[index] ?? ""));
    const parts: SVGElement[] = [...ticks, ...names];
    const most = sweep.values.indexOf(sweep.limit?.value || null);
    const at = x[most];
    const y = plot.bottom + 34;
    // The mark points up at its value, from the side where there is more room; the name of the
    // axis stands on that side's end, where the mark leaves it room.
    const toLeft = at !== undefined && at > (plot.left + plot.right) / 2;
    let room = plot.right - plot.left;
    if (at !== undefined) {
      const said = `${sweep.names[most]} is the largest that fits`;
      const side = toLeft
        ? { x: at + 5, "text-anchor": "end" }
        : { x: at - 5, "text-anchor": "start" };
      const pointed = toLeft ? `${said} ▲` : `▲ ${said}`;
      parts.push(svg("text", { class: "vw-most", y, ...side }, pointed));
      room = (toLeft ? at - plot.left : plot.right - at) - textWidth(pointed) - AIR;
    }
    if (textWidth(sweep.label, WIDE) <= room) {
      const side = toLeft
        ? { x: plot.left, "text-anchor": "start" }
        : { x: plot.right, "text-anchor": "end" };
      parts.push(svg("text", { class: "vw-axis-name", y, ...side }, sweep.label));
    }
    element.replaceChildren(...parts);
  }
  return { element, update };
}

/** Whether a value has a name below the axis: powers of two do. */
function isRound(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(Math.log2(value));
}
