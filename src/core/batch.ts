/**
 * The payload of a "command" entry: a header that says whose batch it is, then the commands of the state machine. The member that the
 * batch came from answers its callers when it applies the entry itself, so the header is all that a reply needs.
 * A batch is not atomic: each command has its own result.
 */
import { ENTRY_HEADER_BYTES } from "./raft/entry.ts";
import type { MemberId } from "./raft/configuration.ts";

export interface BatchHeader {
  readonly origin: MemberId;
  /** Which opening of the origin: a restarted one answers nobody for its predecessor. */
  readonly bootId: number;
  /** Counts the origin's batches. */
  readonly sequence: number;
  readonly commands: number;
  /** What numbers its commands have, one behind another, but those that say their own. undefined: none. */
  readonly session: BatchSession | undefined;
}

/** Numbers of a client's session (kv/session-table.ts). */
export interface BatchSession {
  /** Its id in two words. */
  readonly high: number;
  readonly low: number;
  /** Of the first command; each further one has the next. */
  readonly sequence: number;
  /** Answers up to and including this one are no longer needed. */
  readonly acked: number;
}

export const BATCH_VERSION = 1;
export const BATCH_HEADER_BYTES = 56;
const SESSION_AT = 32;
/** What the builder of a batch leaves free in front of its first command, so that nothing is copied on the way into the log. */
export const BATCH_PREFIX_BYTES: number = ENTRY_HEADER_BYTES + BATCH_HEADER_BYTES;

/** Fills in the header of a record whose commands are already in place, at BATCH_PREFIX_BYTES; but for its session, which stays as it is. */
export function writeBatchHeader(record: Uint8Array, header: Omit<BatchHeader, "session">): void {
  const view = new DataView(record.buffer, record.byteOffset + ENTRY_HEADER_BYTES, BATCH_HEADER_BYTES);
  view.setUint8(0, BATCH_VERSION);
  view.setUint8(1, 0);
  view.setUint16(2, 0, true);
  view.setUint32(4, header.commands, true);
  view.setUint32(8, Number.parseInt(header.origin.slice(0, 8), 16), true);
  view.setUint32(12, Number.parseInt(header.origin.slice(8), 16), true);
  view.setUint32(16, header.bootId, true);
  view.setUint32(20, 0, true);
  view.setFloat64(24, header.sequence, true);
}

/** Gives the record's commands numbers; undefined: takes them away again. */
export function writeBatchSession(record: Uint8Array, session: BatchSession | undefined): void {
  const view = new DataView(record.buffer, record.byteOffset + ENTRY_HEADER_BYTES + SESSION_AT, BATCH_HEADER_BYTES - SESSION_AT);
  view.setUint32(0, session?.high ?? 0, true);
  view.setUint32(4, session?.low ?? 0, true);
  view.setFloat64(8, session?.sequence ?? 0, true);
  view.setFloat64(16, session?.acked ?? 0, true);
}

/** undefined where the payload is no batch of a known version. */
export function readBatchHeader(payload: Uint8Array): BatchHeader | undefined {
  if (payload.byteLength < BATCH_HEADER_BYTES) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, BATCH_HEADER_BYTES);
  const sequence = view.getFloat64(24, true);
  if (view.getUint8(0) !== BATCH_VERSION || !Number.isSafeInteger(sequence)) return undefined;
  const hex = (word: number): string => word.toString(16).padStart(8, "0");
  return {
    origin: hex(view.getUint32(8, true)) + hex(view.getUint32(12, true)),
    bootId: view.getUint32(16, true),
    sequence,
    commands: view.getUint32(4, true),
    session: readSession(view),
  };
}

function readSession(view: DataView): BatchSession | undefined {
  const high = view.getUint32(SESSION_AT, true);
  const low = view.getUint32(SESSION_AT + 4, true);
  if (high === 0 && low === 0) return undefined;
  return { high, low, sequence: view.getFloat64(SESSION_AT + 8, true), acked: view.getFloat64(SESSION_AT + 16, true) };
}
