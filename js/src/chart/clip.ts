/** A rectangle outside of which nothing is drawn. */
import { set, svg, unique } from "../dom";

export function createClip() {
  const id = unique("clip");
  const room = svg("rect");
  const element = svg("clipPath", { id }, room);

  function update(left: number, top: number, right: number, bottom: number): void {
    set(room, { x: left, y: top, width: right - left, height: Math.max(bottom - top, 0) });
  }
  return { element, path: `url(#${id})`, update };
}
