/**
 * Leadership transfer (thesis 3.10): the leader takes no more proposals, waits until the target has its whole log, and tells it to
 * campaign at once. Given up after an election timeout; whether the target campaigns after all is then open, which is why the leader
 * lease stays forfeited for the rest of the term.
 */
import type { MemberId } from "./configuration.ts";
import { isJoint } from "./membership.ts";
import { forfeitLease } from "./leader-lease.ts";
import type { Progress } from "./progress.ts";
import { isTransferTarget } from "./quorum.ts";
import type { RaftState } from "./state.ts";

export interface Transfer {
  readonly to: MemberId;
  readonly deadline: number;
  sent: boolean;
}

/** A text says why not. undefined for `to`: whoever is furthest. */
export function transferLeadership(state: RaftState, to: MemberId | undefined): string | undefined {
  if (state.role !== "leader") return "this member is not the leader";
  if (state.transfer !== undefined) return to === state.transfer.to ? undefined : "a transfer of leadership is under way";
  if (to === state.id) return "this member is the leader already";
  const target = to === undefined ? furthest(state) : state.progress.get(to);
  if (target === undefined) return to === undefined ? "no other voter was heard from" : `member ${to} is not a member`;
  if (!isTransferTarget(state.configuration, target.id)) return `member ${target.id} is not a voter`;
  state.transfer = { to: target.id, deadline: state.now + state.timing.electionTimeoutMs, sent: false };
  state.flushNeeded = true;
  continueTransfer(state);
  return undefined;
}

/** Called whenever the target may have caught up. */
export function continueTransfer(state: RaftState): void {
  const { transfer } = state;
  if (transfer === undefined || transfer.sent) return;
  if (state.progress.get(transfer.to)?.matchIndex !== state.log.lastIndex) return;
  transfer.sent = true;
  sendTimeoutNow(state, transfer.to);
}

export function expireTransfer(state: RaftState): void {
  if (state.transfer !== undefined && state.now >= state.transfer.deadline) state.transfer = undefined;
}

/** A leader that leaves tells the one that is furthest, if its log is whole, so that nobody waits for an election timeout. */
export function handOver(state: RaftState): void {
  const target = furthest(state);
  if (target !== undefined && target.matchIndex === state.log.lastIndex && !isJoint(state.configuration)) sendTimeoutNow(state, target.id);
}

function sendTimeoutNow(state: RaftState, to: MemberId): void {
  forfeitLease(state);
  state.send({ kind: "TimeoutNow", from: state.id, to, term: state.term });
}

/** Among the voters that were heard from within an election timeout. */
function furthest(state: RaftState): Progress | undefined {
  let best: Progress | undefined;
  for (const progress of state.progress.values()) {
    if (!isTransferTarget(state.configuration, progress.id)) continue;
    if (progress.heardAt + state.timing.electionTimeoutMs <= state.now) continue;
    if (best === undefined || progress.matchIndex > best.matchIndex) best = progress;
  }
  return best;
}
