/** A member's disk that keeps nothing: the log, snapshots and identity in memory, gone when it is closed. For tests and for nodes that may forget. */
import type { Entry } from "../core/raft/entry.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import { checkLogWrite, noteTerms } from "./log-write.ts";
import type { LogWrite, Recovered, SnapshotFile, SnapshotWriter, StateStore, Storage } from "./storage.ts";
import { TermRuns } from "./term-runs.ts";

const READ_BYTES_MAX = 256 * 1024;

export function createMemoryStorage(): Storage {
  return new MemoryStorage();
}

interface MemorySnapshot {
  readonly meta: SnapshotMeta;
  readonly bytes: Uint8Array;
}

class MemoryStorage implements Storage {
  readonly recovered: Recovered = { identity: undefined, log: undefined };
  readonly failed: Promise<EngineError> = new Promise(() => {});
  readonly syncMs = 0;
  readonly full = false;
  readonly reserveBytes: number = Number.POSITIVE_INFINITY;
  #entries: Entry[] = [];
  #terms = new TermRuns([]);
  #base: SnapshotMeta | undefined;
  #snapshot: MemorySnapshot | undefined;
  #firstIndex = 0;
  #logBytes = 0;
  #closed = false;

  get firstIndex(): number {
    return this.#firstIndex;
  }

  get lastIndex(): number {
    return this.#base === undefined ? 0 : this.#firstIndex + this.#entries.length - 1;
  }

  /** Of the entries behind the newest snapshot. */
  get logBytes(): number {
    return this.#logBytes;
  }

  get diskBytes(): number {
    return 0;
  }

  async append(write: LogWrite): Promise<void> {
    this.#checkOpen();
    const log = this.#base === undefined ? undefined : { base: this.#base, lastIndex: this.lastIndex, terms: this.#terms };
    const wrong = checkLogWrite(log, write);
    if (wrong !== undefined) throw wrong;
    const first = write.entries[0];
    if (first === undefined) return;
    for (let at = first.index - this.#firstIndex; at < this.#entries.length; at++) this.#logBytes -= this.#entries[at]!.record.byteLength;
    this.#entries.length = first.index - this.#firstIndex;
    noteTerms(this.#terms, write);
    for (const entry of write.entries) {
      this.#entries.push(entry);
      this.#logBytes += entry.record.byteLength;
    }
  }

  async read(range: { readonly from: number; readonly through: number; readonly bytesMax: number }): Promise<readonly Entry[]> {
    this.#checkOpen();
    const { from, through, bytesMax } = range;
    if (this.#base === undefined || !(from >= this.#firstIndex && from <= through && through <= this.lastIndex)) {
      throw invalidArgument("range", `${from} to ${through} is not in the log, which is ${this.#firstIndex} to ${this.lastIndex}`);
    }
    const found: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= through; index++) {
      const entry = this.#entries[index - this.#firstIndex]!;
      bytes += entry.record.byteLength;
      if (found.length > 0 && bytes > bytesMax) break;
      found.push(entry);
    }
    return found;
  }

  async discard(through: number): Promise<void> {
    this.#checkOpen();
    if (this.#base === undefined) return;
    const limit = Math.min(through, this.#base.lastIncludedIndex);
    if (limit < this.#firstIndex) return;
    this.#entries.splice(0, limit + 1 - this.#firstIndex);
    this.#firstIndex = limit + 1;
    this.#terms.discardBefore(this.#firstIndex);
  }

  openSnapshot(): SnapshotFile | undefined {
    const snapshot = this.#snapshot;
    if (snapshot === undefined || this.#closed) return undefined;
    const { meta, bytes } = snapshot;
    return {
      meta,
      bytes: bytes.byteLength,
      read: async (offset, bytesMax) => bytes.slice(offset, offset + Math.min(bytesMax, READ_BYTES_MAX)),
      release: () => {},
    };
  }

  async createSnapshot(meta: SnapshotMeta): Promise<SnapshotWriter> {
    this.#checkOpen();
    const pieces: Uint8Array[] = [];
    let done = false;
    const checkWriting = (): void => {
      this.#checkOpen();
      if (done) throw invalidArgument("snapshot", "it was committed or abandoned");
    };
    return {
      write: async (bytes) => {
        checkWriting();
        pieces.push(bytes.slice());
      },
      commit: async ({ resetLog }) => {
        checkWriting();
        done = true;
        this.#commit({ meta, bytes: concatenate(pieces) }, resetLog);
      },
      abandon: async () => {
        done = true;
        pieces.length = 0;
      },
    };
  }

  readonly store = undefined;

  createStore(): Promise<StateStore> {
    return Promise.reject(invalidArgument("store", "without a directory there is none"));
  }

  async found(meta: SnapshotMeta): Promise<void> {
    this.#checkOpen();
    if (this.#base !== undefined && (this.lastIndex !== this.#base.lastIncludedIndex || this.#snapshot !== undefined))
      throw invalidArgument("found", "the log holds an entry or a state already");
    this.#begin(meta);
  }

  async saveIdentity(_bytes: Uint8Array): Promise<void> {
    this.#checkOpen();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#entries = [];
    this.#snapshot = undefined;
  }

  onFullChange(_listener: () => void): void {
    // Never full.
  }

  async makeRoom(): Promise<boolean> {
    return false;
  }

  async giveRoom(): Promise<void> {
    // Never full.
  }

  #checkOpen(): void {
    if (this.#closed) throw new EngineError("CLOSED", "the storage is closed", {});
  }

  #begin(base: SnapshotMeta): void {
    this.#base = base;
    this.#entries = [];
    this.#logBytes = 0;
    this.#firstIndex = base.lastIncludedIndex + 1;
    this.#terms = new TermRuns([{ index: base.lastIncludedIndex, term: base.lastIncludedTerm }]);
  }

  #commit(snapshot: MemorySnapshot, resetLog: boolean): void {
    const { meta } = snapshot;
    const { lastIncludedIndex } = meta;
    if (resetLog) this.#begin(meta);
    else {
      const isInside = this.#base !== undefined && lastIncludedIndex >= this.#base.lastIncludedIndex && lastIncludedIndex <= this.lastIndex;
      if (!isInside || this.#terms.at(lastIncludedIndex) !== meta.lastIncludedTerm) {
        throw invalidArgument("resetLog", `the log does not hold entry ${lastIncludedIndex}, or has a newer snapshot`);
      }
      this.#base = meta;
      this.#logBytes = 0;
      for (let at = lastIncludedIndex + 1 - this.#firstIndex; at < this.#entries.length; at++) {
        this.#logBytes += this.#entries[at]!.record.byteLength;
      }
    }
    this.#snapshot = snapshot;
  }
}

function concatenate(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.byteLength;
  }
  return all;
}
