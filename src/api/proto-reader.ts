/**
 * Reads the wire format of protobuf: tags, varints, lengths, unknown fields. It checks every length against the bytes that are there and throws
 * MalformedMessage at anything else. It knows no schema: message-codec.ts does.
 */
import { MalformedMessage } from "./malformed-message.ts";
import { NO_ID } from "./schema/messages.ts";

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
export const WIRE_START_GROUP = 3;
export const WIRE_END_GROUP = 4;
export const WIRE_FIXED32 = 5;

const GROUPS_MAX = 32;
const strictText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** One message's bytes, read from the front. */
export class ProtoReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  /** The words of the varint last read. */
  private low = 0;
  private high = 0;

  constructor(bytes: Uint8Array, at = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** The next tag: field number * 8 + wire type. */
  tag(): number {
    const byte = this.bytes[this.at]!;
    if (byte < 0x80 && this.at < this.end) {
      this.at++;
      if (byte < 8) throw new MalformedMessage("illegal tag 0");
      return byte;
    }
    this.varint();
    if (this.high !== 0 || this.low < 8) throw new MalformedMessage("illegal tag");
    return this.low;
  }

  /** An int32, an enumeration: the low 32 bits, signed. */
  int32(): number {
    this.varint();
    return this.low | 0;
  }

  uint32(): number {
    this.varint();
    return this.low;
  }

  bool(): boolean {
    this.varint();
    return (this.low | this.high) !== 0;
  }

  /** A signed integer. What lies beyond 2^53 becomes 2^53 - 1, of the same sign: nothing that is counted here comes near it. */
  int64(): number {
    const byte = this.bytes[this.at]!;
    if (byte < 0x80 && this.at < this.end) {
      this.at++;
      return byte;
    }
    this.varint();
    const { low, high } = this;
    if (high < 0x80000000) return high < 0x200000 ? high * 4_294_967_296 + low : Number.MAX_SAFE_INTEGER;
    const value = (high - 0x1_0000_0000) * 4_294_967_296 + low;
    return Math.max(value, Number.MIN_SAFE_INTEGER);
  }

  uint64(): number {
    this.varint();
    return this.high < 0x200000 ? this.high * 4_294_967_296 + this.low : Number.MAX_SAFE_INTEGER;
  }

  /** 64 bits as 16 hex digits. */
  id(): string {
    this.varint();
    const { low, high } = this;
    if (low === 0 && high === 0) return NO_ID;
    return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
  }

  /** A view of the bytes. */
  view(): Uint8Array {
    const length = this.length();
    const at = this.at;
    this.at = at + length;
    return this.bytes.subarray(at, this.at);
  }

  text(): string {
    const bytes = this.view();
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i]! > 0x7f) return decodeText(bytes);
    }
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  }

  /** The length of what follows, all of which is there. */
  length(): number {
    const byte = this.bytes[this.at]!;
    let length = byte;
    if (byte < 0x80 && this.at < this.end) {
      this.at++;
    } else {
      this.varint();
      if (this.high !== 0) throw new MalformedMessage("a length beyond the end");
      length = this.low;
    }
    if (length > this.end - this.at) throw new MalformedMessage("unexpected EOF");
    return length;
  }

  /** Skips a field of this tag. */
  skip(tag: number, groups = 0): void {
    switch (tag & 7) {
      case WIRE_VARINT:
        this.varint();
        return;
      case WIRE_FIXED64:
        this.advance(8);
        return;
      case WIRE_BYTES:
        this.advance(this.length());
        return;
      case WIRE_FIXED32:
        this.advance(4);
        return;
      case WIRE_START_GROUP:
        if (groups >= GROUPS_MAX) throw new MalformedMessage("groups nested too deeply");
        for (;;) {
          if (this.at >= this.end) throw new MalformedMessage("unexpected EOF");
          const inner = this.tag();
          if ((inner & 7) === WIRE_END_GROUP) {
            if (inner >>> 3 !== tag >>> 3) throw new MalformedMessage("a group ends that did not begin");
            return;
          }
          this.skip(inner, groups + 1);
        }
      default:
        throw new MalformedMessage(`illegal wire type ${tag & 7}`);
    }
  }

  private advance(bytes: number): void {
    if (bytes > this.end - this.at) throw new MalformedMessage("unexpected EOF");
    this.at += bytes;
  }

  private varint(): void {
    const { bytes, end } = this;
    let { at } = this;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) throw new MalformedMessage("unexpected EOF");
      const byte = bytes[at++]!;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else if (bits > 1) throw new MalformedMessage("a varint of more than 64 bits");
      else high |= bits << 31;
      if (byte < 0x80) {
        this.at = at;
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    throw new MalformedMessage("a varint of more than 64 bits");
  }
}

function decodeText(bytes: Uint8Array): string {
  try {
    return strictText.decode(bytes);
  } catch {
    throw new MalformedMessage("a string field contains invalid UTF-8");
  }
}
