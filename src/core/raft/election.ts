/**
 * Leader election (Raft 5.2, 5.4.1), pre-vote (thesis 9.6), check-quorum and the stickiness of followers to their leader (Raft 6,
 * thesis 4.2.3, 6.2).
 *
 * Stickiness carries the leader lease, so it must hold whatever happens in between:
 *   1. A leads; B confirms its round at time t; A may serve reads until t + T less the drift.
 *   2. B restarts and remembers no leader. C asks B for its vote.
 * So a member that has started refuses votes for T as if it had heard from a leader in that moment. Only TimeoutNow passes, before which
 * a leader gives up its lease for the rest of its term. A member that makes every quorum alone breaks no promise by campaigning at once.
 */
import type { MemberId } from "./configuration.ts";
import type { RequestVote, RequestVoteReply } from "./message.ts";
import { TERM_MAX } from "./options.ts";
import { isVoter, tally, voters } from "./quorum.ts";
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate, resetElectionTimer } from "./roles.ts";
import { quorumHeardAt } from "./leader-lease.ts";
import type { RaftState } from "./state.ts";

/** The election timer has run out: asks whether a campaign could be won, before it disturbs anyone (thesis 9.6). */
export function onElectionTimeout(state: RaftState): void {
  // Where the own disk is so slow that the vote of this campaign is not on it yet, another term would not be sooner.
  if (!mayCampaign(state) || (state.role === "candidate" && !state.votePersisted)) {
    resetElectionTimer(state);
    return;
  }
  becomePreCandidate(state);
  state.election.votes.set(state.id, true);
  requestVotes(state, true);
  countVotes(state);
}

/** A real campaign: after a won pre-vote, or because the leader asked for it (thesis 3.10). */
export function campaign(state: RaftState, transfer: boolean): void {
  if (!mayCampaign(state)) return;
  becomeCandidate(state, transfer);
  requestVotes(state, false);
}

/** The leader has handed over (thesis 3.10): campaign at once, without a pre-vote. */
export function onTimeoutNow(state: RaftState): void {
  campaign(state, true);
}

/** The own vote counts once it is on disk, like everyone's. */
export function onOwnVotePersisted(state: RaftState): void {
  if (state.role !== "candidate" || !state.votePersisted) return;
  state.election.votes.set(state.id, true);
  countVotes(state);
}

/** Whether a vote that nobody's leader asked for is to be refused whatever it says. */
export function isSticky(state: RaftState): boolean {
  return state.role === "leader" || state.now < state.election.stickyUntil;
}

/** A current leader was heard from. */
export function onLeaderHeard(state: RaftState, leader: MemberId): void {
  if (state.role !== "follower" || state.leader !== leader) becomeFollower(state, state.term, leader);
  else state.election.deadline = state.now + state.election.timeoutMs;
  state.election.stickyUntil = state.now + state.timing.electionTimeoutMs;
}

/** Its term is at most the own one when it is real; a pre-vote asks about a term that nobody is in. */
export function onRequestVote(state: RaftState, message: RequestVote): void {
  const { preVote, from, term } = message;
  const { log } = state;
  const upToDate = message.lastLogTerm > log.lastTerm || (message.lastLogTerm === log.lastTerm && message.lastLogIndex >= log.lastIndex);
  const sticky = isSticky(state) && (preVote || !message.transfer);
  // One vote a term, first come first served (Raft 5.2); where a leader is known, the term is decided.
  const free = preVote
    ? term > state.term
    : term === state.term && (state.votedFor === from || (state.votedFor === undefined && state.leader === undefined));
  const granted = upToDate && !sticky && free;
  if (granted && !preVote) {
    if (state.role !== "follower") becomeFollower(state, term, undefined);
    state.setVote(term, from);
    resetElectionTimer(state);
  }
  state.send({ kind: "RequestVoteReply", from: state.id, to: from, term: granted ? term : state.term, preVote, granted });
}

export function onRequestVoteReply(state: RaftState, message: RequestVoteReply): void {
  const { preVote, granted, from, term } = message;
  if (state.role !== (preVote ? "preCandidate" : "candidate")) return;
  if (term !== (preVote && granted ? state.term + 1 : state.term)) return;
  if (!isVoter(state.configuration, from) || state.election.votes.has(from)) return;
  state.election.votes.set(from, granted);
  countVotes(state);
}

/** A leader that no quorum has answered for an election timeout steps down (thesis 6.2); its clients can look elsewhere. */
export function checkQuorum(state: RaftState): void {
  if (state.now >= checkQuorumAt(state)) becomeFollower(state, state.term, undefined);
}

export function checkQuorumAt(state: RaftState): number {
  return quorumHeardAt(state) + state.timing.electionTimeoutMs;
}

/**
 * Learners and strangers never campaign, nor does a member whose log is just being replaced. One that C_new leaves out still must while
 * it does not know C_new to be committed, though its own vote is not counted (thesis 4.2.2):
 *   1. A alone leads; C_old,new = {A}, {B} is committed; A appends C_new = {B} and crashes before B has it.
 *   2. B needs the vote of A, whose log is longer. Only A can win, with the vote of B, and hand over.
 */
function mayCampaign(state: RaftState): boolean {
  if (state.role === "leader" || state.installingSnapshot || state.term >= TERM_MAX) return false;
  if (isVoter(state.configuration, state.id)) return true;
  const { previous, latestIndex } = state.configurations;
  return latestIndex > state.commitIndex && previous !== undefined && isVoter(previous, state.id);
}

function requestVotes(state: RaftState, preVote: boolean): void {
  const { id: from, log } = state;
  const term = preVote ? state.term + 1 : state.term;
  const transfer = !preVote && state.election.transfer;
  const { lastIndex: lastLogIndex, lastTerm: lastLogTerm } = log;
  for (const to of voters(state.configuration)) {
    if (to !== from) state.send({ kind: "RequestVote", from, to, term, preVote, lastLogIndex, lastLogTerm, transfer });
  }
}

function countVotes(state: RaftState): void {
  const { votes } = state.election;
  const outcome = tally(state.configuration, (id) => votes.get(id));
  if (outcome === "lost") becomeFollower(state, state.term, undefined);
  else if (outcome === "won" && state.role === "preCandidate") campaign(state, false);
  else if (outcome === "won") becomeLeader(state);
}
