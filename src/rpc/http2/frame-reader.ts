/**
 * Cuts the bytes of a socket into frames (RFC 9113 section 4.1). Frames that lie whole in a chunk are given as they lie, without a
 * copy; one that is split is collected in a buffer of its own. Holds at most one frame.
 */
import { FRAME_HEADER_BYTES } from "./protocol.ts";

/** What takes the frames. */
export interface FrameSink {
  /** The payload is source[start, end). False: stop, the connection has ended. */
  onFrame(type: number, flags: number, streamId: number, source: Buffer, start: number, end: number): boolean;
  /** A frame longer than the limit. Nothing more is read. */
  onFrameTooLarge(type: number, streamId: number, length: number): void;
}

/** Cuts the bytes of one connection into frames. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #frameBytesMax: number;
  /** The beginning of a split frame, and how many bytes of it are there. */
  #held: Buffer | undefined;
  #heldBytes = 0;
  #stopped = false;

  constructor(sink: FrameSink, frameBytesMax: number) {
    this.#sink = sink;
    this.#frameBytesMax = frameBytesMax;
  }

  /** True while a frame has begun and not ended. */
  get isInFrame(): boolean {
    return this.#heldBytes > 0;
  }

  /** Takes the next bytes. They may be read until this returns; the sink decides whether views of them live longer. */
  push(chunk: Buffer): void {
    let at = 0;
    if (this.#stopped) return;
    if (this.#heldBytes > 0) {
      at = this.#completeHeld(chunk);
      if (at < 0) return;
    }
    const end = chunk.length;
    while (end - at >= FRAME_HEADER_BYTES) {
      const length = (chunk[at]! << 16) | (chunk[at + 1]! << 8) | chunk[at + 2]!;
      const frameEnd = at + FRAME_HEADER_BYTES + length;
      if (length > this.#frameBytesMax) return this.#tooLarge(chunk, at, length);
      if (frameEnd > end) break;
      if (!this.#emit(chunk, at, frameEnd)) return;
      at = frameEnd;
    }
    if (at < end) this.#hold(chunk, at, end);
  }

  /** Drops what is held and takes nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#held = undefined;
    this.#heldBytes = 0;
  }

  #emit(source: Buffer, at: number, frameEnd: number): boolean {
    const streamId = ((source[at + 5]! & 0x7f) << 24) | (source[at + 6]! << 16) | (source[at + 7]! << 8) | source[at + 8]!;
    return this.#sink.onFrame(source[at + 3]!, source[at + 4]!, streamId, source, at + FRAME_HEADER_BYTES, frameEnd) && !this.#stopped;
  }

  #tooLarge(source: Buffer, at: number, length: number): void {
    const streamId = ((source[at + 5]! & 0x7f) << 24) | (source[at + 6]! << 16) | (source[at + 7]! << 8) | source[at + 8]!;
    const type = source[at + 3]!;
    this.stop();
    this.#sink.onFrameTooLarge(type, streamId, length);
  }

  #hold(chunk: Buffer, at: number, end: number): void {
    const available = end - at;
    let size = FRAME_HEADER_BYTES;
    if (available >= FRAME_HEADER_BYTES) size += (chunk[at]! << 16) | (chunk[at + 1]! << 8) | chunk[at + 2]!;
    this.#held = Buffer.allocUnsafe(size);
    chunk.copy(this.#held, 0, at, end);
    this.#heldBytes = available;
  }

  /** Completes the held frame from the chunk and returns how much of the chunk it took, or -1 to stop or wait for more. */
  #completeHeld(chunk: Buffer): number {
    let held = this.#held!;
    let at = 0;
    if (this.#heldBytes < FRAME_HEADER_BYTES) {
      const copied = Math.min(FRAME_HEADER_BYTES - this.#heldBytes, chunk.length);
      chunk.copy(held, this.#heldBytes, 0, copied);
      at = copied;
      this.#heldBytes += copied;
      if (this.#heldBytes < FRAME_HEADER_BYTES) return -1;
    }
    const length = (held[0]! << 16) | (held[1]! << 8) | held[2]!;
    if (length > this.#frameBytesMax) {
      this.#tooLarge(held, 0, length);
      return -1;
    }
    const size = FRAME_HEADER_BYTES + length;
    if (held.length < size) {
      const larger = Buffer.allocUnsafe(size);
      held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = held = larger;
    }
    const copied = Math.min(size - this.#heldBytes, chunk.length - at);
    chunk.copy(held, this.#heldBytes, at, at + copied);
    at += copied;
    this.#heldBytes += copied;
    if (this.#heldBytes < size) return -1;
    this.#held = undefined;
    this.#heldBytes = 0;
    return this.#emit(held, 0, size) ? at : -1;
  }
}
