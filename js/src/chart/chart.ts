/** Memory by component over the first training steps. */
import { html, perFrame, set, svg, unique } from "../dom";
import type { Component, Report } from "../messages";
import { createAreas } from "./areas";
import { createGrid, createPhases } from "./axes";
import { createExcess } from "./excess";
import { geometry } from "./geometry";
import { createMarks } from "./marks";
import { createReadout } from "./readout";

export function createChart(components: Component[], signal: AbortSignal) {
  const grid = createGrid();
  const areas = createAreas(components);
  const phases = createPhases();
  const excess = createExcess();
  const marks = createMarks();
  const title = unique("chart");
  const hint = unique("hint");
  const chart = html("div", {
    class: "vw-chart",
    role: "slider",
    tabindex: 0,
    "aria-labelledby": title,
    "aria-describedby": hint,
    "aria-valuemin": 0,
    "aria-valuemax": 0,
    "aria-valuenow": 0,
  });
  const readout = createReadout(chart, components, signal);
  const picture = svg(
    "svg",
    { "aria-hidden": "true" },
    grid.element,
    areas.element,
    excess.element,
    phases.element,
    areas.names,
    readout.cursor,
    marks.element,
  );
  chart.append(picture, readout.box);
  const element = html(
    "section",
    { class: "vw-figure" },
    html(
      "h3",
      { id: title },
      "Memory over the first training steps",
      html("span", { class: "vw-unit" }, " GiB on each GPU"),
    ),
    html(
      "p",
      { id: hint, class: "vw-unseen" },
      "Arrow keys go through the moments, Page Up and Page Down from phase to phase, " +
        "Enter goes to the peak.",
    ),
    chart,
  );

  let report: Report | undefined;
  function update(latest: Report): void {
    report = latest;
    draw();
  }
  function draw(): void {
    const { clientWidth: width, clientHeight: height } = chart;
    if (!report || width === 0 || height === 0) {
      return;
    }
    set(picture, { width, height, viewBox: `0 0 ${width} ${height}` });
    const drawn = geometry(report, components, width, height);
    grid.update(drawn);
    areas.update(drawn);
    excess.update(drawn);
    phases.update(drawn, report);
    marks.update(drawn, report);
    readout.update(drawn, report);
  }
  const resized = new ResizeObserver(perFrame(draw, signal));
  resized.observe(chart);
  signal.addEventListener("abort", () => resized.disconnect(), { once: true });
  return { element, update };
}
