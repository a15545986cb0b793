/**
 * Writes the wire format of protobuf from the end to the front, so that a length is known when it is written in front of what it measures: nothing
 * is written twice. Callers therefore write fields in descending order. For messages whose size is known before, see kv-codec.ts.
 */

/** One message, written backwards. */
export class ProtoWriter {
  private buffer: Buffer;
  private start: number;

  constructor(capacityBytes = 256) {
    this.buffer = Buffer.allocUnsafe(capacityBytes);
    this.start = capacityBytes;
  }

  /** Bytes so far. */
  get length(): number {
    return this.buffer.length - this.start;
  }

  /** What was written. The writer is of no further use. */
  finish(): Uint8Array {
    return this.buffer.subarray(this.start);
  }

  /** An unsigned varint below 2^53. */
  varint(value: number): void {
    if (value < 0x80) {
      this.reserve(1);
      this.buffer[--this.start] = value;
      return;
    }
    const bytes = varintBytes(value);
    this.reserve(bytes);
    this.start -= bytes;
    writeVarint(this.buffer, this.start, value);
  }

  /** A signed integer as a varint: negative ones take ten bytes. */
  int64(value: number): void {
    if (value >= 0) {
      this.varint(value);
      return;
    }
    const high = Math.floor(value / 4_294_967_296);
    this.words(high >>> 0, value - high * 4_294_967_296);
  }

  /** 16 hex digits as a varint. */
  id(id: string): void {
    this.words(Number.parseInt(id.slice(0, -8), 16), Number.parseInt(id.slice(-8), 16));
  }

  bytes(value: Uint8Array): void {
    this.reserve(value.length);
    this.start -= value.length;
    this.buffer.set(value, this.start);
  }

  text(value: string): void {
    const length = Buffer.byteLength(value, "utf8");
    this.reserve(length);
    this.start -= length;
    this.buffer.write(value, this.start, "utf8");
  }

  private words(high: number, low: number): void {
    const bytes = wordsBytes(high, low);
    this.reserve(bytes);
    this.start -= bytes;
    writeWords(this.buffer, this.start, high, low);
  }

  private reserve(bytes: number): void {
    if (bytes <= this.start) return;
    const { length } = this;
    const capacity = Math.max(this.buffer.length * 2, length + bytes);
    const grown = Buffer.allocUnsafe(capacity);
    this.buffer.copy(grown, capacity - length, this.start);
    this.buffer = grown;
    this.start = capacity - length;
  }
}

/** Bytes of an unsigned varint below 2^53. */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  let bytes = 5;
  for (let rest = Math.floor(value / 0x800000000); rest > 0; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Writes an unsigned varint below 2^53; answers where it ends. */
export function writeVarint(buffer: Uint8Array, at: number, value: number): number {
  let left = value;
  let next = at;
  while (left > 0x7fffffff) {
    buffer[next++] = (left % 128) | 0x80;
    left = Math.floor(left / 128);
  }
  while (left > 0x7f) {
    buffer[next++] = (left & 0x7f) | 0x80;
    left >>>= 7;
  }
  buffer[next++] = left;
  return next;
}

/** Bytes of 64 bits, given as two words, as a varint. */
export function wordsBytes(high: number, low: number): number {
  if (high === 0) return varintBytes(low);
  let bytes = 5;
  for (let rest = high >>> 3; rest > 0; rest >>>= 7) bytes++;
  return bytes;
}

/** Writes 64 bits, given as two words, as a varint; answers where it ends. */
export function writeWords(buffer: Uint8Array, at: number, high: number, low: number): number {
  if (high === 0) return writeVarint(buffer, at, low);
  let next = at;
  for (let shift = 0; shift < 28; shift += 7) buffer[next++] = ((low >>> shift) & 0x7f) | 0x80;
  const middle = (low >>> 28) | ((high & 7) << 4);
  let rest = high >>> 3;
  if (rest === 0) {
    buffer[next++] = middle;
    return next;
  }
  buffer[next++] = middle | 0x80;
  while (rest > 0x7f) {
    buffer[next++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  buffer[next++] = rest;
  return next;
}
