/** The chart as a file: SVG, or PNG at twice its size. */
import { html, on, say } from "./dom";
import { type Caption, drawFile } from "./picture";

/** Pixels of the PNG for one of the screen. */
const SCALE = 2;

export function createSave(picture: SVGSVGElement, caption: () => Caption) {
  const answer = html("span", { role: "status", class: "vw-unseen" });
  const png = button("PNG", async () => save(await toPng(drawFile(picture, caption())), "png"));
  const svg = button("SVG", async () => save(toSvg(drawFile(picture, caption())), "svg"));
  const element = html(
    "div",
    { class: "vw-save", role: "group", "aria-label": "Save the chart" },
    html("span", { "aria-hidden": "true" }, "Save"),
    png,
    svg,
    answer,
  );

  function button(kind: string, act: () => Promise<void>): HTMLButtonElement {
    const made = html(
      "button",
      { class: "vw-tool", "aria-label": `Save the chart as ${kind}` },
      kind,
    );
    on(made, "click", () => {
      act().catch((error: Error) => say(answer, `The chart cannot be saved: ${error.message}`));
    });
    return made;
  }
  function save(file: Blob, ending: string): void {
    const name = `${caption().file}.${ending}`;
    const address = URL.createObjectURL(file);
    const link = html("a", { href: address, download: name });
    link.click();
    // The browser has begun to read it by then.
    window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
    say(answer, `Saved ${name}`);
  }
  return { element };
}

function toSvg(drawn: SVGSVGElement): Blob {
  return new Blob([new XMLSerializer().serializeToString(drawn)], { type: "image/svg+xml" });
}

async function toPng(drawn: SVGSVGElement): Promise<Blob> {
  const text = new XMLSerializer().serializeToString(drawn);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = html("canvas", {
    width: drawn.width.baseVal.value * SCALE,
    height: drawn.height.baseVal.value * SCALE,
  });
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done, fail) => {
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("no picture"))), "image/png");
  });
}
