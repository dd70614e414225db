/** What there is to say of one value of a field beside its memory. */
import { gib } from "../format";
import { SIGNS } from "../header";
import type { Level, Sweep, Value } from "../messages";

export function remarks(
  sweep: Sweep,
  index: number,
  levels: Record<Level, string>,
  now: Value,
  usable: boolean,
): string[] {
  const level = sweep.verdicts[index];
  if (level === undefined) {
    const refused = sweep.refused[index - sweep.values.length];
    return refused ? [refused[1]] : [];
  }
  const [low, high] = [gib(sweep.low[index] ?? 0), gib(sweep.high[index] ?? 0)];
  return [
    `${SIGNS[level]} ${levels[level]}, ${low}–${high} GiB`,
    `Peak: ${sweep.moments[index]}`,
    ...(sweep.values[index] === now ? ["In use now"] : usable ? ["Click or Enter to use it"] : []),
  ];
}
