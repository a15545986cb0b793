/**
 * A watch at its consumer. What the node has sent and nobody has read yet is bounded by credit: the consumer's reading gives bytes back, and
 * a consumer that does not read is served on from history later.
 */
import { decodeWatchEvent } from "../core/kv/watch-event.ts";
import { decodeKv } from "../core/kv/result.ts";
import { EngineError, fromWire, type WireError } from "../errors.ts";
import type { FromNode, ToNode } from "../node/boundary.ts";
import type { Revision, Watch, WatchBatch, WatchEvent } from "./client.ts";
import { forgetAbort, onAbortOf } from "./abort-listeners.ts";
import { createKeyValue, decodeText } from "./key-value.ts";
import type { Bytes } from "./client.ts";

/** What a node may have sent to one watch that nobody has read, and to all watches of an engine together; but for the least for each. */
export const WATCH_CREDIT_BYTES: number = 256 << 10;
export const WATCHES_CREDIT_BYTES: number = 8 << 20;
export const WATCH_CREDIT_BYTES_MIN = 1_024;
/** A batch costs its bytes and this. */
const BATCH_COST_BYTES = 64;
/** Credit is given back in pieces, not batch by batch; the node is never short of it by more than this. */
const CREDIT_STEPS = 8;

type Watched = FromNode & { readonly kind: "watched" };

export class LocalWatch implements Watch {
  readonly #id: number;
  readonly #tell: (message: ToNode) => void;
  readonly #onClosed: (id: number) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #queue: Watched[] = [];
  /** Parts of a reset that is not whole yet. */
  #parts: Watched[] = [];
  /** Those who wait for a batch. One, unless next() is called again before it answered. */
  readonly #waiting: (() => void)[] = [];
  /** Read, and not given back yet. */
  #creditBytes = 0;
  #registered: Revision | undefined;
  readonly #readyWaiters: { resolve(value: { readonly revision: Revision }): void; reject(error: EngineError): void }[] = [];
  #ended: EngineError | "closed" | undefined;
  #iterated = false;

  readonly creditBytes: number;

  constructor(options: {
    readonly id: number;
    readonly creditBytes: number;
    readonly signal: AbortSignal | undefined;
    tell(message: ToNode): void;
    onClosed(id: number): void;
  }) {
    this.#id = options.id;
    this.creditBytes = options.creditBytes;
    this.#tell = (message) => options.tell(message);
    this.#onClosed = (id) => options.onClosed(id);
    this.#signal = options.signal;
    if (this.#signal !== undefined) {
      if (this.#signal.aborted) this.#onAbort();
      else onAbortOf(this.#signal, this.#onAbort);
    }
  }

  readonly #onAbort = (): void => {
    const reason: unknown = this.#signal?.reason;
    this.end(new EngineError("ABORTED", "the watch was aborted by its signal", { reason }, { cause: reason }));
  };

  ready(): Promise<{ readonly revision: Revision }> {
    if (this.#registered !== undefined) return Promise.resolve({ revision: this.#registered });
    if (this.#ended !== undefined) return Promise.reject(this.#endError());
    return new Promise((resolve, reject) => this.#readyWaiters.push({ resolve, reject }));
  }

  requestProgress(): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#endError());
    this.#tell({ kind: "watchProgress", watch: this.#id });
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#finish("closed");
    this.#queue.length = 0;
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchBatch> {
    if (this.#iterated)
      throw new EngineError("INVALID_ARGUMENT", "a watch may be iterated once", { argument: "watch", reason: "already iterated" });
    this.#iterated = true;
    return {
      next: () => this.#next(),
      return: async () => {
        await this.close();
        return { done: true, value: undefined };
      },
    };
  }

  async #next(): Promise<IteratorResult<WatchBatch>> {
    for (;;) {
      const watched = this.#queue.shift();
      if (watched !== undefined) {
        if (watched.what === "ended") {
          this.#finish(
            new EngineError("COMPACTED", `the history that the watch needs is gone: it begins after revision ${watched.compactRevision}`, {
              compactRevision: watched.compactRevision,
            }),
          );
          continue;
        }
        this.#creditBytes += watched.bytes.byteLength + BATCH_COST_BYTES;
        if (this.#creditBytes >= this.creditBytes / CREDIT_STEPS) {
          this.#tell({ kind: "watchCredit", watch: this.#id, bytes: this.#creditBytes });
          this.#creditBytes = 0;
        }
        if (watched.what === "reset") {
          // A part of another revision: the reset began anew, and what came before is void.
          if (this.#parts[0]?.revision !== watched.revision) this.#parts = [];
          this.#parts.push(watched);
          if (watched.more) continue;
          const parts = this.#parts;
          this.#parts = [];
          return { done: false, value: decodeReset(parts, watched) };
        }
        return { done: false, value: decodeBatch(watched) };
      }
      if (this.#ended === "closed") return { done: true, value: undefined };
      if (this.#ended !== undefined) throw this.#endError();
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  #endError(): EngineError {
    return this.#ended === "closed" || this.#ended === undefined ? new EngineError("CLOSED", "the watch is closed", {}) : this.#ended;
  }

  onRegistered(revision: Revision): void {
    this.#registered = revision;
    for (const { resolve } of this.#readyWaiters.splice(0)) resolve({ revision });
  }

  onRefused(error: WireError): void {
    this.end(fromWire(error));
  }

  onWatched(watched: Watched): void {
    if (this.#ended !== undefined) return;
    this.#queue.push(watched);
    this.#wakeUp();
  }

  /** What was received is still delivered; then the reader meets the error. Aborting drops it. */
  end(error: EngineError): void {
    if (error.code === "ABORTED") this.#queue.length = 0;
    this.#finish(error);
  }

  #finish(how: EngineError | "closed"): void {
    if (this.#ended !== undefined) return;
    this.#ended = how;
    if (this.#signal !== undefined) forgetAbort(this.#signal, this.#onAbort);
    this.#tell({ kind: "unwatch", watch: this.#id });
    this.#onClosed(this.#id);
    for (const { reject } of this.#readyWaiters.splice(0)) reject(this.#endError());
    this.#wakeUp();
  }

  #wakeUp(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

function decodeReset(parts: readonly Watched[], { revision, reason }: Watched): WatchBatch {
  const kvs = [];
  for (const { bytes, count } of parts) {
    let offset = 0;
    for (let i = 0; i < count; i++) {
      const kv = decodeKv(bytes, offset);
      offset = kv.next;
      kvs.push(createKeyValue(kv));
    }
  }
  return { kind: "reset", revision, kvs, reason: reason ?? "compacted" };
}

function decodeBatch({ what, bytes, count, revision }: Watched): WatchBatch {
  if (what === "progress") return { kind: "progress", revision };
  let offset = 0;
  const events: WatchEvent[] = [];
  for (let i = 0; i < count; i++) {
    const event = decodeWatchEvent(bytes, offset);
    offset = event.next;
    const prevKv = event.prevKv === undefined ? undefined : createKeyValue(event.prevKv);
    if (event.kind === "put") events.push({ kind: "put", kv: createKeyValue(event.kv), created: event.created, prevKv });
    else events.push(new Deletion(event.kv.key, event.cause, prevKv));
  }
  return { kind: "events", revision, events };
}

class Deletion {
  readonly kind = "delete";
  readonly cause: "request" | "expiry" | "revocation" | undefined;
  readonly prevKv: ReturnType<typeof createKeyValue> | undefined;
  #key: Uint8Array;

  constructor(
    key: Uint8Array,
    cause: "request" | "expiry" | "revocation" | undefined,
    prevKv: ReturnType<typeof createKeyValue> | undefined,
  ) {
    this.#key = key;
    this.cause = cause;
    this.prevKv = prevKv;
  }

  get keyBytes(): Bytes {
    const key = new Uint8Array(this.#key);
    this.#key = key;
    return key;
  }

  get key(): string {
    return decodeText(this.#key, "key");
  }
}
