/**
 * The Storage of a node over a DiskPort: matches answers to requests, gathers appends, keeps in mind what the log holds. Asynchronous,
 * with no file call, clock or thread of its own, so that the simulator runs it as it is.
 */
import type { Entry } from "../core/raft/entry.ts";
import { decodeEntry } from "../core/raft/entry.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { RecoveredLog } from "../core/raft/ready.ts";
import { EngineError, assert, fromWire, invalidArgument } from "../errors.ts";
import { AppendGatherer, recordBytes } from "./append-gatherer.ts";
import type { Gathered } from "./append-gatherer.ts";
import { CallTimer } from "./call-times.ts";
import type { DiskGauges, DiskPort, DiskProgress, DiskReply, DiskRequest, DiskValue, RecoveredWire } from "./disk-protocol.ts";
import { IDENTITY_BYTES_MAX } from "./identity-file.ts";
import { checkLogWrite, noteTerms } from "./log-write.ts";
import { SNAPSHOT_SLICE_BYTES } from "./snapshot-store.ts";
import type { StoredSnapshot } from "./snapshot-store.ts";
import { STORE_HEADER_KEY, noStoreHeader } from "./records/disk-stores.ts";
import { PartWriter } from "./records/store-format.ts";
import { isSnapshotMeta } from "./log-state.ts";
import { parseJson } from "./log-format.ts";
import { corrupt } from "./storage-failure.ts";
import type { LogWrite, Recovered, SnapshotFile, SnapshotWriter, StateStore, Storage, StoreHeader } from "./storage.ts";
import { TermRuns } from "./term-runs.ts";

export interface OpenStorageOptions {
  readonly port: DiskPort;
  /** How many bytes of the last entries recovery hands over. Default 64 MiB. */
  readonly tailBytesMax?: number;
  /** Appends on their way to the disk at once; the disk joins those that wait. Default 2, so that it never waits for this thread. */
  readonly appendsInFlightMax?: number;
  /** Bytes of writes that gather while others are on their way; beyond it append() refuses with OVERLOADED. Default 256 MiB. */
  readonly gatheredBytesMax?: number;
  onProgress?(progress: DiskProgress): void;
}

/** Of one write. */
const WRITE_BYTES_MAX = 512 * 1024 * 1024;
const GATHERED_BYTES_MAX = 256 * 1024 * 1024;
const TAIL_BYTES_MAX = 64 * 1024 * 1024;

/** Recovers what is behind the port. Rejects with CORRUPT, INCOMPATIBLE, NO_SPACE or DISK_FAILED; the port is closed then. */
export async function openStorage(options: OpenStorageOptions): Promise<Storage> {
  const storage = new PortStorage(options);
  try {
    await storage.open(options.tailBytesMax ?? TAIL_BYTES_MAX);
  } catch (error) {
    await storage.close();
    throw error;
  }
  return storage;
}

interface Pending {
  readonly resolve: (value: DiskValue) => void;
  readonly reject: (error: Error) => void;
}

type RequestBody = DiskRequest extends infer R ? (R extends { id: number } ? Omit<R, "id"> : never) : never;

class PortStorage implements Storage {
  readonly failed: Promise<EngineError>;
  readonly #port: DiskPort;
  readonly #onProgress: ((progress: DiskProgress) => void) | undefined;
  readonly #appendsInFlightMax: number;
  readonly #gatheredBytesMax: number;
  readonly #gatherer = new AppendGatherer();
  readonly #pending = new Map<number, Pending>();
  readonly #appends = new Map<number, Gathered>();
  readonly #holds = new Map<string, number>();
  #settleFailed!: (error: EngineError) => void;
  #nextId = 1;
  #ended: EngineError | undefined;
  #closing: Promise<void> | undefined;
  #recovered: Recovered = { identity: undefined, log: undefined };
  #base: SnapshotMeta | undefined;
  #snapshot: StoredSnapshot | undefined;
  #store: PortStore | undefined;
  #firstIndex = 0;
  #lastIndex = 0;
  #terms = new TermRuns([]);
  /** Names of snapshots on their way that drop the log: until answered the disk's idea of the first index is an old one. */
  #resets = 0;
  #gauges: DiskGauges = {
    firstIndex: 0,
    logBytes: 0,
    diskBytes: 0,
    syncMs: 0,
    times: { syncs: 0, syncMs: 0, commits: 0, commitMs: 0 },
    full: false,
    reserveBytes: 0,
  };
  readonly times: { readonly sync: CallTimer; readonly commit: CallTimer } = { sync: new CallTimer(), commit: new CallTimer() };
  #onFullChange: () => void = () => {};

  constructor(options: OpenStorageOptions) {
    this.#port = options.port;
    this.#onProgress = options.onProgress;
    this.#appendsInFlightMax = options.appendsInFlightMax ?? 2;
    this.#gatheredBytesMax = options.gatheredBytesMax ?? GATHERED_BYTES_MAX;
    this.failed = new Promise((resolve) => (this.#settleFailed = resolve));
    this.#port.onReply((reply) => this.#onReply(reply));
  }

  async open(tailBytesMax: number): Promise<void> {
    const recovered = (await this.#request({ kind: "open", tailBytesMax })) as RecoveredWire;
    this.#snapshot = recovered.snapshot;
    const { identity, log } = recovered;
    if (log === undefined) {
      this.#recovered = { identity, log: undefined };
      return;
    }
    const store = recovered.store === undefined ? undefined : await this.#openStore(recovered.store, log);
    const base = store?.header.meta ?? log.base;
    const recoveredLog: RecoveredLog = {
      vote: log.vote,
      base,
      firstIndex: log.firstIndex,
      lastIndex: log.lastIndex,
      terms: log.terms,
      configurationEntries: log.configurationEntries.flatMap(decodeEntries).filter(({ index }) => index > base.lastIncludedIndex),
      tail: log.tail.flatMap(decodeEntries),
    };
    this.#recovered = { identity, log: recoveredLog };
    this.#base = base;
    this.#store = store;
    this.#firstIndex = log.firstIndex;
    this.#lastIndex = log.lastIndex;
    this.#terms = new TermRuns(log.terms);
  }

  /** Opens the store that the log names, and holds what it says against what the log says. */
  async #openStore(file: string, log: NonNullable<RecoveredWire["log"]>): Promise<PortStore & { readonly header: StoreHeader }> {
    const header = readStoreHeader((await this.#request({ kind: "openStore", store: file })) as Uint8Array | undefined);
    if (header === undefined) throw noStoreHeader(file);
    const { lastIncludedIndex: index, lastIncludedTerm: term } = header.meta;
    const termInLog = new TermRuns(log.terms).at(index);
    // Ahead of the log it would hold what may never have been committed; behind what the log says that it synced, it has lost something.
    if (index < log.base.lastIncludedIndex || index < log.firstIndex - 1 || index > log.lastIndex || termInLog !== term) {
      const expected = `the state after an entry from ${log.base.lastIncludedIndex} to ${log.lastIndex} of the log`;
      throw corrupt({ path: file, offset: 0, expected, found: `that after entry ${index} of term ${term}` });
    }
    return Object.assign(this.#portStore(file), { header });
  }

  get recovered(): Recovered {
    return this.#recovered;
  }

  get firstIndex(): number {
    return this.#firstIndex;
  }

  get lastIndex(): number {
    return this.#lastIndex;
  }

  get logBytes(): number {
    return this.#gauges.logBytes;
  }

  get diskBytes(): number {
    return this.#gauges.diskBytes;
  }

  get syncMs(): number {
    return this.#gauges.syncMs;
  }

  get full(): boolean {
    return this.#gauges.full;
  }

  get reserveBytes(): number {
    return this.#gauges.reserveBytes;
  }

  onFullChange(listener: () => void): void {
    this.#onFullChange = listener;
  }

  async makeRoom(): Promise<boolean> {
    return (await this.#request({ kind: "makeRoom" })) === 1;
  }

  async giveRoom(): Promise<void> {
    await this.#request({ kind: "giveRoom" });
  }

  append(write: LogWrite): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const log = this.#base === undefined ? undefined : { base: this.#base, lastIndex: this.#lastIndex, terms: this.#terms };
    const wrong = checkLogWrite(log, write);
    if (wrong !== undefined) return Promise.reject(wrong);
    const bytes = recordBytes(write);
    if (bytes > WRITE_BYTES_MAX) return Promise.reject(invalidArgument("write", `${bytes} bytes, of at most ${WRITE_BYTES_MAX}`));
    if (this.#gatherer.bytes > this.#gatheredBytesMax) {
      const details = { limit: "unsyncedBytes", max: this.#gatheredBytesMax, retryAfterMs: Math.ceil(this.syncMs) + 1 };
      return Promise.reject(new EngineError("OVERLOADED", "too many bytes wait for the disk", details));
    }
    if (write.vote === undefined && write.entries.length === 0) return this.#settled();
    const last = write.entries[write.entries.length - 1];
    if (last !== undefined) {
      this.#lastIndex = last.index;
      noteTerms(this.#terms, write);
    }
    const done = new Promise<void>((resolve, reject) => this.#gatherer.add(write, bytes, { resolve, reject }));
    if (this.#appends.size < this.#appendsInFlightMax) this.#postAppend();
    return done;
  }

  async read(range: { readonly from: number; readonly through: number; readonly bytesMax: number }): Promise<readonly Entry[]> {
    const { from, through, bytesMax } = range;
    if (this.#ended !== undefined) throw this.#ended;
    const isRange = Number.isSafeInteger(from) && Number.isSafeInteger(through) && from >= this.#firstIndex && from <= through;
    if (this.#base === undefined || !isRange || through > this.#lastIndex) {
      throw invalidArgument("range", `${from} to ${through} is not in the log, which is ${this.#firstIndex} to ${this.#lastIndex}`);
    }
    await this.#settled();
    const entries: Entry[] = [];
    let left = bytesMax;
    for (let next = from; next <= through;) {
      const bytes = (await this.#request({ kind: "read", from: next, through, bytesMax: left })) as Uint8Array;
      for (const entry of decodeEntries(bytes)) {
        left -= entry.record.byteLength;
        if (left < 0 && entries.length > 0) return entries;
        entries.push(entry);
        next++;
      }
      if (left <= 0) break;
    }
    return entries;
  }

  async discard(through: number): Promise<void> {
    if (this.#base === undefined || through < this.#firstIndex) return;
    await this.#request({ kind: "discard", through });
  }

  openSnapshot(): SnapshotFile | undefined {
    const snapshot = this.#snapshot;
    if (snapshot === undefined || this.#ended !== undefined) return undefined;
    const { file, meta, bytes } = snapshot;
    this.#holds.set(file, (this.#holds.get(file) ?? 0) + 1);
    let released = false;
    return {
      meta,
      bytes,
      read: async (offset, bytesMax) => {
        if (released) throw invalidArgument("snapshot", "it was released");
        return (await this.#request({ kind: "readSnapshot", file, offset, bytesMax })) as Uint8Array;
      },
      release: () => {
        if (released) return;
        released = true;
        this.#release(file);
      },
    };
  }

  async createSnapshot(meta: SnapshotMeta): Promise<SnapshotWriter> {
    const writer = (await this.#request({ kind: "createSnapshot", meta })) as number;
    let slice = new Uint8Array(SNAPSHOT_SLICE_BYTES);
    let filled = 0;
    let done = false;
    const flush = async (): Promise<void> => {
      if (filled === 0) return;
      const bytes = filled === slice.byteLength ? slice : slice.slice(0, filled);
      slice = new Uint8Array(SNAPSHOT_SLICE_BYTES);
      filled = 0;
      await this.#request({ kind: "writeSnapshot", writer, bytes });
    };
    return {
      write: async (bytes) => {
        if (done) throw invalidArgument("snapshot", "it was committed or abandoned");
        for (let at = 0; at < bytes.byteLength;) {
          const part = bytes.subarray(at, at + slice.byteLength - filled);
          slice.set(part, filled);
          filled += part.byteLength;
          at += part.byteLength;
          if (filled === slice.byteLength) await flush();
        }
      },
      commit: async (options) => {
        if (done) throw invalidArgument("snapshot", "it was committed or abandoned");
        done = true;
        await flush();
        await this.#commit(writer, { meta, resetLog: options.resetLog });
      },
      abandon: async () => {
        if (done || this.#ended !== undefined) return;
        done = true;
        await this.#request({ kind: "abandonSnapshot", writer });
      },
    };
  }

  get store(): StateStore | undefined {
    return this.#store;
  }

  async createStore(): Promise<StateStore> {
    return this.#portStore((await this.#request({ kind: "createStore" })) as string);
  }

  #portStore(file: string): PortStore {
    return new PortStore(file, {
      request: (body) => this.#request(body),
      name: (store, resetLog) => this.#nameStore(store, resetLog),
      isNamed: (store) => this.#store === store,
    });
  }

  async #nameStore(store: PortStore, resetLog: boolean): Promise<void> {
    await this.#request({ kind: "syncStore", store: store.file });
    await this.#name({ meta: store.header!.meta, file: store.file, resetLog });
    const before = this.#store;
    const snapshot = this.#snapshot;
    this.#store = store;
    this.#snapshot = undefined;
    if (before !== undefined && before !== store) this.#forgetStore(before.file);
    if (snapshot !== undefined && !this.#holds.has(snapshot.file)) this.#removeSnapshot(snapshot.file);
  }

  #forgetStore(file: string): void {
    if (this.#ended !== undefined) return;
    // As a snapshot that is removed.
    this.#request({ kind: "removeStore", store: file }).catch(() => {});
  }

  async found(meta: SnapshotMeta): Promise<void> {
    const base = this.#base;
    const snapshot = this.#snapshot;
    if (base !== undefined && this.#lastIndex !== base.lastIncludedIndex) throw invalidArgument("found", "the log holds entries already");
    if (base !== undefined && snapshot !== undefined) {
      const { lastIncludedIndex: index, lastIncludedTerm: term } = base;
      if (index !== meta.lastIncludedIndex || term !== meta.lastIncludedTerm)
        throw invalidArgument("found", `the log holds a snapshot of entry ${index}, and is to begin with it`);
      await this.#name({ meta, file: snapshot.file, resetLog: true });
      this.#snapshot = { ...snapshot, meta };
      return;
    }
    if (this.#store !== undefined) throw invalidArgument("found", "the log holds a state already");
    const done = this.#request({ kind: "found", meta });
    this.#begin(meta);
    await done;
  }

  async saveIdentity(bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength > IDENTITY_BYTES_MAX) throw invalidArgument("identity", `at most ${IDENTITY_BYTES_MAX} bytes`);
    await this.#request({ kind: "saveIdentity", bytes: bytes.slice() });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#ended === undefined) {
      this.#ended = new EngineError("CLOSED", "the storage is closed", {});
      while (!this.#gatherer.isEmpty) this.#postAppend();
      this.#port.post({ id: this.#nextId++, kind: "close" });
    }
    try {
      await this.#port.close();
    } finally {
      this.#rejectAll(new EngineError("CLOSED", "the storage was closed before the disk answered", {}, { mayHaveApplied: true }));
    }
  }

  /** Resolves when every write made so far is on disk. */
  #settled(): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      if (this.#gatherer.joinLast(waiter)) return;
      // The last one posted is the last one answered.
      let last: Gathered | undefined;
      for (const gathered of this.#appends.values()) last = gathered;
      if (last === undefined) resolve();
      else last.waiters.push(waiter);
    });
  }

  async #commit(writer: number, options: { readonly meta: SnapshotMeta; readonly resetLog: boolean }): Promise<void> {
    const { meta, resetLog } = options;
    const stored = (await this.#request({ kind: "finishSnapshot", writer })) as StoredSnapshot;
    const { lastIncludedIndex } = meta;
    const isInside = this.#base !== undefined && lastIncludedIndex >= this.#base.lastIncludedIndex && lastIncludedIndex <= this.#lastIndex;
    if (!resetLog && !(isInside && this.#terms.at(lastIncludedIndex) === meta.lastIncludedTerm)) {
      await this.#request({ kind: "removeSnapshot", file: stored.file });
      throw invalidArgument("resetLog", `the log does not hold entry ${lastIncludedIndex}, or has a newer snapshot`);
    }
    await this.#name({ meta, file: stored.file, resetLog });
    const before = this.#snapshot;
    const store = this.#store;
    this.#snapshot = stored;
    this.#store = undefined;
    if (before !== undefined && !this.#holds.has(before.file)) this.#removeSnapshot(before.file);
    if (store !== undefined) this.#forgetStore(store.file);
  }

  /** Writes the log's record that says where recovery starts. */
  async #name({ meta, file, resetLog }: { readonly meta: SnapshotMeta; readonly file: string; readonly resetLog: boolean }): Promise<void> {
    // Requests of the log are answered in order: what was appended before is written before, what comes after rests on the new base.
    while (!this.#gatherer.isEmpty) this.#postAppend();
    const named = this.#request({ kind: "nameSnapshot", meta, file, resetLog });
    if (resetLog) {
      this.#resets++;
      this.#begin(meta);
    } else this.#base = meta;
    await named;
    if (resetLog) this.#resets--;
  }

  #begin(base: SnapshotMeta): void {
    this.#base = base;
    this.#firstIndex = base.lastIncludedIndex + 1;
    this.#lastIndex = base.lastIncludedIndex;
    this.#terms = new TermRuns([{ index: base.lastIncludedIndex, term: base.lastIncludedTerm }]);
  }

  #release(file: string): void {
    const holds = this.#holds.get(file)! - 1;
    if (holds > 0) {
      this.#holds.set(file, holds);
      return;
    }
    this.#holds.delete(file);
    if (file !== this.#snapshot?.file) this.#removeSnapshot(file);
  }

  #removeSnapshot(file: string): void {
    if (this.#ended !== undefined) return;
    // Nobody waits for it; if it fails the storage has failed, which `failed` says.
    this.#request({ kind: "removeSnapshot", file }).catch(() => {});
  }

  #postAppend(): void {
    const gathered = this.#gatherer.take();
    if (gathered === undefined) return;
    const id = this.#nextId++;
    this.#appends.set(id, gathered);
    this.#port.post({ id, kind: "append", records: gathered.buffer.subarray(0, gathered.used) });
  }

  #request(body: RequestBody): Promise<DiskValue> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#pending.set(id, { resolve, reject });
      this.#port.post({ ...body, id } as DiskRequest);
    });
  }

  #onReply(reply: DiskReply): void {
    if (reply.progress !== undefined) this.#onProgress?.(reply.progress);
    if (reply.fatal === true) {
      this.#fail(fromWire(reply.error!));
      return;
    }
    if (reply.gauges !== undefined) {
      const { full } = this.#gauges;
      this.#gauges = reply.gauges;
      const { syncs, syncMs, commits, commitMs } = reply.gauges.times;
      this.times.sync.tell(syncs, syncMs);
      this.times.commit.tell(commits, commitMs);
      if (full !== reply.gauges.full) this.#onFullChange();
      if (this.#resets === 0 && reply.gauges.firstIndex > this.#firstIndex) {
        this.#firstIndex = reply.gauges.firstIndex;
        this.#terms.discardBefore(this.#firstIndex);
      }
    }
    const gathered = this.#appends.get(reply.id);
    if (gathered !== undefined) {
      this.#appends.delete(reply.id);
      this.#gatherer.giveBack(gathered);
      if (this.#appends.size < this.#appendsInFlightMax) this.#postAppend();
      const error = reply.error === undefined ? undefined : fromWire(reply.error);
      for (const waiter of gathered.waiters) {
        if (error === undefined) waiter.resolve();
        else waiter.reject(error);
      }
      return;
    }
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    this.#pending.delete(reply.id);
    if (reply.error === undefined) pending.resolve(reply.value);
    else pending.reject(fromWire(reply.error));
  }

  #fail(error: EngineError): void {
    // While closing what fails is still an answer to those who wait.
    if (this.#ended === undefined || this.#closing !== undefined) {
      this.#ended = error;
      this.#settleFailed(error);
    }
    this.#rejectAll(error);
  }

  #rejectAll(error: Error): void {
    const pending = [...this.#pending.values()];
    const appends = [...this.#appends.values()];
    this.#pending.clear();
    this.#appends.clear();
    for (let gathered = this.#gatherer.take(); gathered !== undefined; gathered = this.#gatherer.take()) appends.push(gathered);
    for (const one of pending) one.reject(error);
    for (const gathered of appends) for (const waiter of gathered.waiters) waiter.reject(error);
  }
}

/** A store behind a port. Requests are answered in their order, so that a batch is whole when its last part is answered. */
class PortStore implements StateStore {
  readonly file: string;
  header: StoreHeader | undefined;
  readonly #storage: {
    request(body: RequestBody): Promise<DiskValue>;
    name(store: PortStore, resetLog: boolean): Promise<void>;
    isNamed(store: PortStore): boolean;
  };
  #isOver = false;
  #isInBatch = false;

  constructor(
    file: string,
    storage: {
      request(body: RequestBody): Promise<DiskValue>;
      name(store: PortStore, resetLog: boolean): Promise<void>;
      isNamed(store: PortStore): boolean;
    },
  ) {
    this.file = file;
    this.#storage = storage;
  }

  async write(part: Uint8Array, { last, header }: { readonly last: boolean; readonly header?: StoreHeader }): Promise<void> {
    assert(header === undefined || last, "a header comes with the end of a batch");
    await this.#write(part, last && header === undefined);
    if (header === undefined) return;
    // In a part of its own, which is the last: the batch then holds with what it says of itself, or not at all.
    const end = new PartWriter();
    end.put(STORE_HEADER_KEY, new TextEncoder().encode(JSON.stringify(header)));
    await this.#write(end.take(), true);
    this.header = header;
  }

  async #write(part: Uint8Array, last: boolean): Promise<void> {
    const first = !this.#isInBatch;
    // A part that fails takes its batch with it.
    this.#isInBatch = false;
    await this.#storage.request({ kind: "writeStore", store: this.file, part, first, last });
    this.#isInBatch = !last;
  }

  async name({ resetLog }: { readonly resetLog: boolean }): Promise<void> {
    assert(this.header !== undefined, "a store that is named holds a state");
    this.#isOver = true;
    await this.#storage.name(this, resetLog);
  }

  read(range: { readonly start: Uint8Array; readonly end: Uint8Array }): (done?: Uint8Array) => Promise<Uint8Array | undefined> {
    const { file } = this;
    let reading: number | undefined;
    let ahead: Promise<Uint8Array | undefined> | undefined;
    let into: Uint8Array | undefined;
    const page = async (): Promise<Uint8Array | undefined> => {
      const request = { kind: "readStore", store: file, reading: reading!, bytesMax: SNAPSHOT_SLICE_BYTES, into } as const;
      into = undefined;
      return (await this.#storage.request(request)) as Uint8Array | undefined;
    };
    return async (done) => {
      into = done ?? into;
      reading ??= (await this.#storage.request({ kind: "beginReading", store: file, ...range })) as number;
      const next = ahead ?? page();
      // The disk reads the one behind it while the caller is busy with this.
      ahead = next.then((found) => (found === undefined ? undefined : page()));
      ahead.catch(() => {}); // Told to whoever asks for it.
      return next;
    };
  }

  async abandon(): Promise<void> {
    if (this.#isOver || this.#storage.isNamed(this)) return;
    this.#isOver = true;
    await this.#storage.request({ kind: "removeStore", store: this.file });
  }
}

function readStoreHeader(bytes: Uint8Array | undefined): StoreHeader | undefined {
  const header = bytes === undefined ? undefined : (parseJson(bytes) as Partial<StoreHeader> | undefined);
  if (header === undefined || !isSnapshotMeta(header.meta) || !Number.isSafeInteger(header.preambleBytes)) return undefined;
  return header as StoreHeader;
}

function decodeEntries(bytes: Uint8Array): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at < bytes.byteLength;) {
    const entry = decodeEntry(bytes, at);
    if (entry === undefined)
      throw new EngineError("INTERNAL", "the disk answered with an entry that cannot be read", { invariant: "verified entries decode" });
    entries.push(entry);
    at += entry.record.byteLength;
  }
  return entries;
}
