/** Tabs of which one is chosen, by pointer or by arrow keys (the ARIA tabs pattern). */
import { html, on, set, unique } from "./dom";

export function createTabs<Name extends string>(
  label: string,
  panel: HTMLElement,
  choose: (name: Name) => void,
) {
  panel.id ||= unique("panel");
  const element = html("div", { class: "vw-tabs", role: "tablist", "aria-label": label });
  const tabs = new Map<Name, HTMLButtonElement>();

  function add(name: Name, text: string): void {
    if (!tabs.has(name)) {
      const id = unique("tab");
      const tab = html(
        "button",
        { id, role: "tab", "aria-controls": panel.id, tabindex: -1 },
        text,
      );
      on(tab, "click", () => choose(name));
      tabs.set(name, tab);
      element.append(tab);
    }
  }
  function show(chosen: Name): void {
    for (const [name, tab] of tabs) {
      set(tab, { "aria-selected": String(name === chosen), tabindex: name === chosen ? 0 : -1 });
    }
    set(panel, { "aria-labelledby": tabs.get(chosen)?.id });
  }
  on(element, "keydown", (event) => {
    const names = Array.from(tabs.keys());
    const from = names.findIndex((name) => tabs.get(name)?.tabIndex === 0);
    const next = beside(event.key, from, names.length);
    const name = next === undefined ? undefined : names[next];
    if (name !== undefined) {
      event.preventDefault();
      choose(name);
      tabs.get(name)?.focus();
    }
  });
  return { element, add, show };
}

/** The tab that a key leads to. */
function beside(key: string, from: number, count: number): number | undefined {
  switch (key) {
    case "ArrowRight":
      return (from + 1) % count;
    case "ArrowLeft":
      return (from - 1 + count) % count;
    case "Home":
      return 0;
    case "End":
      return count - 1;
  }
  return undefined;
}
