/**
 * Packs writes of the log, in the caller's thread, into buffers that the disk writes as they are: one copy of each entry's record, no object
 * per entry. While appends are on their way further writes gather, and leave together when one returns. The buffers are shared memory, so
 * that nothing is copied or emptied on the way to the disk thread; one is used again when the disk has answered.
 */
import { GROUP_HEADER_BYTES, RECORD_ENTRY, RECORD_HEADER_BYTES } from "./log-format.ts";
import { voteRecordBytes, writeVoteRecord } from "./log-state.ts";
import type { LogWrite } from "./storage.ts";

/** Settles the promise of one write. */
export interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Writes that go to the disk together. */
export interface Gathered {
  readonly buffer: Uint8Array;
  readonly view: DataView;
  used: number;
  readonly waiters: Waiter[];
}

/** Writes gather in one buffer up to here; a larger write has one of its own. */
const GATHERED_BYTES = 1024 * 1024;
const BUFFER_BYTES_MIN = 64 * 1024;
const POOLED_MAX = 4;

/** How many bytes a write takes in the log, before it is rounded up. */
export function recordBytes(write: LogWrite): number {
  let bytes = write.vote === undefined ? 0 : voteRecordBytes(write.vote);
  for (const entry of write.entries) bytes += RECORD_HEADER_BYTES + entry.record.byteLength;
  return bytes;
}

export class AppendGatherer {
  readonly #queue: Gathered[] = [];
  readonly #pool: { readonly buffer: Uint8Array; readonly view: DataView }[] = [];
  /** In all that waits to leave. */
  bytes = 0;

  /** `bytes` is what recordBytes() says of the write. */
  add(write: LogWrite, bytes: number, waiter: Waiter): void {
    const { vote, entries } = write;
    const gathered = this.#room(bytes);
    const { buffer, view } = gathered;
    let at = gathered.used;
    if (vote !== undefined) at = writeVoteRecord(view, at, vote);
    for (const entry of entries) {
      const { record } = entry;
      view.setUint32(at, record.byteLength, true);
      view.setUint32(at + 4, RECORD_ENTRY, true);
      buffer.set(record, at + RECORD_HEADER_BYTES);
      at += RECORD_HEADER_BYTES + record.byteLength;
    }
    gathered.used = at;
    gathered.waiters.push(waiter);
    this.bytes += bytes;
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Joins the last of what is gathered: true if there was any. */
  joinLast(waiter: Waiter): boolean {
    const last = this.#queue[this.#queue.length - 1];
    last?.waiters.push(waiter);
    return last !== undefined;
  }

  take(): Gathered | undefined {
    const gathered = this.#queue.shift();
    if (gathered !== undefined) this.bytes -= gathered.used - GROUP_HEADER_BYTES;
    return gathered;
  }

  /** The disk has answered: the buffer may be written again. */
  giveBack(gathered: Gathered): void {
    if (this.#pool.length < POOLED_MAX && gathered.buffer.byteLength <= 4 * GATHERED_BYTES) this.#pool.push(gathered);
  }

  #room(bytes: number): Gathered {
    const last = this.#queue[this.#queue.length - 1];
    if (last !== undefined) {
      const needed = last.used + bytes;
      if (needed <= last.buffer.byteLength && needed <= GATHERED_BYTES) return last;
      if (needed <= GATHERED_BYTES) return this.#grown(last, needed);
    }
    const { buffer, view } = this.#bufferOf(GROUP_HEADER_BYTES + bytes);
    const gathered: Gathered = { buffer, view, used: GROUP_HEADER_BYTES, waiters: [] };
    this.#queue.push(gathered);
    return gathered;
  }

  #grown(last: Gathered, needed: number): Gathered {
    const { buffer, view } = this.#bufferOf(Math.min(GATHERED_BYTES, Math.max(needed, last.buffer.byteLength * 2)));
    buffer.set(last.buffer.subarray(0, last.used));
    const gathered: Gathered = { buffer, view, used: last.used, waiters: last.waiters };
    this.#queue[this.#queue.length - 1] = gathered;
    return gathered;
  }

  #bufferOf(bytes: number): { readonly buffer: Uint8Array; readonly view: DataView } {
    const at = this.#pool.findIndex((pooled) => pooled.buffer.byteLength >= bytes);
    if (at >= 0) return this.#pool.splice(at, 1)[0]!;
    const buffer = new Uint8Array(new SharedArrayBuffer(Math.max(BUFFER_BYTES_MIN, bytes)));
    return { buffer, view: new DataView(buffer.buffer) };
  }
}
