/**
 * Commands, packed one behind another as the payload of a batch. Each has its own header and gets its own result; a batch is not atomic.
 *
 *   u32 length, of all of it | u8 op | u8 flags | u16 0 | u32 keyBytes | u32 valueBytes | u32 expectedBytes
 *   [f64 ttlMs] [u32 lease, high word | u32 lease, low word]   those whose flag is set, in this order
 *   key | value | expected
 *
 * `value` of a range deletion is the interval's exclusive end. FLAG_SESSION is kept for commands that carry a client's session, sequence
 * and what it no longer needs to know: 24 bytes in front of the key. Until then a command with that flag is refused.
 *
 * What a caller's thread checks while it builds and what every member checks when it applies is one function, so that applying can refuse
 * a command but never meet one that it has no answer for. The limits that apply checks are constants: if they were settings, members
 * with different ones would come to differ.
 */
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { copyBytes } from "./bytes.ts";
import { canonicalLease, leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";
import type { KeyInterval } from "./table.ts";

export const OP_PUT = 1;
export const OP_DELETE_KEY = 2;
export const OP_DELETE_RANGE = 3;
export const OP_COMPARE_AND_SWAP = 4;

export const FLAG_PREV_KV = 1;
/** Compare-and-swap: there is an expected value; without it the key must be absent. */
export const FLAG_EXPECTED = 2;
export const FLAG_TTL = 4;
export const FLAG_LEASE = 8;
/** Range deletion: no end, to the last key. */
export const FLAG_NO_END = 16;
export const FLAG_SESSION = 128;

export const COMMAND_HEADER_BYTES = 20;
/** A key is 1 to this many bytes. A bound of an interval may be one more, and a start may be empty. */
export const KEY_BYTES_MAX = 32_768;
/** The largest command that can ever be applied. What a caller may ask for is `requestBytesMax`, at most this. */
export const COMMAND_BYTES_MAX = 16_777_216;
/** Default of `requestBytesMax`: key, value and header of one command together. */
export const REQUEST_BYTES_MAX = 1_572_864;
/** 285 years. */
export const TTL_MS_MAX = 9_000_000_000_000;
/** What a state may hold: leases, live keys, and their logical bytes (docs/formats.md), so that no member's memory ever decides. */
export const LEASES_MAX = 1_000_000;
export const KEYS_MAX = 16_777_216;
export const DATA_BYTES_MAX = 4_294_967_296;
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
] as const;
export type RefusalCode = (typeof REFUSALS)[number];

/** `max` is the limit that was passed, 0 where the code has none. `lease` is the one not found. */
export interface Refusal {
  readonly code: RefusalCode;
  readonly max: number;
  readonly lease: string | undefined;
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
  FLAG_PREV_KV | FLAG_TTL | FLAG_LEASE,
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
    if (!Number.isSafeInteger(shape.ttlMs) || shape.ttlMs < 1 || shape.ttlMs > TTL_MS_MAX) return "ttlMs";
  }
  if ((flags & FLAG_LEASE) !== 0 && shape.lease === undefined) return "leaseId";
  return undefined;
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
    default:
      return 0;
  }
}

/** What `put` takes beside key and value. `ttlMs` and `lease` exclude each other. */
export interface PutCommandOptions {
  readonly ttlMs?: number | undefined;
  readonly lease?: string | undefined;
  readonly prevKv?: boolean | undefined;
}

const NOTHING = new Uint8Array(0);
const NO_OPTIONS: PutCommandOptions = {};

/** Packs commands, in a caller's thread. A command that could not be applied throws CommandError and adds nothing. */
export class CommandBatch {
  private readonly requestBytesMax: number;
  private capacityBytes: number;
  private buffer: Uint8Array<ArrayBuffer>;
  private view: DataView;
  private end: number = BATCH_PREFIX_BYTES;
  private commands = 0;
  /** Used again for each command. */
  private readonly shape: Shape = { op: 0, flags: 0, length: 0, keyBytes: 0, valueBytes: 0, expectedBytes: 0, ttlMs: 0, lease: undefined };

  constructor(capacityBytes = 4_096, requestBytesMax: number = REQUEST_BYTES_MAX) {
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
    this.append(OP_PUT, options.prevKv === true ? FLAG_PREV_KV : 0, key, value, NOTHING, options.ttlMs, options.lease);
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
    options: Omit<PutCommandOptions, "prevKv"> = NO_OPTIONS,
  ): void {
    const flags = expected === undefined ? 0 : FLAG_EXPECTED;
    this.append(OP_COMPARE_AND_SWAP, flags, key, value, expected ?? NOTHING, options.ttlMs, options.lease);
  }

  /**
   * The batch with its prefix still to be filled in, at the start of an ArrayBuffer of its own, whose tail may be unused. The builder
   * begins a new one.
   */
  finish(): Uint8Array<ArrayBuffer> {
    this.reserve(0);
    const record = this.buffer.subarray(0, this.end);
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
    const fault = checkCommand(shape);
    if (fault !== undefined) throw new CommandError({ code: fault, max: limitOf(fault), lease: undefined });
    if (length > this.requestBytesMax) throw new CommandError({ code: "requestBytes", max: this.requestBytesMax, lease: undefined });
    this.reserve(length);
    const { buffer, view } = this;
    let at = this.end;
    view.setUint32(at, length, true);
    view.setUint32(at + 4, op | (flags << 8), true);
    view.setUint32(at + 8, key.length, true);
    view.setUint32(at + 12, value.length, true);
    view.setUint32(at + 16, expected.length, true);
    at += COMMAND_HEADER_BYTES;
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
    if ((this.flags & FLAG_SESSION) !== 0) return "unsupported";
    if (COMMAND_HEADER_BYTES + optional + this.keyBytes + this.valueBytes + this.expectedBytes !== length) return "malformed";
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

  /** Views of the batch. */
  key(): Uint8Array {
    return this.bytes.subarray(this.keyAt, this.keyAt + this.keyBytes);
  }

  value(): Uint8Array {
    const at = this.keyAt + this.keyBytes;
    return this.bytes.subarray(at, at + this.valueBytes);
  }

  expected(): Uint8Array {
    const at = this.keyAt + this.keyBytes + this.valueBytes;
    return this.bytes.subarray(at, at + this.expectedBytes);
  }
}
