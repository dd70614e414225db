/** PyTorch's own step beside the estimate: a button that runs it, how far it is, what it found. */
import { html, on, say } from "./dom";
import type { Request, Verification } from "./messages";

const HINT = "Runs these steps in PyTorch, on tensors without data: seconds to a minute.";

export function createVerify(request: (request: Request) => void) {
  const button = html("button", { class: "vw-button" });
  const hint = html("p", { class: "vw-small" }, HINT);
  const bar = html("progress", { class: "vw-bar-of-files", "aria-label": "PyTorch's own step" });
  const words = html("p", { role: "status" });
  const element = html(
    "section",
    { class: "vw-verify", "aria-label": "Verification" },
    button,
    hint,
    bar,
    words,
  );
  let running = false;
  on(button, "click", () => request({ type: running ? "stop" : "verify" }));

  function update(verification: Verification | null): void {
    running = verification?.state === "running";
    // One button for both: it never goes away under the focus.
    say(button, running ? "Cancel" : "Verify with PyTorch");
    hint.hidden = verification !== null;
    bar.hidden = !running;
    say(words, verification ? sentence(verification) : "");
    words.className = verification?.state === "failed" ? "vw-error" : "vw-small";
    element.classList.toggle("vw-stale", verification?.current === false);
  }
  return { element, update };
}

function sentence({ words, state, current }: Verification): string {
  const said = state === "running" ? `${words} …` : words;
  return current ? said : `For an earlier configuration: ${said}`;
}
