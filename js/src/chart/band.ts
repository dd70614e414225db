/** From low to high at every value: how wide of the mark the estimate may be. */
import { set, svg } from "../dom";
import type { Sweep } from "../messages";
import type { Geometry } from "./geometry";

export function createBand() {
  const fill = svg("path", { class: "vw-band" });
  const edges = svg("path", { class: "vw-band-edge" });
  const element = svg("g", {}, fill, edges);

  function update({ x, y }: Geometry, { low, expected, high }: Sweep): void {
    const line = (levels: number[]) =>
      levels.map((level, at) => `${x[at]?.toFixed(1)},${y(level).toFixed(1)}`);
    const top = line(high);
    set(fill, { d: `M${top.join("L")}L${line(expected).reverse().join("L")}Z` });
    set(edges, { d: `M${top.join("L")}M${line(low).join("L")}` });
  }
  return { element, update };
}
