/**
 * Where a state that was received goes in a node with a record store: into a new store, once it is whole and verified. The new one takes
 * the old one's place when the log names it; until then a crash finds the old state, and the new store is removed.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import { assert } from "../errors.ts";
import type { StateStore, Storage } from "../storage/storage.ts";
import { MachineRestoring } from "./node-machine.ts";
import type { SnapshotSink, StateRestoring } from "./snapshot-transfer.ts";
import { StoreWriter } from "./store-writer.ts";
import type { StoredSoFar } from "./stored-state.ts";

export interface StoreSinkOptions {
  readonly storage: Storage;
  readonly meta: SnapshotMeta;
  /** No batch for the present store is under way any more. */
  settled(): Promise<void>;
  pause(): Promise<void>;
}

export class StoreSink implements SnapshotSink<StateRestoring> {
  readonly #options: StoreSinkOptions;
  #writer: StoreWriter | undefined;
  #store: StateStore | undefined;
  #isOver = false;

  constructor(options: StoreSinkOptions) {
    this.#options = options;
  }

  /** What the new store holds, once it was prepared. */
  get stored(): StoredSoFar | undefined {
    return this.#writer?.stored;
  }

  /** The stream is not kept: what is built from it is. */
  write(): Promise<void> {
    return this.#isOver ? Promise.reject(new Error("it was given up")) : Promise.resolve();
  }

  async prepare(restoring: StateRestoring, onProgress: () => void): Promise<void> {
    assert(restoring instanceof MachineRestoring, "a store holds key-value data");
    const { storage, meta, pause } = this.#options;
    this.#writer = new StoreWriter({
      storage,
      kv: restoring.machine.kv,
      stored: undefined,
      logBytesMin: Number.POSITIVE_INFINITY,
      meta: () => meta,
      isPersisted: () => true,
      onNamed: () => Promise.resolve(),
      pause: () => {
        onProgress();
        return pause();
      },
      onDone: () => {},
      onFailed: () => {},
    });
    const store = await this.#writer.writeAll();
    this.#store = store;
    if (this.#isOver) await store.abandon();
    await this.#options.settled();
  }

  async commit(options: { readonly resetLog: boolean }): Promise<void> {
    assert(this.#store !== undefined, "what is committed was prepared");
    await this.#store.name(options);
    this.#isOver = true;
  }

  async abandon(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#writer?.stop();
    await this.#store?.abandon();
  }
}
