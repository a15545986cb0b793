/**
 * An ordered key-value store behind the log. A member writes what it has applied to it, in batches that are behind its own synced log, and
 * reads all of it back when it is opened; what the store has not synced is then replayed from the log. Nothing here knows what the keys
 * and values mean. A store must never block the process on a fault: no memory-mapped reads of files that can fail.
 */

/** A put or a deletion names a key once in a batch. The bytes are the caller's again once the write has settled. */
export interface RecordBatch {
  readonly puts: readonly (readonly [key: Uint8Array, value: Uint8Array])[];
  readonly deletes: readonly Uint8Array[];
}

/** Keys from `start` up to, not including, `end`; to the last one without it. Bytes compare unsigned, a prefix before what it begins. */
export interface RecordRange {
  readonly start: Uint8Array;
  readonly end?: Uint8Array;
  /** From the last key to the first. */
  readonly reverse?: boolean;
}

/** Keys are 1 to 255 bytes long, values up to 64 MiB. */
export interface RecordStore {
  /** undefined where the key is not there. The bytes are the caller's. */
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** In the order of the keys, as of the call: later batches are not seen. Pieces of any length, none empty. Leaving the loop ends it. */
  entries(range: RecordRange): AsyncIterable<readonly (readonly [key: Uint8Array, value: Uint8Array])[]>;
  /** All or nothing, also across a crash. A write that settled is seen by every read after it. Writes are in the order of the calls. */
  write(batch: RecordBatch): Promise<void>;
  /** Every batch written before is on disk when it resolves. */
  sync(): Promise<void>;
  /** `used`: what the store takes; `free`: how much of that it can use again. */
  bytes(): { readonly used: number; readonly free: number };
  /** Syncs what was written. */
  close(): Promise<void>;
}

/** Opens the store in the directory `path`, which is made if need be. What a module that is named as a store exports by default. */
export type OpenRecordStore<Options = unknown> = (path: string, options: Options) => Promise<RecordStore>;

/** What runs in a thread that cannot be handed a function: its default export is called with `options`. */
export interface ModuleRef {
  /** Absolute: a file: URL, or the name of a package. */
  readonly module: string | URL;
  /** Must survive structuredClone. */
  readonly options?: unknown;
}

export const RECORD_KEY_BYTES_MAX = 255;
export const RECORD_VALUE_BYTES_MAX: number = 64 * 1024 * 1024;
