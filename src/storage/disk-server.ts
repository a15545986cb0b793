/**
 * A member's disk as a synchronous server: a request in, its file calls made, the reply out. It knows nothing of threads, queues or time;
 * disk-queue.ts decides what runs when, and the simulator runs it under virtual time. After a fatal error every request is answered
 * with that error.
 */
import { decodeEntry } from "../core/raft/entry.ts";
import { EngineError, invalidArgument, toWire } from "../errors.ts";
import type { WireError } from "../errors.ts";
import { FileError } from "../host/file-system.ts";
import type { FileSystem } from "../host/file-system.ts";
import type { Random } from "../host/random.ts";
import type { AppendRequest, DiskGauges, DiskProgress, DiskReply, DiskRequest, DiskValue, RecoveredWire } from "./disk-protocol.ts";
import { loadIdentity, saveIdentity } from "./identity-file.ts";
import { foundingBase, SEGMENT_BYTES, SEGMENT_BYTES_MIN, SLICE_BYTES, SegmentLog } from "./segment-log.ts";
import type { SegmentLogOptions } from "./segment-creation.ts";
import { recoverLog } from "./segment-recovery.ts";
import { SnapshotStore } from "./snapshot-store.ts";
import type { StoredSnapshot } from "./snapshot-store.ts";
import { corrupt, diskError, isNoSpace } from "./storage-failure.ts";
import { DiskStores, isStoreName } from "./records/disk-stores.ts";
import type { RecordStore } from "./records/record-store.ts";

export interface DiskServerOptions {
  /** Nonces of segments and names of files: nothing secret, but nothing that a caller can foresee. */
  readonly random: Random;
  /** Default 64 MiB; at least 4 KiB. */
  readonly segmentBytes?: number;
  /** Monotonic milliseconds, for the sync time that is reported. Default: none is. */
  now?(): number;
  /** Opens a user's own record store in a directory. Default: the one of this package. */
  openStore?(path: string): Promise<RecordStore>;
  /** Called during "open", at most once for each slice's worth of log. */
  onProgress?(progress: DiskProgress): void;
}

export interface DiskServer {
  /** A promise, which does not reject, where a user's own record store takes its time. One at a time. */
  handle(request: DiskRequest): DiskReply | Promise<DiskReply>;
  /** Several appends as one group with one sync. All of them succeed or all fail. */
  handleAppends(requests: readonly AppendRequest[]): DiskReply[];
  /**
   * One slice of work that nobody waits for; answers whether there is more. To be called when no request waits, and with `onlyUrgent` between
   * requests that never cease. Nothing depends on it but speed, and on how early a full disk is met.
   */
  background(onlyUrgent: boolean): boolean;
  /** The error that ended it, if one did. */
  readonly failure: WireError | undefined;
  /** The disk has no room, and the log lives on what was kept. */
  readonly full: boolean;
  readonly gauges: DiskGauges;
}

export function createDiskServer(made: {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly options: DiskServerOptions;
}): DiskServer {
  return new SynchronousDisk(made.fileSystem, made.directory, made.options);
}

class SynchronousDisk implements DiskServer {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #options: DiskServerOptions;
  readonly #logOptions: SegmentLogOptions;
  readonly #snapshots: SnapshotStore;
  readonly #stores: DiskStores;
  #commits = 0;
  #commitMs = 0;
  #log: SegmentLog | undefined;
  #spareBytes = 0;
  #opened = false;
  /** Progress that was told last. */
  #reported = 0;
  #closed = false;
  failure: WireError | undefined;

  constructor(fileSystem: FileSystem, directory: string, options: DiskServerOptions) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#options = options;
    const segmentBytes = Math.max(SEGMENT_BYTES_MIN, options.segmentBytes ?? SEGMENT_BYTES);
    this.#logOptions = { fileSystem, directory, segmentBytes, random: options.random, now: options.now ?? ((): number => 0) };
    this.#snapshots = new SnapshotStore({ fileSystem, directory, random: options.random });
    this.#stores = new DiskStores({
      fileSystem,
      directory,
      random: options.random,
      segmentBytes: options.segmentBytes,
      openStore: options.openStore === undefined ? undefined : (path) => options.openStore!(path),
      onProgress: (bytes, bytesMax) => this.#report(bytes, bytesMax),
    });
  }

  handle(request: DiskRequest): DiskReply | Promise<DiskReply> {
    const { id } = request;
    if (request.kind === "close") {
      const closing = this.#close();
      return closing === undefined ? { id } : closing.then(() => ({ id }));
    }
    if (this.failure !== undefined) return { id, error: this.failure, fatal: true };
    try {
      const value = request.kind === "writeStore" ? this.#commit(request) : this.#answer(request);
      if (!(value instanceof Promise)) return { id, value, gauges: this.gauges };
      return value.then(
        (settled) => ({ id, value: settled, gauges: this.gauges }),
        (error: unknown) => this.#refuse(id, error, request.kind),
      );
    } catch (error) {
      return this.#refuse(id, error, request.kind);
    }
  }

  handleAppends(requests: readonly AppendRequest[]): DiskReply[] {
    if (this.failure !== undefined) return requests.map(({ id }) => ({ id, error: this.failure!, fatal: true }));
    try {
      this.#running().append(requests.map((request) => request.records));
      const gauges = this.gauges;
      return requests.map(({ id }) => ({ id, gauges }));
    } catch (error) {
      return requests.map(({ id }) => this.#refuse(id, error, "append"));
    }
  }

  background(onlyUrgent: boolean): boolean {
    if (this.failure !== undefined || this.#log === undefined || this.#closed) return false;
    try {
      const more = this.#log.background(onlyUrgent);
      return this.#stores.background(onlyUrgent) || more;
    } catch (error) {
      this.#refuse(0, error, "background");
      return false;
    }
  }

  #answer(request: Exclude<DiskRequest, { kind: "close" }>): DiskValue | Promise<DiskValue> {
    switch (request.kind) {
      case "open":
        return this.#open(request.tailBytesMax);
      case "append":
        this.#running().append([request.records]);
        return undefined;
      case "found": {
        const base = foundingBase(request.meta);
        if (this.#log === undefined) this.#log = SegmentLog.begin(this.#logOptions, base, this.#spareBytes);
        else if (this.#log.isFresh) this.#log.reset(base);
        else throw invalidArgument("found", "the log holds a vote, an entry or a state already");
        return undefined;
      }
      case "nameSnapshot": {
        const base = { meta: request.meta, file: request.file };
        if (this.#log === undefined) this.#log = SegmentLog.begin(this.#logOptions, base, this.#spareBytes);
        else if (request.resetLog) this.#log.reset(base);
        else this.#log.nameBase(base);
        return undefined;
      }
      case "read": {
        const { from, through, bytesMax } = request;
        const log = this.#running();
        if (!(from >= log.state.firstIndex && from <= through && through <= log.state.lastIndex)) {
          throw invalidArgument(
            "range",
            `${from} to ${through} is not in the log, which is ${log.state.firstIndex} to ${log.state.lastIndex}`,
          );
        }
        return log.read({ from, through, bytesMax });
      }
      case "discard":
        this.#running().discard(request.through);
        if (this.#running().full) this.#stores.squeeze();
        return undefined;
      case "saveIdentity":
        saveIdentity(this.#fileSystem, this.#directory, request.bytes);
        return undefined;
      case "createSnapshot":
        return this.#snapshots.create(request.meta);
      case "writeSnapshot":
        this.#snapshots.write(request.writer, request.bytes);
        return undefined;
      case "finishSnapshot":
        return this.#snapshots.finish(request.writer);
      case "abandonSnapshot":
        this.#snapshots.abandon(request.writer);
        return undefined;
      case "readSnapshot":
        return this.#snapshots.read(request.file, { offset: request.offset, bytesMax: request.bytesMax });
      case "removeSnapshot":
        this.#snapshots.remove(request.file);
        return undefined;
      case "makeRoom":
        return this.#log?.makeRoom() === true ? 1 : 0;
      case "giveRoom":
        this.#log?.giveRoom();
        return undefined;
      default:
        return this.#stores.handle(request);
    }
  }

  #open(tailBytesMax: number): RecoveredWire {
    if (this.#opened) throw invalidArgument("open", "it is open already");
    this.#opened = true;
    this.#fileSystem.makeDirectory(this.#directory);
    const identity = loadIdentity(this.#fileSystem, this.#directory);
    const { log, spareBytes, tailFrom, configurationEntries } = recoverLog(this.#logOptions, {
      tailBytesMax,
      onProgress: (bytes, bytesMax) => this.#report(bytes, bytesMax),
    });
    this.#log = log;
    this.#spareBytes = spareBytes;
    if (log === undefined) {
      this.#snapshots.removeOthers(null);
      this.#stores.removeOthers(null);
      return { identity, log: undefined, snapshot: undefined, store: undefined };
    }
    const { state } = log;
    const { file, meta } = state.base;
    let snapshot: StoredSnapshot | undefined;
    const store = isStoreName(file) ? file : undefined;
    if (file !== null && store === undefined) {
      snapshot = this.#snapshots.inspect(file);
      if (snapshot.meta.lastIncludedIndex !== meta.lastIncludedIndex || snapshot.meta.lastIncludedTerm !== meta.lastIncludedTerm) {
        throw corrupt({
          path: `${this.#directory}/${file}`,
          offset: 0,
          expected: `a snapshot of entry ${meta.lastIncludedIndex}`,
          found: `one of entry ${snapshot.meta.lastIncludedIndex}`,
        });
      }
    }
    this.#snapshots.removeOthers(file);
    this.#stores.removeOthers(file);
    return {
      identity,
      snapshot,
      store,
      log: {
        vote: state.vote,
        base: meta,
        firstIndex: state.firstIndex,
        lastIndex: state.lastIndex,
        terms: state.terms.runs,
        configurationEntries: configurationEntries.map((entry) => entry.record),
        tail: readTail(log, tailFrom),
      },
    };
  }

  #running(): SegmentLog {
    if (this.#log === undefined) throw invalidArgument("log", "it has no base yet");
    return this.#log;
  }

  get full(): boolean {
    return this.#log?.full === true;
  }

  /** A part of a batch for the store, and what it took. */
  #commit(request: DiskRequest & { readonly kind: "writeStore" }): DiskValue | Promise<DiskValue> {
    const began = this.#logOptions.now();
    const value = this.#answer(request);
    this.#commitMs += this.#logOptions.now() - began;
    if (request.last) this.#commits++;
    return value;
  }

  get gauges(): DiskGauges {
    const log = this.#log;
    const stateBytes = this.#snapshots.diskBytes + this.#stores.diskBytes;
    const times = { syncs: log?.syncs ?? 0, syncMs: log?.syncTotalMs ?? 0, commits: this.#commits, commitMs: this.#commitMs };
    if (log === undefined) return { firstIndex: 0, logBytes: 0, diskBytes: stateBytes, syncMs: 0, times, full: false, reserveBytes: 0 };
    return {
      firstIndex: log.state.firstIndex,
      logBytes: log.bytesBehindBase,
      diskBytes: log.diskBytes + stateBytes,
      syncMs: log.syncMs,
      times,
      full: log.full,
      reserveBytes: log.reserveBytes,
    };
  }

  #refuse(id: number, error: unknown, kind: DiskRequest["kind"] | "background"): DiskReply {
    if (error instanceof FileError) {
      const wire = toWire(diskError(error, this.gauges.diskBytes));
      // A snapshot that the disk has no room for is given up; the log goes on.
      const isSnapshot = kind === "createSnapshot" || kind === "writeSnapshot" || kind === "finishSnapshot";
      // So is a batch for a store, while it is only written; what a sync says is final.
      const isStore = (kind === "createStore" || kind === "writeStore") && error.operation !== "dataSync";
      if ((isSnapshot || isStore) && isNoSpace(error)) return { id, error: wire, gauges: this.gauges };
      this.failure ??= wire;
      return { id, error: this.failure, fatal: true };
    }
    // Anything else is a crash of the simulated machine, or a bug: not ours to answer.
    if (!EngineError.is(error)) throw error;
    const wire = toWire(error);
    if (error.code === "INVALID_ARGUMENT") return { id, error: wire, gauges: this.gauges };
    this.failure ??= wire;
    return { id, error: this.failure, fatal: true };
  }

  #close(): void | Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    let closing: void | Promise<void> = undefined;
    for (const close of [
      () => {
        closing = this.#stores.close(this.failure === undefined);
      },
      () => this.#snapshots.close(),
      () => this.#log?.close(),
    ]) {
      try {
        close();
      } catch (error) {
        // Everything acknowledged was synced; what closing says changes nothing.
        if (!(error instanceof FileError)) throw error;
      }
    }
    return (closing as void | Promise<void>)?.catch(() => {}); // The same.
  }

  #report(bytes: number, bytesMax: number): void {
    if (bytes - this.#reported < SLICE_BYTES && bytes < bytesMax) return;
    this.#reported = bytes < bytesMax ? bytes : 0;
    this.#options.onProgress?.({ bytes, bytesMax });
  }
}

/** The last entries, in buffers of a slice, so that a few of them that are kept do not hold all the rest. */
function readTail(log: SegmentLog, from: number): Uint8Array[] {
  const { lastIndex } = log.state;
  const tail: Uint8Array[] = [];
  for (let next = from; next <= lastIndex;) {
    const entries = log.read({ from: next, through: lastIndex, bytesMax: SLICE_BYTES });
    tail.push(entries);
    for (let at = 0; at < entries.byteLength; next++) at += decodeEntry(entries, at)!.record.byteLength;
  }
  return tail;
}
