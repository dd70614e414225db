/** Numbers as words. GiB = 1024³ bytes; `vram_widget/units.py` writes them the same way. */

export const GIB = 1024 ** 3;
/** Made once: it takes longer to make than to use. */
const NUMBER = new Intl.NumberFormat("en-US", { maximumFractionDigits: 6 });
const AMOUNT = new Intl.NumberFormat("en-US", {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});

/** Bytes in GiB with one decimal: "40.1", "0.0", and "<0.1" for what is little but not nothing. */
export function gib(bytes: number): string {
  const amount = bytes / GIB;
  return amount > 0 && amount < 0.05 ? "<0.1" : AMOUNT.format(amount);
}

/** How much more or less, in GiB with its sign: "+3.2", "−11.0", "±0.0". */
export function difference(bytes: number): string {
  const words = AMOUNT.format(Math.abs(bytes) / GIB);
  return `${words === "0.0" ? "±" : bytes > 0 ? "+" : "−"}${words}`;
}

/** A number as in a number box: "131,072", "0.25". */
export function plain(value: number): string {
  return NUMBER.format(value);
}

/** The number a person typed, with or without separators, or the text as it is. */
export function parseNumber(text: string): number | string {
  // A comma that parts no thousands may be meant as a decimal point: it stays, to be refused.
  const bare = text.replaceAll(/,(?=\d{3}\b)|[\s_]/g, "");
  const value = Number(bare);
  return bare !== "" && Number.isFinite(value) ? value : text.trim();
}

/** An amount of memory as in a box: "48 GiB". */
export function amount(bytes: number): string {
  return `${plain(Math.round((bytes / GIB) * 100) / 100)} GiB`;
}
