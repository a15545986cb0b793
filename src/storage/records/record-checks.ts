/** What any store refuses before it changes anything. */
import { invalidArgument } from "../../errors.ts";
import { RECORD_KEY_BYTES_MAX, RECORD_VALUE_BYTES_MAX } from "./record-store.ts";
import type { RecordBatch } from "./record-store.ts";

export function checkKey(key: Uint8Array): void {
  if (key.byteLength === 0 || key.byteLength > RECORD_KEY_BYTES_MAX) {
    throw invalidArgument("key", `1 to ${RECORD_KEY_BYTES_MAX} bytes, not ${key.byteLength}`);
  }
}

/** Refuses what is too long, and a key that comes twice. */
export function checkBatch({ puts, deletes }: RecordBatch): void {
  const seen = new Set<string>();
  const once = (key: Uint8Array): void => {
    checkKey(key);
    const name = String.fromCharCode.apply(null, key as unknown as number[]);
    if (seen.has(name)) throw invalidArgument("batch", "a key comes once in a batch");
    seen.add(name);
  };
  for (const [key, value] of puts) {
    once(key);
    if (value.byteLength > RECORD_VALUE_BYTES_MAX) throw invalidArgument("value", `at most ${RECORD_VALUE_BYTES_MAX} bytes`);
  }
  for (const key of deletes) once(key);
}
