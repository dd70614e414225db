import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Form } from "../src/messages";
import { isDark } from "../src/theme";
import {
  completeJsdom,
  exampleAdvice,
  exampleLookup,
  exampleReport,
  type FakeModel,
  frame,
  open,
  opened,
} from "./browser";

beforeAll(completeJsdom);

let model: FakeModel;
let el: HTMLElement;
let cleanup: () => void;

beforeEach(async () => {
  ({ model, el, cleanup } = await opened());
});

function row(name: string): HTMLElement {
  return el.querySelector(`[data-field="${name}"]`) as HTMLElement;
}

describe("a view", () => {
  it("shows the verdict, every component and the peak", () => {
    const report = exampleReport();
    expect(el.querySelector(".vw-verdict")?.textContent).toContain(report.verdict.words);
    const rows = Array.from(el.querySelectorAll("tbody tr"), (each) => each.textContent);
    expect(rows).toHaveLength(7);
    expect(el.querySelector(".vw-marks")?.textContent).toContain(report.peak.label);
    expect(el.querySelectorAll(".vw-area[d]").length).toBe(
      Object.keys(report.timeline.bytes).length,
    );
  });

  it("keeps the notebook's hands off the keys of everything that takes focus", () => {
    const focusable = el.querySelectorAll("input, select, button, textarea, summary, [tabindex]");
    expect(focusable.length).toBeGreaterThan(20);
    for (const element of focusable) {
      expect(element.getAttribute("data-lm-suppress-shortcuts")).toBe("true");
    }
  });

  it("sends one field when one control is used", () => {
    const select = row("optim").querySelector("select") as HTMLSelectElement;
    select.value = "sgd";
    select.dispatchEvent(new Event("change"));
    expect(model.saved).toEqual([{ optim: "sgd" }]);
  });

  it("moves the control when a value comes from Python, and shows what then matters", async () => {
    expect(row("lora_r").hidden).toBe(true);
    model.receive("training_method", "lora");
    model.receive("lora_r", 32);
    await frame();
    expect(row("lora_r").hidden).toBe(false);
    expect(row("lora_r").querySelector<HTMLInputElement>(".vw-number")?.value).toBe("32");
  });

  it("hides advanced fields at their default until all are asked for", async () => {
    expect(row("padded").hidden).toBe(true);
    (el.querySelector(".vw-all") as HTMLElement).click();
    expect(row("padded").hidden).toBe(false);
    (el.querySelector(".vw-all") as HTMLElement).click();
    model.receive("padded", true);
    await frame();
    expect(row("padded").hidden).toBe(false);
  });

  it("shows a refusal in place, and the chart of before", async () => {
    const before = el.querySelector(".vw-area")?.getAttribute("d");
    const error = "<img src=x onerror=alert(1)> is not a model.";
    model.receive("report", { ...exampleReport(), errors: { model_path: error } });
    await frame();
    const message = row("model_path").querySelector(".vw-error");
    expect(message?.textContent).toBe(error);
    expect(el.querySelector("img")).toBeNull();
    expect(row("model_path").querySelector("input")?.getAttribute("aria-invalid")).toBe("true");
    expect(el.querySelector(".vw-area")?.getAttribute("d")).toBe(before);
  });

  it("takes the last good value again, or Escape, for putting right what was refused", async () => {
    const box = row("max_seq_len").querySelector("input[type=text]") as HTMLInputElement;
    const press = (key: string) =>
      box.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const good = model.get("max_seq_len");
    const wanted = { type: "apply", changes: { max_seq_len: good } };
    const type = (text: string) => {
      box.value = text;
      box.dispatchEvent(new Event("input"));
      press("Enter");
    };
    type(String(good));
    press("Escape");
    expect(model.asked).toEqual([]);
    model.receive("report", { ...exampleReport(), errors: { max_seq_len: "no number" } });
    await frame();
    type(String(good));
    expect(model.asked).toEqual([wanted]);
    press("Escape");
    expect(model.asked).toEqual([wanted, wanted]);
  });

  it("shows that an answer takes its time, until it is there", async () => {
    const root = el.querySelector(".vram-widget") as HTMLElement;
    const select = row("optim").querySelector("select") as HTMLSelectElement;
    select.dispatchEvent(new Event("change")); // to what it is already
    await new Promise((done) => setTimeout(done, 300));
    expect(root.classList).not.toContain("vw-working");
    select.value = "sgd";
    select.dispatchEvent(new Event("change"));
    expect(root.classList).not.toContain("vw-working");
    await new Promise((done) => setTimeout(done, 300));
    expect(root.classList).toContain("vw-working");
    model.receive("report", { ...exampleReport(), revision: 2 });
    expect(root.classList).not.toContain("vw-working");
  });

  it("is one of several in step", async () => {
    const second = document.createElement("div");
    const close = open(model, second);
    const slider = row("micro_batch_size").querySelector(".vw-slider") as HTMLInputElement;
    slider.value = "3";
    slider.dispatchEvent(new Event("input"));
    await frame();
    const box = second.querySelector<HTMLInputElement>(
      '[data-field="micro_batch_size"] .vw-number',
    );
    expect(box?.value).toBe("8");
    close();
  });

  it("leaves no listener behind", () => {
    expect(model.listeners).toBeGreaterThan(20);
    cleanup();
    expect(model.listeners).toBe(0);
    expect(el.childElementCount).toBe(0);
  });
});

describe("reading the chart by keyboard", () => {
  function press(key: string): string {
    const chart = el.querySelector(".vw-chart") as HTMLElement;
    chart.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    return chart.getAttribute("aria-valuetext") ?? "";
  }

  it("begins at the peak and names every component there", () => {
    const words = press("Enter");
    expect(words).toMatch(/^\w+, step \d: [\d.]+ GiB\. Parameters [\d.]+/);
    expect(el.querySelector<HTMLElement>(".vw-tip")?.hidden).toBe(false);
  });

  it("goes through moments and phases, to both ends", () => {
    expect(press("Home")).toMatch(/^Load: /);
    expect(press("PageDown")).toMatch(/^Forward, step 1: /);
    expect(press("PageDown")).toMatch(/^Loss, step 1: /);
    expect(press("PageUp")).toMatch(/^Forward, step 1: /);
    const there = press("ArrowRight");
    expect(press("ArrowRight")).not.toBe(there);
    expect(press("End")).toMatch(/step 2/);
    press("Escape");
    expect(el.querySelector<HTMLElement>(".vw-tip")?.hidden).toBe(true);
  });
});

describe("the theme", () => {
  it("follows from the colour of the background", () => {
    expect(isDark("rgb(17, 17, 17)")).toBe(true);
    expect(isDark("rgb(255, 255, 255)")).toBe(false);
    expect(isDark("color(srgb 0.12 0.12 0.13)")).toBe(true);
    expect(isDark("rgba(0, 0, 0, 0)")).toBe(true);
  });
});

describe("a look-up on the Hub", () => {
  const lookup = { ...exampleLookup, model_path: "<b>/new" };

  it("shows how far it is and names the model in its box", async () => {
    model.receive("lookup", lookup);
    await frame();
    const group = el.querySelector('[data-group="model"]') as HTMLElement;
    expect(group.querySelector('[role="status"]')?.textContent).toContain("<b>/new");
    expect(group.querySelector("progress")?.value).toBe(1);
    expect(group.textContent).toContain("1 of 3 files");
    expect(row("model_path").querySelector("input")?.value).toBe("<b>/new");
    model.receive("lookup", null);
    await frame();
    expect(group.querySelector<HTMLElement>(".vw-lookup")?.hidden).toBe(true);
    expect(row("model_path").querySelector("input")?.value).toBe(model.get("model_path"));
  });

  it("can be cancelled, and leaves the focus on the model", async () => {
    model.receive("lookup", lookup);
    await frame();
    const button = el.querySelector(".vw-lookup button") as HTMLButtonElement;
    button.focus();
    button.click();
    expect(model.asked).toEqual([{ type: "cancel" }]);
    expect(document.activeElement).toBe(row("model_path").querySelector("input"));
  });
});

describe("advice", () => {
  it("is asked for when the moves have paused, and shown beside the table", async () => {
    await vi.waitFor(() => expect(model.requests).toEqual([{ type: "advise" }]));
    const advice = exampleAdvice();
    model.receive("advice", advice);
    await frame();
    const panel = el.querySelector(".vw-advice") as HTMLElement;
    expect(panel.querySelector("h3")?.textContent).toBe(advice.heading);
    for (const { what, effect } of advice.suggestions) {
      expect(panel.textContent).toContain(what);
      expect(panel.textContent).toContain(effect);
    }
    expect(panel.textContent).toContain(advice.largest.text);
    const run = el.querySelector(".vw-run")?.textContent;
    for (const { label, value, note } of advice.run.figures) {
      expect(run).toContain(label + value + note);
    }
  });

  it("applies the changes of a suggestion together", async () => {
    const advice = exampleAdvice();
    model.receive("advice", advice);
    await frame();
    const buttons = el.querySelectorAll<HTMLButtonElement>(".vw-advice button");
    buttons[1]?.click();
    expect(model.asked.at(-1)).toEqual({
      type: "apply",
      changes: advice.suggestions[1]?.changes,
    });
    expect(buttons[1]?.textContent).toBe(`Apply: ${advice.suggestions[1]?.what}`);
  });

  it("offers no button that would change nothing", async () => {
    const advice = exampleAdvice();
    model.receive("advice", { ...advice, largest: { text: "as it is", changes: {} } });
    await frame();
    const last = el.querySelector(".vw-advice li:last-child") as HTMLElement;
    expect(last.textContent).toContain("as it is");
    expect(last.querySelector("button")?.hidden).toBe(true);
  });
});

describe("the export", () => {
  const code = () => el.querySelector(".vw-export .vw-code") as HTMLElement;
  const tab = (label: string) =>
    Array.from(el.querySelectorAll<HTMLElement>('[role="tab"]')).find(
      (each) => each.textContent === label,
    ) as HTMLElement;

  beforeEach(async () => {
    const advice = { ...exampleAdvice(), revision: exampleReport().revision };
    model.receive("advice", advice);
    await frame();
  });

  it("has a tab for each target, by pointer and by arrow keys", () => {
    const { launches } = exampleAdvice();
    for (const { label, text } of launches) {
      tab(label).click();
      expect(code().textContent).toBe(text);
      expect(tab(label).getAttribute("aria-selected")).toBe("true");
    }
    const key = new KeyboardEvent("keydown", { key: "Home", bubbles: true });
    tab("TrainJob").dispatchEvent(key);
    expect(code().textContent).toBe(launches[0]?.text);
    expect(document.activeElement).toBe(tab("Python dict"));
  });

  it("copies the text that is shown", async () => {
    const written: string[] = [];
    const clipboard = { writeText: async (text: string) => written.push(text) };
    vi.stubGlobal("navigator", { ...navigator, clipboard });
    tab("TRL").click();
    (el.querySelector(".vw-export .vw-drawer-bar > button") as HTMLElement).click();
    await vi.waitFor(() =>
      expect(el.querySelector(".vw-export .vw-answer")?.textContent).toBe("Copied"),
    );
    expect(written).toEqual([code().textContent]);
    vi.unstubAllGlobals();
    completeJsdom();
  });

  it("says why a target has no text, and copies nothing of an earlier report", async () => {
    const advice = { ...exampleAdvice(), revision: -1 };
    advice.launches[1] = {
      name: "training_hub",
      label: "Training Hub",
      text: "",
      notices: ["<b>"],
    };
    model.receive("advice", advice);
    await frame();
    const copy = el.querySelector(".vw-export .vw-drawer-bar > button") as HTMLButtonElement;
    expect(copy.disabled).toBe(true);
    tab("Training Hub").click();
    expect(copy.hidden).toBe(true);
    expect(el.querySelector(".vw-export .vw-notices")?.textContent).toBe("<b>");
  });
});

describe("with only some controls", () => {
  it("shows these, the chart and the verdict, and asks for no advice", async () => {
    cleanup();
    const form = model.get("form") as Form;
    const groups = form.groups.filter(({ name }) => name === "batch");
    const fields = groups[0]?.fields.filter(({ name }) => name === "max_seq_len") ?? [];
    model.receive("form", { ...form, groups: [{ ...groups[0], fields }], compact: true });
    vi.useFakeTimers();
    cleanup = open(model, el);
    await vi.advanceTimersByTimeAsync(1000);
    vi.useRealTimers();
    const names = Array.from(el.querySelectorAll("[data-field]"), (each) =>
      each.getAttribute("data-field"),
    );
    expect(names).toEqual(["max_seq_len"]);
    expect(el.querySelector<HTMLElement>(".vw-all")?.hidden).toBe(true);
    expect(el.querySelector(".vw-area[d]")).not.toBeNull();
    expect(model.requests).toEqual([]);
  });
});
