/** Tell light from dark by the background the widget really stands on, and follow it. */

import { perFrame } from "./dom";

/** Set `data-theme` on the root to "light" or "dark" now and whenever the page's theme changes. */
export function followTheme(root: HTMLElement, signal: AbortSignal): void {
  const look = perFrame(() => {
    root.dataset.theme = isDark(getComputedStyle(root).backgroundColor) ? "dark" : "light";
  }, signal);
  const watcher = new MutationObserver((changes) => {
    if (changes.some(mayRestyle)) {
      look();
    }
  });
  for (const element of [document.documentElement, document.body]) {
    watcher.observe(element, { attributes: true });
  }
  // JupyterLab swaps the theme's stylesheet after it has renamed the theme.
  watcher.observe(document.head, { childList: true });
  document.head.addEventListener("load", look, { capture: true, signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look, { signal });
  signal.addEventListener("abort", () => watcher.disconnect(), { once: true });
  look();
}

/** Not every change in the head: JupyterLab swaps its icon whenever a kernel turns busy or idle. */
function mayRestyle({ type, addedNodes, removedNodes }: MutationRecord): boolean {
  const nodes = [...addedNodes, ...removedNodes];
  return (
    type === "attributes" ||
    nodes.some((node) => node instanceof Element && node.matches("style, [rel=stylesheet]"))
  );
}

/** Whether a computed colour, `rgb(…)` or `color(srgb …)`, is dark. */
export function isDark(color: string): boolean {
  const [red = 255, green = 255, blue = 255] = (color.match(/[\d.]+/g) ?? []).map(Number);
  const scale = color.startsWith("color(") ? 1 : 255;
  return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / scale < 0.5;
}
