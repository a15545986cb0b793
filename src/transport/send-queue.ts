/**
 * What waits to be written to one connection: a queue for each lane, and the order in which they are emptied. Frames of one turn leave in
 * one write. The socket is only given what fits its small share, and the rest waits here, so that an urgent frame waits behind no more
 * than that share and the frame that is being sent.
 *
 * Copies: parts of up to PART_COPIED_MAX bytes are gathered into one piece with the headers around them; larger ones go to the socket as
 * they are, in slices.
 */
import type { Socket } from "node:net";
import { nextTick } from "node:process";
import { FRAME_HEADER_BYTES, writeFrameHeader, type FrameLane } from "./frame.ts";

/** Lanes in the order in which they are emptied. */
const ORDER: readonly FrameLane[] = ["control", "urgent", "bulk", "snapshot"];
const PART_COPIED_MAX = 2048;
const PIECE_BYTES_MAX = 16 << 10;
/** The link's own frames: a ping or a pong at a time. */
const CONTROL_BYTES_MAX = 1024;
/** What a waiting frame takes besides its bytes, counted so that a great many small ones stay within the bound of their lane. */
const WAITING_OVERHEAD_BYTES = 64;

export interface LaneBounds {
  readonly urgentBytesMax: number;
  readonly bulkBytesMax: number;
  readonly snapshotBytesMax: number;
  readonly socketBytesMax: number;
}

interface Waiting {
  readonly lane: number;
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
  readonly written: (() => void) | undefined;
}

/** Frames first in, first out, without moving those that wait. */
class FrameQueue {
  readonly #frames: (Waiting | undefined)[] = [];
  #first = 0;

  add(frame: Waiting): void {
    this.#frames.push(frame);
  }

  take(): Waiting | undefined {
    const frame = this.#frames[this.#first];
    if (frame === undefined) return undefined;
    this.#frames[this.#first] = undefined;
    this.#first += 1;
    if (this.#first === this.#frames.length || this.#first >= 1024) {
      this.#frames.splice(0, this.#first);
      this.#first = 0;
    }
    return frame;
  }
}

/** One write to the socket, and the frames that end in it. */
interface Batch {
  readonly bytes: number;
  readonly frames: readonly Waiting[];
}

export class SendQueue {
  readonly #socket: Socket;
  readonly #socketBytesMax: number;
  readonly #bounds: readonly number[];
  readonly #queues: readonly FrameQueue[] = ORDER.map(() => new FrameQueue());
  /** By lane: bytes offered and not yet written. */
  readonly #pending: number[] = ORDER.map(() => 0);
  readonly #batches: Batch[] = [];
  #bytesInSocket = 0;
  #bytesWaiting = 0;
  #batchesWritten = 0;
  /** The frame that is being sent, if it did not fit the last batch, and how far it is. */
  #current: Waiting | undefined;
  #currentPart = 0;
  #currentOffset = 0;
  #flowing = false;
  #flushing = false;
  #closed = false;

  constructor(socket: Socket, bounds: LaneBounds) {
    this.#socket = socket;
    this.#socketBytesMax = bounds.socketBytesMax;
    this.#bounds = [CONTROL_BYTES_MAX, bounds.urgentBytesMax, bounds.bulkBytesMax, bounds.snapshotBytesMax];
  }

  /** Frames offered before wait until then. */
  open(): void {
    this.#flowing = true;
    this.#flushSoon();
  }

  /** false: the lane is full, or the queue is closed; then `written` is not called. */
  offer(lane: FrameLane, parts: readonly Uint8Array[], written: (() => void) | undefined): boolean {
    const code = ORDER.indexOf(lane);
    let bytes = FRAME_HEADER_BYTES;
    for (const part of parts) bytes += part.byteLength;
    const pending = this.pendingBytes(lane) + bytes + WAITING_OVERHEAD_BYTES;
    if (this.#closed || pending > (this.#bounds[code] as number)) return false;
    this.#pending[code] = pending;
    this.#bytesWaiting += bytes;
    (this.#queues[code] as FrameQueue).add({ lane: code, parts, bytes, written });
    this.#flushSoon();
    return true;
  }

  /** Of the frames whose last byte the operating system has not taken yet, headers and some overhead for each included. */
  pendingBytes(lane: FrameLane): number {
    return this.#pending[ORDER.indexOf(lane)] as number;
  }

  /** Whether the operating system owes us the taking of bytes. */
  get isWriting(): boolean {
    return this.#bytesInSocket > 0;
  }

  /** Counts the writes that were taken, so that one can see whether anything moves. */
  get writesTaken(): number {
    return this.#batchesWritten;
  }

  /** Calls `written` of everything that waits or is under way. To be called once the socket is destroyed, since the bytes may change from then on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const dropped: Waiting[] = [];
    for (const batch of this.#batches) dropped.push(...batch.frames);
    if (this.#current !== undefined) dropped.push(this.#current);
    for (const queue of this.#queues) {
      for (let frame = queue.take(); frame !== undefined; frame = queue.take()) dropped.push(frame);
    }
    this.#batches.length = 0;
    this.#current = undefined;
    this.#bytesInSocket = 0;
    this.#bytesWaiting = 0;
    this.#pending.fill(0);
    for (const frame of dropped) frame.written?.();
  }

  /** What was offered goes out within this call rather than after the code that is running. */
  flush(): void {
    if (this.#flushing) this.#flush();
  }

  #flushSoon(): void {
    if (this.#flushing || !this.#flowing || this.#closed) return;
    this.#flushing = true;
    // After the code that is running now: what one turn sends to a peer becomes one write.
    nextTick(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushing = false;
    if (this.#closed || this.#bytesWaiting === 0) return;
    const room = this.#socketBytesMax - this.#bytesInSocket;
    // Many small writes cost more than a few large ones: wait until a good part of the share is free again.
    if (room < this.#socketBytesMax / 2) return;
    this.#write(room);
  };

  #write(room: number): void {
    const pieces: Uint8Array[] = [];
    const frames: Waiting[] = [];
    /** Where small parts are gathered: piece[from, to) is not among the pieces yet. */
    let piece: Uint8Array = Buffer.alloc(0);
    let from = 0;
    let to = 0;
    let bytes = 0;
    const reserve = (length: number): void => {
      if (piece.byteLength - to >= length) return;
      if (to > from) pieces.push(piece.subarray(from, to));
      // Not zeroed, and small ones from Node's pool: every byte that is sent has been written here before.
      piece = Buffer.allocUnsafe(Math.max(length, Math.min(PIECE_BYTES_MAX, this.#bytesWaiting, room - bytes)));
      from = 0;
      to = 0;
    };
    while (bytes < room) {
      let frame = this.#current;
      if (frame === undefined) {
        frame = this.#take();
        if (frame === undefined) break;
        this.#current = frame;
        this.#currentPart = 0;
        this.#currentOffset = 0;
        reserve(FRAME_HEADER_BYTES);
        writeFrameHeader(piece, to, ORDER[frame.lane] as FrameLane, frame.parts);
        to += FRAME_HEADER_BYTES;
        bytes += FRAME_HEADER_BYTES;
        this.#bytesWaiting -= FRAME_HEADER_BYTES;
      }
      while (this.#currentPart < frame.parts.length) {
        const part = frame.parts[this.#currentPart] as Uint8Array;
        // An empty part needs no room; waiting for some would leave its frame unfinished with nothing more to send.
        if (bytes >= room && part.byteLength > 0) break;
        let taken: number;
        if (part.byteLength <= PART_COPIED_MAX) {
          taken = part.byteLength;
          reserve(taken);
          piece.set(part, to);
          to += taken;
        } else {
          taken = Math.min(part.byteLength - this.#currentOffset, room - bytes);
          if (to > from) pieces.push(piece.subarray(from, to));
          from = to;
          pieces.push(part.subarray(this.#currentOffset, this.#currentOffset + taken));
        }
        bytes += taken;
        this.#bytesWaiting -= taken;
        this.#currentOffset += taken;
        if (this.#currentOffset === part.byteLength) {
          this.#currentPart += 1;
          this.#currentOffset = 0;
        }
      }
      if (this.#currentPart < frame.parts.length) break;
      frames.push(frame);
      this.#current = undefined;
    }
    if (to > from) pieces.push(piece.subarray(from, to));
    this.#bytesInSocket += bytes;
    this.#batches.push({ bytes, frames });
    const last = pieces.pop();
    if (last === undefined) return;
    if (pieces.length > 0) this.#socket.cork();
    for (const earlier of pieces) this.#socket.write(earlier);
    this.#socket.write(last, this.#onWritten);
    if (pieces.length > 0) this.#socket.uncork();
  }

  #take(): Waiting | undefined {
    for (const queue of this.#queues) {
      const frame = queue.take();
      if (frame !== undefined) return frame;
    }
    return undefined;
  }

  /** The socket calls it once for each batch, in their order; an error it reports apart, by closing. */
  readonly #onWritten = (error?: Error | null): void => {
    if (this.#closed || (error !== undefined && error !== null)) return;
    const batch = this.#batches.shift();
    if (batch === undefined) return;
    this.#bytesInSocket -= batch.bytes;
    this.#batchesWritten += 1;
    for (const frame of batch.frames) {
      this.#pending[frame.lane] = (this.#pending[frame.lane] as number) - frame.bytes - WAITING_OVERHEAD_BYTES;
    }
    this.#flushSoon();
    for (const frame of batch.frames) frame.written?.();
  };
}
