/**
 * A watch event, packed: u8 flags | kv | [kv before]. The flags: 1 deletion, 2 created, 4 kv before, and from bit 4 on the deletion's
 * cause. All events of one revision, or of one part of it, lie one behind another, in the order of the operations.
 */
import type { ByteWriter } from "./bytes.ts";
import { decodeKv, KV_HEADER_BYTES, writeKv, type UnpackedKv } from "./packed-kv.ts";
import { CAUSES } from "./snapshot-format.ts";
import type { DeletionCause, RecordRef, Table } from "./table.ts";

const FLAG_DELETE = 1;
const FLAG_CREATED = 2;
const FLAG_PREV_KV = 4;
const CAUSE_SHIFT = 4;

/** An event as decodeWatchEvent() finds it. Keys and values are views. */
export interface UnpackedEvent {
  readonly kind: "put" | "delete";
  /** Of a deletion: key and modRevision alone. */
  readonly kv: UnpackedKv;
  /** A put of a key that did not exist. */
  readonly created: boolean;
  readonly cause: DeletionCause | undefined;
  readonly prevKv: UnpackedKv | undefined;
  readonly next: number;
}

/** How long this event is when it is packed. */
export function watchEventBytes(table: Table, ref: RecordRef, withPrevious: boolean): number {
  const bytes = 1 + KV_HEADER_BYTES + table.keyBytes(ref) + table.valueBytes(ref);
  const before = withPrevious ? table.previous(ref) : 0;
  if (before === 0 || table.version(before) === 0) return bytes;
  return bytes + KV_HEADER_BYTES + table.keyBytes(before) + table.valueBytes(before);
}

/** Packs the event that made this record; `withPrevious`: with the kv before, if there was one. */
export function writeWatchEvent(writer: ByteWriter, table: Table, ref: RecordRef, withPrevious: boolean): void {
  const cause = table.deletionCause(ref);
  let flags = 0;
  if (cause !== undefined) flags = FLAG_DELETE | (CAUSES.indexOf(cause) << CAUSE_SHIFT);
  else if (table.version(ref) === 1) flags = FLAG_CREATED;
  const before = withPrevious ? table.previous(ref) : 0;
  const hasBefore = before !== 0 && table.version(before) > 0;
  writer.u8(hasBefore ? flags | FLAG_PREV_KV : flags);
  writeKv(writer, table, ref, false);
  if (hasBefore) writeKv(writer, table, before, false);
}

/** Reads what writeWatchEvent() wrote. */
export function decodeWatchEvent(bytes: Uint8Array, offset: number): UnpackedEvent {
  const flags = bytes[offset] ?? 0;
  const kv = decodeKv(bytes, offset + 1);
  const prevKv = (flags & FLAG_PREV_KV) === 0 ? undefined : decodeKv(bytes, kv.next);
  const deletion = (flags & FLAG_DELETE) !== 0;
  return {
    kind: deletion ? "delete" : "put",
    kv,
    created: (flags & FLAG_CREATED) !== 0,
    cause: deletion ? CAUSES[flags >>> CAUSE_SHIFT] : undefined,
    prevKv,
    next: prevKv?.next ?? kv.next,
  };
}
