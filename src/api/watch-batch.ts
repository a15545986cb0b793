/**
 * Events as they go to clients: encoded once, for all watches of all clients that want them. A batch holds one revision, or several that waited
 * together, as etcd gathers them for watches that lag.
 */
import type { PackedEvents } from "./backend.ts";
import type { ResponseHeads } from "./kv-responses.ts";
import { encodedEvents, encodedEventEnd } from "./watch-responses.ts";

/** What several revisions may take together in one response: with what stands before it, one frame of HTTP/2. */
export const BATCH_BYTES_MAX = 16_200;

/** Encoded events on their way. */
export interface EventBatch {
  /** That of the last event. */
  readonly revision: number;
  /** Fields `events` of a WatchResponse, one behind another. */
  readonly encoded: Uint8Array;
  readonly count: number;
  /** The revision, which is the only one, goes on in the next batch: it is larger than what is told at a time. */
  readonly more: boolean;
  /** The encoded header, the same for all watches; made when the first of them sends it. */
  head: Uint8Array | undefined;
}

/** One revision, or a part of it. */
export function batchOf(events: PackedEvents): EventBatch {
  return { revision: events.revision, encoded: encodedEvents(events), count: events.count, more: events.more, head: undefined };
}

/** A revision is sent whole up to about so many bytes; beyond, in responses of that size, which say that more follows to those who ask for it. */
export const WHOLE_BYTES_MAX: number = 8 << 20;

/** Where the bytes count that somebody holds. */
export interface HeldBytes {
  bytes: number;
  readonly bytesMax: number;
}

/** Puts the parts of a large revision together again. */
export class RevisionParts {
  readonly #held: HeldBytes;
  #parts: EventBatch[] = [];
  #bytes = 0;

  constructor(held: HeldBytes) {
    this.#held = held;
  }

  /** What is to be sent now: the revision, or so much of it that no more is held. undefined: what is to come goes with it. */
  add(batch: EventBatch): EventBatch | undefined {
    if (!batch.more && this.#parts.length === 0) return batch;
    this.#parts.push(batch);
    this.#bytes += batch.encoded.length;
    this.#held.bytes += batch.encoded.length;
    if (batch.more && this.#bytes < WHOLE_BYTES_MAX && this.#held.bytes <= this.#held.bytesMax) return undefined;
    const joined = joinBatches(this.#parts, this.#bytes, batch.more);
    this.clear();
    return joined;
  }

  /** What it holds will not be sent. */
  clear(): void {
    this.#held.bytes -= this.#bytes;
    this.#parts = [];
    this.#bytes = 0;
  }
}

/** Whole revisions, or parts of one, one behind another, of so many bytes together. */
export function joinBatches(batches: readonly EventBatch[], bytes: number, more: boolean): EventBatch {
  const encoded = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  let count = 0;
  for (const batch of batches) {
    encoded.set(batch.encoded, at);
    at += batch.encoded.length;
    count += batch.count;
  }
  return { revision: batches.at(-1)!.revision, encoded, count, more, head: undefined };
}

/** What is left of a batch behind its first events. There must be more than these. */
export function behindFirst(batch: EventBatch, events: number): EventBatch {
  let at = 0;
  for (let i = 0; i < events; i++) at = encodedEventEnd(batch.encoded, at);
  return { ...batch, encoded: batch.encoded.subarray(at), count: batch.count - events };
}

/** The batch's header. */
export function headOf(batch: EventBatch, heads: ResponseHeads): Uint8Array {
  if (batch.head !== undefined) return batch.head;
  const head = Buffer.allocUnsafe(heads.size(batch.revision));
  heads.write(head, 0, batch.revision);
  batch.head = head;
  return head;
}
