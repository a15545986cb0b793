/**
 * Frames: how messages are cut out of a stream of bytes. A frame is a header of twelve bytes and a body:
 *
 *   0  u32  length of the body, little-endian as all numbers
 *   4  u32  CRC-32 of the body, begun from a value made of length, version and lane, so that it covers the header too
 *   8  u8   version of this layout
 *   9  u8   lane: 0 control, 1 urgent, 2 bulk, 3 snapshot
 *  10  u16  check of length, version and lane alone
 *
 * The last field exists so that a wrong length is found before anyone waits for that many bytes, and a stranger's first line of HTTP
 * before anything is set aside for it. What the bodies mean is not known here.
 */
import { crc32 } from "node:zlib";
import type { Lane } from "./transport.ts";

/** The lanes of a link, and the frames that the link itself exchanges. */
export type FrameLane = "control" | Lane;

export const FRAME_HEADER_BYTES = 12;
const FRAME_VERSION = 1;

const LANES: readonly FrameLane[] = ["control", "urgent", "bulk", "snapshot"];

/** Writes the header of the frame whose body is these parts, one after the other. */
export function writeFrameHeader(into: Uint8Array, offset: number, lane: FrameLane, body: readonly Uint8Array[]): void {
  const code = LANES.indexOf(lane);
  let length = 0;
  for (const part of body) length += part.byteLength;
  const mix = mixHeader(length, FRAME_VERSION, code);
  let crc = mix;
  for (const part of body) crc = crc32(part, crc);
  putUint32(into, offset, length);
  putUint32(into, offset + 4, crc);
  into[offset + 8] = FRAME_VERSION;
  into[offset + 9] = code;
  into[offset + 10] = mix >>> 16;
  into[offset + 11] = mix >>> 24;
}

/** The whole frame in bytes of its own, for the few frames that are not worth more care. */
export function encodeFrame(lane: FrameLane, body: readonly Uint8Array[]): Uint8Array {
  let length = FRAME_HEADER_BYTES;
  for (const part of body) length += part.byteLength;
  const frame = new Uint8Array(length);
  writeFrameHeader(frame, 0, lane, body);
  let at = FRAME_HEADER_BYTES;
  for (const part of body) {
    frame.set(part, at);
    at += part.byteLength;
  }
  return frame;
}

/**
 * Cuts a stream back into frames. A body that lies within one chunk is a view of that chunk; one that does not is copied once, into bytes
 * set aside for it when its header came in. So at most one body of `bodyBytesMax` is held, however the stream is cut.
 */
export class FrameReader {
  /** Larger bodies are refused. May be changed between chunks, and by onFrame. */
  bodyBytesMax: number;
  readonly #onFrame: (lane: FrameLane, body: Uint8Array) => void;
  /** The beginning of a header that was cut off at the end of a chunk. */
  readonly #header: Uint8Array = new Uint8Array(FRAME_HEADER_BYTES);
  #headerFilled = 0;
  /** The body that has begun; `#body` is undefined between frames. */
  #body: Uint8Array | undefined;
  #bodyFilled = 0;
  #length = 0;
  #crc = 0;
  #mix = 0;
  #lane: FrameLane = "control";
  #stopped = false;

  constructor(bodyBytesMax: number, onFrame: (lane: FrameLane, body: Uint8Array) => void) {
    this.bodyBytesMax = bodyBytesMax;
    this.#onFrame = onFrame;
  }

  /** No frame is delivered any more, even of the chunk that is being read. */
  stop(): void {
    this.#stopped = true;
    this.#body = undefined;
  }

  /** Takes the next bytes; delivers what is complete. Answers what is wrong with the stream, which then can be read no further. */
  read(chunk: Uint8Array): string | undefined {
    const end = chunk.byteLength;
    let at = 0;
    while (at < end && !this.#stopped) {
      if (this.#body !== undefined) {
        const taken = Math.min(this.#length - this.#bodyFilled, end - at);
        this.#body.set(chunk.subarray(at, at + taken), this.#bodyFilled);
        this.#bodyFilled += taken;
        at += taken;
        if (this.#bodyFilled < this.#length) return undefined;
        const body = this.#body;
        this.#body = undefined;
        if (!this.#deliver(body)) return this.#fail("a frame's checksum does not fit its bytes");
        continue;
      }
      let problem: string | undefined;
      if (this.#headerFilled === 0 && end - at >= FRAME_HEADER_BYTES) {
        problem = this.#readHeader(chunk, at);
        at += FRAME_HEADER_BYTES;
      } else {
        const taken = Math.min(FRAME_HEADER_BYTES - this.#headerFilled, end - at);
        this.#header.set(chunk.subarray(at, at + taken), this.#headerFilled);
        this.#headerFilled += taken;
        at += taken;
        if (this.#headerFilled < FRAME_HEADER_BYTES) return undefined;
        this.#headerFilled = 0;
        problem = this.#readHeader(this.#header, 0);
      }
      if (problem !== undefined) return this.#fail(problem);
      if (end - at >= this.#length) {
        // A plain array of bytes, whatever the chunk is: a view of a Buffer would be one too.
        const body = new Uint8Array(chunk.buffer, chunk.byteOffset + at, this.#length);
        at += this.#length;
        if (!this.#deliver(body)) return this.#fail("a frame's checksum does not fit its bytes");
      } else {
        this.#body = new Uint8Array(this.#length);
        this.#bodyFilled = 0;
      }
    }
    return undefined;
  }

  #readHeader(bytes: Uint8Array, offset: number): string | undefined {
    const length = getUint32(bytes, offset);
    const version = bytes[offset + 8] as number;
    const code = bytes[offset + 9] as number;
    const mix = mixHeader(length, version, code);
    if (bytes[offset + 10] !== ((mix >>> 16) & 0xff) || bytes[offset + 11] !== mix >>> 24) return "these are no frames of this protocol";
    const lane = LANES[code];
    if (version !== FRAME_VERSION) return `frames of version ${version}, this program reads ${FRAME_VERSION}`;
    if (lane === undefined) return `a frame on lane ${code}, which does not exist`;
    if (length === 0) return "an empty frame";
    if (length > this.bodyBytesMax) return `a frame of ${length} bytes, more than the ${this.bodyBytesMax} that are taken here`;
    this.#length = length;
    this.#lane = lane;
    this.#mix = mix;
    this.#crc = getUint32(bytes, offset + 4);
    return undefined;
  }

  #deliver(body: Uint8Array): boolean {
    if (crc32(body, this.#mix) !== this.#crc) return false;
    this.#onFrame(this.#lane, body);
    return true;
  }

  #fail(problem: string): string {
    this.stop();
    return problem;
  }
}

/** 32 bits of which any one changed bit of the three numbers changes the upper half. */
function mixHeader(length: number, version: number, lane: number): number {
  return (Math.imul(length, 0x9e3779b1) ^ Math.imul(((version << 8) | lane) + 1, 0x85ebca6b)) >>> 0;
}

function putUint32(into: Uint8Array, offset: number, value: number): void {
  into[offset] = value;
  into[offset + 1] = value >>> 8;
  into[offset + 2] = value >>> 16;
  into[offset + 3] = value >>> 24;
}

function getUint32(bytes: Uint8Array, offset: number): number {
  const low = (bytes[offset] as number) | ((bytes[offset + 1] as number) << 8);
  return (low | ((bytes[offset + 2] as number) << 16) | ((bytes[offset + 3] as number) << 24)) >>> 0;
}
