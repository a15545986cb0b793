/**
 * The four roles and how a member passes from one to another (Raft 5.1, 5.2, figure 4; the pre-candidate is of thesis 9.6). Why it does
 * is decided elsewhere. A leader keeps everything that belongs to its term here and nothing of it beyond.
 */
import { assert } from "../assert.ts";
import type { Configuration, MemberId } from "./configuration.ts";
import { ENTRY_HEADER_BYTES, type Entry, type EntryKind, sealEntry } from "./entry.ts";
import { dropLease } from "./leader-lease.ts";
import { Inflight, Progress } from "./progress.ts";
import { isTransferTarget } from "./quorum.ts";
import { failReadsUnderWay, startRound } from "./read-index.ts";
import type { RaftState } from "./state.ts";

/** Of the same term or a later one; a later one begins without a vote. */
export function becomeFollower(state: RaftState, term: number, leader: MemberId | undefined): void {
  if (term > state.term) state.setVote(term, undefined);
  leaveRole(state);
  state.role = "follower";
  state.leader = leader;
  resetElectionTimer(state);
}

export function becomePreCandidate(state: RaftState): void {
  assert(state.role !== "leader", "a leader does not campaign");
  leaveRole(state);
  state.role = "preCandidate";
  state.leader = undefined;
  state.election.transfer = false;
  resetElectionTimer(state);
}

/** Raft 5.2: a new term, and the own vote, which counts once it is on disk. */
export function becomeCandidate(state: RaftState, transfer: boolean): void {
  assert(state.role !== "leader", "a leader does not campaign");
  leaveRole(state);
  state.role = "candidate";
  state.leader = undefined;
  state.election.transfer = transfer;
  state.setVote(state.term + 1, state.id);
  resetElectionTimer(state);
}

export function becomeLeader(state: RaftState): void {
  assert(state.role === "candidate" && state.votedFor === state.id, "only a candidate that voted for itself becomes leader");
  leaveRole(state);
  state.role = "leader";
  state.leader = state.id;
  dropLease(state);
  syncProgress(state);
  // What an earlier term left uncommitted is committed together with an entry of this one (Raft 5.4.2, 8).
  const entry = appendOwn(state, new Uint8Array(ENTRY_HEADER_BYTES), "empty", undefined);
  state.termStartIndex = entry.index;
  state.retryDue = state.now + state.timing.heartbeatMs;
  startRound(state);
}

/** Raft 5.2: T to 2T, anew for each campaign and each leader, so that split votes are rare and do not repeat. */
export function resetElectionTimer(state: RaftState): void {
  const { electionTimeoutMs } = state.timing;
  state.election.timeoutMs = electionTimeoutMs + electionTimeoutMs * (state.random() / 2 ** 32);
  state.election.deadline = state.now + state.election.timeoutMs;
}

/** Appends an entry of the leader's own, sealed where its bytes lie (Raft 5.3). */
export function appendOwn(state: RaftState, record: Uint8Array, kind: EntryKind, configuration: Configuration | undefined): Entry {
  assert(state.role === "leader", "only a leader appends entries of its own");
  const clockMs = state.leaseClock.now(state.now);
  const entry = sealEntry(record, { index: state.log.lastIndex + 1, term: state.term, clockMs, kind });
  state.append(entry, configuration);
  state.leaseClock.onProposed(clockMs);
  state.flushNeeded = true;
  if (configuration !== undefined) syncProgress(state);
  return entry;
}

/** The leader sends to every member but itself, learners included, and to no one else. */
function syncProgress(state: RaftState): void {
  const { members } = state.configuration;
  for (const { id } of members) {
    if (id === state.id || state.progress.has(id)) continue;
    const { inflightMessagesMax: messagesMax, inflightBytesMax: bytesMax } = state.limits;
    const inflight = new Inflight({ messagesMax, bytesMax });
    state.progress.set(id, new Progress({ id, nextIndex: state.log.lastIndex + 1, now: state.now, inflight }));
  }
  for (const id of state.progress.keys()) {
    if (!members.some((member) => member.id === id)) state.progress.delete(id);
  }
  const { transfer } = state;
  if (transfer !== undefined && !isTransferTarget(state.configuration, transfer.to)) state.transfer = undefined;
}

function leaveRole(state: RaftState): void {
  failReadsUnderWay(state);
  state.election.votes.clear();
  state.progress.clear();
  state.transfer = undefined;
  state.logReads.length = 0;
  state.snapshotSends.length = 0;
  state.termStartIndex = 0;
}
