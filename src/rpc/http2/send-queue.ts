/**
 * The data of one stream that waits for windows or for the socket. Small writes are joined by copying, so that they later leave in few
 * frames; large ones are kept by reference and must not change. Its bound is the connection's `sendQueueBytesMax`.
 */
import type { HeaderTemplate } from "../hpack/encoder.ts";

const COPIED_BYTES_MAX = 4096;
const TAIL_BYTES_MIN = 512;
const TAIL_BYTES_MAX = 16_384;

/** Trailers that wait behind the data. */
export interface Trailers {
  readonly template: HeaderTemplate | undefined;
  /** Names and values in turn, behind those of the template. */
  readonly fields: readonly string[] | undefined;
}

interface Piece {
  readonly bytes: Buffer;
  start: number;
  end: number;
  /** Bytes behind `end` are free to join more. */
  readonly growable: boolean;
}

/** The waiting data of one stream. */
export class SendQueue {
  /** Waiting bytes. */
  bytes = 0;
  /** The stream ends behind them. */
  ended = false;
  trailers: Trailers | undefined = undefined;
  readonly #pieces: Piece[] = [];
  #first = 0;

  /** Adds bytes; a long run is kept by reference. */
  push(bytes: Uint8Array): void {
    const length = bytes.length;
    if (length === 0) return;
    this.bytes += length;
    if (length > COPIED_BYTES_MAX) {
      const whole = Buffer.from(bytes.buffer, bytes.byteOffset, length);
      this.#pieces.push({ bytes: whole, start: 0, end: length, growable: false });
      return;
    }
    let tail = this.#pieces.at(-1);
    if (tail === undefined || !tail.growable || tail.bytes.length - tail.end < length) {
      const grown = tail !== undefined && tail.growable ? tail.bytes.length * 2 : TAIL_BYTES_MIN;
      const size = Math.max(length, Math.min(grown, TAIL_BYTES_MAX));
      tail = { bytes: Buffer.allocUnsafeSlow(size), start: 0, end: 0, growable: true };
      this.#pieces.push(tail);
    }
    tail.bytes.set(bytes, tail.end);
    tail.end += length;
  }

  /** Moves the first `length` bytes into the target. */
  copyTo(target: Buffer, at: number, length: number): void {
    this.bytes -= length;
    while (length > 0) {
      const piece = this.#pieces[this.#first]!;
      const count = Math.min(length, piece.end - piece.start);
      piece.bytes.copy(target, at, piece.start, piece.start + count);
      at += count;
      length -= count;
      this.#advance(piece, count);
    }
  }

  /** Takes up to `lengthMax` first bytes that lie together, as a view that nobody writes to again. */
  take(lengthMax: number): Buffer {
    const piece = this.#pieces[this.#first]!;
    const count = Math.min(lengthMax, piece.end - piece.start);
    const view = piece.bytes.subarray(piece.start, piece.start + count);
    this.bytes -= count;
    this.#advance(piece, count);
    return view;
  }

  #advance(piece: Piece, count: number): void {
    piece.start += count;
    if (piece.start < piece.end) return;
    this.#first++;
    if (this.#first === this.#pieces.length) {
      this.#pieces.length = 0;
      this.#first = 0;
    } else if (this.#first >= 64) {
      this.#pieces.splice(0, this.#first);
      this.#first = 0;
    }
  }
}
