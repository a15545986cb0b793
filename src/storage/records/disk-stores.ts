/**
 * The record stores in a member's directory as its disk serves them: made, opened, written part by part, read page by page, removed. One
 * of them is what the log names; another may be on its way to take its place. The default store answers at once; a store of a
 * user's own answers when it will, and one request at a time waits for it while the log goes on.
 */
import { EngineError, assert, invalidArgument } from "../../errors.ts";
import { FileError } from "../../host/file-system.ts";
import type { FileSystem } from "../../host/file-system.ts";
import { randomId } from "../../host/random.ts";
import type { Random } from "../../host/random.ts";
import { corrupt, isNoSpace } from "../storage-failure.ts";
import type { ModuleRef, OpenRecordStore, RecordStore } from "./record-store.ts";
import { STORE_SEGMENT_BYTES, STORE_SEGMENT_BYTES_MIN, SegmentStore } from "./segment-store.ts";
import type { StoreReading } from "./segment-store.ts";
import { openSegmentStore } from "./segment-store-opening.ts";
import { BatchReader, PartWriter } from "./store-format.ts";

/** The record of a store that says what state it holds: see StoreHeader in storage.ts. */
export const STORE_HEADER_KEY: Uint8Array = new TextEncoder().encode("header");

/** "store": of this package; "module": of a user's own. */
const NAME = /^(?:store|module)-[0-9a-f]{16}$/;

export function isStoreName(file: string | null): file is string {
  return file !== null && NAME.test(file);
}

export type StoreRequestBody =
  /** Opens the store that the log names. Answered with its header. */
  | { readonly kind: "openStore"; readonly store: string }
  /** An empty one. Answered with its name. */
  | { readonly kind: "createStore" }
  /** One part of a batch. The bytes are the disk's until it has answered. One that is neither the first nor follows another is refused. */
  | { readonly kind: "writeStore"; readonly store: string; readonly part: Uint8Array; readonly first: boolean; readonly last: boolean }
  | { readonly kind: "syncStore"; readonly store: string }
  /** Answered with a number for readStore. */
  | { readonly kind: "beginReading"; readonly store: string; readonly start: Uint8Array; readonly end: Uint8Array }
  /** Answered with a page of records, or with nothing at the end. `into`: memory for it, the disk's from then on. */
  | {
      readonly kind: "readStore";
      readonly store: string;
      readonly reading: number;
      readonly bytesMax: number;
      readonly into?: Uint8Array | undefined;
    }
  | { readonly kind: "removeStore"; readonly store: string };

export type StoreValue = Uint8Array | string | number | undefined;

interface OpenStore {
  /** Parts of a batch are there, and its last one is not. */
  readonly isInBatch: boolean;
  /** Gives up the batch under way, if there is one. */
  abort(): void;
  write(part: Uint8Array, last: boolean): void | Promise<void>;
  sync(): void | Promise<void>;
  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined>;
  beginReading(range: { readonly start: Uint8Array; readonly end: Uint8Array }): number;
  read(reading: number, bytesMax: number, into?: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined>;
  readonly usedBytes: number;
  background(onlyUrgent: boolean): boolean;
  squeeze(): void;
  close(): void | Promise<void>;
  leave(): void | Promise<void>;
}

export interface DiskStoresOptions {
  readonly fileSystem: FileSystem;
  /** The member's. */
  readonly directory: string;
  readonly random: Random;
  readonly segmentBytes: number | undefined;
  /** A user's own. */
  readonly openStore: ((path: string) => Promise<RecordStore>) | undefined;
  onProgress(bytes: number, bytesMax: number): void;
}

export class DiskStores {
  readonly #options: DiskStoresOptions;
  readonly #open = new Map<string, OpenStore>();

  constructor(options: DiskStoresOptions) {
    this.#options = options;
  }

  get diskBytes(): number {
    let bytes = 0;
    for (const store of this.#open.values()) bytes += store.usedBytes;
    return bytes;
  }

  /** Removes every store but `keep`. Called when none is open. */
  removeOthers(keep: string | null): void {
    const { fileSystem, directory } = this.#options;
    let removed = false;
    for (const name of fileSystem.list(directory)) {
      if (name === keep || !NAME.test(name)) continue;
      fileSystem.removeDirectory(`${directory}/${name}`);
      removed = true;
    }
    if (removed) fileSystem.syncDirectory(directory);
  }

  handle(request: StoreRequestBody): StoreValue | Promise<StoreValue> {
    switch (request.kind) {
      case "createStore":
        return this.#create();
      case "openStore":
        return this.#openNamed(request.store);
      case "writeStore":
        return nothing(this.#write(request));
      case "syncStore":
        return nothing(this.#store(request.store).sync());
      case "beginReading":
        return this.#store(request.store).beginReading(request);
      case "readStore":
        return this.#store(request.store).read(request.reading, request.bytesMax, request.into);
      case "removeStore":
        return this.#remove(request.store);
    }
  }

  /** Work that nobody waits for. A full disk ends it for now. */
  background(onlyUrgent: boolean): boolean {
    for (const store of this.#open.values()) if (store.background(onlyUrgent)) return true;
    return false;
  }

  /** The disk is full: what the stores can do without goes, however little that is. */
  squeeze(): void {
    for (const store of this.#open.values()) store.squeeze();
  }

  /** Closes what is open; `clean` false: after a failure, when nothing is to be written any more. */
  close(clean: boolean): void | Promise<void> {
    const waiting: Promise<void>[] = [];
    for (const store of this.#open.values()) {
      const done = clean ? store.close() : store.leave();
      if (done !== undefined) waiting.push(done);
    }
    this.#open.clear();
    if (waiting.length > 0) return Promise.all(waiting).then(() => {});
  }

  #store(name: string): OpenStore {
    const store = this.#open.get(name);
    if (store === undefined) throw invalidArgument("store", `${name} is not open`);
    return store;
  }

  #write({ store: name, part, first, last }: StoreRequestBody & { readonly kind: "writeStore" }): void | Promise<void> {
    const store = this.#store(name);
    // What is left of a batch that was given up never becomes part of another.
    if (first) store.abort();
    else if (!store.isInBatch) throw invalidArgument("part", "its batch was given up");
    return store.write(part, last);
  }

  #create(): string | Promise<string> {
    const { fileSystem, directory, random } = this.#options;
    const name = `${this.#options.openStore === undefined ? "store" : "module"}-${randomId(random)}`;
    const opened = this.#openAt(name, true);
    // Its directory is to outlive a crash that comes once the log names it.
    const added = (store: OpenStore): string => {
      fileSystem.syncDirectory(directory);
      this.#open.set(name, store);
      return name;
    };
    return opened instanceof Promise ? opened.then(added) : added(opened);
  }

  #openNamed(name: string): StoreValue | Promise<StoreValue> {
    const opened = this.#openAt(name, false);
    const added = (store: OpenStore): Uint8Array | undefined | Promise<Uint8Array | undefined> => {
      this.#open.set(name, store);
      return store.get(STORE_HEADER_KEY);
    };
    return opened instanceof Promise ? opened.then(added) : added(opened);
  }

  #openAt(name: string, isNew: boolean): OpenStore | Promise<OpenStore> {
    const { fileSystem, directory, random, segmentBytes, openStore, onProgress } = this.#options;
    const path = `${directory}/${name}`;
    if (name.startsWith("module-")) {
      if (openStore === undefined) {
        const what = { what: "record store", found: `a module's, in ${path}`, supported: "the store that the engine was opened with" };
        throw new EngineError("INCOMPATIBLE", `the data are in the store of a module, in ${path}: open with that module`, what);
      }
      return guarded(path, "open", () => openStore(path)).then((store) => new ForeignStore(path, store));
    }
    const options = {
      fileSystem,
      directory: path,
      random,
      segmentBytes: Math.max(STORE_SEGMENT_BYTES_MIN, Math.min(segmentBytes ?? STORE_SEGMENT_BYTES, STORE_SEGMENT_BYTES)),
    };
    return new OwnStore(isNew ? SegmentStore.begin(options) : openSegmentStore(options, onProgress));
  }

  #remove(name: string): undefined | Promise<undefined> {
    const { fileSystem, directory } = this.#options;
    const store = this.#open.get(name);
    this.#open.delete(name);
    const removed = (): undefined => {
      fileSystem.removeDirectory(`${directory}/${name}`);
      fileSystem.syncDirectory(directory);
      return undefined;
    };
    const left = store?.leave();
    return left === undefined ? removed() : left.then(removed, removed);
  }
}

/** The default store. */
class OwnStore implements OpenStore {
  readonly #store: SegmentStore;
  readonly #readings = new Map<number, StoreReading>();
  #nextReading = 1;
  /** A rewriting found no room: none is tried before there was some. */
  #isStarved = false;

  constructor(store: SegmentStore) {
    this.#store = store;
  }

  get usedBytes(): number {
    return this.#store.bytes.used;
  }

  write(part: Uint8Array, last: boolean): void {
    this.#store.write(part, last);
    this.#isStarved = false;
  }

  get isInBatch(): boolean {
    return this.#store.isInBatch;
  }

  abort(): void {
    if (this.#store.isInBatch) this.#store.abort();
  }

  sync(): void {
    this.#store.sync();
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#store.get(key);
  }

  beginReading(range: { readonly start: Uint8Array; readonly end: Uint8Array }): number {
    const reading = this.#nextReading++;
    this.#readings.set(reading, this.#store.openReading(range));
    return reading;
  }

  read(reading: number, bytesMax: number, into?: Uint8Array): Uint8Array | undefined {
    const page = this.#readings.get(reading)?.read(bytesMax, into);
    if (page === undefined) this.#readings.delete(reading);
    return page;
  }

  background(onlyUrgent: boolean): boolean {
    return !this.#isStarved && this.#starving(() => this.#store.background(onlyUrgent));
  }

  squeeze(): void {
    this.#isStarved = false;
    this.#starving(() => this.#store.squeeze());
  }

  #starving(run: () => boolean): boolean {
    try {
      return run();
    } catch (error) {
      if (!(isNoSpace(error) && error.operation !== "dataSync")) throw error;
      this.#isStarved = true;
      return false;
    }
  }

  close(): void {
    for (const reading of this.#readings.values()) reading.close();
    this.#store.close();
  }

  leave(): void {
    this.#store.leave();
  }
}

/** A store of a user's own, which parts are gathered for until a batch is whole. What it throws ends the storage. */
class ForeignStore implements OpenStore {
  readonly #path: string;
  readonly #store: RecordStore;
  readonly #readings = new Map<number, AsyncIterator<readonly (readonly [Uint8Array, Uint8Array])[]>>();
  #nextReading = 1;
  #batch = new BatchReader();

  constructor(path: string, store: RecordStore) {
    this.#path = path;
    this.#store = store;
  }

  get usedBytes(): number {
    try {
      return this.#store.bytes().used;
    } catch {
      return 0;
    }
  }

  isInBatch = false;

  abort(): void {
    this.isInBatch = false;
    this.#batch = new BatchReader();
  }

  async write(part: Uint8Array, last: boolean): Promise<void> {
    const problem = this.#batch.add(part);
    assert(problem === undefined, "parts are made by this program");
    this.isInBatch = !last;
    if (!last) return;
    const { puts, deletes } = this.#batch;
    this.#batch = new BatchReader();
    await guarded(this.#path, "write", () => this.#store.write({ puts, deletes }));
  }

  sync(): Promise<void> {
    return guarded(this.#path, "sync", () => this.#store.sync());
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await guarded(this.#path, "get", () => this.#store.get(key)))?.slice();
  }

  beginReading(range: { readonly start: Uint8Array; readonly end: Uint8Array }): number {
    const reading = this.#nextReading++;
    this.#readings.set(reading, this.#store.entries(range)[Symbol.asyncIterator]());
    return reading;
  }

  async read(reading: number): Promise<Uint8Array | undefined> {
    const iterator = this.#readings.get(reading);
    const next = iterator === undefined ? undefined : await guarded(this.#path, "entries", () => iterator.next());
    if (next === undefined || next.done === true) {
      this.#readings.delete(reading);
      return undefined;
    }
    const writer = new PartWriter();
    for (const [key, value] of next.value) writer.put(key, value);
    return writer.take().slice(); // Handed over to another thread.
  }

  background(): boolean {
    return false;
  }

  squeeze(): void {
    // How a store of a user's own gives back room is its own affair.
  }

  close(): Promise<void> {
    return guarded(this.#path, "close", () => this.#store.close());
  }

  leave(): Promise<void> {
    return this.close();
  }
}

/** What a user's own store throws, as one of ours. */
async function guarded<T>(path: string, operation: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (EngineError.is(error, "CORRUPT") || error instanceof FileError) throw error;
    throw new FileError({
      operation: `store ${operation}`,
      path,
      errno: String((error as { code?: unknown } | undefined)?.code ?? error),
      cause: error,
    });
  }
}

function nothing(done: void | Promise<void>): undefined | Promise<undefined> {
  return done instanceof Promise ? done.then(() => undefined) : undefined;
}

/** Loads a module whose default export opens a store. Rejects with INVALID_ARGUMENT. */
async function loadRecordStore(module: string): Promise<OpenRecordStore> {
  let loaded: { readonly default?: unknown };
  try {
    loaded = (await import(module)) as { readonly default?: unknown };
  } catch (error) {
    throw new EngineError(
      "INVALID_ARGUMENT",
      `store: ${module} cannot be loaded: ${String(error)}`,
      { argument: "store", reason: String(error) },
      { cause: error },
    );
  }
  if (typeof loaded.default !== "function") throw invalidArgument("store", `${module} exports no function by default`);
  return loaded.default as OpenRecordStore;
}

/** How a user's own store is opened; undefined: there is none. Rejects with INVALID_ARGUMENT. */
export async function recordStoreOpener(
  store: (ModuleRef & { readonly module: string }) | undefined,
): Promise<((path: string) => Promise<RecordStore>) | undefined> {
  if (store === undefined) return undefined;
  const open = await loadRecordStore(store.module);
  return (path) => open(path, store.options);
}

/** For the message of a CORRUPT: the log names a store whose header cannot be read. */
export function noStoreHeader(path: string): Error {
  return corrupt({ path, offset: 0, expected: "a header that says what the store holds", found: "none" });
}
