/** What a Raft is told when it is made: who it is, what its disk remembers, its timing and its bounds. */
import { assert } from "../assert.ts";
import type { MemberId } from "./configuration.ts";
import type { RecoveredLog } from "./ready.ts";

export interface RaftTiming {
  /** T. A follower campaigns after T to 2T without a leader; a leader steps down after T without a quorum. */
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  /** How much two members' clocks may diverge within one electionTimeoutMs. Default: a tenth of it. */
  readonly leaseDriftMs?: number;
}

export interface RaftLimits {
  /** Entries are let go of above this, once persisted and applied. Default 64 MiB. */
  readonly entriesInMemoryBytesMax: number;
  /** Unacknowledged appends for each follower. Defaults 256 and 8 MiB. */
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  /** Entries in one append; a single larger entry is still sent. Default 1 MiB. */
  readonly appendBytesMax: number;
  /** Entries of the leader that are not yet committed, or not yet on its own disk. Default 64 MiB. */
  readonly uncommittedBytesMax: number;
}

export interface RaftOptions {
  readonly id: MemberId;
  readonly recovered: RecoveredLog;
  readonly timing: RaftTiming;
  readonly limits?: Partial<RaftLimits>;
  /** Integers, 0 <= x < 2^32. */
  readonly random: () => number;
  /** Monotonic milliseconds at construction. */
  readonly now: number;
}

const DEFAULT_LIMITS: RaftLimits = {
  entriesInMemoryBytesMax: 64 << 20,
  inflightMessagesMax: 256,
  inflightBytesMax: 8 << 20,
  appendBytesMax: 1 << 20,
  uncommittedBytesMax: 64 << 20,
};

/** Reads that are waiting at one member, its own and those that others ask it for. */
export const PENDING_READS_MAX = 65_536;
/** For how long a follower is left untold of a commit, in the hope that an append comes by. */
export const COMMIT_DELAY_MS = 2;
/** Wall clock and monotonic clock that have drifted apart by more than this since the last comparison: the machine was suspended. */
export const SUSPENSION_MS = 50;
/** Terms above this are garbage: no cluster holds this many elections. Keeps every term that is counted up from one a safe integer. */
export const TERM_MAX: number = 2 ** 52;

export function resolveTiming(timing: RaftTiming): Required<RaftTiming> {
  const leaseDriftMs =
    timing.leaseDriftMs ?? Math.min(Math.max(timing.electionTimeoutMs / 10, SUSPENSION_MS), timing.electionTimeoutMs * 0.9);
  assert(timing.heartbeatMs > 0 && timing.heartbeatMs < timing.electionTimeoutMs, "0 < heartbeatMs < electionTimeoutMs");
  assert(leaseDriftMs >= 0 && leaseDriftMs < timing.electionTimeoutMs, "0 <= leaseDriftMs < electionTimeoutMs");
  return { electionTimeoutMs: timing.electionTimeoutMs, heartbeatMs: timing.heartbeatMs, leaseDriftMs };
}

export function resolveLimits(limits: Partial<RaftLimits> = {}): RaftLimits {
  const resolved = { ...DEFAULT_LIMITS, ...limits };
  assert(resolved.inflightMessagesMax >= 1 && resolved.inflightBytesMax >= 1, "something may be in flight");
  assert(resolved.appendBytesMax >= 1 && resolved.uncommittedBytesMax >= 1, "something may be sent and proposed");
  return resolved;
}
