import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ticks } from "../src/chart/grid";
import { placeOf } from "../src/chart/sweep";
import { drawFile, rgb } from "../src/picture";
import {
  completeJsdom,
  exampleExplained,
  exampleForm,
  examplePinned,
  exampleReadings,
  exampleReport,
  type FakeModel,
  frame,
  opened,
} from "./browser";

beforeAll(completeJsdom);

let model: FakeModel;
let el: HTMLElement;

beforeEach(async () => {
  ({ model, el } = await opened());
});

const find = <T extends Element = HTMLElement>(query: string) => el.querySelector(query) as T;
const asked = (type: string) => model.requests.filter((request) => request.type === type);

function tab(label: string): HTMLElement {
  const tabs = Array.from(el.querySelectorAll<HTMLElement>('.vw-toolbar [role="tab"]'));
  return tabs.find((each) => each.textContent === label) as HTMLElement;
}

function press(key: string): string {
  const chart = find(".vw-chart");
  chart.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  return chart.getAttribute("aria-valuetext") ?? "";
}

async function open(label: string): Promise<void> {
  tab(label).click();
  model.receive("readings", exampleReadings());
  await frame();
}

describe("the readings of the chart", () => {
  it("are tabs, by pointer and by arrow keys", () => {
    const first = tab("Training steps");
    expect(first.getAttribute("aria-selected")).toBe("true");
    first.dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true }));
    expect(tab("Methods").getAttribute("aria-selected")).toBe("true");
    expect(document.activeElement).toBe(tab("Methods"));
    expect(find('[role="tabpanel"]').getAttribute("aria-labelledby")).toBe(tab("Methods").id);
  });

  it("are asked for when they are open, and once until there is an answer", async () => {
    expect(asked("read")).toEqual([]);
    tab("Length").click();
    expect(asked("read")).toEqual([{ type: "read", reading: "max_seq_len" }]);
    await frame();
    expect(find(".vw-waiting").textContent).toBe("Computing");
    model.receive("report", { ...exampleReport(), revision: 10 });
    model.receive("report", { ...exampleReport(), revision: 11 });
    expect(asked("read")).toHaveLength(1);
    // The answer is about a report of before: the question is asked again.
    model.receive("readings", exampleReadings());
    expect(asked("read")).toHaveLength(2);
    await frame();
    expect(find(".vw-waiting").textContent).toBe("");
    tab("Training steps").click();
    model.receive("report", { ...exampleReport(), revision: 12 });
    expect(asked("read")).toHaveLength(2);
  });

  it("draw every component over the values, the present one and the largest that fits", async () => {
    await open("Length");
    const sweep = exampleReadings().max_seq_len;
    expect(find(".vw-figure h3").textContent).toContain(sweep?.title);
    const there = Object.values(sweep?.bytes ?? {}).filter((levels) => levels.some(Boolean));
    expect(el.querySelectorAll(".vw-area[d]")).toHaveLength(there.length);
    const now = Number(model.get("max_seq_len")).toLocaleString("en-US");
    expect(find(".vw-marks").textContent).toContain(`now ${now} · `);
    const most = sweep?.limit?.value.toLocaleString("en-US");
    expect(find(".vw-most").textContent).toContain(most);
    expect(find(".vw-limits p").textContent).toBe(sweep?.limit?.text);
    find(".vw-limits button").click();
    expect(asked("apply")).toEqual([{ type: "apply", changes: sweep?.limit?.changes }]);
  });

  it("use the value that is read out", async () => {
    await open("Length");
    expect(press("Home")).toMatch(/^Sequence length 256: [\d.]+ GiB\. Parameters /);
    expect(press("End")).toContain("Peak: ");
    press("ArrowLeft");
    press("Enter");
    const { values = [] } = exampleReadings().max_seq_len ?? {};
    expect(asked("apply")).toEqual([{ type: "apply", changes: { max_seq_len: values.at(-2) } }]);
  });

  it("do nothing with the value that is in use already", async () => {
    await open("Methods");
    expect(press("Enter")).toContain("In use now");
    press("Enter");
    expect(asked("apply")).toEqual([]);
  });

  it("lay the methods side by side with their verdicts", async () => {
    await open("Methods");
    const sweep = exampleReadings().training_method;
    const words = Array.from(el.querySelectorAll(".vw-bar-verdict"), (each) => each.textContent);
    const { levels } = exampleForm();
    expect(words).toEqual(sweep?.verdicts.map((level) => expect.stringContaining(levels[level])));
    expect(el.querySelectorAll(".vw-used")).toHaveLength(1);
    press("End");
    press("Enter");
    expect(asked("apply")).toEqual([{ type: "apply", changes: { training_method: "osft" } }]);
  });

  it("say why a method is not possible, as text", async () => {
    const { training_method } = exampleReadings();
    tab("Methods").click();
    const refused = [["<b>OSFT</b>", "TRL cannot run <img src=x>."]];
    model.receive("readings", { training_method: { ...training_method, refused } });
    await frame();
    expect(find(".vw-marks").textContent).toContain("<b>OSFT</b>");
    expect(press("End")).toBe("<b>OSFT</b>. TRL cannot run <img src=x>.");
    expect(find("img")).toBeNull();
    press("Enter");
    expect(asked("apply")).toEqual([]);
  });

  it("use a point that is touched only when it is touched again", async () => {
    await open("Length");
    const chart = find(".vw-chart");
    const touch = () => {
      const down = new MouseEvent("pointerdown", { clientX: 40, bubbles: true });
      Object.defineProperty(down, "pointerType", { value: "touch" });
      chart.dispatchEvent(down);
      chart.dispatchEvent(new MouseEvent("click", { clientX: 40, bubbles: true }));
    };
    touch();
    expect(find<HTMLElement>(".vw-tip").hidden).toBe(false);
    expect(asked("apply")).toEqual([]);
    touch();
    expect(asked("apply")).toEqual([{ type: "apply", changes: { max_seq_len: 256 } }]);
  });
});

describe("what a moment is made of", () => {
  it("is asked for when reading rests on it, and shown and said when it is known", async () => {
    const { index, notes } = exampleExplained;
    press("Home");
    press("ArrowRight");
    expect(asked("explain")).toEqual([]);
    await vi.waitFor(() => expect(asked("explain")).toHaveLength(1));
    press("Home");
    for (let moves = 0; moves < index; moves += 1) {
      const key = { key: "ArrowRight", shiftKey: true, bubbles: true };
      find(".vw-chart").dispatchEvent(new KeyboardEvent("keydown", key));
    }
    expect(find(".vw-why").textContent).toBe("");
    model.receive("explained", { ...exampleExplained, revision: exampleReport().revision });
    await frame();
    expect(find(".vw-tip").textContent).toContain(notes.parameters);
    expect(find(".vw-figure > [role=status]").textContent).toContain(
      `Parameters: ${notes.parameters}.`,
    );
    press("End");
    expect(find(".vw-tip").textContent).not.toContain(notes.parameters);
  });
});

describe("the axis of a field", () => {
  const sweep = exampleReadings().max_seq_len;

  it("goes by powers, and keeps a value beyond its ends at the end", () => {
    if (!sweep) {
      throw new Error("no example");
    }
    const [first, last] = [Number(sweep.values[0]), Number(sweep.values.at(-1))];
    expect(placeOf(first, sweep)).toBe(0);
    expect(placeOf(Math.sqrt(first * last), sweep)).toBeCloseTo(0.5);
    expect(placeOf(last * 2, sweep)).toBe(1);
    expect(placeOf(1, sweep)).toBe(0);
  });

  it("has round levels", () => {
    expect(ticks(50, 5)).toEqual([0, 10, 20, 30, 40, 50]);
    expect(ticks(1.1, 4)).toEqual([0, 0.5, 1]);
    expect(ticks(163, 4)).toEqual([0, 50, 100, 150]);
  });
});

describe("a pinned configuration", () => {
  const button = (name: string) =>
    Array.from(el.querySelectorAll("button")).find(
      (each) => each.textContent === name,
    ) as HTMLButtonElement;

  it("is asked for, and changes nothing that would show as work", async () => {
    button("Pin").click();
    expect(asked("pin")).toHaveLength(1);
    vi.useFakeTimers();
    await vi.advanceTimersByTimeAsync(1000);
    vi.useRealTimers();
    expect(find(".vram-widget").classList).not.toContain("vw-working");
  });

  it("is compared with, in all, by component and by field", async () => {
    const pinned = examplePinned();
    const report = exampleReport();
    const differences = [{ name: "optim", label: "<i>Optimizer", before: "AdamW", now: "SGD" }];
    model.receive("pinned", { ...pinned, expected: report.expected + 2 * 1024 ** 3 });
    model.receive("report", { ...report, differences });
    await frame();
    const panel = find(".vw-pinned");
    expect(panel.textContent).toContain("−2.0 GiB");
    expect(panel.textContent).toContain(pinned.subtitle);
    expect(panel.textContent).toContain("<i>Optimizer AdamW → SGD");
    expect(el.querySelectorAll("td.vw-against")).toHaveLength(8);
    expect(find("tfoot .vw-against").textContent).toBe("−2.0");
    expect(find(".vw-pinned-line").getAttribute("d")).toMatch(/^M[\d.,L-]+$/);
    button("Go back").click();
    expect(asked("return")).toHaveLength(1);
    button("Unpin").click();
    expect(document.activeElement).toBe(button("Pin"));
    model.receive("pinned", null);
    await frame();
    expect(panel.hidden).toBe(true);
    expect(find(".vw-against").textContent).toBe("");
  });

  it("cannot be gone back to where nothing differs", async () => {
    model.receive("pinned", examplePinned());
    model.receive("report", { ...exampleReport(), differences: [] });
    await frame();
    expect(button("Go back").disabled).toBe(true);
    expect(find(".vw-pinned strong").textContent).toBe("No difference");
  });
});

describe("the chart as a file", () => {
  const caption = () => ({
    file: "chart",
    title: "Memory",
    report: { ...exampleReport(), title: "<script>alert(1)</script>" },
    components: exampleForm().components,
  });

  it("is drawn with its title, its verdict and its styles inside", () => {
    const drawn = drawFile(find<SVGSVGElement>(".vw-chart svg"), caption());
    const text = new XMLSerializer().serializeToString(drawn);
    expect(text).toContain("&lt;script&gt;");
    expect(text).toContain(exampleReport().verdict.words);
    expect(text).toContain("Parameters");
    expect(text).not.toContain("class=");
    expect(text).not.toContain("foreignObject");
    const again = new DOMParser().parseFromString(text, "image/svg+xml");
    expect(again.querySelector("parsererror")).toBeNull();
    expect(again.querySelectorAll("path").length).toBeGreaterThan(5);
  });

  it("has colours that every program reads", () => {
    expect(rgb("rgb(255, 0, 16)")).toEqual({ color: "#ff0010", alpha: 1 });
    expect(rgb("rgba(0, 0, 0, 0.3)")).toEqual({ color: "#000000", alpha: 0.3 });
    expect(rgb("color(srgb 1 0.5 0 / 0.25)")).toEqual({ color: "#ff8000", alpha: 0.25 });
    expect(rgb("none")).toBeUndefined();
  });

  it("is named by model, method and reading", async () => {
    const links: HTMLAnchorElement[] = [];
    vi.stubGlobal("URL", { createObjectURL: () => "blob:x", revokeObjectURL: () => {} });
    const clicked = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (
      this: HTMLAnchorElement,
    ) {
      links.push(this);
    });
    model.receive("report", { ...exampleReport(), title: "a/../b c" });
    find('[aria-label="Save the chart as SVG"]').click();
    await vi.waitFor(() => expect(links).toHaveLength(1));
    expect(links[0]?.download).toBe("a_.._b_c-sft-steps.svg");
    expect(find(".vw-save [role=status]").textContent).toContain("a_.._b_c-sft-steps.svg");
    clicked.mockRestore();
    vi.unstubAllGlobals();
    completeJsdom();
  });
});
