/** Lengths of time as people and Go write them: "300ms", "5s", "1h30m". */
import { usageError } from "./exit.ts";

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** In milliseconds. `where` names it in the error. Throws ExitError (usage). */
export function durationMs(text: string, where: string): number {
  let ms = 0;
  let read = "";
  for (const [part, count, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    ms += Number(count) * (UNIT_MS[unit ?? ""] ?? Number.NaN);
    read += part;
  }
  if (read !== text || text === "" || !Number.isSafeInteger(Math.ceil(ms)))
    throw usageError(`${where} wants a time such as 300ms or 1h30m, not ${JSON.stringify(text)}`);
  return ms;
}
