/** What commands print: text for people, JSON as an API. Results go to standard output, all else to standard error. */
import type { Message } from "../api/schema/messages.ts";

export type KeyValueMessage = Message<"mvccpb.KeyValue">;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** undefined where the bytes are not UTF-8. */
export function asText(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** For people: text as it is, other bytes as hex, marked. */
export const shown = (bytes: Uint8Array): string => asText(bytes) ?? `0x${Buffer.from(bytes).toString("hex")}`;

/** On a terminal: what would move its cursor, ring its bell or type for its user is shown, not done. */
export const shownOnTerminal = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  text.replaceAll(/[\u0000-\u0008\u000B-\u001F\u007F-\u009F]/g, (each) => `\\x${each.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** In JSON: text stays text, other bytes are marked. */
export const jsonBytes = (bytes: Uint8Array): unknown => asText(bytes) ?? { base64: Buffer.from(bytes).toString("base64") };

const NO_LEASE = "0000000000000000";

/** One pair as JSON. */
export function jsonPair(kv: KeyValueMessage, withValue: boolean): Record<string, unknown> {
  return {
    key: jsonBytes(kv.key),
    ...(withValue ? { value: jsonBytes(kv.value) } : {}),
    createRevision: kv.create_revision,
    modRevision: kv.mod_revision,
    version: kv.version,
    ...(kv.lease === NO_LEASE ? {} : { lease: kv.lease }),
  };
}

/** Columns set apart by two blanks; the first line is the header. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

/** 1.5 MiB, 12 KiB. */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toPrecision(3)} ${units[unit] ?? ""}`;
}
