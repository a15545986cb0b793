/**
 * A watch at its consumer. What the node has sent and nobody has read yet is bounded by credit: the consumer's reading gives bytes back, and
 * a consumer that does not read is served on from history later.
 */
import { EngineError, fromWire, type WireError } from "../errors.ts";
import { forgetAbort, onAbortOf } from "./abort-listeners.ts";
import type { KeyValue, Revision, Watch, WatchBatch } from "./client.ts";
import { createKeyValue } from "./key-value.ts";
import type { WatchDelivery, WatchSink } from "./watch-delivery.ts";

/** What a watch wants of its engine. */
export interface WatchOwner {
  requestProgress(): void;
  /** The watch has read something, of which it said nothing yet: pay() is to be asked soon what it cost. */
  onRead(watch: LocalWatch): void;
  /** It has read half of what the node may send it: pay() is to be asked with the tick. */
  onHalfRead(watch: LocalWatch): void;
  onClosed(): void;
}

/** Answers a call of next(); with a promise, as that promise does. */
type Waiter = (result: IteratorResult<WatchBatch> | Promise<IteratorResult<WatchBatch>>) => void;

export class LocalWatch implements Watch, WatchSink {
  readonly id: number;
  readonly creditBytes: number;
  readonly #owner: WatchOwner;
  readonly #signal: AbortSignal | undefined;
  readonly #queue: WatchDelivery[] = [];
  /** What a reset that is not whole yet holds so far, and at which revision. */
  #resetKvs: KeyValue[] = [];
  #resetRevision = 0;
  /** Who waits for a batch: then the queue is empty. */
  #waiter: Waiter | undefined;
  /** Behind it, where next() was called again before it answered. */
  #laterWaiters: Waiter[] = [];
  /** Read, and not given back yet. */
  #readBytes = 0;
  #isNoted = false;
  #isHalfNoted = false;
  #registered: Revision | undefined;
  readonly #readyWaiters: { resolve(value: { readonly revision: Revision }): void; reject(error: EngineError): void }[] = [];
  #ended: EngineError | "closed" | undefined;
  #iterated = false;

  constructor(options: {
    readonly id: number;
    readonly creditBytes: number;
    readonly signal: AbortSignal | undefined;
    readonly owner: WatchOwner;
  }) {
    this.id = options.id;
    this.creditBytes = options.creditBytes;
    this.#owner = options.owner;
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
    this.#owner.requestProgress();
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

  #next(): Promise<IteratorResult<WatchBatch>> {
    for (let delivery = this.#queue.shift(); delivery !== undefined; delivery = this.#queue.shift()) {
      const batch = this.#read(delivery);
      if (batch !== undefined) return Promise.resolve({ done: false, value: batch });
    }
    if (this.#ended === "closed") return Promise.resolve({ done: true, value: undefined });
    if (this.#ended !== undefined) return Promise.reject(this.#endError());
    return new Promise(this.#wait);
  }

  /** One function for all promises of this watch: with a thousand watches, what each allocates is what an event costs. */
  readonly #wait = (resolve: Waiter): void => {
    if (this.#waiter === undefined) this.#waiter = resolve;
    else this.#laterWaiters.push(resolve);
  };

  /** What the reader gets of it; undefined for a part of a reset whose end is to come, and for an end. */
  #read(delivery: WatchDelivery): WatchBatch | undefined {
    const { watched, creditBytes } = delivery;
    if (watched.what === "ended") {
      const { compactRevision } = watched;
      this.#finish(
        new EngineError("COMPACTED", `the history that the watch needs is gone: it begins at revision ${compactRevision}`, {
          compactRevision,
        }),
      );
      return undefined;
    }
    this.#giveBack(creditBytes);
    if (watched.what !== "reset") return delivery.batch();
    const { revision, reason, more } = watched;
    // A part of another revision: the reset began anew, and what came before is void.
    if (this.#resetRevision !== revision) this.#resetKvs = [];
    this.#resetRevision = revision;
    for (const kv of delivery.kvs()) this.#resetKvs.push(createKeyValue(kv));
    if (more) return undefined;
    const kvs = this.#resetKvs;
    this.#resetKvs = [];
    this.#resetRevision = 0;
    return { kind: "reset", revision, kvs, reason: reason ?? "compacted" };
  }

  #giveBack(bytes: number): void {
    this.#readBytes += bytes;
    if (!this.#isNoted) {
      this.#isNoted = true;
      this.#owner.onRead(this);
    }
    if (this.#isHalfNoted || 2 * this.#readBytes < this.creditBytes) return;
    this.#isHalfNoted = true;
    this.#owner.onHalfRead(this);
  }

  /** What was read since it was asked last, to be given back to the node. `isLast`: what is read from now on is to be noted anew. */
  pay(isLast: boolean): number {
    const bytes = this.#readBytes;
    this.#readBytes = 0;
    this.#isHalfNoted = false;
    if (isLast) this.#isNoted = false;
    return bytes;
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

  onDelivery(delivery: WatchDelivery): void {
    if (this.#ended !== undefined) return;
    if (this.#waiter !== undefined) {
      const batch = this.#read(delivery);
      // What was read may have been the end, which has answered all of them.
      const waiter = this.#waiter;
      if (batch === undefined || waiter === undefined) return;
      this.#waiter = this.#laterWaiters.length === 0 ? undefined : this.#laterWaiters.shift();
      waiter({ done: false, value: batch });
      return;
    }
    const last = this.#queue.at(-1);
    if (delivery.watched.what === "progress" && last?.watched.what === "progress") {
      // The later one says all that the earlier did: what nobody reads does not pile up.
      this.#giveBack(last.creditBytes);
      this.#queue[this.#queue.length - 1] = delivery;
      return;
    }
    this.#queue.push(delivery);
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
    this.#owner.onClosed();
    for (const { reject } of this.#readyWaiters.splice(0)) reject(this.#endError());
    const waiters = this.#waiter === undefined ? [] : [this.#waiter, ...this.#laterWaiters];
    this.#waiter = undefined;
    this.#laterWaiters = [];
    for (const answer of waiters) answer(how === "closed" ? { done: true, value: undefined } : Promise.reject(how));
  }
}
