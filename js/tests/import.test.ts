import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
  completeJsdom,
  exampleForm,
  exampleImported,
  exampleLookup,
  exampleReport,
  FakeModel,
  frame,
  open,
  opened,
} from "./browser";

beforeAll(completeJsdom);

let model: FakeModel;
let el: HTMLElement;

beforeEach(async () => {
  ({ model, el } = await opened());
});

function find<Found extends HTMLElement>(selector: string): Found {
  return el.querySelector(`.vw-import ${selector}`) as Found;
}

const box = () => find<HTMLTextAreaElement>("textarea");
const answer = () => find("[role=status]").textContent;
const put = () => find<HTMLButtonElement>(".vw-found button");

function type(text: string): void {
  box().value = text;
  box().dispatchEvent(new Event("input"));
}

function press(key: string, init: KeyboardEventInit = {}): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...init });
  box().dispatchEvent(event);
  return event;
}

function drop(file: File): Event {
  const event = new Event("drop", { bubbles: true, cancelable: true });
  box().dispatchEvent(Object.assign(event, { dataTransfer: { files: [file] } }));
  return event;
}

async function give(imported: unknown): Promise<void> {
  model.receive("imported", imported);
  await frame();
}

describe("the import", () => {
  it("sends what was typed, by button and by Ctrl+Enter, and nothing of nothing", () => {
    const request = { type: "import", text: "lora_r: 8", name: "" };
    press("Enter", { ctrlKey: true });
    expect(model.asked).toEqual([]);
    type("lora_r: 8");
    find(".vw-drawer-bar > button").click();
    expect(press("Enter", { ctrlKey: true }).defaultPrevented).toBe(true);
    expect(press("Enter").defaultPrevented).toBe(false);
    expect(model.asked).toEqual([request, request]);
  });

  it("shows what was read and what is not counted, and then puts it into the controls", async () => {
    type("lora_r: 8");
    await give(exampleImported);
    const { heading, differences, notices } = exampleImported;
    expect(find("h3").textContent).toBe(heading);
    expect(find(".vw-changes").children).toHaveLength(differences.length);
    expect(find(".vw-changes").textContent).toContain("LoRA rank 16 → 8");
    expect(find(".vw-left").children).toHaveLength(notices.length);
    for (const { text, effect } of notices) {
      expect(find(".vw-left").textContent).toContain(effect + text);
    }
    press("Enter", { ctrlKey: true });
    expect(model.asked).toEqual([{ type: "put" }]);
    model.receive("report", { ...exampleReport(), revision: 90 });
    await give(null);
    expect(find(".vw-found").hidden).toBe(true);
    expect(answer()).toContain("In the controls");
    model.receive("report", { ...exampleReport(), revision: 91 });
    await frame();
    expect(answer()).toBe("");
  });

  it("shows why settings cannot be read, and keeps them to be corrected", async () => {
    type("rl: dpo");
    await give({ ...exampleImported, heading: "", error: "<b>another kind of run</b>" });
    expect(find("[role=alert]").textContent).toBe("<b>another kind of run</b>");
    expect(find(".vw-found").hidden).toBe(true);
    expect(box().value).toBe("rl: dpo");
    type("lora_r: 8");
    expect(find("[role=alert]").hidden).toBe(true);
  });

  it("shows what was read no longer once the text is another", async () => {
    type("lora_r: 8");
    await give(exampleImported);
    type("lora_r: 16");
    expect(find(".vw-found").hidden).toBe(true);
    press("Enter", { metaKey: true });
    expect(model.asked).toEqual([{ type: "import", text: "lora_r: 16", name: "" }]);
    await give({ ...exampleImported, revision: exampleImported.revision + 1 });
    expect(find(".vw-found").hidden).toBe(false);
  });

  it("says which model is looked up, and waits for it", async () => {
    type("lora_r: 8");
    await give(exampleImported);
    put().click();
    model.receive("lookup", exampleLookup);
    await frame();
    expect(answer()).toContain(exampleLookup.model_path);
    expect(put().disabled).toBe(true);
    model.receive("lookup", null);
    await give({ ...exampleImported, revision: 9, error: "There is no such model." });
    expect(answer()).toBe("");
    expect(find("[role=alert]").textContent).toBe("There is no such model.");
    expect(put().disabled).toBe(false);
    put().click();
    expect(model.asked).toEqual([{ type: "put" }, { type: "put" }]);
  });

  it("reads a file that is chosen or dropped, with its name", async () => {
    const file = new File(["lora_r: 8"], "lora.yaml");
    const request = { type: "import", text: "lora_r: 8", name: "lora.yaml" };
    const input = find<HTMLInputElement>("input[type=file]");
    Object.defineProperty(input, "files", { value: [file] });
    input.dispatchEvent(new Event("change"));
    await vi.waitFor(() => expect(model.asked).toEqual([request]));
    expect(box().value).toBe("lora_r: 8");
    expect(drop(file).defaultPrevented).toBe(true);
    await vi.waitFor(() => expect(model.asked).toEqual([request, request]));
  });

  it("sends no file that is too long to be settings", async () => {
    drop(new File(["#".repeat(300_000)], "weights.yaml"));
    await vi.waitFor(() => expect(find("[role=alert]").textContent).toContain("weights.yaml"));
    expect(model.asked).toEqual([]);
  });

  it("closes with Escape, and leaves Ctrl+Z to the text", () => {
    const summary = find("summary");
    const details = summary.parentElement as HTMLDetailsElement;
    model.receive("history", { undo: "LoRA rank", redo: null });
    details.open = true;
    expect(press("z", { ctrlKey: true }).defaultPrevented).toBe(false);
    expect(model.asked).toEqual([]);
    press("Escape");
    expect(details.open).toBe(false);
    expect(document.activeElement).toBe(summary);
  });

  it("is not there where nothing can be changed, nor in a tutorial", () => {
    for (const form of [{ readonly: true }, { compact: true }]) {
      const other = new FakeModel();
      other.receive("form", { ...exampleForm(), ...form });
      el.replaceChildren();
      open(other, el);
      expect(el.querySelector(".vw-export")).not.toBeNull();
      expect(el.querySelector(".vw-import")).toBeNull();
    }
  });
});

describe("the mark of what is not counted", () => {
  const mark = () => el.querySelector(".vw-uncounted") as HTMLButtonElement;

  it("is there only where something is not, says what that does, and leads to it", async () => {
    expect(mark().hidden).toBe(true);
    const words = "2 settings not counted";
    const uncounted = { words, effect: "too_little", why: "the figure is too low without them" };
    model.receive("report", { ...exampleReport(), uncounted, notices: ["a", "b"] });
    await frame();
    expect(mark().hidden).toBe(false);
    expect(mark().textContent).toBe(words);
    expect(mark().getAttribute("aria-label")).toBe(`${words}: ${uncounted.why}`);
    expect(mark().dataset.level).toBe("risky");
    mark().click();
    expect(document.activeElement?.textContent).toBe("ab");
  });
});
