/** What jsdom lacks of a browser, and a model without Jupyter behind it. */
import type { AnyModel } from "@anywidget/types";
import { vi } from "vitest";
import type {
  Advice,
  Explained,
  Field,
  Form,
  History,
  Imported,
  Lookup,
  Pinned,
  Report,
  Sweep,
  Traits,
  Verification,
} from "../src/messages";
import widget from "../src/widget";
import example from "./example.json";

/** Literal types widened, as JSON has none: what Python sends must have the type messages.ts says. */
type Widen<T> = T extends string
  ? string
  : T extends number
    ? number
    : T extends readonly (infer Item)[]
      ? Widen<Item>[]
      : T extends object
        ? { [Key in keyof T]: Widen<T[Key]> }
        : T;

const report: Widen<Report> = example.report;
const components: Widen<Form["components"]> = example.form.components;
const groups: { name: string; label: string; fields: { name: string; kind: string }[] }[] =
  example.form.groups;

const { compact, readonly } = example.form;
const verification: Widen<Verification> = example.verification;
const levels: Form["levels"] = example.form.levels;
const pinned: Omit<Pinned, "verdict"> = example.pinned;
const pinnedVerdict: Widen<Pinned["verdict"]> = example.pinned.verdict;
type Read = Widen<Omit<Sweep, "values" | "limit" | "scale" | "refused">>;
const lengths: Read = example.readings.max_seq_len;
const methods: Read = example.readings.training_method;
const limit: Sweep["limit"] = example.readings.max_seq_len.limit;

export function exampleVerification(): Verification {
  return structuredClone(verification) as Verification;
}
export const exampleExplained: Explained = example.explained;

export function examplePinned(): Pinned {
  return structuredClone({ ...pinned, verdict: pinnedVerdict }) as Pinned;
}

export function exampleReadings(): Traits["readings"] {
  const { values, scale } = example.readings.max_seq_len;
  return structuredClone({
    max_seq_len: { ...lengths, values, scale, limit, refused: [] },
    training_method: {
      ...methods,
      values: example.readings.training_method.values,
      scale: null,
      limit: null,
      refused: [],
    },
  }) as Traits["readings"];
}

export const exampleLookup: Lookup = example.lookup;
export const exampleHistory: History = example.history;
export const exampleImported: Imported = example.imported;

const advice: Widen<Omit<Advice, "suggestions">> = example.advice;
const suggestions: Widen<Advice["suggestions"]> = example.advice.suggestions;

export function exampleAdvice(): Advice {
  return structuredClone({ ...advice, suggestions }) as Advice;
}

export function exampleReport(): Report {
  return structuredClone(report) as Report;
}

export function exampleForm(): Form {
  return structuredClone({
    groups,
    components,
    levels,
    compact,
    readonly,
    verifiable: true,
  }) as Form;
}

export function field(name: string): Field {
  const found = exampleForm()
    .groups.flatMap((group) => group.fields)
    .find((each) => each.name === name);
  if (!found) {
    throw new Error(`no field ${name}`);
  }
  return found;
}

export class FakeModel {
  readonly saved: Record<string, unknown>[] = [];
  readonly handlers = new Map<string, Set<() => void>>();
  private unsaved: Record<string, unknown> = {};
  private state: Record<string, unknown> = {
    ...example.values,
    form: exampleForm(),
    report: exampleReport(),
    lookup: null,
    advice: null,
    history: { undo: null, redo: null },
    readings: {},
    pinned: null,
    imported: null,
    verification: null,
    explained: null,
  };
  readonly requests: { type: string }[] = [];

  get values(): Record<string, unknown> {
    return this.state;
  }
  get(name: string): unknown {
    return this.state[name];
  }
  set(name: string, value: unknown): void {
    this.state[name] = value;
    this.unsaved[name] = value;
    this.emit(name);
  }
  /** A value that comes from Python. */
  receive(name: string, value: unknown): void {
    this.state[name] = value;
    this.emit(name);
  }
  save_changes(): void {
    this.saved.push(this.unsaved);
    this.unsaved = {};
  }
  send(request: { type: string }): void {
    this.requests.push(request);
  }
  /** What was asked for, but for the advice that any pause asks for. */
  get asked(): { type: string }[] {
    return this.requests.filter(({ type }) => type !== "advise");
  }
  on(event: string, handler: () => void): void {
    const handlers = this.handlers.get(event) ?? new Set();
    this.handlers.set(event, handlers.add(handler));
  }
  off(event: string, handler: () => void): void {
    this.handlers.get(event)?.delete(handler);
  }
  get listeners(): number {
    return Array.from(this.handlers.values(), (each) => each.size).reduce((a, b) => a + b, 0);
  }
  asModel(): AnyModel<Traits> {
    return this as unknown as AnyModel<Traits>;
  }
  trigger(event: string): void {
    for (const handler of this.handlers.get(event) ?? []) {
      handler();
    }
  }
  private emit(name: string): void {
    this.trigger(`change:${name}`);
  }
}

/** Give jsdom an observer of sizes, media queries, and a chart of 760 x 400 pixels. */
export function completeJsdom(): void {
  vi.stubGlobal(
    "ResizeObserver",
    class {
      constructor(private readonly resized: () => void) {}
      observe(): void {
        this.resized();
      }
      disconnect(): void {}
    },
  );
  vi.stubGlobal("matchMedia", () => new EventTarget());
  Element.prototype.scrollIntoView = () => {};
  Object.defineProperty(HTMLElement.prototype, "clientWidth", { configurable: true, value: 760 });
  Object.defineProperty(HTMLElement.prototype, "clientHeight", { configurable: true, value: 400 });
}

/** The next frame, in which changes are drawn. */
export function frame(): Promise<void> {
  return new Promise((done) => requestAnimationFrame(() => done()));
}

/** Show a view of the model in an element; return what takes it away. */
export function open(model: FakeModel, el: HTMLElement): () => void {
  return widget.render({
    model: model.asModel(),
    el,
    experimental: {} as never,
    signal: new AbortController().signal,
    host: {} as never,
  });
}

/** Show a new model as all there is on the page. */
export async function opened() {
  const model = new FakeModel();
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  const cleanup = open(model, el);
  await frame();
  return { model, el, cleanup };
}
