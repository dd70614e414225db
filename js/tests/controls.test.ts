import { beforeAll, describe, expect, it, vi } from "vitest";
import { search } from "../src/controls/combobox";
import { createControl } from "../src/controls/control";
import { position, stops } from "../src/controls/slider";
import { holds } from "../src/form";
import { completeJsdom, field } from "./browser";

beforeAll(completeJsdom);

function control(name: string) {
  const send = vi.fn();
  const made = createControl(field(name), name, send);
  document.body.append(made.element);
  return { ...made, input: made.input as HTMLInputElement, send };
}

function press(element: HTMLElement, key: string): boolean {
  return element.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
}

function type(input: HTMLInputElement, text: string): void {
  input.value = text;
  input.dispatchEvent(new Event("input"));
}

describe("a slider", () => {
  it("stops at the powers of two between its ends", () => {
    expect(stops(field("micro_batch_size"))).toEqual([1, 2, 4, 8, 16, 32, 64]);
  });

  it("stops at round values on a linear scale", () => {
    const values = stops(field("unfreeze_rank_ratio"));
    expect(values[0]).toBe(0.01);
    expect(values.at(-1)).toBe(1);
    expect(values).toContain(0.25);
  });

  it("shows a value between two stops between them", () => {
    expect(position([1, 2, 4, 8], 3)).toBe(1.5);
    expect(position([1, 2, 4, 8], 100)).toBe(3);
    expect(position([2, 4], 1)).toBe(0);
  });

  it("goes to the next stop by arrow key, from wherever it is", () => {
    const { element, show, send } = control("micro_batch_size");
    const slider = element.querySelector("input[type=range]") as HTMLInputElement;
    show(3, false);
    press(slider, "ArrowRight");
    expect(send).toHaveBeenLastCalledWith(4);
    show(3, false);
    press(slider, "ArrowLeft");
    expect(send).toHaveBeenLastCalledWith(2);
    press(slider, "End");
    expect(send).toHaveBeenLastCalledWith(64);
    expect(slider.getAttribute("aria-valuetext")).toBe("64");
  });
});

describe("a number box", () => {
  it("takes separators, and sends what is no number as it is", () => {
    const { input, send } = control("max_seq_len");
    type(input, "16,384");
    press(input, "Enter");
    expect(send).toHaveBeenLastCalledWith(16384);
    type(input, "a lot");
    press(input, "Enter");
    expect(send).toHaveBeenLastCalledWith("a lot");
    type(input, "1,5"); // a decimal comma: not 15
    press(input, "Enter");
    expect(send).toHaveBeenLastCalledWith("1,5");
  });

  it("is empty for nothing, where nothing is a value", () => {
    const { input, send } = control("max_tokens_per_gpu");
    type(input, " ");
    input.dispatchEvent(new Event("change"));
    expect(send).toHaveBeenLastCalledWith(null);
  });

  it("keeps half-typed and refused text from updates, and takes it back on Escape", () => {
    const { input, show } = control("max_seq_len");
    show(2048, false);
    type(input, "409");
    show(1024, false);
    expect(input.value).toBe("409");
    press(input, "Escape");
    expect(input.value).toBe("1,024");
    type(input, "x");
    press(input, "Enter");
    show(1024, true);
    expect(input.value).toBe("x");
    show(1024, false);
    expect(input.value).toBe("1,024");
  });

  it("steps by one with the arrow keys", () => {
    const { input, show, send } = control("micro_batch_size");
    show(5, false);
    press(input, "ArrowUp");
    expect(send).toHaveBeenLastCalledWith(6);
  });
});

describe("the search box", () => {
  it("finds names that hold every word, those that begin with the first before others", () => {
    const names = ["a/Llama-2-7b", "a/TinyLlama-1.1B", "b/Qwen2.5-7B"];
    expect(search(names, "llama")).toEqual(["a/Llama-2-7b", "a/TinyLlama-1.1B"]);
    expect(search(names, "7b qwen")).toEqual(["b/Qwen2.5-7B"]);
    expect(search(names, "")).toEqual(names);
  });

  it("chooses by keyboard, and takes any other text", () => {
    const { input, element, send } = control("model_path");
    type(input, "smollm2-135m");
    press(input, "ArrowDown");
    expect(input.getAttribute("aria-activedescendant")).toBeTruthy();
    press(input, "Enter");
    expect(send).toHaveBeenLastCalledWith("HuggingFaceTB/SmolLM2-135M");
    expect(element.querySelector("ul")?.hidden).toBe(true);
    type(input, "/a/folder");
    press(input, "Enter");
    expect(send).toHaveBeenLastCalledWith("/a/folder");
  });
});

describe("other controls", () => {
  it("sends the value of a choice, and nothing for its empty option", () => {
    const { input, show, send } = control("gpu");
    show("L40S", false);
    expect(input.value).toBe("L40S");
    input.value = "";
    input.dispatchEvent(new Event("change"));
    expect(send).toHaveBeenLastCalledWith(null);
    show("a card of its own", false);
    expect(input.value).toBe("a card of its own");
  });

  it("takes names and expressions one after another, and nothing for none", () => {
    for (const [name, text, value] of [
      ["modules_to_save", "lm_head", ["lm_head"]],
      ["modules_to_save", "embed_tokens,lm_head", ["embed_tokens", "lm_head"]],
      ["modules_to_save", " ", null],
      [
        "trainable_parameters",
        "^lm_head, layers.[0-9]{1,2}.mlp",
        ["^lm_head", "layers.[0-9]{1,2}.mlp"],
      ],
      ["trainable_parameters", "", null],
    ] as const) {
      const { input, show, send } = control(name);
      type(input, text);
      press(input, "Enter");
      expect(send).toHaveBeenLastCalledWith(value);
      show(Array.isArray(value) ? value : null, false);
      expect(input.value).toBe(Array.isArray(value) ? value.join(", ") : "");
    }
  });

  it("reads module names as a list and anything else as PEFT does", () => {
    const { input, show, send } = control("target_modules");
    show(["q_proj", "v_proj"], false);
    expect(input.value).toBe("q_proj, v_proj");
    type(input, "q_proj,k_proj");
    press(input, "Enter");
    expect(send).toHaveBeenLastCalledWith(["q_proj", "k_proj"]);
    type(input, ".*_proj");
    press(input, "Enter");
    expect(send).toHaveBeenLastCalledWith(".*_proj");
  });

  it("shows memory in GiB", () => {
    const { input, show } = control("gpu_memory");
    show(48 * 1024 ** 3, false);
    expect(input.value).toBe("48 GiB");
  });
});

describe("a rule of when a field is shown", () => {
  it("holds when all its conditions do", () => {
    const values: Record<string, unknown> = { training_method: "lora", num_gpus: 2 };
    const read = (name: string) => values[name];
    expect(holds(undefined, read)).toBe(true);
    expect(holds({ training_method: ["lora", "qlora"] }, read)).toBe(true);
    expect(holds({ training_method: ["sft"] }, read)).toBe(false);
    expect(holds({ num_gpus: { minimum: 2 }, training_method: ["lora"] }, read)).toBe(true);
    expect(holds({ num_gpus: { minimum: 4 } }, read)).toBe(false);
  });
});
