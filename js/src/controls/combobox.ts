/** A search box over known names that also takes any other text (the ARIA combobox pattern). */
import { html, on, set } from "../dom";
import { createDraft } from "./draft";
import type { Control, Send } from "./types";

/** Names that hold every word of the query, those that begin with it first. */
export function search(names: string[], query: string): string[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = names.filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  const first = words[0] ?? "";
  const rank = (name: string) => {
    const bare = name.slice(name.lastIndexOf("/") + 1).toLowerCase();
    return bare.startsWith(first) || name.toLowerCase().startsWith(first) ? 0 : 1;
  };
  return found.sort((a, b) => rank(a) - rank(b));
}

export function createCombobox(names: string[], id: string, send: Send): Control {
  const draft = createDraft(id, "vw-box", (text) => {
    close();
    send(text.trim());
  });
  const { input } = draft;
  const list = html("ul", {
    id: `${id}-list`,
    class: "vw-list",
    role: "listbox",
    "aria-labelledby": `${id}-label`,
    hidden: true,
  });
  set(input, {
    role: "combobox",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": list.id,
  });
  const element = html("div", { class: "vw-combobox" }, input, list);
  let active = -1;

  function open(query: string): void {
    const options = search(names, query).map((name, index) => {
      const option = html("li", { id: `${list.id}-${index}`, role: "option" }, name);
      // Before the box loses focus, which would commit the half-typed text.
      on(option, "pointerdown", (event) => {
        event.preventDefault();
        choose(name);
      });
      return option;
    });
    list.replaceChildren(...options);
    list.hidden = options.length === 0;
    set(input, { "aria-expanded": String(!list.hidden) });
    move(-1);
  }
  function close(): void {
    list.hidden = true;
    set(input, { "aria-expanded": "false", "aria-activedescendant": null });
    active = -1;
  }
  function move(index: number): void {
    active = index;
    for (const [at, option] of Array.from(list.children).entries()) {
      set(option, { "aria-selected": String(at === index) });
    }
    const option = list.children[index];
    set(input, { "aria-activedescendant": option?.id });
    option?.scrollIntoView({ block: "nearest" });
  }
  function choose(name: string): void {
    draft.revert();
    close();
    input.value = name;
    send(name);
  }

  on(input, "input", () => open(input.value));
  on(input, "click", () => {
    input.select();
    open("");
  });
  on(input, "blur", close);
  on(
    input,
    "keydown",
    (event) => {
      const count = list.children.length;
      const option = list.hidden ? null : list.children[active];
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (list.hidden) {
          open("");
        } else if (count > 0) {
          move((active + (event.key === "ArrowDown" ? 1 : active < 0 ? 0 : -1) + count) % count);
        }
      } else if (event.key === "Enter" && option) {
        event.stopImmediatePropagation();
        choose(option.textContent ?? "");
      } else if (event.key === "Escape" && !list.hidden) {
        event.stopImmediatePropagation();
        close();
      }
    },
    { capture: true },
  );

  return {
    element,
    input,
    shape: "below",
    show: (value, refused) => draft.show(String(value ?? ""), refused),
  };
}
