/**
 * A member's disk as its node sees it: the log, the snapshots and the member's identity. Asynchronous throughout: the file calls
 * happen in the disk thread, the log's before everything else. Nothing here is called again after it failed: see `failed`.
 */
import type { Entry } from "../core/raft/entry.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { RecoveredLog, Vote } from "../core/raft/ready.ts";
import type { EngineError } from "../errors.ts";
import type { CallTimes } from "./call-times.ts";

/** One write of the log. All of it becomes durable together. */
export interface LogWrite {
  readonly vote: Vote | undefined;
  /** Contiguous. A first index at or below the last one replaces that entry and all behind it. */
  readonly entries: readonly Entry[];
}

/** The log alone: what the conformance suite tests. */
export interface LogStore {
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** Resolves when the write, and every one before it, is on disk (fdatasync). Writes made while a sync is under way share the next one. */
  append(write: LogWrite): Promise<void>;
  /** Entries `from` to `through`, both inclusive, cut short after `bytesMax` (never before the first). Rejects where they are not in the log. */
  read(range: { readonly from: number; readonly through: number; readonly bytesMax: number }): Promise<readonly Entry[]>;
  /** Lets go of entries up to and including `through`, by whole segments and no further than the newest snapshot. */
  discard(through: number): Promise<void>;
  close(): Promise<void>;
}

/** A snapshot on disk. Held files are not removed when a newer one takes their place. */
export interface SnapshotFile {
  readonly meta: SnapshotMeta;
  readonly bytes: number;
  /** Reads at most 256 KiB; fewer only at the end. Verified against the file's checksums; rejects CORRUPT. */
  read(offset: number, bytesMax: number): Promise<Uint8Array>;
  release(): void;
}

export interface SnapshotWriter {
  /** Appends; resolves when the slice is written (and synced, so that the final sync is short). One at a time. */
  write(bytes: Uint8Array): Promise<void>;
  /**
   * Makes the file durable, then the log's record that names it; from then on it is where recovery starts. `resetLog` drops the whole log
   * (a snapshot from the leader that the log does not contain); without it the log must hold lastIncludedIndex.
   */
  commit(options: { readonly resetLog: boolean }): Promise<void>;
  /** Removes the file. After commit() it does nothing. */
  abandon(): Promise<void>;
}

/** What a record store says of the state that it holds. */
export interface StoreHeader {
  /** The state is that after this entry, whole. */
  readonly meta: SnapshotMeta;
  /** Of what the state has beside its records, in pages. */
  readonly preambleBytes: number;
}

/** A record store of this member, as the node writes and reads it (records/record-store.ts says what a store is). */
export interface StateStore {
  /** What the log calls it. */
  readonly file: string;
  /** As of the last whole batch that held one; undefined before the first. */
  readonly header: StoreHeader | undefined;
  /**
   * Writes one part of a batch (records/store-format.ts); with `header` the last one, which holds then as a whole, and says what the store
   * holds now. The part is the store's until it has answered. Never ahead of the log: what a batch holds must be synced there.
   */
  write(part: Uint8Array, batch: { readonly last: boolean; readonly header?: StoreHeader }): Promise<void>;
  /** Every batch so far is on disk, and then the log's record that names the store and what it holds: recovery starts from it. */
  name(options: { readonly resetLog: boolean }): Promise<void>;
  /**
   * Pages of records from `start` up to, not including, `end`, in their order, as they were at the first; undefined at the end. `done`: a page
   * of before, to be filled again: nothing of it is used any more.
   */
  read(range: { readonly start: Uint8Array; readonly end: Uint8Array }): (done?: Uint8Array) => Promise<Uint8Array | undefined>;
  /** Removes a store that was never named. After name() it does nothing. */
  abandon(): Promise<void>;
}

export interface Recovered {
  /** What saveIdentity() kept; undefined in a new directory. */
  readonly identity: Uint8Array | undefined;
  /** undefined until a base was made, by found() or by a snapshot. */
  readonly log: RecoveredLog | undefined;
}

export interface Storage extends LogStore {
  readonly recovered: Recovered;
  /** The newest snapshot, held for the caller until released; undefined if there is none. */
  openSnapshot(): SnapshotFile | undefined;
  createSnapshot(meta: SnapshotMeta): Promise<SnapshotWriter>;
  /** The record store that the log names, if it names one. */
  readonly store: StateStore | undefined;
  /** An empty one, to take the place of what the log names now. */
  createStore(): Promise<StateStore>;
  /**
   * Begins the log of a new member, with an empty state as of meta.lastIncludedIndex. Durable when it resolves. A log that holds no entry and no vote is begun anew,
   * with the snapshot that it begins with, if it does; that must be of meta.lastIncludedIndex.
   */
  found(meta: SnapshotMeta): Promise<void>;
  /** Replaced as a whole, durable when it resolves. */
  saveIdentity(bytes: Uint8Array): Promise<void>;
  /** Bytes of the log behind the newest snapshot: what decides when to make the next. */
  readonly logBytes: number;
  readonly diskBytes: number;
  /** How long syncs of the log, and batches for the store, took since it was opened; undefined where there is no disk. */
  readonly times?: { readonly sync: CallTimes; readonly commit: CallTimes };
  /** How long the last fdatasync took, in milliseconds. */
  readonly syncMs: number;
  /**
   * The disk has no room. The log lives on what was kept for such a time, of which `reserveBytes` are left: to be spent on what must be
   * written. A write that finds no room even there fails the storage.
   */
  readonly full: boolean;
  readonly reserveBytes: number;
  /** Called when `full` has changed; by one listener, the last one given. */
  onFullChange(listener: () => void): void;
  /** On a full disk: tries for a slice of room, and answers whether more is to be tried for at once. The last slice ends `full`. */
  makeRoom(): Promise<boolean>;
  /**
   * On a full disk: a quarter of `reserveBytes` becomes room for a batch of the store, once until `full` ends, and what is in the log now goes with
   * discard() once the store has it. Better not followed by makeRoom() before.
   */
  giveRoom(): Promise<void>;
  /** Settles once, if a file call failed or a file proved corrupt: DISK_FAILED, NO_SPACE or CORRUPT. Every later call rejects with the same. */
  readonly failed: Promise<EngineError>;
}
