/**
 * The messages of consensus as bodies of frames. A body begins with sixteen bytes that all kinds share: type (1 to 31; higher ones belong
 * to the node), version, flags, five zeros, and the term; then come the kind's own fields. Numbers are little-endian doubles that must
 * hold whole numbers. The sender is not in the bytes: the link knows it. The entries of AppendEntries are the records that lie in the log.
 * Decoding is total: whatever the bytes are, the answer is a well-formed message or undefined. What a message may claim is Raft's to judge.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import { decodeConfiguration, encodeConfiguration } from "../core/raft/configuration-codec.ts";
import { decodeEntry, type Entry } from "../core/raft/entry.ts";
import type { Message } from "../core/raft/message.ts";

/** Bodies whose first byte is 1 to this are messages. */
export const MESSAGE_TYPE_MAX = 31;
const MESSAGE_VERSION = 1;

/** Between whom a message travels: who is at the other end of the link, and who reads. */
export interface MessageEnds {
  readonly from: MemberId;
  readonly to: MemberId;
}

const TYPES = {
  RequestVote: 1,
  RequestVoteReply: 2,
  AppendEntries: 3,
  AppendEntriesReply: 4,
  Heartbeat: 5,
  HeartbeatReply: 6,
  ReadIndex: 7,
  ReadIndexReply: 8,
  TimeoutNow: 9,
  InstallSnapshot: 10,
} as const satisfies Record<Message["kind"], number>;

const HEADER_BYTES = 16;
const FLAG_PRE_VOTE = 1;
const FLAG_TRANSFER = 2;
const FLAG_YES = 4;

/** The parts of the body, in order: fields in new bytes, then the entries' own records, not copied. */
export function encodeMessage(message: Message): readonly Uint8Array[] {
  switch (message.kind) {
    case "RequestVote": {
      const flags = (message.preVote ? FLAG_PRE_VOTE : 0) | (message.transfer ? FLAG_TRANSFER : 0);
      return [encodeFields(message, flags, 2, message.lastLogIndex, message.lastLogTerm)];
    }
    case "RequestVoteReply":
      return [encodeFields(message, (message.preVote ? FLAG_PRE_VOTE : 0) | (message.granted ? FLAG_YES : 0), 0)];
    case "AppendEntries": {
      const { entries } = message;
      const parts: Uint8Array[] = [
        encodeFields(message, 0, 4, message.prevLogIndex, message.prevLogTerm, message.commitIndex, entries.length),
      ];
      for (const entry of entries) parts.push(entry.record);
      return parts;
    }
    case "AppendEntriesReply":
      return [encodeFields(message, message.success ? FLAG_YES : 0, 3, message.index, message.conflictIndex, message.conflictTerm)];
    case "Heartbeat":
      return [encodeFields(message, 0, 3, message.commitIndex, message.round, message.clockMs)];
    case "HeartbeatReply":
      return [encodeFields(message, 0, 1, message.round)];
    case "ReadIndex":
      return [encodeFields(message, 0, 1, message.requestId)];
    case "ReadIndexReply":
      return [encodeFields(message, 0, 2, message.requestId, message.index)];
    case "TimeoutNow":
      return [encodeFields(message, 0, 0)];
    case "InstallSnapshot":
      break;
  }
  const { lastIncludedIndex, lastIncludedTerm, clockMs, configuration } = message.snapshot;
  return [encodeFields(message, 0, 3, lastIncludedIndex, lastIncludedTerm, clockMs), encodeConfiguration(configuration)];
}

function encodeFields(message: Message, flags: number, fields: number, a = 0, b = 0, c = 0, d = 0): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + fields * 8);
  const view = new DataView(bytes.buffer);
  bytes[0] = TYPES[message.kind];
  bytes[1] = MESSAGE_VERSION;
  bytes[2] = flags;
  view.setFloat64(8, message.term, true);
  if (fields > 0) view.setFloat64(16, a, true);
  if (fields > 1) view.setFloat64(24, b, true);
  if (fields > 2) view.setFloat64(32, c, true);
  if (fields > 3) view.setFloat64(40, d, true);
  return bytes;
}

/**
 * undefined for a body that is not a message of a known type and version, is too long or too short, has a flag that its kind does not
 * know, or holds a number that is not a whole, safe and non-negative one. Entries must continue from prevLogIndex without a gap, with
 * terms and lease clocks that never go back; they are views of `body`.
 */
export function decodeMessage(body: Uint8Array, ends: MessageEnds): Message | undefined {
  if (body.byteLength < HEADER_BYTES || body[1] !== MESSAGE_VERSION) return undefined;
  const flags = body[2] as number;
  for (let i = 3; i < 8; i += 1) if (body[i] !== 0) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const term = readCount(view, 8);
  if (term < 0) return undefined;
  const { from, to } = ends;
  switch (body[0]) {
    case TYPES.RequestVote: {
      if (!hasShape(body, 2, FLAG_PRE_VOTE | FLAG_TRANSFER)) return undefined;
      const lastLogIndex = readCount(view, 16);
      const lastLogTerm = readCount(view, 24);
      if (lastLogIndex < 0 || lastLogTerm < 0) return undefined;
      const preVote = (flags & FLAG_PRE_VOTE) !== 0;
      return { kind: "RequestVote", from, to, term, preVote, lastLogIndex, lastLogTerm, transfer: (flags & FLAG_TRANSFER) !== 0 };
    }
    case TYPES.RequestVoteReply: {
      if (!hasShape(body, 0, FLAG_PRE_VOTE | FLAG_YES)) return undefined;
      const preVote = (flags & FLAG_PRE_VOTE) !== 0;
      return { kind: "RequestVoteReply", from, to, term, preVote, granted: (flags & FLAG_YES) !== 0 };
    }
    case TYPES.AppendEntries: {
      if (body.byteLength < HEADER_BYTES + 32 || flags !== 0) return undefined;
      const prevLogIndex = readCount(view, 16);
      const prevLogTerm = readCount(view, 24);
      const commitIndex = readCount(view, 32);
      const count = readCount(view, 40);
      if (prevLogIndex < 0 || prevLogTerm < 0 || commitIndex < 0 || count < 0) return undefined;
      const entries = decodeEntries(body, HEADER_BYTES + 32, { count, prevLogIndex, prevLogTerm, term });
      if (entries === undefined) return undefined;
      return { kind: "AppendEntries", from, to, term, prevLogIndex, prevLogTerm, commitIndex, entries };
    }
    case TYPES.AppendEntriesReply: {
      if (!hasShape(body, 3, FLAG_YES)) return undefined;
      const index = readCount(view, 16);
      const conflictIndex = readCount(view, 24);
      const conflictTerm = readCount(view, 32);
      if (index < 0 || conflictIndex < 0 || conflictTerm < 0) return undefined;
      const success = (flags & FLAG_YES) !== 0;
      return { kind: "AppendEntriesReply", from, to, term, success, index, conflictIndex, conflictTerm };
    }
    case TYPES.Heartbeat: {
      if (!hasShape(body, 3, 0)) return undefined;
      const commitIndex = readCount(view, 16);
      const round = readCount(view, 24);
      const clockMs = readCount(view, 32);
      if (commitIndex < 0 || round < 0 || clockMs < 0) return undefined;
      return { kind: "Heartbeat", from, to, term, commitIndex, round, clockMs };
    }
    case TYPES.HeartbeatReply: {
      if (!hasShape(body, 1, 0)) return undefined;
      const round = readCount(view, 16);
      return round < 0 ? undefined : { kind: "HeartbeatReply", from, to, term, round };
    }
    case TYPES.ReadIndex: {
      if (!hasShape(body, 1, 0)) return undefined;
      const requestId = readCount(view, 16);
      return requestId < 0 ? undefined : { kind: "ReadIndex", from, to, term, requestId };
    }
    case TYPES.ReadIndexReply: {
      if (!hasShape(body, 2, 0)) return undefined;
      const requestId = readCount(view, 16);
      const index = readCount(view, 24);
      return requestId < 0 || index < 0 ? undefined : { kind: "ReadIndexReply", from, to, term, requestId, index };
    }
    case TYPES.TimeoutNow:
      return hasShape(body, 0, 0) ? { kind: "TimeoutNow", from, to, term } : undefined;
    case TYPES.InstallSnapshot: {
      if (body.byteLength < HEADER_BYTES + 24 || flags !== 0) return undefined;
      const lastIncludedIndex = readCount(view, 16);
      const lastIncludedTerm = readCount(view, 24);
      // The lease clock may hold fractions of a millisecond.
      const clockMs = view.getFloat64(32, true);
      if (lastIncludedIndex < 0 || lastIncludedTerm < 0 || !(clockMs >= 0 && clockMs <= Number.MAX_SAFE_INTEGER)) return undefined;
      const configuration = decodeConfiguration(body.subarray(HEADER_BYTES + 24));
      if (configuration === undefined) return undefined;
      const snapshot = { lastIncludedIndex, lastIncludedTerm, configuration, clockMs: clockMs + 0 };
      return { kind: "InstallSnapshot", from, to, term, snapshot };
    }
    default:
      return undefined;
  }
}

/** Whether the body has exactly this many fields and no flag but these. */
function hasShape(body: Uint8Array, fields: number, flagsKnown: number): boolean {
  return body.byteLength === HEADER_BYTES + fields * 8 && ((body[2] as number) & ~flagsKnown) === 0;
}

/** -1 where the number is not a whole, safe and non-negative one. */
function readCount(view: DataView, offset: number): number {
  const value = view.getFloat64(offset, true);
  // Adding zero turns minus zero into zero.
  return Number.isSafeInteger(value) && value >= 0 ? value + 0 : -1;
}

interface Expected {
  readonly count: number;
  readonly prevLogIndex: number;
  readonly prevLogTerm: number;
  /** The sender's, which no entry is ahead of. */
  readonly term: number;
}

function decodeEntries(body: Uint8Array, offset: number, expected: Expected): readonly Entry[] | undefined {
  // However large `count` is, each entry takes bytes of the body, so the loop ends with them.
  let at = offset;
  let term = expected.prevLogTerm;
  let clockMs = 0;
  const entries: Entry[] = [];
  for (let i = 1; i <= expected.count; i += 1) {
    const entry = decodeEntry(body, at);
    if (entry === undefined || entry.index !== expected.prevLogIndex + i) return undefined;
    if (entry.term < term || entry.term > expected.term || entry.clockMs < clockMs) return undefined;
    term = entry.term;
    clockMs = entry.clockMs;
    entries.push(entry);
    at += entry.record.byteLength;
  }
  return at === body.byteLength ? entries : undefined;
}
