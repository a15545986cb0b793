/**
 * The leader lease (thesis 6.4.1): for how long no other member can have become leader, so that reads need no round. It counts from the
 * send time of the latest round that a quorum confirmed; each of that quorum refuses its vote for electionTimeoutMs from when it
 * received the round, even across a restart. Who refuses votes is decided in election.ts.
 *
 * Two promises end it early. TimeoutNow makes a member campaign past that refusal, at a moment that the sender cannot know: a leader
 * that has sent one takes no lease again in its term. And a machine that was suspended counted no time: what was sent before confirms
 * nothing after.
 */
import { agreedValue, isSoleVoter } from "./quorum.ts";
import { SUSPENSION_MS } from "./options.ts";
import type { RaftState } from "./state.ts";

export class LeaderLeaseState {
  /** When the latest confirmed round was sent. */
  confirmedSentAt: number = Number.NEGATIVE_INFINITY;
  /** Earlier rounds are void. */
  roundMin = 0;
  /** The term in which TimeoutNow was sent. */
  forfeitedTerm = 0;
  /** Wall clock minus monotonic clock when they were last taken to agree. */
  clockOffset: number | undefined;
  /** The shortest time for which any member keeps to its leader, as far as it is not the own one. */
  stickinessMsMin: number = Number.POSITIVE_INFINITY;
}

/** The monotonic time until which lease reads may be served; 0 if there is none. */
export function leaseUntil(state: RaftState): number {
  const { lease, timing } = state;
  if (!state.ready || lease.forfeitedTerm === state.term) return 0;
  // Outside C_new a leader cannot tell whether those who vote under it alone have heard from it.
  if (!state.configuration.incoming.includes(state.id)) return 0;
  const sentAt = isSoleVoter(state.configuration, state.id) ? state.now : lease.confirmedSentAt;
  const until = sentAt + Math.min(timing.electionTimeoutMs, lease.stickinessMsMin) - timing.leaseDriftMs;
  return until > Math.max(0, sentAt) ? until : 0;
}

/** A quorum has confirmed this round. */
export function onRoundConfirmed(state: RaftState, round: number, sentAt: number): void {
  if (round >= state.lease.roundMin) state.lease.confirmedSentAt = Math.max(state.lease.confirmedSentAt, sentAt);
}

export function dropLease(state: RaftState): void {
  state.lease.confirmedSentAt = Number.NEGATIVE_INFINITY;
  state.lease.roundMin = state.round + 1;
}

/** No lease again before the next term. */
export function forfeitLease(state: RaftState): void {
  dropLease(state);
  state.lease.forfeitedTerm = state.term;
}

/** Drops the lease where the wall clock and the monotonic clock have moved apart. Their distance is kept, so that short suspensions add up. */
export function noticeSuspension(state: RaftState, wallNow: number): void {
  const offset = wallNow - state.now;
  const known = state.lease.clockOffset;
  if (known !== undefined && Math.abs(offset - known) <= SUSPENSION_MS) return;
  state.lease.clockOffset = offset;
  if (known !== undefined) dropLease(state);
}

/** When the leader was last heard by a quorum; Infinity where it is a quorum alone. */
export function quorumHeardAt(state: RaftState): number {
  return agreedValue(state.configuration, (id) =>
    id === state.id ? Number.POSITIVE_INFINITY : (state.progress.get(id)?.heardAt ?? Number.NEGATIVE_INFINITY),
  );
}
