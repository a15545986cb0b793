/**
 * What a turn of Raft leaves to be done. The order that keeps it safe:
 *
 *   1. `messages` may leave at once: they promise nothing about this member's disk.
 *   2. `vote` and `entries` go to the log in one write. Readies are written in the order in which they were taken.
 *   3. Once that write (and so every earlier one) is on disk: `messagesAfterPersist` leave, and Raft is told with onPersisted().
 *   4. Entries up to `commitIndex` may be applied at any time, whether this member's own disk has them or not.
 */
import type { MemberId } from "./configuration.ts";
import type { Entry } from "./entry.ts";
import type { Message, SnapshotMeta } from "./message.ts";

export interface Vote {
  readonly term: number;
  readonly votedFor: MemberId | undefined;
}

export type Role = "follower" | "preCandidate" | "candidate" | "leader";

/** The read index that answers the read asked for with this id: serve it once this index is applied. undefined: not now, ask again. */
export interface ReadState {
  readonly requestId: number;
  readonly index: number | undefined;
}

/** Entries that a lagging follower needs and that are no longer in memory. Answer with onLogRead(). */
export interface LogRead {
  readonly to: MemberId;
  /** First and last index wanted. */
  readonly from: number;
  readonly through: number;
  readonly bytesMax: number;
}

/** A follower lacks what the log no longer has: send it the latest snapshot. Answer with onSnapshotSent(). */
export interface SnapshotSend {
  readonly to: MemberId;
}

export interface Ready {
  /** Present if term or vote changed since the last ready. */
  readonly vote: Vote | undefined;
  /** Contiguous; the first may replace an index that an earlier ready appended, and everything behind it. */
  readonly entries: readonly Entry[];
  readonly messages: readonly Message[];
  readonly messagesAfterPersist: readonly Message[];
  readonly readStates: readonly ReadState[];
  readonly logReads: readonly LogRead[];
  readonly snapshotSends: readonly SnapshotSend[];
}

/** A point of the log up to which this member's disk has it. Ignored where the log now holds another term there. */
export interface PersistedTo {
  readonly index: number;
  readonly term: number;
}

/** What is known of the log when a member starts. */
export interface RecoveredLog {
  readonly vote: Vote;
  /** The state that the member starts from: its newest snapshot, or the founding of the cluster. Committed, hence never truncated. */
  readonly base: SnapshotMeta;
  /** The first entry that can still be read: at most base.lastIncludedIndex + 1; lower where entries before the snapshot were kept for others. */
  readonly firstIndex: number;
  /** At least base.lastIncludedIndex. */
  readonly lastIndex: number;
  /** Runs of equal term: each from its index to the next one's. Ascending; the first covers firstIndex - 1. */
  readonly terms: readonly { readonly index: number; readonly term: number }[];
  /** All configuration entries above the base, ascending. */
  readonly configurationEntries: readonly Entry[];
  /** The last entries of the log, contiguous up to lastIndex, as many as the reader chose to keep. */
  readonly tail: readonly Entry[];
}
