/**
 * A log entry and its encoding. An entry is encoded once, by the leader that proposes it, and the same bytes lie in the log of
 * every member and travel between them. The encoding is described in docs/formats.md.
 */

export type EntryKind = "command" | "configuration" | "empty";

export interface Entry {
  readonly index: number;
  readonly term: number;
  /** The lease clock: milliseconds that never go back along the log. The only time that a state machine knows. */
  readonly clockMs: number;
  readonly kind: EntryKind;
  /** The whole encoding, header included. Nobody writes to it once the entry is sealed. */
  readonly record: Uint8Array;
}

/** What a proposer leaves free before its payload, so that the header can be filled in where the bytes lie. */
export const ENTRY_HEADER_BYTES = 32;
export const ENTRY_VERSION = 1;

const KINDS: readonly EntryKind[] = ["command", "configuration", "empty"];

/** Fills in the header of a record whose payload is already in place. */
export function sealEntry(record: Uint8Array, fields: Omit<Entry, "record">): Entry {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  view.setUint32(0, record.byteLength - ENTRY_HEADER_BYTES, true);
  view.setUint8(4, ENTRY_VERSION);
  view.setUint8(5, KINDS.indexOf(fields.kind) + 1);
  view.setUint16(6, 0, true);
  view.setFloat64(8, fields.index, true);
  view.setFloat64(16, fields.term, true);
  view.setFloat64(24, fields.clockMs, true);
  return { ...fields, record };
}

/** The payload: what lies behind the header. A view, not a copy. */
export function entryPayload(entry: Entry): Uint8Array {
  return entry.record.subarray(ENTRY_HEADER_BYTES);
}

/**
 * Cuts one entry off the bytes at `offset`. Answers undefined where they are no whole, well-formed entry: too short, of another
 * version or kind, or with a number that is not a safe integer. The record is a view of `bytes`.
 */
export function decodeEntry(bytes: Uint8Array, offset: number): Entry | undefined {
  if (offset < 0 || bytes.byteLength - offset < ENTRY_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, ENTRY_HEADER_BYTES);
  const payloadBytes = view.getUint32(0, true);
  const kind = KINDS[view.getUint8(5) - 1];
  if (view.getUint8(4) !== ENTRY_VERSION || kind === undefined || view.getUint16(6, true) !== 0) return undefined;
  const end = offset + ENTRY_HEADER_BYTES + payloadBytes;
  if (end > bytes.byteLength) return undefined;
  const index = view.getFloat64(8, true);
  const term = view.getFloat64(16, true);
  const clockMs = view.getFloat64(24, true);
  if (!Number.isSafeInteger(index) || index < 1 || !Number.isSafeInteger(term) || term < 1) return undefined;
  if (!(clockMs >= 0 && clockMs <= Number.MAX_SAFE_INTEGER)) return undefined;
  return { index, term, clockMs, kind, record: bytes.subarray(offset, end) };
}
