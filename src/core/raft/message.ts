/**
 * What members say to each other about consensus. Links may lose, delay, repeat and reorder messages. A snapshot's bytes travel on a
 * link of their own, outside this union; InstallSnapshot here is the offer of one.
 */
import type { Configuration, MemberId } from "./configuration.ts";
import type { Entry } from "./entry.ts";

interface Envelope {
  readonly from: MemberId;
  readonly to: MemberId;
  /** The sender's current term; for a pre-vote the term it would campaign in. */
  readonly term: number;
}

/** Raft 5.2, 5.4.1; with `preVote` a question that changes nothing at the one asked (thesis 9.6). */
export interface RequestVote extends Envelope {
  readonly kind: "RequestVote";
  readonly preVote: boolean;
  readonly lastLogIndex: number;
  readonly lastLogTerm: number;
  /** The leader itself asked for this election (thesis 3.10), so that stickiness does not apply. */
  readonly transfer: boolean;
}

export interface RequestVoteReply extends Envelope {
  readonly kind: "RequestVoteReply";
  readonly preVote: boolean;
  readonly granted: boolean;
}

/** Raft 5.3. `entries` follow prevLogIndex without a gap. */
export interface AppendEntries extends Envelope {
  readonly kind: "AppendEntries";
  readonly prevLogIndex: number;
  readonly prevLogTerm: number;
  readonly commitIndex: number;
  readonly entries: readonly Entry[];
}

export interface AppendEntriesReply extends Envelope {
  readonly kind: "AppendEntriesReply";
  readonly success: boolean;
  /** success: the follower's log agrees with the leader's up to here, and that is on its disk. Else the prevLogIndex refused. */
  readonly index: number;
  /** Refused: where the leader should look next (the conflict hint of Raft 5.3), and the follower's term there. Else 0. */
  readonly conflictIndex: number;
  readonly conflictTerm: number;
}

/** Carries min(matchIndex, commitIndex), since it overtakes appends on its own link. */
export interface Heartbeat extends Envelope {
  readonly kind: "Heartbeat";
  readonly commitIndex: number;
  /** Counts the leader's rounds, from 1; a reply to it confirms leadership as of when the round was sent. 0: of no round, and not answered. */
  readonly round: number;
  /** The leader's reading of the lease clock: one who has heard it lately loses no time of leases when it comes to lead. Whole. */
  readonly clockMs: number;
}

export interface HeartbeatReply extends Envelope {
  readonly kind: "HeartbeatReply";
  readonly round: number;
}

/** A follower asks for the leader's read index (thesis 6.4). */
export interface ReadIndex extends Envelope {
  readonly kind: "ReadIndex";
  readonly requestId: number;
}

export interface ReadIndexReply extends Envelope {
  readonly kind: "ReadIndexReply";
  readonly requestId: number;
  readonly index: number;
}

/** Thesis 3.10. */
export interface TimeoutNow extends Envelope {
  readonly kind: "TimeoutNow";
}

/** The log before a snapshot, in a line. */
export interface SnapshotMeta {
  readonly lastIncludedIndex: number;
  readonly lastIncludedTerm: number;
  /** As of lastIncludedIndex, joint or not; not the latest. */
  readonly configuration: Configuration;
  /** The lease clock of the entry at lastIncludedIndex. */
  readonly clockMs: number;
}

/** Raft 7. The offer; the bytes follow on their own link. */
export interface InstallSnapshot extends Envelope {
  readonly kind: "InstallSnapshot";
  readonly snapshot: SnapshotMeta;
}

export type Message =
  | RequestVote
  | RequestVoteReply
  | AppendEntries
  | AppendEntriesReply
  | Heartbeat
  | HeartbeatReply
  | ReadIndex
  | ReadIndexReply
  | TimeoutNow
  | InstallSnapshot;
