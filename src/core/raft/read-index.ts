/**
 * Linearizable reads without a log entry (thesis 6.4, Raft 8). The leader notes its commit index, then asks a quorum whether it still
 * leads; what was committed before the question is in the answer. All reads of a turn share one round of heartbeats, which is sent
 * after they came in. A follower asks the leader for an index once a turn, on behalf of all its reads.
 *
 * A read waits until there is a leader, and one that has committed in its own term. Every read is answered within electionTimeoutMs,
 * if only with undefined. Serving the read, once the index is applied, is the caller's.
 */
import type { MemberId } from "./configuration.ts";
import { onRoundConfirmed } from "./leader-lease.ts";
import type { ReadIndex, ReadIndexReply } from "./message.ts";
import { PENDING_READS_MAX } from "./options.ts";
import { agreedValue } from "./quorum.ts";
import type { RaftState } from "./state.ts";

/** Reads that came in at the same time. */
interface ReadBatch {
  readonly askedAt: number;
  /** This member's own, by the caller's numbers. */
  readonly own: number[];
  /** Those of other members. */
  readonly remote: { readonly from: MemberId; readonly requestId: number }[];
}

/** A round of heartbeats that no quorum has confirmed yet. */
interface Round {
  readonly round: number;
  readonly sentAt: number;
  /** The commit index when it was sent. */
  readonly index: number;
  readonly batches: readonly ReadBatch[];
}

interface Forward {
  readonly askedAt: number;
  readonly batches: readonly ReadBatch[];
}

const NO_BATCHES: readonly ReadBatch[] = [];

/** The reads that wait, oldest first in each stage: for a leader, for a round's confirmation, for the leader's answer. */
export class ReadQueue {
  waiting: ReadBatch[] = [];
  rounds: Round[] = [];
  readonly forwards: Map<number, Forward> = new Map();
  /** At most PENDING_READS_MAX. */
  count = 0;
  /** Begins at random: a reply to a question from before a restart must not pass for one to a new question. */
  nextForwardId: number;

  constructor(random: () => number) {
    this.nextForwardId = random() * 2 ** 20;
  }
}

export function requestRead(state: RaftState, requestId: number): void {
  const { reads } = state;
  if (reads.count >= PENDING_READS_MAX) {
    state.readStates.push({ requestId, index: undefined });
    return;
  }
  reads.count++;
  waitingBatch(state).own.push(requestId);
  state.flushNeeded = true;
}

/** Another member asks. Not heard, it will ask again: only a leader takes it in. */
export function onReadIndex(state: RaftState, message: ReadIndex): void {
  const { reads } = state;
  if (state.role !== "leader" || reads.count >= PENDING_READS_MAX || !Number.isSafeInteger(message.requestId)) return;
  reads.count++;
  waitingBatch(state).remote.push({ from: message.from, requestId: message.requestId });
  state.flushNeeded = true;
}

export function onReadIndexReply(state: RaftState, message: ReadIndexReply): void {
  const forward = state.reads.forwards.get(message.requestId);
  if (forward === undefined || message.from !== state.leader || !Number.isSafeInteger(message.index)) return;
  state.reads.forwards.delete(message.requestId);
  answer(state, forward.batches, message.index);
}

/** Sends what can be sent for the reads that wait; once a turn. */
export function flushReads(state: RaftState): void {
  const { reads } = state;
  if (reads.waiting.length === 0) return;
  if (state.role === "leader") {
    if (!state.ready) return;
    const batches = reads.waiting;
    reads.waiting = [];
    startRound(state, batches);
  } else if (state.leader !== undefined) {
    const requestId = reads.nextForwardId++;
    const batches = reads.waiting;
    reads.waiting = [];
    reads.forwards.set(requestId, { askedAt: (batches[0] as ReadBatch).askedAt, batches });
    state.send({ kind: "ReadIndex", from: state.id, to: state.leader, term: state.term, requestId });
  }
}

/** Sends a heartbeat to every member and notes what its confirmation will answer. */
export function startRound(state: RaftState, batches: readonly ReadBatch[] = NO_BATCHES): void {
  const { reads, now, id: from, term } = state;
  const round = ++state.round;
  const clockMs = state.leaseClock.told(now);
  for (const progress of state.progress.values()) {
    const commitIndex = Math.min(progress.matchIndex, state.commitIndex);
    state.send({ kind: "Heartbeat", from, to: progress.id, term, commitIndex, round, clockMs });
  }
  state.heartbeatDue = now + state.timing.heartbeatMs;
  reads.rounds.push({ round, sentAt: now, index: state.commitIndex, batches });
  confirmRounds(state);
}

/** Answers the reads of every round that a quorum has confirmed by now. */
export function confirmRounds(state: RaftState): void {
  const { rounds } = state.reads;
  if (rounds.length === 0) return;
  const confirmed = agreedValue(state.configuration, (id) =>
    id === state.id ? Number.POSITIVE_INFINITY : (state.progress.get(id)?.roundConfirmed ?? 0),
  );
  let count = 0;
  while (count < rounds.length && (rounds[count] as Round).round <= confirmed) {
    const { round, sentAt, index, batches } = rounds[count] as Round;
    onRoundConfirmed(state, round, sentAt);
    answer(state, batches, index);
    count++;
  }
  if (count > 0) rounds.splice(0, count);
}

/** Gives up what has waited for an election timeout. */
export function expireReads(state: RaftState): void {
  const { reads, now } = state;
  const before = now - state.timing.electionTimeoutMs;
  while (reads.waiting.length > 0 && (reads.waiting[0] as ReadBatch).askedAt <= before) {
    answer(state, [reads.waiting.shift() as ReadBatch], undefined);
  }
  while (reads.rounds.length > 0 && oldest(reads.rounds[0] as Round) <= before)
    answer(state, (reads.rounds.shift() as Round).batches, undefined);
  for (const [requestId, forward] of reads.forwards) {
    if (forward.askedAt > before) break;
    reads.forwards.delete(requestId);
    answer(state, forward.batches, undefined);
  }
}

/** When expireReads() will next have something to do. */
export function readDeadline(state: RaftState): number {
  const { reads, timing } = state;
  let askedAt = Number.POSITIVE_INFINITY;
  if (reads.waiting.length > 0) askedAt = (reads.waiting[0] as ReadBatch).askedAt;
  if (reads.rounds.length > 0) askedAt = Math.min(askedAt, oldest(reads.rounds[0] as Round));
  for (const forward of reads.forwards.values()) {
    askedAt = Math.min(askedAt, forward.askedAt);
    break;
  }
  return askedAt + timing.electionTimeoutMs;
}

/** The role or the leader is another now: what was under way is answered by nobody. Own reads that nothing was sent for wait on. */
export function failReadsUnderWay(state: RaftState): void {
  const { reads } = state;
  for (const round of reads.rounds) answer(state, round.batches, undefined);
  reads.rounds = [];
  for (const forward of reads.forwards.values()) answer(state, forward.batches, undefined);
  reads.forwards.clear();
  for (const batch of reads.waiting) {
    reads.count -= batch.remote.length;
    batch.remote.length = 0;
  }
  reads.waiting = reads.waiting.filter((batch) => batch.own.length > 0);
  if (reads.waiting.length > 0) state.flushNeeded = true;
}

function waitingBatch(state: RaftState): ReadBatch {
  const { waiting } = state.reads;
  let batch = waiting[waiting.length - 1];
  if (batch?.askedAt !== state.now) {
    batch = { askedAt: state.now, own: [], remote: [] };
    waiting.push(batch);
  }
  return batch;
}

function oldest(round: Round): number {
  return round.batches[0]?.askedAt ?? round.sentAt;
}

/** undefined: own reads are told so; other members are left to their own deadline. */
function answer(state: RaftState, batches: readonly ReadBatch[], index: number | undefined): void {
  for (const batch of batches) {
    for (const requestId of batch.own) state.readStates.push({ requestId, index });
    if (index !== undefined) {
      for (const { from, requestId } of batch.remote) {
        state.send({ kind: "ReadIndexReply", from: state.id, to: from, term: state.term, requestId, index });
      }
    }
    state.reads.count -= batch.own.length + batch.remote.length;
  }
}
