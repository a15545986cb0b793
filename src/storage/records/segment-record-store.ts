/** The default store behind the interface that any store has, with its file calls made in the caller's thread. */
import { assert, invalidArgument } from "../../errors.ts";
import { createNodeFileSystem } from "../../host/node-file-system.ts";
import { createNodeRandom } from "../../host/node-random.ts";
import type { FileSystem } from "../../host/file-system.ts";
import type { Random } from "../../host/random.ts";
import { checkBatch, checkKey } from "./record-checks.ts";
import type { RecordBatch, RecordRange, RecordStore } from "./record-store.ts";
import { STORE_SEGMENT_BYTES, STORE_SEGMENT_BYTES_MIN, SegmentStore } from "./segment-store.ts";
import { openSegmentStore } from "./segment-store-opening.ts";
import { BatchReader, PART_BYTES_MAX, packBatch } from "./store-format.ts";
import { listStoreSegments } from "./store-segment.ts";

export interface SegmentRecordStoreOptions {
  /** Default 32 MiB; at least 4 KiB. */
  readonly segmentBytes?: number;
  /** Default: the real one. */
  readonly fileSystem?: FileSystem;
  readonly random?: Random;
}

/** Opens the store in a directory, or makes one there. Rejects with CORRUPT, INCOMPATIBLE or a FileError. */
export async function openSegmentRecordStore(path: string, options: SegmentRecordStoreOptions = {}): Promise<RecordStore> {
  const fileSystem = options.fileSystem ?? createNodeFileSystem({ sync: true });
  const segmentBytes = Math.max(STORE_SEGMENT_BYTES_MIN, options.segmentBytes ?? STORE_SEGMENT_BYTES);
  const made = { fileSystem, directory: path, segmentBytes, random: options.random ?? createNodeRandom() };
  const isThere = fileSystem.exists(path) && listStoreSegments(made).length > 0;
  return new SegmentRecordStore(isThere ? openSegmentStore(made) : SegmentStore.begin(made));
}

class SegmentRecordStore implements RecordStore {
  readonly #store: SegmentStore;
  #closed = false;

  constructor(store: SegmentStore) {
    this.#store = store;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#checkOpen();
    checkKey(key);
    return this.#store.get(key);
  }

  entries(range: RecordRange): AsyncIterable<readonly (readonly [key: Uint8Array, value: Uint8Array])[]> {
    this.#checkOpen();
    const reading = this.#store.openReading(range);
    return (async function* () {
      try {
        for (let page = reading.read(PART_BYTES_MAX); page !== undefined; page = reading.read(PART_BYTES_MAX)) {
          const reader = new BatchReader();
          const problem = reader.add(page);
          assert(problem === undefined, "what was read was verified");
          yield reader.puts;
        }
      } finally {
        reading.close();
      }
    })();
  }

  async write(batch: RecordBatch): Promise<void> {
    this.#checkOpen();
    checkBatch(batch);
    for (const { part, last } of packBatch(batch)) this.#store.write(part, last);
    while (this.#store.background(true));
  }

  async sync(): Promise<void> {
    this.#checkOpen();
    this.#store.sync();
  }

  bytes(): { readonly used: number; readonly free: number } {
    return this.#store.bytes;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#store.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw invalidArgument("store", "it is closed");
  }
}
