/** Below the training steps: phases as ticks with their names, gathered into steps. */
import { svg } from "../dom";
import type { Report, Span } from "../messages";
import type { Geometry } from "./geometry";
import { textWidth } from "./text";

export function createPhases() {
  const element = svg("g", { class: "vw-phases" });

  function update({ plot, x }: Geometry, report: Report): void {
    const { spans } = report.timeline;
    const from = (span: Span) => x[span.first] ?? plot.left;
    const parts: SVGElement[] = [];
    for (const [index, span] of spans.entries()) {
      const left = from(span);
      const next = spans[index + 1];
      const right = next ? from(next) : plot.right;
      parts.push(svg("line", { x1: left, x2: left, y1: plot.top, y2: plot.bottom + 5 }));
      if (right - left >= textWidth(span.label)) {
        const middle = (left + right) / 2;
        parts.push(svg("text", { x: middle, y: plot.bottom + 15 }, span.label));
      }
    }
    for (const [step, first, after] of steps(spans)) {
      const left = from(first) + 2;
      const right = (after ? from(after) : plot.right) - 2;
      const base = plot.bottom + 22;
      parts.push(
        svg("path", { class: "vw-step", d: `M${left},${base}H${right}` }),
        svg("text", { class: "vw-step-name", x: (left + right) / 2, y: base + 14 }, `step ${step}`),
      );
    }
    element.replaceChildren(...parts);
  }
  return { element, update };
}

/** Every training step with its first phase and the one that follows it. */
function steps(spans: Span[]): [number, Span, Span | undefined][] {
  const found: [number, Span, Span | undefined][] = [];
  for (const [index, span] of spans.entries()) {
    if (span.step !== spans[index - 1]?.step && span.step > 0) {
      found.push([span.step, span, spans.slice(index).find((later) => later.step !== span.step)]);
    }
  }
  return found;
}
