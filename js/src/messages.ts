/**
 * What Python and the front end say to each other.
 *
 * Python sends `form` once, `report` and `history` after every change, `lookup` while it reads from
 * the Hub, `pinned` while there is one to compare with, and `advice`, `readings` and `imported` when
 * asked.
 * The front end writes only the fields of the form, and asks with a `Request`. The other end is
 * `vram_widget/widget/form.py`, `report.py`, `advice.py`, `readings.py`, `pinned.py`, `imported.py`
 * and `history.py`.
 */
import type { AnyModel } from "@anywidget/types";

/** What a field can hold: the JSON types of the Python traits. */
export type Value = string | number | boolean | null | string[];

export interface Option {
  value: string | null;
  label: string;
}

/** A rule such as `{ training_method: ["lora"], num_gpus: { minimum: 2 } }`: all must hold. */
export type Rule = Record<string, Value[] | { minimum: number }>;

export interface Field {
  name: string;
  kind: "text" | "choice" | "switch" | "count" | "number" | "bytes" | "modules";
  label: string;
  help: string;
  default: Value;
  nullable: boolean;
  unit?: string;
  /** The values of a choice. */
  options?: Option[];
  /** Show the options side by side rather than as a list to open. */
  segmented?: boolean;
  /** Names a text may be completed to; any other text is taken too. */
  suggestions?: string[];
  /** The reach of the slider, where there is one. The number box takes any value. */
  slider?: [number, number];
  scale?: "log";
  shown_when?: Rule;
  /** Hidden while it holds its default, until every setting is asked for. */
  advanced: boolean;
}

export interface Group {
  name: string;
  label: string;
  fields: Field[];
}

/** What a component of the memory is called and painted with. */
export interface Component {
  name: string;
  label: string;
  /** Its fill. */
  color: string;
  /** The colour of text on that fill. */
  ink: string;
}

export interface Form {
  groups: Group[];
  components: Component[];
  /** The verdicts in words. */
  levels: Record<Level, string>;
  /** Only a few controls and the chart: for a tutorial. */
  compact: boolean;
  /** In a page without a kernel: everything can be read, and nothing changed. */
  readonly: boolean;
  /** Whether PyTorch is there to run the step. */
  verifiable: boolean;
}

export type Level = "fits" | "likely" | "risky" | "does_not_fit";

/** Consecutive moments of one phase: `first` and `last` are indices into the timeline. */
export interface Span {
  step: number;
  phase: string;
  label: string;
  first: number;
  last: number;
}

/** Bytes on one GPU at successive moments, by component. All lists have the same length. */
export interface Timeline {
  /** Where each moment lies on the time axis, from 0 to 1. */
  at: number[];
  bytes: Record<string, number[]>;
  spans: Span[];
}

export interface Report {
  /** Counts the reports, so that each one arrives even where nothing in it differs. */
  revision: number;
  title: string;
  subtitle: string;
  verdict: { level: Level; words: string; range: string };
  /** Remarks below a group of the form, by the group's name. */
  remarks: Record<string, string>;
  /** Text for a field that is empty, by the field's name. */
  placeholders: Record<string, string>;
  gpu: string;
  /** Bytes of one GPU, and of the peak on it. */
  capacity: number;
  low: number;
  expected: number;
  high: number;
  peak: { index: number; label: string; moment: string };
  /** Bytes by component at the peak, and what each is made of. */
  components: { name: string; bytes: number; note: string }[];
  timeline: Timeline;
  notices: string[];
  /** That settings of an imported file are not counted, and the worst that this does. */
  uncounted: { words: string; effect: Effect; why: string } | null;
  /** The fields in which the configuration differs from the pinned one. */
  differences: Difference[];
  /** Why a value was refused, by the field's name. Everything else is the last good estimate. */
  errors: Record<string, string>;
}

/** What leaving a setting out does to the figure. */
export type Effect = "too_little" | "too_much" | "unknown";

/** A field by its label, with its earlier value and the present one as they read. */
export interface Difference {
  name: string;
  label: string;
  before: string;
  now: string;
}

/** The configuration that the present one is compared with. */
export interface Pinned {
  title: string;
  subtitle: string;
  verdict: { level: Level; words: string };
  /** Bytes at its peak, in all and by component. */
  expected: number;
  components: Record<string, number>;
  /** Its course: bytes in all, and where each moment lies on the time axis. */
  at: number[];
  total: number[];
  config: Record<string, Value>;
}

/** The fields that the chart can be drawn over. */
export type SweepField = "max_seq_len" | "micro_batch_size" | "training_method";

/** The peak with one field at several values, everything else as it is; lists go by the values. */
export interface Sweep {
  /** The report it is about. */
  revision: number;
  field: string;
  title: string;
  /** The field's name with its unit. */
  label: string;
  scale: "log" | null;
  values: Value[];
  names: string[];
  /** When the peak is. */
  moments: string[];
  verdicts: Level[];
  low: number[];
  expected: number[];
  high: number[];
  capacity: number[];
  gpus: string[];
  bytes: Record<string, number[]>;
  /** Values that cannot be, and why. */
  refused: [string, string][];
  /** How far the field can go; without changes nothing fits. */
  limit: { field: string; value: number; text: string; changes: Changes } | null;
}

/** What each component is made of at a moment of the timeline. */
export interface Explained {
  /** The report it is about. */
  revision: number;
  index: number;
  notes: Record<string, string>;
}

/** How far a look-up of a model on the Hub is: files read, files in all, the file just read. */
export interface Lookup {
  model_path: string;
  done: number;
  total: number;
  file: string;
}

/** Fields to change, with their new values. */
export type Changes = Record<string, Value>;

/** The configuration as text for one target; without text, the notices say why there is none. */
export interface Launch {
  name: string;
  label: string;
  text: string;
  notices: string[];
}

/** How long a run takes and what it costs: each figure with a remark, such as its range. */
export interface Run {
  figures: { label: string; value: string; note: string }[];
  notices: string[];
}

/** What would help, or what there is room for. */
export interface Advice {
  /** The report it is about; a later report waits for its own. */
  revision: number;
  heading: string;
  suggestions: { what: string; effect: string; level: Level; changes: Changes }[];
  /** How far the batch can go; without changes it is there, or nothing fits. */
  largest: { text: string; changes: Changes };
  run: Run;
  launches: Launch[];
}

/** What would be undone and redone, by the name of what changed; null at an end. */
export interface History {
  undo: string | null;
  redo: string | null;
}

/** Bytes over time: a place on the axis of the report's timeline (0 to 1) and a level for each. */
export interface Course {
  at: number[];
  total: number[];
}

/** PyTorch's own step beside the estimate. */
export interface Verification {
  state: "running" | "done" | "failed";
  /** What is being done, what was found, or why nothing was. */
  words: string;
  /** Its course; null where it could not follow every choice, or is not there yet. */
  line: Course | null;
  /** Whether it is about the configuration that is shown. */
  current: boolean;
}

/** What settings of another program say; without a heading nothing could be read. */
export interface Imported {
  /** Counts the answers, so that each one arrives. */
  revision: number;
  heading: string;
  /** What they would change in the controls. */
  differences: Difference[];
  /** What of them is not counted, each with what that does to the figure. */
  notices: { text: string; effect: string }[];
  /** Why they cannot be read, or not put into the controls. */
  error: string;
}

/** What the front end asks Python for beside the values of fields. */
export type Request =
  /** Give the look-up up. */
  | { type: "cancel" }
  /** Say what would help: the moves have paused. */
  | { type: "advise" }
  /** Make changes that belong together. */
  | { type: "apply"; changes: Changes }
  /** Read settings of another program, from a file of this name if it has one. */
  | { type: "import"; text: string; name: string }
  /** Put what was read into the controls. */
  | { type: "put" }
  /** Go back or forward through the changes. */
  | { type: "undo" | "redo" }
  /** Run PyTorch's own step, or give that up. */
  | { type: "verify" | "stop" }
  /** Compute the chart over a field: it is open. */
  | { type: "read"; reading: SweepField }
  /** Say what each component is made of at a moment. */
  | { type: "explain"; index: number }
  /** Pin the present configuration to compare with, unpin it, or go back to it. */
  | { type: "pin" }
  | { type: "unpin" }
  | { type: "return" };

export type Traits = {
  form: Form;
  report: Report;
  lookup: Lookup | null;
  advice: Advice | null;
  history: History;
  verification: Verification | null;
  readings: Partial<Record<SweepField, Sweep>>;
  pinned: Pinned | null;
  imported: Imported | null;
  explained: Explained | null;
} & Record<string, unknown>;

export type Model = AnyModel<Traits>;

export function ask(model: Model, request: Request): void {
  model.send(request);
}

/** Call `handler` whenever one of the named traits changes, until `signal` aborts. */
export function listen(
  model: Model,
  names: string[],
  handler: () => void,
  signal: AbortSignal,
): void {
  for (const name of names) {
    model.on(`change:${name}`, handler);
  }
  const stop = () => {
    for (const name of names) {
      model.off(`change:${name}`, handler);
    }
  };
  signal.addEventListener("abort", stop, { once: true });
}
