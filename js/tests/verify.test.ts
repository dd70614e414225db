import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Verification } from "../src/messages";
import { completeJsdom, exampleVerification, type FakeModel, frame, opened } from "./browser";

beforeAll(completeJsdom);

let model: FakeModel;
let el: HTMLElement;

beforeEach(async () => {
  ({ model, el } = await opened());
});

const button = () => el.querySelector(".vw-verify button") as HTMLButtonElement;
const said = () => el.querySelector('.vw-verify [role="status"]')?.textContent;
const line = () => el.querySelector(".vw-PyTorch-line")?.parentElement as Element;

async function receive(verification: Partial<Verification> | null): Promise<void> {
  model.receive("verification", verification && { ...exampleVerification(), ...verification });
  await frame();
}

describe("PyTorch's own step", () => {
  it("is run and given up by the same button", async () => {
    expect(button().textContent).toBe("Verify with PyTorch");
    button().click();
    await receive({ state: "running", words: "Importing PyTorch", line: null });
    expect(said()).toBe("Importing PyTorch …");
    expect(el.querySelector<HTMLElement>(".vw-verify progress")?.hidden).toBe(false);
    button().click();
    expect(model.asked).toEqual([{ type: "verify" }, { type: "stop" }]);
    await receive(null);
    expect(button().textContent).toBe("Verify with PyTorch");
    expect(said()).toBe("");
  });

  it("lies over the chart, with the difference in words", async () => {
    expect(line().getAttribute("display")).toBe("none");
    await receive({});
    expect(said()).toBe(exampleVerification().words);
    expect(line().getAttribute("display")).toBeNull();
    const points = el.querySelector(".vw-PyTorch-line")?.getAttribute("d")?.split("L");
    expect(points).toHaveLength(exampleVerification().line?.at.length ?? -1);
  });

  it("is greyed and taken off the chart when it is of an earlier configuration", async () => {
    await receive({ current: false });
    expect(said()).toMatch(/^For an earlier configuration: /);
    expect(el.querySelector(".vw-verify")?.classList).toContain("vw-stale");
    expect(line().getAttribute("display")).toBe("none");
  });

  it("shows why there is none as text", async () => {
    await receive({ state: "failed", words: "<img src=x> cannot be built.", line: null });
    expect(said()).toBe("<img src=x> cannot be built.");
    expect(el.querySelector("img")).toBeNull();
  });
});
