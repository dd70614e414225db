/** The configuration as text that launches it: a tab for each target, and a button to copy it. */
import { html, on, say } from "./dom";
import type { Advice, Launch, Report } from "./messages";
import { createNotices } from "./notices";
import { createTabs } from "./tabs";

export function createExport() {
  const text = html("pre", { tabindex: 0, class: "vw-code", "aria-label": "Text to copy" });
  const notices = createNotices("Notices of the export");
  const copy = html("button", { class: "vw-button" }, "Copy");
  const answer = html("span", { role: "status", class: "vw-answer" });
  const panel = html("div", { role: "tabpanel" }, text, notices.element);
  const tabs = createTabs<string>("Export for", panel, choose);
  const element = html(
    "details",
    { class: "vw-drawer vw-export", hidden: true },
    html("summary", {}, "Export"),
    html("div", { class: "vw-drawer-bar" }, tabs.element, answer, copy),
    panel,
  );
  let launches: Launch[] = [];
  let chosen = "";

  function update(advice: Advice | null, report: Report): void {
    element.hidden = advice === null;
    if (advice) {
      launches = advice.launches;
      chosen ||= launches[0]?.name ?? "";
      for (const { name, label } of launches) {
        tabs.add(name, label);
      }
      show();
      // What is shown is about an earlier report, until the moves pause.
      copy.disabled = advice.revision !== report.revision;
    }
  }
  function choose(name: string): void {
    chosen = name;
    say(answer, "");
    show();
  }
  function show(): void {
    const launch = launches.find(({ name }) => name === chosen);
    tabs.show(chosen);
    say(text, launch?.text ?? "");
    text.hidden = !launch?.text;
    copy.hidden = !launch?.text;
    notices.update(launch?.notices ?? []);
  }
  on(copy, "click", async () => {
    say(answer, (await copied(text)) ? "Copied" : "Selected: copy it with Ctrl+C");
  });
  return { element, update };
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
