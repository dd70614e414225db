/** The live chart as a picture of its own: its computed styles inside, its title and verdict above. */
import { textWidth, WIDE } from "./chart/text";
import { html, svg } from "./dom";
import type { Component, Report } from "./messages";

export interface Caption {
  /** The name of the file, without its ending. */
  file: string;
  /** The title of the chart. */
  title: string;
  report: Report;
  /** What is drawn, bottom up. */
  components: Component[];
}

/** What a style sheet may say of the shapes of the chart. */
const STYLES = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-linejoin",
  "opacity",
  "paint-order",
  "font-size",
  "font-weight",
  "text-anchor",
  "dominant-baseline",
];
const MARGIN = 16;
const HEAD = 66;
const FOOT = 30;
/** A swatch of the legend, and the air between two entries (pixels). */
const SWATCH = 10;
const AIR = 22;

export function drawFile(picture: SVGSVGElement, caption: Caption): SVGSVGElement {
  const { report, title, components } = caption;
  const root = picture.closest<HTMLElement>(".vram-widget") ?? document.body;
  const [width, height] = [picture.clientWidth, picture.clientHeight];
  const style = getComputedStyle(root);
  const value = (name: string) => resolved(root, `var(${name})`);
  const text = (x: number, y: number, said: string, more: Record<string, string>) =>
    svg("text", { x, y, fill: value("--fg"), ...more }, said);
  const size = { width: width + 2 * MARGIN, height: height + HEAD + FOOT };
  const drawn = svg("svg", {
    ...size,
    viewBox: `0 0 ${size.width} ${size.height}`,
    "font-family": style.fontFamily,
    "font-size": 12,
  });
  const body = svg("g", { transform: `translate(${MARGIN},${HEAD})` });
  body.append(...copies(picture));
  const right = size.width - MARGIN;
  const bold = { "font-weight": "650" };
  drawn.append(
    svg("title", {}, `${report.title} · ${report.subtitle} · ${report.verdict.words}`),
    svg("rect", { width: size.width, height: size.height, fill: value("--bg") }),
    text(MARGIN, 26, report.title, { "font-size": "15", ...bold }),
    text(right, 26, `${report.verdict.words} ${report.verdict.range}`, {
      "text-anchor": "end",
      ...bold,
      fill: resolved(root, "var(--level)", report.verdict.level),
    }),
    text(MARGIN, 45, report.subtitle, { fill: value("--muted") }),
    text(MARGIN, 63, `${title}, GiB on each GPU`, bold),
    body,
    ...legend(components, HEAD + height + 17, text),
  );
  return drawn;
}

/** What is shown of a drawing, each shape with its style as attributes. */
function copies(picture: SVGElement): Node[] {
  return Array.from(picture.childNodes).flatMap((node) => {
    if (!(node instanceof SVGElement)) {
      return [node.cloneNode()];
    }
    const style = getComputedStyle(node);
    if (style.display === "none" && node.tagName !== "defs") {
      return [];
    }
    const copy = node.cloneNode() as SVGElement;
    copy.removeAttribute("class");
    for (const name of STYLES) {
      paint(copy, name, style.getPropertyValue(name));
    }
    copy.append(...copies(node));
    return [copy];
  });
}

/** Set a property; colours as every program reads them, their opacity beside. */
function paint(element: SVGElement, name: string, value: string): void {
  const found = value.startsWith("url(") ? undefined : rgb(value);
  if (!found) {
    if (value && !value.startsWith("url(")) {
      element.setAttribute(name, value);
    }
    return;
  }
  element.setAttribute(name, found.color);
  if (found.alpha < 1) {
    element.setAttribute(`${name}-opacity`, String(found.alpha));
  }
}

/** `rgb(…)`, `rgba(…)` or `color(srgb …)` as a hexadecimal colour and its opacity. */
export function rgb(value: string): { color: string; alpha: number } | undefined {
  const unit = value.startsWith("color(srgb") ? 255 : value.startsWith("rgb") ? 1 : undefined;
  if (unit === undefined) {
    return undefined;
  }
  const [red = 0, green = 0, blue = 0, alpha = 1] = (value.match(/[\d.]+(?:e-?\d+)?/g) ?? []).map(
    Number,
  );
  const hex = [red, green, blue].map((part) =>
    Math.round(Math.min(part * unit, 255))
      .toString(16)
      .padStart(2, "0"),
  );
  return { color: `#${hex.join("")}`, alpha };
}

/** A colour of the theme as it is on this page. */
function resolved(root: HTMLElement, color: string, level = "fits"): string {
  const probe = html("span", { "data-level": level });
  probe.style.color = color;
  root.append(probe);
  const found = rgb(getComputedStyle(probe).color);
  probe.remove();
  return found?.color ?? color;
}

function legend(
  components: Component[],
  y: number,
  text: (x: number, y: number, said: string, more: Record<string, string>) => SVGElement,
): SVGElement[] {
  let x = MARGIN;
  return components.flatMap(({ label, color }) => {
    const left = x;
    x += SWATCH + 6 + textWidth(label, WIDE) + AIR - 6;
    return [
      svg("rect", { x: left, y: y - 9, width: SWATCH, height: SWATCH, rx: 2, fill: color }),
      text(left + SWATCH + 6, y, label, {}),
    ];
  });
}
