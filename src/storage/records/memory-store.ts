/** A store that keeps nothing: its records are gone when it is closed. For tests. */
import { invalidArgument } from "../../errors.ts";
import { checkBatch, checkKey } from "./record-checks.ts";
import { compareKeys } from "./record-index.ts";
import type { RecordBatch, RecordRange, RecordStore } from "./record-store.ts";

/** Entries of one piece of entries(). */
const PIECE = 256;

export async function openMemoryRecordStore(): Promise<RecordStore> {
  return new MemoryRecordStore();
}

class MemoryRecordStore implements RecordStore {
  /** By the key, one char for each byte. */
  readonly #records = new Map<string, readonly [Uint8Array, Uint8Array]>();
  #bytes = 0;
  #closed = false;

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#checkOpen();
    checkKey(key);
    return this.#records.get(mapKey(key))?.[1].slice();
  }

  entries(range: RecordRange): AsyncIterable<readonly (readonly [key: Uint8Array, value: Uint8Array])[]> {
    this.#checkOpen();
    const { start, end, reverse } = range;
    const found = [...this.#records.values()].filter(
      ([key]) => compareKeys(key, start) >= 0 && (end === undefined || compareKeys(key, end) < 0),
    );
    found.sort(([left], [right]) => compareKeys(left, right));
    if (reverse === true) found.reverse();
    return (async function* () {
      for (let at = 0; at < found.length; at += PIECE) {
        yield found.slice(at, at + PIECE).map(([key, value]) => [key.slice(), value.slice()] as const);
      }
    })();
  }

  async write(batch: RecordBatch): Promise<void> {
    this.#checkOpen();
    checkBatch(batch);
    for (const key of batch.deletes) this.#delete(key);
    for (const [key, value] of batch.puts) {
      this.#delete(key);
      this.#records.set(mapKey(key), [key.slice(), value.slice()]);
      this.#bytes += key.byteLength + value.byteLength;
    }
  }

  async sync(): Promise<void> {
    this.#checkOpen();
  }

  bytes(): { readonly used: number; readonly free: number } {
    return { used: this.#bytes, free: 0 };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#records.clear();
  }

  #delete(key: Uint8Array): void {
    const before = this.#records.get(mapKey(key));
    if (before === undefined) return;
    this.#records.delete(mapKey(key));
    this.#bytes -= before[0].byteLength + before[1].byteLength;
  }

  #checkOpen(): void {
    if (this.#closed) throw invalidArgument("store", "it is closed");
  }
}

function mapKey(key: Uint8Array): string {
  return String.fromCharCode.apply(null, key as unknown as number[]);
}
