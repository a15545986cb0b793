/** A range read page by page at one pinned revision: at most one page is held. */
import { decodeKv, type UnpackedKv } from "../core/kv/result.ts";
import { EngineError } from "../errors.ts";
import type { KeyMeta, Revision, Scan } from "./client.ts";
import type { RangeReply } from "./calls.ts";

export interface ScanSource<T> {
  /** The first page, which pins its revision; then the page of `first`'s revision that begins behind `after`. */
  page(behind: { readonly first: RangeReply; readonly after: Uint8Array } | undefined, limit: number): Promise<RangeReply>;
  make(kv: UnpackedKv): T;
  /** Lets go of the pin that the first page took. */
  unpin(call: number): void;
  readonly limit: number;
  readonly signal: AbortSignal | undefined;
}

export class LocalScan<T extends KeyMeta> implements Scan<T> {
  readonly #source: ScanSource<T>;
  readonly #first: Promise<RangeReply>;
  #iterated = false;
  #closed = false;
  #pin: number | undefined;

  constructor(source: ScanSource<T>) {
    this.#source = source;
    this.#first = source.page(undefined, source.limit);
    this.#first.then(
      ({ call }) => {
        if (this.#closed) source.unpin(call);
        else this.#pin = call;
      },
      () => {}, // Told to whoever iterates, or asks ready().
    );
  }

  async ready(): Promise<{ readonly revision: Revision }> {
    const { revision } = await this.#first;
    return { revision };
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      if (this.#pin !== undefined) this.#source.unpin(this.#pin);
    }
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    if (this.#iterated)
      throw new EngineError("INVALID_ARGUMENT", "a scan may be iterated once", { argument: "scan", reason: "already iterated" });
    this.#iterated = true;
    return this.#pages();
  }

  async *#pages(): AsyncGenerator<T, void> {
    const { limit, signal } = this.#source;
    try {
      const first = await this.#first;
      let reply = first;
      let left = limit === 0 ? Number.POSITIVE_INFINITY : limit;
      for (;;) {
        let offset = 0;
        let last: Uint8Array | undefined;
        for (let i = 0; i < reply.returned && left > 0; i++) {
          if (this.#closed) throw new EngineError("CLOSED", "the scan is closed", {});
          if (signal?.aborted === true)
            throw new EngineError("ABORTED", "the scan was aborted by its signal", { reason: signal.reason }, { cause: signal.reason });
          const kv = decodeKv(reply.kvs, offset);
          offset = kv.next;
          last = kv.key;
          left--;
          yield this.#source.make(kv);
        }
        if (!reply.more || left <= 0 || last === undefined) return;
        reply = await this.#source.page({ first, after: last.slice() }, left === Number.POSITIVE_INFINITY ? 0 : left);
      }
    } finally {
      await this.close();
    }
  }
}
