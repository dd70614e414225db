/** Settings of another program: pasted, dropped or from a file; what they say, then into the form. */
import { html, on, say } from "./dom";
import { historyKey } from "./history";
import type { Imported, Lookup, Request } from "./messages";
import { createDifference } from "./pinned";

/** The longest text that Python reads, in bytes. */
const MOST = 1 << 18;

const HINT =
  "Paste or drop the settings of Axolotl, TRL, Accelerate, DeepSpeed, LLaMA-Factory, torchtune, " +
  "Unsloth or Training Hub, a Kubeflow TrainJob, or a command line.";

export function createImport(request: (request: Request) => void) {
  const text = html("textarea", {
    class: "vw-code",
    rows: 8,
    spellcheck: "false",
    "aria-label": "Settings to read",
    placeholder: HINT,
  });
  const file = html("input", { type: "file", hidden: true, tabindex: -1 });
  const choose = html("button", { class: "vw-button" }, "Choose a file");
  const read = html("button", { class: "vw-button", title: "Ctrl+Enter" }, "Read");
  const answer = html("span", { role: "status", class: "vw-answer" });
  const error = html("p", { role: "alert", class: "vw-error" });
  const heading = html("h3");
  const differs = html("ul", { class: "vw-changes", "aria-label": "What changes" });
  const left = html("ul", { class: "vw-left", "aria-label": "Not counted" });
  const put = html("button", { class: "vw-button" }, "Put into the controls");
  const found = html("div", { class: "vw-found" }, heading, differs, left, put);
  const summary = html("summary", {}, "Import");
  const element = html(
    "details",
    { class: "vw-drawer vw-import" },
    summary,
    text,
    html("div", { class: "vw-drawer-bar" }, read, choose, file, answer),
    error,
    found,
  );
  let name = "";
  // Which answer is shown, and whether it holds settings that can be put into the controls.
  let shown = 0;
  let ready = false;
  // Whether they are being put there, and the report that came of it.
  let putting = false;
  let done = 0;

  function ask(): void {
    if (!ready) {
      if (text.value.trim()) {
        request({ type: "import", text: text.value, name });
      }
    } else if (!put.disabled) {
      putting = true;
      request({ type: "put" });
    }
  }
  async function open(chosen: File | undefined): Promise<void> {
    if (chosen && chosen.size > MOST) {
      show(`${chosen.name} is longer than 256 KiB, which no settings are.`);
    } else if (chosen) {
      text.value = await chosen.text();
      show("");
      name = chosen.name;
      ask();
    }
  }
  /** Show no settings, and why there are none. */
  function show(why: string): void {
    ready = false;
    done = 0;
    say(error, why);
    error.hidden = why === "";
    found.hidden = true;
  }
  function update(imported: Imported | null, lookup: Lookup | null, revision: number): void {
    if (!imported && ready) {
      show("");
      done = putting ? revision : 0;
      putting = false;
    } else if (imported && imported.revision !== shown) {
      shown = imported.revision;
      putting = false;
      show(imported.error);
      ready = imported.heading !== "";
      found.hidden = !ready;
      say(heading, imported.heading);
      differs.replaceChildren(...imported.differences.map(createDifference));
      left.replaceChildren(
        ...imported.notices.map(({ text, effect }) =>
          html("li", {}, html("strong", {}, effect), text),
        ),
      );
    }
    put.disabled = lookup !== null;
    const looking = lookup && putting && `Looking up ${lookup.model_path} on the Hub`;
    say(answer, looking || (done === revision ? "In the controls; Undo takes it back" : ""));
  }
  on(choose, "click", () => file.click());
  on(file, "change", () => {
    open(file.files?.[0]);
    file.value = ""; // the same file may be chosen again
  });
  on(text, "input", () => {
    name = "";
    show("");
  });
  // JupyterLab listens at whatever has the focus, and lets no line break into a cell's output.
  on(element, "beforeinput", (event) => event.stopPropagation(), { capture: true });
  on(read, "click", ask);
  on(put, "click", ask);
  on(element, "toggle", () => element.open && text.focus());
  on(element, "dragover", (event) => event.preventDefault());
  on(element, "drop", (event) => {
    const dropped = event.dataTransfer?.files[0];
    if (dropped) {
      event.preventDefault();
      event.stopPropagation();
      open(dropped);
    }
  });
  on(element, "keydown", (event) => {
    if (event.key === "Escape" && element.open) {
      element.open = false;
      summary.focus();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    } else if (!(event.target === text && historyKey(event))) {
      return;
    }
    // Neither the notebook nor the configuration has a part in these.
    event.stopPropagation();
  });
  show("");
  return { element, update };
}
