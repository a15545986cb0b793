/**
 * Bytes as the data sees them: compared unsigned, a prefix before what it begins; and a buffer that grows while something is packed
 * into it. Numbers are little-endian. Nothing here knows what is packed.
 */
import type { KeyInterval } from "./table.ts";

/** Negative: left sorts first. */
export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  const shared = Math.min(left.length, right.length);
  for (let i = 0; i < shared; i++) {
    const difference = left[i]! - right[i]!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/** How many bytes they begin with alike: what it takes to compare them. */
export function sharedBytes(left: Uint8Array, right: Uint8Array): number {
  const length = Math.min(left.length, right.length);
  let at = 0;
  while (at < length && left[at] === right[at]) at++;
  return at;
}

/** Whether they are as long and hold the same. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) {
    if (left[i] !== right[i]) return false;
  }
  return true;
}

/** Whether the key lies in the interval. */
export function contains(interval: KeyInterval, key: Uint8Array): boolean {
  return compareBytes(key, interval.start) >= 0 && (interval.end === undefined || compareBytes(key, interval.end) < 0);
}

/** The key right behind this one: the exclusive end of an interval that holds it alone, and where a page goes on. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const after = new Uint8Array(key.length + 1);
  after.set(key);
  return after;
}

/** One char for each byte: a key as a Map sees it. Not text. */
export function mapKey(bytes: Uint8Array): string {
  const length = bytes.length;
  if (length <= 1024) return String.fromCharCode.apply(null, bytes as unknown as number[]);
  let text = "";
  for (let at = 0; at < length; at += 1024) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 1024) as unknown as number[]);
  }
  return text;
}

/** TypedArray.set costs more than a loop where there is little to copy, and most keys are short. */
export function copyBytes(from: Uint8Array, to: Uint8Array, at: number): void {
  const length = from.length;
  if (length > 32) {
    to.set(from, at);
    return;
  }
  for (let i = 0; i < length; i++) to[at + i] = from[i]!;
}

const EMPTY: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** A buffer that doubles when it is full. Its bound is its user's: `length` says how much is in it. */
export class ByteWriter {
  length = 0;
  private capacityBytes: number;
  private buffer: Uint8Array<ArrayBuffer> = EMPTY;
  private view: DataView = new DataView(EMPTY.buffer);

  /** Nothing is allocated before the first write. */
  constructor(capacityBytes = 256) {
    this.capacityBytes = capacityBytes;
  }

  /** Makes room, so that what follows writes without asking again. */
  reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.buffer.length) return;
    const grown = new Uint8Array(Math.max(needed, this.buffer.length * 2, this.capacityBytes));
    grown.set(this.buffer.subarray(0, this.length));
    this.buffer = grown;
    this.view = new DataView(grown.buffer);
  }

  u8(value: number): void {
    this.reserve(1);
    this.buffer[this.length++] = value;
  }

  u32(value: number): void {
    this.reserve(4);
    this.view.setUint32(this.length, value, true);
    this.length += 4;
  }

  f64(value: number): void {
    this.reserve(8);
    this.view.setFloat64(this.length, value, true);
    this.length += 8;
  }

  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    copyBytes(bytes, this.buffer, this.length);
    this.length += bytes.length;
  }

  setU8(at: number, value: number): void {
    this.buffer[at] = value;
  }

  setU32(at: number, value: number): void {
    this.view.setUint32(at, value, true);
  }

  setF64(at: number, value: number): void {
    this.view.setFloat64(at, value, true);
  }

  /** A view of what was written; good until the next write. */
  written(from = 0): Uint8Array<ArrayBuffer> {
    return this.buffer.subarray(from, this.length);
  }

  /** Hands the buffer over, as a view from its start whose tail is unused. The next write begins a new one, of about that size. */
  take(): Uint8Array<ArrayBuffer> {
    // Never the constant: the taker may transfer what it is given.
    const taken = this.length === 0 ? new Uint8Array(0) : this.buffer.subarray(0, this.length);
    this.capacityBytes = Math.min(65_536, Math.max(256, this.length));
    this.buffer = EMPTY;
    this.length = 0;
    return taken;
  }
}
