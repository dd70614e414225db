/** Elements without a framework. Text only ever enters the page as text nodes or attributes. */

type Attribute = string | number | boolean | null | undefined;
type Attributes = Record<string, Attribute>;
type Child = Node | string;

const FOCUSABLE = new Set(["input", "select", "button", "textarea", "summary"]);

export function html<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  // Any other button would submit the form it stands in.
  set(element, tag === "button" ? { type: "button", ...attributes } : attributes);
  if (FOCUSABLE.has(tag) || "tabindex" in attributes) {
    // JupyterLab takes the keys of any focused element that does not carry this itself.
    element.setAttribute("data-lm-suppress-shortcuts", "true");
  }
  element.append(...children);
  return element;
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** Listen to an element. */
export function on<K extends keyof HTMLElementEventMap>(
  element: HTMLElement,
  type: K,
  handler: (event: HTMLElementEventMap[K]) => void,
  options: AddEventListenerOptions = {},
): void {
  element.addEventListener(type, handler, options);
}

/**
 * Set attributes; `true` stands for an empty one, `false` and nothing remove it. One that stands
 * already is left alone, as even then the browser would work out the styles anew.
 */
export function set(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) {
      element.removeAttribute(name);
      continue;
    }
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) {
      element.setAttribute(name, text);
    }
  }
}

/** Replace an element's text only where it differs, so that live regions stay quiet. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

let count = 0;

/** An id that no other element on the page has. */
export function unique(name: string): string {
  count += 1;
  return `vram-widget-${name}-${count}`;
}

/** Run `task` once in the next frame however often it is asked for; not after `signal` aborts. */
export function perFrame(task: () => void, signal: AbortSignal): () => void {
  let asked = 0;
  signal.addEventListener("abort", () => cancelAnimationFrame(asked), { once: true });
  return () => {
    if (asked === 0 && !signal.aborted) {
      asked = requestAnimationFrame(() => {
        asked = 0;
        task();
      });
    }
  };
}
