/** Entry point: one view of the widget, and the wires between its parts and the model. */
import type { RenderProps } from "@anywidget/types";
import "./styles/widget.css";
import { createAdvice } from "./advice";
import { createCharts } from "./charts";
import { html, on, perFrame } from "./dom";
import { createExport } from "./export";
import { createForm } from "./form";
import { createHeader } from "./header";
import { createHistory, historyKey } from "./history";
import { createImport } from "./import";
import {
  ask,
  type Changes,
  listen,
  type Model,
  type Request,
  type Traits,
  type Value,
} from "./messages";
import { createProgress } from "./progress";
import { createRun } from "./run";
import { createTable } from "./table";
import { followTheme } from "./theme";
import { createVerify } from "./verify";

/** A change that takes Python longer than this (milliseconds) shows as work in progress. */
const PATIENCE = 250;
/** Advice takes Python longer than a redraw: it is asked for when so long nothing has moved. */
const PAUSE = 250;

const SAVED =
  "No kernel is behind this view. The chart can be read with the pointer or the arrow keys; " +
  "run the cell in its notebook to move the controls.";
/** How ipywidgets marks the element of a view that never had a kernel, and says that one is gone. */
const DISCONNECTED = "jupyter-widgets-disconnected";
const GONE = "comm_live_update";

/** What is asked for that changes the configuration. */
const MOVES = new Set<Request["type"]>(["apply", "put", "return", "undo", "redo"]);

/** A view, and one to read alone in its place when its kernel goes: for a model none comes back. */
function render({ model, el }: RenderProps<Traits>): () => void {
  const { readonly } = model.get("form");
  let close = open(model, el, readonly || el.classList.contains(DISCONNECTED));
  const gone = () => {
    close();
    close = open(model, el, true);
  };
  model.on(GONE, gone);
  return () => {
    model.off(GONE, gone);
    close();
  };
}

function open(model: Model, el: HTMLElement, readonly: boolean): () => void {
  const view = new AbortController();
  const form = { ...model.get("form"), readonly };
  const { groups, components, compact, verifiable } = form;

  const history = createHistory(go);
  const header = createHeader(history.element, () => table.notices.focus());
  const progress = createProgress(cancel);
  // The fields of a run stand by its figures; a tutorial has only the form.
  const runGroups = compact ? [] : groups.filter(({ name }) => name === "run");
  const config = groups.filter((group) => !runGroups.includes(group));
  const controls = createForm(config, change, { model: progress.element });
  const charts = createCharts(model, form, request, () => draw(), view.signal);
  const table = createTable(components);
  const advice = createAdvice((changes: Changes) => request({ type: "apply", changes }));
  const runs = runGroups.map((group) => createRun(group, change));
  const verify = createVerify(request);
  const settings = createImport(request);
  const launch = createExport();
  const root = html(
    "div",
    { class: `vram-widget${compact ? " vw-compact" : ""}${readonly ? " vw-readonly" : ""}` },
    header.element,
    ...(readonly ? [html("p", { class: "vw-saved", role: "note" }, SAVED)] : []),
    html(
      "div",
      { class: "vw-body" },
      controls.element,
      html(
        "div",
        { class: "vw-reading" },
        charts.element,
        html(
          "div",
          { class: "vw-under" },
          html("div", {}, table.element, ...runs.map((run) => run.element)),
          html("div", {}, advice.element, ...(verifiable && !readonly ? [verify.element] : [])),
        ),
      ),
    ),
    html(
      "div",
      { class: "vw-drawers" },
      ...(compact || readonly ? [] : [settings.element]),
      launch.element,
    ),
  );

  let waiting = 0;
  let pause = 0;
  function change(name: string, value: Value): void {
    if (model.get(name) === value) {
      if (model.get("report").errors[name]) {
        // The last good value again is no change, and yet it puts right what was refused.
        request({ type: "apply", changes: { [name]: value } });
      }
      return;
    }
    model.set(name, value);
    model.save_changes();
    expect();
  }
  function request(asked: Request): void {
    ask(model, asked);
    if (MOVES.has(asked.type)) {
      expect();
    }
  }
  function expect(): void {
    // The answer is what matters now; advice waits for the pause after it.
    window.clearTimeout(pause);
    waiting ||= window.setTimeout(() => root.classList.add("vw-working"), PATIENCE);
  }
  function cancel(): void {
    // The button goes away, and with it the focus.
    root.querySelector<HTMLElement>('[data-field="model_path"] input')?.focus();
    ask(model, { type: "cancel" });
  }
  function go(type: "undo" | "redo"): void {
    if (model.get("history")[type] !== null) {
      request({ type });
    }
  }
  on(root, "keydown", (event) => {
    const key = historyKey(event);
    if (key) {
      event.preventDefault();
      event.stopPropagation();
      go(key);
    }
  });
  function arrived(): void {
    window.clearTimeout(waiting);
    waiting = 0;
    root.classList.remove("vw-working");
    draw();
    charts.reported();
    adviseLater();
  }
  function adviseLater(): void {
    window.clearTimeout(pause);
    if (!compact && !readonly && model.get("advice")?.revision !== model.get("report").revision) {
      pause = window.setTimeout(() => ask(model, { type: "advise" }), PAUSE);
    }
  }

  function fill(): void {
    const report = model.get("report");
    const lookup = model.get("lookup");
    // A model that is looked up is named in its box already.
    const wanted: Record<string, unknown> = lookup ? { model_path: lookup.model_path } : {};
    const read = (name: string) => wanted[name] ?? model.get(name);
    controls.update(read, report);
    progress.update(lookup);
    settings.update(model.get("imported"), lookup, report.revision);
    for (const run of runs) {
      run.update(read, model.get("advice"), report);
    }
  }
  const draw = perFrame(() => {
    const report = model.get("report");
    fill();
    header.update(report);
    history.update(model.get("history"));
    charts.update();
    table.update(report, model.get("pinned"));
    advice.update(model.get("advice"), report);
    verify.update(model.get("verification"));
    launch.update(model.get("advice"), report);
    root.dataset.revision = String(report.revision);
  }, view.signal);

  const names = groups.flatMap(({ fields }) => fields.map(({ name }) => name));
  // A value that moves shows in its control at once; the rest waits for what Python says of it.
  listen(model, [...names, "lookup"], perFrame(fill, view.signal), view.signal);
  const beside = [
    "advice",
    "history",
    "pinned",
    "readings",
    "explained",
    "verification",
    "imported",
  ];
  listen(model, beside, draw, view.signal);
  listen(model, ["readings"], charts.answered, view.signal);
  listen(model, ["report"], arrived, view.signal);
  view.signal.addEventListener(
    "abort",
    () => {
      window.clearTimeout(waiting);
      window.clearTimeout(pause);
    },
    {
      once: true,
    },
  );

  if (readonly) {
    for (const control of root.querySelectorAll("form :is(input, select)")) {
      control.setAttribute("disabled", "");
    }
  }
  el.append(root);
  followTheme(root, view.signal);
  draw();
  adviseLater();
  return () => {
    view.abort();
    root.remove();
  };
}

/** Show a view without a kernel behind it: `vram_widget/widget/page.py` calls this in the page it writes. */
export function show(state: Traits, el: HTMLElement): void {
  const model = {
    get: (name: string) => state[name],
    set() {},
    save_changes() {},
    send() {},
    on() {},
    off() {},
  } as unknown as Model;
  // Of what anywidget hands over, a view takes these two.
  render({ model, el } as RenderProps<Traits>);
}

export default { render };
