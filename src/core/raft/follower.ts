/**
 * The follower's half of log replication (Raft 5.3): which entries are taken, and how a refusal tells the leader where to look next.
 * Whoever calls this has made sure that the message is of the current term and its sender this term's leader. What is answered here
 * leaves only when the disk has it.
 */
import type { Configuration } from "./configuration.ts";
import type { Entry } from "./entry.ts";
import { configurationOf } from "./membership.ts";
import type { AppendEntries, Heartbeat } from "./message.ts";
import type { RaftState } from "./state.ts";

export function onAppendEntries(state: RaftState, message: AppendEntries): void {
  if (!isWellFormed(message)) return;
  if (message.prevLogIndex < state.commitIndex) onCommittedBefore(state, message);
  else takeFrom(state, message);
}

/**
 * What is committed agrees already and is never touched: what comes behind it is taken. A leader that does not know yet where the logs agree sends
 * the same over and over, with what has come since, until this disk has answered; were that not looked at, this member would hear of nothing for so long.
 */
function onCommittedBefore(state: RaftState, message: AppendEntries): void {
  const { commitIndex } = state;
  const { prevLogIndex, entries, from } = message;
  const known = commitIndex - prevLogIndex;
  const last = entries[known - 1];
  if (last === undefined || known === entries.length) return accept(state, from, commitIndex);
  // A leader has all that is committed (Raft 5.4.3): this is none.
  if (last.term !== state.log.termAt(commitIndex)) return;
  takeFrom(state, { ...message, prevLogIndex: commitIndex, prevLogTerm: last.term, entries: entries.slice(known) });
}

function takeFrom(state: RaftState, message: AppendEntries): void {
  const { log } = state;
  const { from: to, prevLogIndex, prevLogTerm, entries } = message;
  if (log.termAt(prevLogIndex) !== prevLogTerm) {
    refuse(state, message);
    return;
  }
  const conflict = firstNew(state, entries);
  if (conflict < entries.length && !takeIn(state, conflict === 0 ? entries : entries.slice(conflict))) return;
  const lastNew = prevLogIndex + entries.length;
  state.commitTo(Math.min(message.commitIndex, lastNew));
  accept(state, to, lastNew);
}

/** Its commit index is at most what the leader knows this log to hold. One of no round asks for no answer. */
export function onHeartbeat(state: RaftState, message: Heartbeat): void {
  if (Number.isSafeInteger(message.commitIndex) && !state.installingSnapshot)
    state.commitTo(Math.min(message.commitIndex, state.log.lastIndex));
  if (Number.isSafeInteger(message.clockMs)) state.leaseClock.onHeard(message.clockMs, state.now);
  if (message.round === 0) return;
  state.send({ kind: "HeartbeatReply", from: state.id, to: message.from, term: state.term, round: message.round });
}

/** Tells the leader how far this log agrees with its own. Leaves once that is on disk. */
export function accept(state: RaftState, to: string, index: number): void {
  state.send({ kind: "AppendEntriesReply", from: state.id, to, term: state.term, success: true, index, conflictIndex: 0, conflictTerm: 0 });
}

/** Where this log could agree with one that has prevLogTerm at prevLogIndex: whole terms are skipped, and what is committed does agree. */
function refuse(state: RaftState, { from: to, prevLogIndex: index, prevLogTerm }: AppendEntries): void {
  const { log } = state;
  const conflictIndex = Math.max(state.commitIndex, log.lastWithTermAtMost(Math.min(index, log.lastIndex), prevLogTerm));
  const conflictTerm = log.termAt(conflictIndex) ?? 0;
  state.send({ kind: "AppendEntriesReply", from: state.id, to, term: state.term, success: false, index, conflictIndex, conflictTerm });
}

/** The place in `entries` of the first that this log does not hold. */
function firstNew(state: RaftState, entries: readonly Entry[]): number {
  const { log } = state;
  let place = 0;
  for (const entry of entries) {
    if (entry.index > log.lastIndex || log.termAt(entry.index) !== entry.term) break;
    place++;
  }
  return place;
}

/** Appends the entries, in the place of what conflicts with them. Nothing is taken in of a message that holds a malformed configuration. */
function takeIn(state: RaftState, entries: readonly Entry[]): boolean {
  const configurations = new Map<number, Configuration>();
  for (const entry of entries) {
    if (entry.kind !== "configuration") continue;
    const configuration = configurationOf(entry);
    if (configuration === undefined) return false;
    configurations.set(entry.index, configuration);
  }
  const first = entries[0] as Entry;
  if (first.index <= state.log.lastIndex) state.truncate(first.index);
  for (const entry of entries) state.append(entry, configurations.get(entry.index));
  state.leaseClock.onReceived((entries[entries.length - 1] as Entry).clockMs, state.now);
  return true;
}

function isWellFormed({ prevLogIndex, prevLogTerm, commitIndex, entries, term }: AppendEntries): boolean {
  if (!Number.isSafeInteger(prevLogIndex) || prevLogIndex < 0 || !Number.isSafeInteger(commitIndex)) return false;
  let before = prevLogTerm;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i] as Entry;
    if (entry.index !== prevLogIndex + 1 + i || !(entry.term >= before) || !(entry.term <= term)) return false;
    before = entry.term;
  }
  return true;
}
