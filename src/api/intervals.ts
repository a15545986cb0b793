/** etcd's way to name keys, key and range_end, and ours, an interval. */
import { keyAfter } from "../core/kv/bytes.ts";
import type { KeyInterval } from "../core/kv/table.ts";

/** Whether range_end means "to the last key". */
export function isOpenEnd(rangeEnd: Uint8Array): boolean {
  return rangeEnd.length === 1 && rangeEnd[0] === 0;
}

/** The interval of key and range_end. One that ends before it begins holds nothing. Views of what it was given. */
export function toInterval(key: Uint8Array, rangeEnd: Uint8Array): KeyInterval {
  if (rangeEnd.length === 0) return { start: key, end: keyAfter(key) };
  return { start: key, end: isOpenEnd(rangeEnd) ? undefined : rangeEnd };
}

/** The first key behind all that begin with the prefix; undefined if there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const end = prefix.slice(0, length);
  end[length - 1]!++;
  return end;
}
