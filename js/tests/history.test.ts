import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { historyKey } from "../src/history";
import { completeJsdom, exampleHistory, type FakeModel, frame, opened } from "./browser";

beforeAll(completeJsdom);

let model: FakeModel;
let el: HTMLElement;

beforeEach(async () => {
  ({ model, el } = await opened());
});

function button(way: string): HTMLButtonElement {
  return el.querySelector(`[data-way="${way}"]`) as HTMLButtonElement;
}

function press(target: Element, init: KeyboardEventInit): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...init });
  target.dispatchEvent(event);
  return event;
}

describe("the buttons", () => {
  it("say what they take back, and do nothing where there is nothing", async () => {
    button("undo").click();
    expect(model.asked).toEqual([]);
    model.receive("history", exampleHistory);
    await frame();
    expect(button("undo").getAttribute("aria-disabled")).toBe("true");
    expect(button("redo").getAttribute("aria-label")).toBe(`Redo: ${exampleHistory.redo}`);
    expect(button("redo").getAttribute("aria-disabled")).toBe("false");
    button("redo").click();
    expect(model.asked).toEqual([{ type: "redo" }]);
  });
});

describe("the keys", () => {
  it("are Ctrl or Cmd with Z, Shift and Z, or Y", () => {
    const way = (init: KeyboardEventInit) => historyKey(new KeyboardEvent("keydown", init));
    expect(way({ key: "z", ctrlKey: true })).toBe("undo");
    expect(way({ key: "Z", metaKey: true, shiftKey: true })).toBe("redo");
    expect(way({ key: "y", ctrlKey: true })).toBe("redo");
    expect(way({ key: "z" })).toBeUndefined();
    expect(way({ key: "z", ctrlKey: true, altKey: true })).toBeUndefined();
    expect(way({ key: "x", ctrlKey: true })).toBeUndefined();
  });

  it("work anywhere in the widget, and nowhere else", () => {
    model.receive("history", { undo: "Micro-batch", redo: null });
    press(document.body, { key: "z", ctrlKey: true });
    expect(model.asked).toEqual([]);
    const event = press(el.querySelector(".vw-slider") as Element, { key: "z", ctrlKey: true });
    expect(event.defaultPrevented).toBe(true);
    expect(model.asked).toEqual([{ type: "undo" }]);
  });

  it("take back letters where a person is typing", () => {
    model.receive("history", { undo: "Micro-batch", redo: null });
    const box = el.querySelector('[data-field="max_seq_len"] .vw-number') as HTMLInputElement;
    box.value = "409";
    box.dispatchEvent(new Event("input", { bubbles: true }));
    expect(press(box, { key: "z", ctrlKey: true }).defaultPrevented).toBe(false);
    expect(model.asked).toEqual([]);
    press(box, { key: "Escape" });
    press(box, { key: "z", ctrlKey: true });
    expect(model.asked).toEqual([{ type: "undo" }]);
  });
});
