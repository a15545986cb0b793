/**
 * A member's disk as its node sees it: the log, the snapshots and the member's identity. Asynchronous throughout: the file calls
 * happen in the disk thread, the log's before everything else. Nothing here is called again after it failed: see `failed`.
 */
import type { Entry } from "../core/raft/entry.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { RecoveredLog, Vote } from "../core/raft/ready.ts";
import type { EngineError } from "../errors.ts";

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
  /** Begins the log of a new member, with an empty state as of meta.lastIncludedIndex. Durable when it resolves. */
  found(meta: SnapshotMeta): Promise<void>;
  /** Replaced as a whole, durable when it resolves. */
  saveIdentity(bytes: Uint8Array): Promise<void>;
  /** Bytes of the log behind the newest snapshot: what decides when to make the next. */
  readonly logBytes: number;
  readonly diskBytes: number;
  /** How long the last fdatasync took, in milliseconds. */
  readonly syncMs: number;
  /** Settles once, if a file call failed or a file proved corrupt: DISK_FAILED, NO_SPACE or CORRUPT. Every later call rejects with the same. */
  readonly failed: Promise<EngineError>;
}
