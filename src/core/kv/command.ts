/**
 * Commands, packed one behind another as the payload of a batch. Each has its own header and gets its own result; a batch is not atomic.
 *
 *   u32 length, of all of it | u8 op | u8 flags | u16 0 | u32 keyBytes | u32 valueBytes | u32 expectedBytes
 *   [u32 session, high word | u32 session, low word | f64 sequence | f64 acked]   FLAG_SESSION: see session-stamp.ts
 *   [f64 ttlMs] [u32 lease, high word | u32 lease, low word]   those whose flag is set, in this order
 *   key | value | expected
 *
 * `value` of a range deletion is the interval's exclusive end. A command with FLAG_SESSION is one of a client's session: applied once, however
 * often it comes (session-table.ts). A session of zero is that of its batch (batch.ts), if that has one.
 *
 * What a caller's thread checks while it builds and what every member checks when it applies is one function, so that applying can refuse
 * a command but never meet one that it has no answer for. The limits that apply checks are constants: if they were settings, members
 * with different ones would come to differ.
 */
import { BATCH_PREFIX_BYTES, type BatchSession } from "../batch.ts";
import { copyBytes } from "./bytes.ts";
import { isBare, isRenewal, packLeaseIds } from "./lease-commands.ts";
import { canonicalLease, leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";
import { areSessionBounds, SESSION_BYTES, SESSION_SLOTS_MAX, SESSIONS_MAX } from "./session-bounds.ts";
import type { KeyInterval } from "./table.ts";
import type { TxnCommand } from "./txn-command.ts";

export const OP_PUT = 1;
export const OP_DELETE_KEY = 2;
export const OP_DELETE_RANGE = 3;
export const OP_COMPARE_AND_SWAP = 4;
/** Its `value` is a packed transaction (txn-codec.ts). */
export const OP_TXN = 5;
/** Its `value` is the revision, f64. */
export const OP_COMPACT = 6;
export const OP_LEASE_GRANT = 7;
export const OP_LEASE_RENEW = 8;
export const OP_LEASE_REVOKE = 9;
/** Its `value` is f64 revisionsMax | f64 bytesMax: the bounds of history from then on. */
export const OP_HISTORY_LIMITS = 10;
/** Stands for a command that its leader had no room for (growth.ts). */
export const OP_NO_SPACE = 11;
/** A leader's, where the quota is near: its `value` is the revision, f64, up to and including which history goes. */
export const OP_FREE_HISTORY = 12;
/** Its `value` is f64 window | f64 lifeMs. */
export const OP_SESSION_OPEN = 13;
/** Its `value` is the session's id, the high word first. */
export const OP_SESSION_CLOSE = 14;

export const FLAG_PREV_KV = 1;
/** Compare-and-swap: there is an expected value; without it the key must be absent. */
export const FLAG_EXPECTED = 2;
export const FLAG_TTL = 4;
export const FLAG_LEASE = 8;
/** Range deletion: no end, to the last key. */
export const FLAG_NO_END = 16;
/** Put: the key keeps its value. There is none in the command. */
export const FLAG_IGNORE_VALUE = 32;
/** Put: the key stays on the lease that it has, if any. */
export const FLAG_IGNORE_LEASE = 64;
export const FLAG_SESSION = 128;

export const COMMAND_HEADER_BYTES = 20;
/** Of the value of an OP_NO_SPACE. */
export const NO_SPACE_BYTES = 24;
/** A key is 1 to this many bytes. A bound of an interval may be one more, and a start may be empty. */
export const KEY_BYTES_MAX = 32_768;
/** The largest command that can ever be applied, its session not counted. What a caller may ask for is `requestBytesMax`, at most this. */
export const COMMAND_BYTES_MAX = 16_777_216;
/** Default of `requestBytesMax`: key, value and header of one command together. */
export const REQUEST_BYTES_MAX = 1_572_864;
/** 285 years. */
export const TTL_MS_MAX = 9_000_000_000_000;
/** What a state may hold: leases, live keys, and their logical bytes (docs/formats.md), so that no member's memory ever decides. */
export const LEASES_MAX = 1_000_000;
export const KEYS_MAX = 16_777_216;
export const DATA_BYTES_MAX = 4_294_967_296;
/** Comparisons and operations of one transaction, nested ones included, whatever a caller's own limit is. */
export const TXN_OPS_CEILING = 10_000;
/** How deep transactions may be nested. */
export const TXN_DEPTH_MAX = 16;
/**
 * What the puts of one batch may write again of values that they keep, so that few bytes of the log never stand for many of memory. It lies far
 * above what a caller needs who waits for an answer now and then.
 */
export const KEPT_BYTES_MAX = 67_108_864;
/** Of one batch. Further ones are not applied. */
export const COMMANDS_MAX = 65_536;

/** Why a command was refused. The place in this list, from 1, is the code on the wire: append only. */
export const REFUSALS = [
  "malformed",
  "unsupported",
  "keyBytes",
  "requestBytes",
  "ttlMs",
  "leaseAndTtl",
  "leaseId",
  "leaseNotFound",
  "leasesMax",
  "keysMax",
  "dataBytesMax",
  "leaseExists",
  "keyNotFound",
  "txnOps",
  "txnDepth",
  "duplicateKey",
  "compacted",
  "future",
  "quotaFull",
  "keysFull",
  "diskFull",
  "sessionGone",
  "sessionWindow",
  "answerNotKept",
  "sessionsMax",
  "sessionSlotsMax",
  "keptBytes",
] as const;
export type RefusalCode = (typeof REFUSALS)[number];

/**
 * `max` is the limit that was passed, 0 where the code has none; the first readable revision for "compacted", the present one for "future";
 * for "answerNotKept" the revision at which the command was applied when it first came.
 * `lease` is the one not found, or there already.
 */
export interface Refusal {
  readonly code: RefusalCode;
  readonly max: number;
  readonly lease: string | undefined;
  /** Of a refusal for want of space: of `max`. */
  readonly used?: number;
}

/** What the builder throws at a command that no member would apply. Nothing was added to the batch. */
export class CommandError extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(`refused: ${refusal.code}`);
    this.name = "CommandError";
    this.refusal = refusal;
  }
}

const KNOWN_FLAGS: readonly number[] = [
  0,
  FLAG_PREV_KV | FLAG_TTL | FLAG_LEASE | FLAG_IGNORE_VALUE | FLAG_IGNORE_LEASE,
  FLAG_PREV_KV,
  FLAG_PREV_KV | FLAG_NO_END,
  FLAG_EXPECTED | FLAG_TTL | FLAG_LEASE,
];

interface Shape {
  op: number;
  flags: number;
  length: number;
  keyBytes: number;
  valueBytes: number;
  expectedBytes: number;
  ttlMs: number;
  lease: string | undefined;
}

/** undefined: a command that can be applied, as far as can be told without the data. */
function checkCommand(shape: Readonly<Shape>): RefusalCode | undefined {
  const { op, flags, keyBytes } = shape;
  if (op >= OP_LEASE_GRANT && op <= OP_LEASE_REVOKE) return checkLeaseCommand(shape);
  if (op === OP_SESSION_OPEN || op === OP_SESSION_CLOSE) return checkSessionCommand(shape);
  if (op === OP_TXN || op === OP_COMPACT || op === OP_HISTORY_LIMITS || op === OP_NO_SPACE || op === OP_FREE_HISTORY)
    return checkValueCommand(shape);
  const known = KNOWN_FLAGS[op];
  if (known === undefined || op === 0 || (flags & ~known) !== 0) return "unsupported";
  if (shape.length > COMMAND_BYTES_MAX) return "requestBytes";
  if (op === OP_DELETE_RANGE) {
    if (keyBytes > KEY_BYTES_MAX + 1 || shape.valueBytes > KEY_BYTES_MAX + 1) return "keyBytes";
    if ((flags & FLAG_NO_END) !== 0 && shape.valueBytes > 0) return "malformed";
  } else {
    if (keyBytes === 0 || keyBytes > KEY_BYTES_MAX) return "keyBytes";
    if (op === OP_DELETE_KEY && shape.valueBytes > 0) return "malformed";
  }
  if ((flags & FLAG_EXPECTED) === 0 && shape.expectedBytes > 0) return "malformed";
  if ((flags & FLAG_TTL) !== 0) {
    if ((flags & FLAG_LEASE) !== 0) return "leaseAndTtl";
    if (!isTtl(shape.ttlMs)) return "ttlMs";
  }
  if ((flags & FLAG_LEASE) !== 0 && shape.lease === undefined) return "leaseId";
  if ((flags & FLAG_IGNORE_VALUE) !== 0 && shape.valueBytes > 0) return "malformed";
  if ((flags & FLAG_IGNORE_LEASE) !== 0 && (flags & (FLAG_TTL | FLAG_LEASE)) !== 0) return "leaseAndTtl";
  return undefined;
}

/** Commands that are a value alone. What a transaction holds is checked where it is unpacked. */
function checkValueCommand(shape: Readonly<Shape>): RefusalCode | undefined {
  const { op, flags, keyBytes, valueBytes, expectedBytes } = shape;
  if (flags !== 0) return "unsupported";
  if (shape.length > COMMAND_BYTES_MAX) return "requestBytes";
  if (keyBytes > 0 || expectedBytes > 0) return "malformed";
  if (op === OP_TXN) return undefined;
  return valueBytes === (op === OP_COMPACT || op === OP_FREE_HISTORY ? 8 : op === OP_NO_SPACE ? NO_SPACE_BYTES : 16)
    ? undefined
    : "malformed";
}

function checkSessionCommand({ op, flags, keyBytes, valueBytes, expectedBytes }: Readonly<Shape>): RefusalCode | undefined {
  if (flags !== 0) return "unsupported";
  if (keyBytes > 0 || expectedBytes > 0) return "malformed";
  return valueBytes === (op === OP_SESSION_OPEN ? 16 : 8) ? undefined : "malformed";
}

/** Whether it is a time to live that a lease may have: whole milliseconds from 1 to TTL_MS_MAX. */
export function isTtl(ttlMs: number): boolean {
  return Number.isSafeInteger(ttlMs) && ttlMs >= 1 && ttlMs <= TTL_MS_MAX;
}

/** Flags are those that the command must have, no more and no fewer. */
function checkLeaseCommand(shape: Readonly<Shape>): RefusalCode | undefined {
  const { op, flags } = shape;
  const wanted = op === OP_LEASE_GRANT ? FLAG_TTL | FLAG_LEASE : op === OP_LEASE_REVOKE ? FLAG_LEASE : 0;
  if ((flags & ~wanted) !== 0) return "unsupported";
  if (shape.length > COMMAND_BYTES_MAX) return "requestBytes";
  if (op === OP_LEASE_RENEW) return isRenewal(shape) ? undefined : "malformed";
  if (flags !== wanted || !isBare(shape)) return "malformed";
  if (shape.lease === undefined) return "leaseId";
  return op === OP_LEASE_GRANT && !isTtl(shape.ttlMs) ? "ttlMs" : undefined;
}

/** The constant that a refusal of this code speaks of; 0 where there is none. */
export function limitOf(code: RefusalCode): number {
  switch (code) {
    case "keyBytes":
      return KEY_BYTES_MAX;
    case "requestBytes":
      return COMMAND_BYTES_MAX;
    case "ttlMs":
      return TTL_MS_MAX;
    case "leasesMax":
      return LEASES_MAX;
    case "keysMax":
      return KEYS_MAX;
    case "dataBytesMax":
      return DATA_BYTES_MAX;
    case "txnOps":
      return TXN_OPS_CEILING;
    case "txnDepth":
      return TXN_DEPTH_MAX;
    case "sessionsMax":
      return SESSIONS_MAX;
    case "sessionSlotsMax":
      return SESSION_SLOTS_MAX;
    case "keptBytes":
      return KEPT_BYTES_MAX;
    default:
      return 0;
  }
}

/** What `put` takes beside key and value. `ttlMs` and `lease` exclude each other. */
export interface PutCommandOptions {
  readonly ttlMs?: number | undefined;
  readonly lease?: string | undefined;
  readonly prevKv?: boolean | undefined;
  /** Keep the value that is there; the one given must be empty. Refused as keyNotFound where the key is not live. */
  readonly ignoreValue?: boolean | undefined;
  /** Keep the lease that is there. Excludes `ttlMs` and `lease`. Refused as keyNotFound where the key is not live. */
  readonly ignoreLease?: boolean | undefined;
}

const NOTHING = new Uint8Array(0);
const NO_OPTIONS: PutCommandOptions = {};

/** Packs commands, in a caller's thread. A command that could not be applied throws CommandError and adds nothing. */
export class CommandBatch {
  private readonly requestBytesMax: number;
  private readonly sessions: boolean;
  private capacityBytes: number;
  private buffer: Uint8Array<ArrayBuffer>;
  private view: DataView;
  private end: number = BATCH_PREFIX_BYTES;
  private commands = 0;
  /** Used again for each command. */
  private readonly shape: Shape = { op: 0, flags: 0, length: 0, keyBytes: 0, valueBytes: 0, expectedBytes: 0, ttlMs: 0, lease: undefined };

  /** `sessions`: each command has room for its session, which session-stamp.ts fills in. */
  constructor(capacityBytes = 4_096, requestBytesMax: number = REQUEST_BYTES_MAX, sessions = false) {
    this.sessions = sessions;
    this.requestBytesMax = Math.min(requestBytesMax, COMMAND_BYTES_MAX);
    this.capacityBytes = Math.max(capacityBytes, BATCH_PREFIX_BYTES + COMMAND_HEADER_BYTES);
    this.buffer = new Uint8Array(0);
    this.view = new DataView(this.buffer.buffer);
  }

  /** Commands so far: never more than COMMANDS_MAX, of which the caller takes care. */
  get count(): number {
    return this.commands;
  }

  /** Bytes of the commands so far, without the prefix. */
  get bytes(): number {
    return this.end - BATCH_PREFIX_BYTES;
  }

  put(key: Uint8Array, value: Uint8Array, options: PutCommandOptions = NO_OPTIONS): void {
    const flags =
      (options.prevKv === true ? FLAG_PREV_KV : 0) |
      (options.ignoreValue === true ? FLAG_IGNORE_VALUE : 0) |
      (options.ignoreLease === true ? FLAG_IGNORE_LEASE : 0);
    this.append(OP_PUT, flags, key, value, NOTHING, options.ttlMs, options.lease);
  }

  /** An interval whose end is not behind its start holds nothing. */
  deleteRange(interval: KeyInterval, options: { readonly prevKv?: boolean | undefined } = NO_OPTIONS): void {
    const flags = (options.prevKv === true ? FLAG_PREV_KV : 0) | (interval.end === undefined ? FLAG_NO_END : 0);
    this.append(OP_DELETE_RANGE, flags, interval.start, interval.end ?? NOTHING, NOTHING, undefined, undefined);
  }

  deleteKey(key: Uint8Array, options: { readonly prevKv?: boolean | undefined } = NO_OPTIONS): void {
    this.append(OP_DELETE_KEY, options.prevKv === true ? FLAG_PREV_KV : 0, key, NOTHING, NOTHING, undefined, undefined);
  }

  /** `expected` undefined: the key must be absent. */
  compareAndSwap(
    key: Uint8Array,
    expected: Uint8Array | undefined,
    value: Uint8Array,
    options: Pick<PutCommandOptions, "ttlMs" | "lease"> = NO_OPTIONS,
  ): void {
    const flags = expected === undefined ? 0 : FLAG_EXPECTED;
    this.append(OP_COMPARE_AND_SWAP, flags, key, value, expected ?? NOTHING, options.ttlMs, options.lease);
  }

  /** A transaction as packTxn() packed it. */
  txn(packed: Uint8Array): void {
    this.append(OP_TXN, 0, NOTHING, packed, NOTHING, undefined, undefined);
  }

  /** History up to and including this revision goes, as a leader has it go that needs the room. */
  freeHistory(through: number): void {
    this.append(OP_FREE_HISTORY, 0, NOTHING, packNumbers(through), NOTHING, undefined, undefined);
  }

  /** Revisions below this one are no longer to be read or watched. */
  compact(revision: number): void {
    this.append(OP_COMPACT, 0, NOTHING, packNumbers(revision), NOTHING, undefined, undefined);
  }

  /** History is compacted beyond either bound, from now on. */
  limitHistory(limits: { readonly revisionsMax: number; readonly bytesMax: number }): void {
    this.append(OP_HISTORY_LIMITS, 0, NOTHING, packNumbers(limits.revisionsMax, limits.bytesMax), NOTHING, undefined, undefined);
  }

  /** The id is the caller's choice; that it is taken shows when the command is applied. */
  grantLease(id: string, ttlMs: number): void {
    this.append(OP_LEASE_GRANT, 0, NOTHING, NOTHING, NOTHING, ttlMs, id);
  }

  /** 1 to RENEWED_LEASES_MAX ids. */
  renewLeases(ids: readonly string[]): void {
    const packed = packLeaseIds(ids);
    if (packed === undefined) throw new CommandError({ code: "leaseId", max: 0, lease: undefined });
    this.append(OP_LEASE_RENEW, 0, NOTHING, packed, NOTHING, undefined, undefined);
  }

  revokeLease(id: string): void {
    this.append(OP_LEASE_REVOKE, 0, NOTHING, NOTHING, NOTHING, undefined, id);
  }

  /** `window` is how many writes may be unanswered at once, 1 to SESSION_WINDOW_MAX; `lifeMs` how long the session lasts without one. */
  openSession({ window, lifeMs }: { readonly window: number; readonly lifeMs: number }): void {
    if (!areSessionBounds({ window, lifeMs })) throw new CommandError({ code: "malformed", max: 0, lease: undefined });
    this.append(OP_SESSION_OPEN, 0, NOTHING, packNumbers(window, lifeMs), NOTHING, undefined, undefined);
  }

  closeSession({ high, low }: { readonly high: number; readonly low: number }): void {
    const words = new Uint8Array(8);
    const view = new DataView(words.buffer);
    view.setUint32(0, high, true);
    view.setUint32(4, low, true);
    this.append(OP_SESSION_CLOSE, 0, NOTHING, words, NOTHING, undefined, undefined);
  }

  /**
   * The batch with its prefix still to be filled in, at the start of an ArrayBuffer of its own, less than half of which is unused: the log
   * keeps entries in memory as they are, and bounds them by their length. The builder begins a new one.
   */
  finish(): Uint8Array<ArrayBuffer> {
    this.reserve(0);
    const record = 2 * this.end > this.buffer.length ? this.buffer.subarray(0, this.end) : this.buffer.slice(0, this.end);
    this.capacityBytes = Math.min(1_048_576, Math.max(512, this.end + (this.end >>> 2)));
    this.buffer = new Uint8Array(0);
    this.end = BATCH_PREFIX_BYTES;
    this.commands = 0;
    return record;
  }

  private append(
    op: number,
    opFlags: number,
    key: Uint8Array,
    value: Uint8Array,
    expected: Uint8Array,
    ttlMs: number | undefined,
    leaseId: string | undefined,
  ): void {
    let flags = opFlags;
    let length = COMMAND_HEADER_BYTES + key.length + value.length + expected.length;
    if (ttlMs !== undefined) {
      flags |= FLAG_TTL;
      length += 8;
    }
    const lease = leaseId === undefined ? undefined : canonicalLease(leaseId);
    if (leaseId !== undefined) {
      flags |= FLAG_LEASE;
      length += 8;
    }
    const { shape } = this;
    shape.op = op;
    shape.flags = flags;
    shape.length = length;
    shape.keyBytes = key.length;
    shape.valueBytes = value.length;
    shape.expectedBytes = expected.length;
    shape.ttlMs = ttlMs ?? 0;
    shape.lease = lease;
    const sessionBytes = this.sessions && op !== OP_SESSION_OPEN && op !== OP_SESSION_CLOSE ? SESSION_BYTES : 0;
    const fault = checkCommand(shape);
    if (fault !== undefined) throw new CommandError({ code: fault, max: limitOf(fault), lease: undefined });
    if (length > this.requestBytesMax) throw new CommandError({ code: "requestBytes", max: this.requestBytesMax, lease: undefined });
    // Its session is not part of what its caller asked for.
    length += sessionBytes;
    this.reserve(length);
    const { buffer, view } = this;
    let at = this.end;
    view.setUint32(at, length, true);
    view.setUint32(at + 4, op | (flags << 8) | (sessionBytes > 0 ? FLAG_SESSION << 8 : 0), true);
    view.setUint32(at + 8, key.length, true);
    view.setUint32(at + 12, value.length, true);
    view.setUint32(at + 16, expected.length, true);
    at += COMMAND_HEADER_BYTES + sessionBytes;
    if (ttlMs !== undefined) {
      view.setFloat64(at, ttlMs, true);
      at += 8;
    }
    if (lease !== undefined) {
      view.setUint32(at, leaseHigh(lease), true);
      view.setUint32(at + 4, leaseLow(lease), true);
      at += 8;
    }
    copyBytes(key, buffer, at);
    copyBytes(value, buffer, at + key.length);
    copyBytes(expected, buffer, at + key.length + value.length);
    this.end += length;
    this.commands++;
  }

  private reserve(bytes: number): void {
    const needed = this.end + bytes;
    if (needed <= this.buffer.length) return;
    const grown = new Uint8Array(Math.max(needed, this.buffer.length * 2, this.capacityBytes));
    grown.set(this.buffer);
    this.buffer = grown;
    this.view = new DataView(grown.buffer);
  }
}

function packNumbers(...numbers: readonly number[]): Uint8Array {
  const packed = new Uint8Array(numbers.length * 8);
  const view = new DataView(packed.buffer);
  for (let i = 0; i < numbers.length; i++) view.setFloat64(i * 8, numbers[i]!, true);
  return packed;
}

/** A TxnReader, whose file builds on this one. */
interface TxnReading {
  read(bytes: Uint8Array, view: DataView, at: number, end: number): TxnCommand | RefusalCode;
}

/** Walks over packed commands where they are applied. One object for all of them: its fields speak of the command last read. */
export class CommandReader implements Shape {
  op = 0;
  flags = 0;
  length = 0;
  keyBytes = 0;
  valueBytes = 0;
  expectedBytes = 0;
  ttlMs = 0;
  lease: string | undefined = undefined;
  /** The words of the session, both 0 for none; then the command's number in it, and up to which its client needs no answers. */
  sessionHigh = 0;
  sessionLow = 0;
  sequence = 0;
  acked = 0;
  private bytes: Uint8Array = NOTHING;
  private view: DataView = new DataView(NOTHING.buffer);
  private at = 0;
  private keyAt = 0;

  open(commands: Uint8Array): void {
    this.bytes = commands;
    this.view = new DataView(commands.buffer, commands.byteOffset, commands.byteLength);
    this.at = 0;
  }

  /** Lets go of the bytes. */
  close(): void {
    this.open(NOTHING);
  }

  /** "end": no further command can be found, whether the bytes are used up or make no sense. Else the command's fault, or undefined. */
  next(): RefusalCode | "end" | undefined {
    const { view, at } = this;
    const left = this.bytes.length - at;
    if (left < COMMAND_HEADER_BYTES) return "end";
    const length = view.getUint32(at, true);
    if (length < COMMAND_HEADER_BYTES || length > left) return "end";
    this.at = at + length;
    this.length = length;
    const word = view.getUint32(at + 4, true);
    this.op = word & 0xff;
    this.flags = (word >>> 8) & 0xff;
    if (word >>> 16 !== 0) return "unsupported";
    this.keyBytes = view.getUint32(at + 8, true);
    this.valueBytes = view.getUint32(at + 12, true);
    this.expectedBytes = view.getUint32(at + 16, true);
    let keyAt = at + COMMAND_HEADER_BYTES;
    const optional = ((this.flags & FLAG_TTL) !== 0 ? 8 : 0) + ((this.flags & FLAG_LEASE) !== 0 ? 8 : 0);
    this.sessionHigh = 0;
    this.sessionLow = 0;
    if ((this.flags & FLAG_SESSION) !== 0) {
      this.flags &= ~FLAG_SESSION;
      if (this.op === OP_SESSION_OPEN || this.op === OP_SESSION_CLOSE) return "unsupported";
      keyAt += SESSION_BYTES;
      if (keyAt - at > length) return "malformed";
      this.length -= SESSION_BYTES;
      this.sessionHigh = view.getUint32(keyAt - 24, true);
      this.sessionLow = view.getUint32(keyAt - 20, true);
      this.sequence = view.getFloat64(keyAt - 16, true);
      this.acked = view.getFloat64(keyAt - 8, true);
    }
    if (keyAt - at + optional + this.keyBytes + this.valueBytes + this.expectedBytes !== length) return "malformed";
    if ((this.flags & FLAG_TTL) !== 0) {
      this.ttlMs = view.getFloat64(keyAt, true);
      keyAt += 8;
    }
    if ((this.flags & FLAG_LEASE) !== 0) {
      this.lease = leaseFromWords(view.getUint32(keyAt, true), view.getUint32(keyAt + 4, true));
      keyAt += 8;
    }
    this.keyAt = keyAt;
    return checkCommand(this);
  }

  /** The batch says what session the command is of, which says none itself. `place` is the command's, from 0. */
  inSession({ high, low, sequence, acked }: BatchSession, place: number): void {
    this.sessionHigh = high;
    this.sessionLow = low;
    this.sequence = sequence + place;
    this.acked = acked;
  }

  /** Views of the batch. */
  key(): Uint8Array {
    return this.bytes.subarray(this.keyAt, this.keyAt + this.keyBytes);
  }

  value(): Uint8Array {
    const at = this.keyAt + this.keyBytes;
    return this.bytes.subarray(at, at + this.valueBytes);
  }

  /** The transaction that is the value, as views of the batch; or why it is none. */
  txn(reader: TxnReading): TxnCommand | RefusalCode {
    const at = this.keyAt + this.keyBytes;
    return reader.read(this.bytes, this.view, at, at + this.valueBytes);
  }

  /** Of a command whose value is words: the one in this place. */
  word(place: number): number {
    return this.view.getUint32(this.keyAt + place * 4, true);
  }

  /** Of a command whose value is numbers: the one in this place. */
  number(place: number): number {
    return this.view.getFloat64(this.keyAt + place * 8, true);
  }

  expected(): Uint8Array {
    const at = this.keyAt + this.keyBytes + this.valueBytes;
    return this.bytes.subarray(at, at + this.expectedBytes);
  }
}
