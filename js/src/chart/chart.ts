/** The chart: one reading at a time, its title, and what it says point by point. */
import { html, on, say, set, svg, unique } from "../dom";
import { plain } from "../format";
import type {
  Course,
  Explained,
  Form,
  Pinned,
  Report,
  Request,
  Sweep,
  SweepField,
  Value,
} from "../messages";
import type { Size } from "./geometry";
import { createMethods } from "./methods";
import type { Points } from "./points";
import { createReadout } from "./readout";
import { createSweep } from "./sweep";
import { createTimeline } from "./timeline";

/** What the chart is drawn over: the training steps, or a field. */
export type Reading = "steps" | SweepField;

/** What there is to draw; a sweep comes when it is computed. */
export interface Drawing {
  reading: Reading;
  report: Report;
  pinned: Pinned | null;
  traced: Course | undefined;
  sweep: Sweep | undefined;
  explained: Explained | null;
  read: (field: string) => unknown;
}

const STEPS = "Memory over the first training steps";
const HINTS = {
  steps:
    "Arrow keys go through the moments, Page Up and Page Down from phase to phase, " +
    "Enter goes to the peak.",
  field: "Arrow keys go through the values, Enter uses the one that is read out.",
};

export function createChart(
  { components, levels, readonly }: Form,
  request: (request: Request) => void,
  signal: AbortSignal,
) {
  const explain = readonly ? undefined : (index: number) => request({ type: "explain", index });
  const timeline = createTimeline(components, explain);
  const use = (value: Value) => {
    const field = latest?.sweep?.field;
    if (field && latest?.read(field) !== value) {
      request({ type: "apply", changes: { [field]: value } });
    }
  };
  const choose = readonly ? undefined : use;
  const overField = createSweep(components, levels, choose);
  const methods = createMethods(components, levels, choose);
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
  const waiting = html("p", { class: "vw-waiting", role: "status" });
  const picture = svg("svg", { "aria-hidden": "true" });
  chart.append(picture, readout.box);
  const words = html("span");
  const hinted = html("p", { id: hint, class: "vw-unseen" });
  const limit = html("p", { role: "status" });
  const most = html("button", { class: "vw-button" });
  const end = html("div", { class: "vw-limits" }, limit, most);
  const element = html(
    "div",
    { class: "vw-figure", role: "tabpanel" },
    html(
      "div",
      { class: "vw-figure-head" },
      html("h3", { id: title }, words, html("span", { class: "vw-unit" }, " GiB on each GPU")),
      end,
    ),
    hinted,
    chart,
    readout.made,
    waiting,
  );
  on(most, "click", () => {
    request({ type: "apply", changes: latest?.sweep?.limit?.changes ?? {} });
  });

  let latest: Drawing | undefined;
  let shown: Reading | undefined;
  function update(drawing: Drawing): void {
    latest = drawing;
    const { reading, sweep, read } = drawing;
    const bySteps = reading === "steps";
    say(words, bySteps ? STEPS : (sweep?.title ?? ""));
    say(hinted, HINTS[bySteps ? "steps" : "field"]);
    say(waiting, bySteps || sweep ? "" : "Computing");
    const reach = bySteps ? null : sweep?.limit;
    say(limit, reach?.text ?? "");
    const [field, value] = Object.entries(reach?.changes ?? {})[0] ?? [];
    most.hidden = field === undefined || read(field) === value;
    say(most, `Use ${plain(Number(value))}`);
    draw();
  }
  function draw(): void {
    const { width, height } = size;
    if (!latest || width === 0 || height === 0) {
      return;
    }
    const { reading } = latest;
    set(picture, { width, height, viewBox: `0 0 ${width} ${height}` });
    const points = drawReading(latest, size);
    readout.update(points, reading !== shown);
    shown = reading;
  }
  function drawReading(drawing: Drawing, size: Size): Points | undefined {
    const { reading, report, pinned, sweep, read } = drawing;
    if (reading === "steps") {
      show(timeline);
      return timeline.draw(drawing, size);
    }
    if (!sweep) {
      picture.replaceChildren();
      return undefined;
    }
    const drawn = reading === "training_method" ? methods : overField;
    show(drawn);
    return drawn.draw(sweep, report, pinned, read(sweep.field) as Value, size);
  }
  function show({ back, front }: { back: SVGElement; front: SVGElement }): void {
    if (back.parentNode !== picture) {
      picture.replaceChildren(back, readout.cursor, front);
    }
  }
  // Asked for amid a redraw, the size would have the browser lay out the page twice.
  let size: Size = { width: 0, height: 0 };
  const resized = new ResizeObserver(() => {
    size = { width: chart.clientWidth, height: chart.clientHeight };
    draw();
  });
  resized.observe(chart);
  signal.addEventListener("abort", () => resized.disconnect(), { once: true });
  return {
    element,
    picture,
    /** What is drawn, in words. */
    get title() {
      return words.textContent ?? "";
    },
    update,
  };
}
