import { beforeAll, describe, expect, it, vi } from "vitest";
import { show } from "../src/widget";
import {
  completeJsdom,
  exampleAdvice,
  exampleForm,
  exampleReport,
  FakeModel,
  frame,
  open,
  opened,
} from "./browser";

beforeAll(completeJsdom);

describe("a page without a kernel", () => {
  it("shows everything, and lets nothing be changed", async () => {
    const model = new FakeModel();
    const report = exampleReport();
    const form = { ...exampleForm(), readonly: true };
    const el = document.createElement("div");
    document.body.replaceChildren(el);
    const state = { ...model.values, form, report, advice: exampleAdvice() };
    vi.useFakeTimers();
    show(state as never, el);
    await vi.advanceTimersByTimeAsync(1000);
    vi.useRealTimers();
    await frame();
    expect(el.querySelector(".vw-verdict")?.textContent).toContain(report.verdict.words);
    expect(el.querySelectorAll(".vw-area[d]").length).toBeGreaterThan(3);
    expect(el.querySelector('[role="note"]')?.textContent).toContain("No kernel");
    for (const control of el.querySelectorAll("form input, form select")) {
      expect(control.matches(":disabled")).toBe(true);
    }
    expect(el.querySelector(".vw-all")?.matches(":disabled")).toBe(false);
    expect(el.querySelector(".vw-code")?.textContent).not.toBe("");
  });
});

describe("a view without its kernel", () => {
  const length = (el: HTMLElement) =>
    el.querySelector('[data-field="max_seq_len"] input[type=text]');

  it("says so and can be read only, from when the kernel goes", async () => {
    const { model, el, cleanup } = await opened();
    const count = model.listeners;
    expect(el.querySelector('[role="note"]')).toBeNull();
    expect(length(el)?.matches(":disabled")).toBe(false);
    model.trigger("comm_live_update"); // as ipywidgets says it
    await frame();
    expect(el.querySelectorAll(".vram-widget")).toHaveLength(1);
    expect(el.querySelector('[role="note"]')?.textContent).toContain("No kernel");
    expect(length(el)?.matches(":disabled")).toBe(true);
    expect(el.querySelectorAll(".vw-area[d]").length).toBeGreaterThan(3);
    expect(model.listeners).toBe(count);
    cleanup();
    expect(model.listeners).toBe(0);
  });

  it("says so and can be read only where a notebook was saved with it", async () => {
    const el = document.createElement("div");
    el.className = "jupyter-widgets-disconnected"; // as ipywidgets marks it
    document.body.replaceChildren(el);
    open(new FakeModel(), el);
    await frame();
    expect(el.querySelector('[role="note"]')?.textContent).toContain("No kernel");
    expect(length(el)?.matches(":disabled")).toBe(true);
  });
});
