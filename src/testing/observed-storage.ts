/**
 * A member's storage with an onlooker: what is written, and what the disk answers for, is told as it happens. It changes nothing.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { EngineError } from "../errors.ts";
import type { LogWrite, Recovered, SnapshotFile, SnapshotWriter, StateStore, Storage } from "../storage/storage.ts";
import type { Entry } from "../core/raft/entry.ts";

export interface StorageOnlooker {
  onWrite(write: LogWrite): void;
  onPersisted(write: LogWrite): void;
  /** The identity is on disk. */
  onIdentity(bytes: Uint8Array): void;
  onFounded(meta: SnapshotMeta): void;
  onSnapshotBegins(meta: SnapshotMeta, resetLog: boolean): void;
  onSnapshotDone(meta: SnapshotMeta, resetLog: boolean): void;
  /** A batch is about to make the record store hold the state after this entry. */
  onStored(meta: SnapshotMeta): void;
}

export class ObservedStorage implements Storage {
  readonly #storage: Storage;
  readonly #onlooker: StorageOnlooker;

  constructor(storage: Storage, onlooker: StorageOnlooker) {
    this.#storage = storage;
    this.#onlooker = onlooker;
  }

  get recovered(): Recovered {
    return this.#storage.recovered;
  }

  get firstIndex(): number {
    return this.#storage.firstIndex;
  }

  get lastIndex(): number {
    return this.#storage.lastIndex;
  }

  get logBytes(): number {
    return this.#storage.logBytes;
  }

  get diskBytes(): number {
    return this.#storage.diskBytes;
  }

  get syncMs(): number {
    return this.#storage.syncMs;
  }

  get full(): boolean {
    return this.#storage.full;
  }

  get reserveBytes(): number {
    return this.#storage.reserveBytes;
  }

  onFullChange(listener: () => void): void {
    this.#storage.onFullChange(listener);
  }

  makeRoom(): Promise<boolean> {
    return this.#storage.makeRoom();
  }

  giveRoom(): Promise<void> {
    return this.#storage.giveRoom();
  }

  get failed(): Promise<EngineError> {
    return this.#storage.failed;
  }

  async append(write: LogWrite): Promise<void> {
    // The array may be the caller's own to change later; the entries are not.
    const kept: LogWrite = { vote: write.vote, entries: [...write.entries] };
    this.#onlooker.onWrite(kept);
    await this.#storage.append(write);
    this.#onlooker.onPersisted(kept);
  }

  read(range: { readonly from: number; readonly through: number; readonly bytesMax: number }): Promise<readonly Entry[]> {
    return this.#storage.read(range);
  }

  discard(through: number): Promise<void> {
    return this.#storage.discard(through);
  }

  openSnapshot(): SnapshotFile | undefined {
    return this.#storage.openSnapshot();
  }

  async createSnapshot(meta: SnapshotMeta): Promise<SnapshotWriter> {
    const writer = await this.#storage.createSnapshot(meta);
    return {
      write: (bytes) => writer.write(bytes),
      abandon: () => writer.abandon(),
      commit: async (options) => {
        this.#onlooker.onSnapshotBegins(meta, options.resetLog);
        await writer.commit(options);
        this.#onlooker.onSnapshotDone(meta, options.resetLog);
      },
    };
  }

  get store(): StateStore | undefined {
    const { store } = this.#storage;
    return store === undefined ? undefined : this.#observed(store);
  }

  async createStore(): Promise<StateStore> {
    return this.#observed(await this.#storage.createStore());
  }

  #observed(store: StateStore): StateStore {
    const onlooker = this.#onlooker;
    let isNamed = store === this.#storage.store;
    return {
      name: async (options) => {
        isNamed = true;
        const { meta } = store.header!;
        onlooker.onSnapshotBegins(meta, options.resetLog);
        await store.name(options);
        onlooker.onSnapshotDone(meta, options.resetLog);
      },
      write: (part, batch) => {
        // One that is yet to take the place of the log may be ahead of it.
        if (batch.header !== undefined && isNamed) onlooker.onStored(batch.header.meta);
        return store.write(part, batch);
      },
      read: (range) => store.read(range),
      abandon: () => store.abandon(),
      get header() {
        return store.header;
      },
      get file() {
        return store.file;
      },
    };
  }

  async found(meta: SnapshotMeta): Promise<void> {
    await this.#storage.found(meta);
    this.#onlooker.onFounded(meta);
  }

  async saveIdentity(bytes: Uint8Array): Promise<void> {
    await this.#storage.saveIdentity(bytes);
    this.#onlooker.onIdentity(bytes);
  }

  close(): Promise<void> {
    return this.#storage.close();
  }
}
