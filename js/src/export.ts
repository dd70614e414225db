/** The configuration as text that launches it: a tab for each target, and a button to copy it. */
import { html, say, set, unique } from "./dom";
import type { Advice, Launch, Report } from "./messages";

export function createExport() {
  const panelId = unique("export");
  const tabs = html("div", { class: "vw-tabs", role: "tablist", "aria-label": "Export for" });
  const text = html("pre", { tabindex: 0, class: "vw-code", "aria-label": "Text to copy" });
  const notices = html("ul", { class: "vw-notices", "aria-label": "Notices of the export" });
  const copy = html("button", { class: "vw-button", type: "button" }, "Copy");
  const answer = html("span", { role: "status", class: "vw-answer" });
  const panel = html("div", { id: panelId, role: "tabpanel" }, text, notices);
  const element = html(
    "details",
    { class: "vw-export", hidden: true },
    html("summary", {}, "Export"),
    html("div", { class: "vw-export-bar" }, tabs, answer, copy),
    panel,
  );
  const buttons = new Map<string, HTMLButtonElement>();
  let launches: Launch[] = [];
  let chosen = "";

  function update(advice: Advice | null, report: Report): void {
    element.hidden = advice === null;
    if (advice) {
      launches = advice.launches;
      chosen ||= launches[0]?.name ?? "";
      for (const { name, label } of launches) {
        if (!buttons.has(name)) {
          const tab = createTab(label, () => choose(name));
          buttons.set(name, tab);
          tabs.append(tab);
        }
      }
      show();
      // What is shown is about an earlier report, until the moves pause.
      copy.disabled = advice.revision !== report.revision;
    }
  }
  function createTab(label: string, act: () => void): HTMLButtonElement {
    const id = unique("tab");
    const tab = html(
      "button",
      { id, type: "button", role: "tab", "aria-controls": panelId },
      label,
    );
    tab.addEventListener("click", act);
    return tab;
  }
  function choose(name: string): void {
    chosen = name;
    say(answer, "");
    show();
  }
  function show(): void {
    const launch = launches.find(({ name }) => name === chosen);
    for (const [name, tab] of buttons) {
      set(tab, { "aria-selected": String(name === chosen), tabindex: name === chosen ? 0 : -1 });
    }
    set(panel, { "aria-labelledby": buttons.get(chosen)?.id });
    say(text, launch?.text ?? "");
    text.hidden = !launch?.text;
    copy.hidden = !launch?.text;
    notices.replaceChildren(...(launch?.notices ?? []).map((each) => html("li", {}, each)));
    notices.hidden = !launch?.notices.length;
  }
  tabs.addEventListener("keydown", (event) => {
    const names = Array.from(buttons.keys());
    const next = beside(event.key, names.indexOf(chosen), names.length);
    const name = next === undefined ? undefined : names[next];
    if (name !== undefined) {
      event.preventDefault();
      choose(name);
      buttons.get(name)?.focus();
    }
  });
  copy.addEventListener("click", async () => {
    say(answer, (await copied(text)) ? "Copied" : "Selected: copy it with Ctrl+C");
  });
  return { element, update };
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

/** Copy an element's text; where the page may not, select it and say so. */
async function copied(element: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    return true;
  } catch {
    // No clipboard without HTTPS, as on many a JupyterHub: the older way, and the selection stays.
    getSelection()?.selectAllChildren(element);
    return document.execCommand("copy");
  }
}
