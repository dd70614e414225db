/** A spot of a component's colour, before its name. */
import { html } from "./dom";
import type { Component } from "./messages";

export function createSwatch({ color }: Component): HTMLElement {
  const element = html("span", { class: "vw-swatch" });
  element.style.background = color;
  return element;
}
