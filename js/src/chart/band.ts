/** From low to high at every value: how wide of the mark the estimate may be. */
import { set, svg } from "../dom";
import type { Sweep } from "../messages";
import { type Geometry, line } from "./geometry";

export function createBand() {
  const fill = svg("path", { class: "vw-band" });
  const edges = svg("path", { class: "vw-band-edge" });
  const element = svg("g", {}, fill, edges);

  function update(geometry: Geometry, { low, expected, high }: Sweep): void {
    const top = line(geometry, high).join("L");
    set(fill, { d: `M${top}L${line(geometry, expected).reverse().join("L")}Z` });
    set(edges, { d: `M${top}M${line(geometry, low).join("L")}` });
  }
  return { element, update };
}
