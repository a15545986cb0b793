/**
 * What nodes say to each other outside consensus: forwarded batches, snapshots, the founding of a cluster; the rest is in cluster-frames.ts. The first byte of a frame is
 * its type; 1 to 31 are Raft's messages (transport/message-codec.ts). Decoding is total: undefined for anything malformed.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import { CLIENT_ADDRESSES_MAX } from "./cluster-frames.ts";

export const FRAME_FORWARD = 32;
export const FRAME_FORWARD_ACK = 33;
export const FRAME_SNAPSHOT_BEGIN = 40;
export const FRAME_SNAPSHOT_CHUNK = 41;
export const FRAME_SNAPSHOT_ACK = 42;
export const FRAME_FOUNDING = 48;

/** A batch on its way to the leader of `term`. `ordinal` counts the batches of this origin and boot in this term, from 1. */
export interface ForwardFrame {
  readonly term: number;
  readonly ordinal: number;
  readonly record: Uint8Array;
}

/** The leader has taken in all batches below `next`. */
export interface ForwardAckFrame {
  readonly term: number;
  readonly bootId: number;
  readonly next: number;
}

export interface SnapshotBeginFrame {
  readonly term: number;
  /** The sender's number for this transfer. */
  readonly transfer: number;
  /** Or OPEN_ENDED. */
  readonly bytes: number;
  readonly meta: SnapshotMeta;
}

export interface SnapshotChunkFrame {
  readonly transfer: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface SnapshotAckFrame {
  readonly transfer: number;
  /** Bytes received without a gap. */
  readonly received: number;
  /** "installing": all is there, and being written where the member will keep it. */
  readonly outcome: "receiving" | "installed" | "refused" | "installing";
}

/** Steps of the founding (node/founding.ts). */
export type FoundingFrame =
  | { readonly step: "hello"; readonly incarnation: string; readonly phase: "founding" | "pending" | "active" }
  | { readonly step: "propose"; readonly founding: SnapshotMeta; readonly round: number }
  | { readonly step: "accepted"; readonly founding: SnapshotMeta }
  | { readonly step: "activate"; readonly founding: SnapshotMeta };

/** Of a snapshot whose length is known only at its end: an empty chunk, where it ends, says so. */
export const OPEN_ENDED: number = Number.MAX_SAFE_INTEGER;

const OUTCOMES = ["receiving", "installed", "refused", "installing"] as const;
const utf8 = { encoder: new TextEncoder(), decoder: new TextDecoder("utf-8", { fatal: true }) };

function header(type: number, bytes: number): { readonly frame: Uint8Array; readonly view: DataView } {
  const frame = new Uint8Array(bytes);
  frame[0] = type;
  return { frame, view: new DataView(frame.buffer) };
}

const count = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

export function encodeForward(forward: ForwardFrame): readonly Uint8Array[] {
  const { frame, view } = header(FRAME_FORWARD, 24);
  view.setFloat64(8, forward.term, true);
  view.setFloat64(16, forward.ordinal, true);
  return [frame, forward.record];
}

export function decodeForward(frame: Uint8Array): ForwardFrame | undefined {
  if (frame.byteLength < 24) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const term = view.getFloat64(8, true);
  const ordinal = view.getFloat64(16, true);
  return count(term) && count(ordinal) ? { term, ordinal, record: frame.subarray(24) } : undefined;
}

export function encodeForwardAck(ack: ForwardAckFrame): readonly Uint8Array[] {
  const { frame, view } = header(FRAME_FORWARD_ACK, 24);
  view.setUint32(4, ack.bootId, true);
  view.setFloat64(8, ack.term, true);
  view.setFloat64(16, ack.next, true);
  return [frame];
}

export function decodeForwardAck(frame: Uint8Array): ForwardAckFrame | undefined {
  if (frame.byteLength !== 24) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const term = view.getFloat64(8, true);
  const next = view.getFloat64(16, true);
  return count(term) && count(next) ? { term, next, bootId: view.getUint32(4, true) } : undefined;
}

export function encodeSnapshotBegin(begin: SnapshotBeginFrame): readonly Uint8Array[] {
  const { frame, view } = header(FRAME_SNAPSHOT_BEGIN, 32);
  view.setFloat64(8, begin.term, true);
  view.setFloat64(16, begin.transfer, true);
  view.setFloat64(24, begin.bytes, true);
  return [frame, utf8.encoder.encode(JSON.stringify(begin.meta))];
}

export function decodeSnapshotBegin(frame: Uint8Array): SnapshotBeginFrame | undefined {
  if (frame.byteLength < 32) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const term = view.getFloat64(8, true);
  const transfer = view.getFloat64(16, true);
  const bytes = view.getFloat64(24, true);
  const meta = decodeMeta(frame.subarray(32));
  return meta !== undefined && count(term) && count(transfer) && count(bytes) ? { term, transfer, bytes, meta } : undefined;
}

export function encodeSnapshotChunk(chunk: SnapshotChunkFrame): readonly Uint8Array[] {
  const { frame, view } = header(FRAME_SNAPSHOT_CHUNK, 24);
  view.setFloat64(8, chunk.transfer, true);
  view.setFloat64(16, chunk.offset, true);
  return [frame, chunk.bytes];
}

export function decodeSnapshotChunk(frame: Uint8Array): SnapshotChunkFrame | undefined {
  if (frame.byteLength < 24) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const transfer = view.getFloat64(8, true);
  const offset = view.getFloat64(16, true);
  return count(transfer) && count(offset) ? { transfer, offset, bytes: frame.subarray(24) } : undefined;
}

export function encodeSnapshotAck(ack: SnapshotAckFrame): readonly Uint8Array[] {
  const { frame, view } = header(FRAME_SNAPSHOT_ACK, 24);
  view.setUint8(1, OUTCOMES.indexOf(ack.outcome));
  view.setFloat64(8, ack.transfer, true);
  view.setFloat64(16, ack.received, true);
  return [frame];
}

export function decodeSnapshotAck(frame: Uint8Array): SnapshotAckFrame | undefined {
  if (frame.byteLength !== 24) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const outcome = OUTCOMES[view.getUint8(1)];
  const transfer = view.getFloat64(8, true);
  const received = view.getFloat64(16, true);
  return outcome !== undefined && count(transfer) && count(received) ? { transfer, received, outcome } : undefined;
}

export function encodeFounding(founding: FoundingFrame): readonly Uint8Array[] {
  return [Uint8Array.of(FRAME_FOUNDING), utf8.encoder.encode(JSON.stringify(founding))];
}

export function decodeFounding(frame: Uint8Array): FoundingFrame | undefined {
  const value = decodeJson(frame.subarray(1));
  if (typeof value !== "object" || value === null || !("step" in value)) return undefined;
  if (value.step === "hello") {
    const hello = value as { incarnation?: unknown; phase?: unknown };
    if (typeof hello.incarnation !== "string" || !/^[0-9a-f]{16}$/.test(hello.incarnation)) return undefined;
    if (hello.phase !== "founding" && hello.phase !== "pending" && hello.phase !== "active") return undefined;
    return { step: "hello", incarnation: hello.incarnation, phase: hello.phase };
  }
  if (value.step !== "propose" && value.step !== "accepted" && value.step !== "activate") return undefined;
  const { founding, round } = value as { founding?: unknown; round?: unknown };
  const meta = checkMeta(founding);
  if (meta === undefined) return undefined;
  if (value.step !== "propose") return { step: value.step, founding: meta };
  return typeof round === "number" && count(round) ? { step: "propose", founding: meta, round } : undefined;
}

function decodeJson(bytes: Uint8Array): unknown {
  if (bytes.byteLength > 1 << 20) return undefined;
  try {
    return JSON.parse(utf8.decoder.decode(bytes));
  } catch {
    return undefined; // Not text, or not JSON: malformed either way.
  }
}

function decodeMeta(bytes: Uint8Array): SnapshotMeta | undefined {
  return checkMeta(decodeJson(bytes));
}

/** Checks the shape of a snapshot's description that came from outside. */
export function checkMeta(value: unknown): SnapshotMeta | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const meta = value as Record<string, unknown>;
  const { lastIncludedIndex, lastIncludedTerm, clockMs, configuration } = meta;
  if (typeof lastIncludedIndex !== "number" || !count(lastIncludedIndex)) return undefined;
  if (typeof lastIncludedTerm !== "number" || !count(lastIncludedTerm)) return undefined;
  if (typeof clockMs !== "number" || !(clockMs >= 0 && clockMs <= Number.MAX_SAFE_INTEGER)) return undefined;
  if (typeof configuration !== "object" || configuration === null) return undefined;
  const { incoming, outgoing, learners, learnersNext, members } = configuration as Record<string, unknown>;
  const ids = (list: unknown): list is string[] =>
    Array.isArray(list) && list.length <= 64 && list.every((id) => typeof id === "string" && /^[0-9a-f]{16}$/.test(id));
  if (!ids(incoming) || !ids(outgoing) || !ids(learners) || !ids(learnersNext)) return undefined;
  if (!Array.isArray(members) || members.length > 64) return undefined;
  const text = (field: unknown): field is string => typeof field === "string" && field.length <= 1024;
  for (const member of members as readonly unknown[]) {
    if (typeof member !== "object" || member === null) return undefined;
    const record = member as Record<string, unknown>;
    const { id, name, peerAddress, clientAddresses, incarnation, promotable } = record;
    if (!ids([id]) || !text(name) || !text(peerAddress) || !text(incarnation) || typeof promotable !== "boolean") return undefined;
    if (!Array.isArray(clientAddresses) || clientAddresses.length > CLIENT_ADDRESSES_MAX || !clientAddresses.every(text)) return undefined;
  }
  return {
    lastIncludedIndex,
    lastIncludedTerm,
    clockMs,
    configuration: { incoming, outgoing, learners, learnersNext, members: members as SnapshotMeta["configuration"]["members"] },
  };
}
