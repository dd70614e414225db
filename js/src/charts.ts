/** The chart with what stands over and under it: its readings, the pin, and how to save it. */
import { createChart } from "./chart/chart";
import { html } from "./dom";
import type { Form, Model, Request } from "./messages";
import { createPinned } from "./pinned";
import { createReadings } from "./readings";
import { createSave } from "./save";

/** `changed` is called when there is something else to draw. */
export function createCharts(
  model: Model,
  form: Form,
  request: (request: Request) => void,
  changed: () => void,
  signal: AbortSignal,
) {
  const chart = createChart(form, request, signal);
  const readings = createReadings(model, form.readonly, chart.element, changed);
  const pinned = createPinned(request);
  const save = createSave(chart.picture, () => ({
    file: fileName(model.get("report").title, model.get("training_method"), readings.open),
    title: chart.title,
    report: model.get("report"),
    components: form.components,
  }));
  const element = html(
    "section",
    { class: "vw-charts", "aria-label": "Chart" },
    html(
      "div",
      { class: "vw-toolbar" },
      readings.element,
      html("div", { class: "vw-tools" }, pinned.button, save.element),
    ),
    chart.element,
    pinned.element,
  );

  function update(): void {
    const report = model.get("report");
    const beside = model.get("pinned");
    const verified = model.get("verification");
    chart.update({
      reading: readings.open,
      report,
      pinned: beside,
      traced: (verified?.current && verified.line) || undefined,
      sweep: readings.sweep(),
      explained: model.get("explained"),
      read: (field) => model.get(field),
    });
    pinned.update(beside, report);
  }
  return { element, update, reported: readings.reported, answered: readings.answered };
}

/** "granite-3.3-2b-instruct-sft-max_seq_len": safe on every disk. */
function fileName(...parts: unknown[]): string {
  return parts.join("-").replaceAll(/[^\w.-]+/g, "_");
}
