/**
 * The key-value data in a record store: which records there are, and how a state is built from them again. Described in docs/formats.md.
 *
 *   "r" revision, place        a put or deletion, as in the portable stream; `place` tells records of one revision apart, and orders events
 *   "p" number, 0              a page of what a state has beside its records: the stream up to the first of them
 *   "header"                   which entry the state is that after, and how long those pages are together: the storage's own
 *
 * Records at or below the compact revision are the base, those above it the events of history.
 */
import { KV_HEADER_BYTES } from "../core/kv/packed-kv.ts";
import { DELETE_HEADER_BYTES, TAG_BASE, TAG_PUT } from "../core/kv/snapshot-format.ts";
import { SnapshotFault, SnapshotRestoring } from "../core/kv/snapshot-stream.ts";
import { createTable, type PackedTable } from "../core/kv/table/packed-table.ts";
import type { Pin } from "../core/kv/machine.ts";
import { assert, EngineError } from "../errors.ts";
import type { Random } from "../host/random.ts";
import { numberKey, readNumberKey } from "../storage/records/record-index.ts";
import { readRecords } from "../storage/records/store-format.ts";
import type { StateStore } from "../storage/storage.ts";
import type { NodeMachine } from "./node-machine.ts";
import type { NodeOptions } from "./node-options.ts";
import { RecordPlaces } from "./record-places.ts";

/** Whether a node keeps its data in a record store. */
export function usesStore({ directory, store }: NodeOptions): boolean {
  return directory !== undefined && store !== "memory";
}

export const RECORD_TAG = 114;
export const PAGE_TAG = 112;
export const PAGE_BYTES = 4096;

/** How far a store goes, and what is needed to write on. */
export interface StoredSoFar {
  readonly store: StateStore;
  /** Of the records in the store. */
  readonly places: RecordPlaces;
  /** As it is stored. */
  readonly preamble: Uint8Array;
  /** Events before it are stored. */
  readonly endEvent: number;
  readonly revision: number;
  readonly compactRevision: number;
  /** The log's place as of the last whole batch. */
  readonly appliedIndex: number;
  /** Keeps what is behind the stored compact revision in memory. */
  readonly pin: Pin;
}

/** Rejects with CORRUPT or INCOMPATIBLE where the store does not hold a state. `onProgress` hears of a share from 0 to 1. */
export async function loadStoredState(
  store: StateStore,
  random: Random,
  onProgress: (done: number) => void,
): Promise<{ readonly machine: NodeMachine; readonly stored: StoredSoFar }> {
  const { header } = store;
  assert(header !== undefined, "a store that the log names has a header");
  const table = createTable({ hashSeed: { low: random.uint32(), high: random.uint32() } });
  const loading = new Loading(store, table, onProgress);
  await loading.preamble(header.preambleBytes);
  await loading.records();
  const { lastIncludedIndex: index, lastIncludedTerm: term } = header.meta;
  const kv = loading.restoring.finish({ index, term });
  if (kv instanceof SnapshotFault) throw wrong(store, `${kv.reason} at the end`);
  const machine = { kv, table };
  const { revision, compactRevision } = kv;
  const stored = {
    store,
    places: loading.places,
    preamble: loading.preambleRead,
    endEvent: table.endEvent,
    revision,
    compactRevision,
    appliedIndex: index,
    pin: kv.holdHistory(),
  };
  return { machine, stored };
}

class Loading {
  readonly restoring: SnapshotRestoring;
  readonly places = new RecordPlaces();
  preambleRead: Uint8Array = new Uint8Array(0);
  readonly #store: StateStore;
  readonly #table: PackedTable;
  readonly #onProgress: (done: number) => void;
  #compactRevision = 0;
  #revision = 1;

  constructor(store: StateStore, table: PackedTable, onProgress: (done: number) => void) {
    this.#store = store;
    this.#table = table;
    this.#onProgress = onProgress;
    this.restoring = new SnapshotRestoring({ table, isStored: true });
  }

  async preamble(bytes: number): Promise<void> {
    const preamble = new Uint8Array(bytes);
    let filled = 0;
    const next = this.#store.read({ start: numberKey(PAGE_TAG, 0, 0), end: numberKey(PAGE_TAG + 1, 0, 0) });
    for (let page = await next(); page !== undefined; page = await next(page)) {
      const from = page;
      this.#read(from, (key, at, end) => {
        const value = from.subarray(at, end);
        const number = readNumberKey(key)!.high;
        if (number * PAGE_BYTES !== filled || filled + value.length > bytes)
          throw wrong(this.#store, `page ${number} behind ${filled} bytes`);
        preamble.set(value, filled);
        filled += value.length;
      });
    }
    if (filled !== bytes || bytes < 32) throw wrong(this.#store, `${filled} bytes of pages, not ${bytes}`);
    this.preambleRead = preamble;
    this.#feed(preamble);
    const view = new DataView(preamble.buffer);
    this.#revision = view.getFloat64(8, true);
    this.#compactRevision = view.getFloat64(16, true);
  }

  async records(): Promise<void> {
    const next = this.#store.read({ start: numberKey(RECORD_TAG, 0, 0), end: numberKey(RECORD_TAG + 1, 0, 0) });
    for (let page = await next(); page !== undefined; page = await next(page)) {
      const from = page;
      /** What was read and not fed yet, moved together in the page. */
      let runFrom = 0;
      let runEnd = 0;
      let revision = 0;
      this.#read(from, (key, at, end) => {
        const { high, low } = readNumberKey(key)!;
        revision = high;
        if (high <= this.#compactRevision) from[at] = TAG_BASE;
        if (runFrom === runEnd) runFrom = runEnd = at;
        const start = runEnd;
        from.copyWithin(start, at, end);
        runEnd += end - at;
        if (low === 0) return;
        this.#feed(from.subarray(runFrom, runEnd));
        this.#place(from.subarray(start, runEnd), low);
        runFrom = runEnd;
      });
      if (runEnd > runFrom) this.#feed(from.subarray(runFrom, runEnd));
      this.#onProgress(Math.min(1, revision / this.#revision));
    }
  }

  /** A put has its key behind the header of its kv, a deletion behind its own; both end with what the table has just taken in. */
  #place(record: Uint8Array, place: number): void {
    const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
    const isPut = record[0] === TAG_BASE || record[0] === TAG_PUT;
    const keyAt = isPut ? 1 + KV_HEADER_BYTES : DELETE_HEADER_BYTES;
    const keyBytes = view.getUint32(isPut ? 33 : 12, true);
    this.places.set(this.#table.find(record.subarray(keyAt, keyAt + keyBytes)), place);
  }

  #feed(bytes: Uint8Array): void {
    const fault = this.restoring.write(bytes);
    if (fault === undefined) return;
    if (fault.reason === "version") {
      const what = { what: `format of ${this.#store.file}`, found: "a later version", supported: "that of this program" };
      throw new EngineError("INCOMPATIBLE", "the record store was written by a later version of this program", what);
    }
    throw wrong(this.#store, `${fault.reason} at byte ${fault.offset} of the stream`);
  }

  #read(page: Uint8Array, onRecord: (key: Uint8Array, valueAt: number, end: number) => void): void {
    const problem = readRecords(page, {
      put: (keyAt, keyBytes, _at, end) => onRecord(page.subarray(keyAt, keyAt + keyBytes), keyAt + keyBytes, end),
      delete: () => {},
    });
    assert(problem === undefined, "what a store answers can be read");
  }
}

function wrong({ file }: StateStore, found: string): EngineError<"CORRUPT"> {
  return new EngineError("CORRUPT", `${file} holds no state: ${found}`, { path: file, offset: 0, expected: "a state", found });
}
