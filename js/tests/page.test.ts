import { beforeAll, describe, expect, it, vi } from "vitest";
import { show } from "../src/widget";
import {
  completeJsdom,
  exampleAdvice,
  exampleForm,
  exampleReport,
  FakeModel,
  frame,
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
    expect(el.querySelector('[role="note"]')?.textContent).toContain("cannot be moved");
    for (const control of el.querySelectorAll("form input, form select")) {
      expect(control.matches(":disabled")).toBe(true);
    }
    expect(el.querySelector(".vw-all")?.matches(":disabled")).toBe(false);
    expect(el.querySelector(".vw-code")?.textContent).not.toBe("");
  });
});
