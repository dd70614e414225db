/** The readings of the chart: which is open, and its figures asked for, one question at a time. */
import type { Reading } from "./chart/chart";
import { ask, type Model, type Sweep } from "./messages";
import { createTabs } from "./tabs";

const NAMES: [Reading, string][] = [
  ["steps", "Training steps"],
  ["max_seq_len", "Length"],
  ["micro_batch_size", "Micro-batch"],
  ["training_method", "Methods"],
];

/** `changed` is called when another reading is opened in `panel`. */
export function createReadings(
  model: Model,
  readonly: boolean,
  panel: HTMLElement,
  changed: () => void,
) {
  let open: Reading = "steps";
  let asked = false;
  const tabs = createTabs<Reading>("Chart", panel, (name) => {
    open = name;
    asked = false;
    tabs.show(name);
    answered();
    changed();
  });
  const there = model.get("readings");
  for (const [name, label] of NAMES) {
    // Without a kernel, what has been computed.
    if (!readonly || name === "steps" || there[name]) {
      tabs.add(name, label);
    }
  }
  tabs.show(open);

  /** After every report and answer: ask for the open reading where it is not about this report. */
  function answered(): void {
    if (open === "steps") {
      return;
    }
    const current = sweep()?.revision === model.get("report").revision;
    if (!current && !asked) {
      ask(model, { type: "read", reading: open });
    }
    asked = !current;
  }
  function sweep(): Sweep | undefined {
    return open === "steps" ? undefined : model.get("readings")[open];
  }
  return {
    element: tabs.element,
    /** The reading that is open, and its figures where there are any. */
    get open() {
      return open;
    },
    sweep,
    /** Another report: its figures are wanted. */
    reported: answered,
    /** An answer, perhaps about a report of before. */
    answered: () => {
      asked = false;
      answered();
    },
  };
}
