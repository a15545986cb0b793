/**
 * The leader's half of log replication (Raft 5.3): what is sent to whom and when, and what an answer says about the other log. Entries
 * that came in during a turn leave together at its end. The follower's half is in follower.ts; what is committed, in commit.ts.
 */
import { COMMIT_DELAY_MS } from "./options.ts";
import { advanceCommit } from "./commit.ts";
import type { MemberId } from "./configuration.ts";
import type { Entry } from "./entry.ts";
import type { AppendEntriesReply, HeartbeatReply } from "./message.ts";
import type { Progress } from "./progress.ts";
import { confirmRounds } from "./read-index.ts";
import type { RaftState } from "./state.ts";
import { continueTransfer } from "./transfer.ts";

const NO_ENTRIES: readonly Entry[] = [];

/** Sends every member what it lacks, as far as its bounds allow. */
export function flushReplication(state: RaftState): void {
  if (state.role !== "leader") return;
  for (const progress of state.progress.values()) sendTo(state, progress);
}

/** Once each heartbeat: probes that were lost are sent again, and appends that nobody answered are asked after. */
export function retryReplication(state: RaftState): void {
  for (const progress of state.progress.values()) {
    progress.paused = false;
    if (progress.state !== "replicate" || progress.nextIndex === progress.matchIndex + 1) continue;
    if (state.now - progress.advancedAt < state.timing.heartbeatMs) continue;
    // Refused where something before it was lost, and then the place is found again. Where the log was discarded meanwhile, it cannot be.
    if (state.log.termAt(progress.nextIndex - 1) === undefined) progress.becomeProbe(progress.matchIndex + 1);
    else sendAppend(state, progress, NO_ENTRIES);
  }
  state.flushNeeded = true;
}

export function onAppendEntriesReply(state: RaftState, message: AppendEntriesReply): void {
  const progress = heardFrom(state, message.from);
  if (progress === undefined) return;
  if (message.success) onAccepted(state, progress, message.index);
  else onRefused(state, progress, message);
}

export function onHeartbeatReply(state: RaftState, message: HeartbeatReply): void {
  const progress = heardFrom(state, message.from);
  if (progress === undefined || !(message.round <= state.round) || message.round <= progress.roundConfirmed) return;
  progress.roundConfirmed = message.round;
  confirmRounds(state);
}

/** The disk's answer to a LogRead; nothing where the entries could not be read. */
export function onLogRead(state: RaftState, to: MemberId, from: number, entries: readonly Entry[]): void {
  const progress = state.progress.get(to);
  if (state.role !== "leader" || progress === undefined || progress.logReadFrom !== from) return;
  progress.logReadFrom = 0;
  state.flushNeeded = true;
  if (progress.nextIndex !== from || progress.state === "snapshot") return;
  // Read while another term was here, perhaps: only what this log holds is sent.
  const held = entries.findIndex((entry, i) => entry.index !== from + i || state.log.termAt(entry.index) !== entry.term);
  const sendable = held === -1 ? entries : entries.slice(0, held);
  if (sendable.length === 0) askForSnapshot(state, progress);
  else sendEntries(state, progress, sendable);
}

/** The snapshot was sent, or could not be: the follower's own acknowledgement is what moves matchIndex. */
export function onSnapshotSent(state: RaftState, to: MemberId, lastIncludedIndex: number | undefined): void {
  const progress = state.progress.get(to);
  if (progress === undefined) return;
  progress.snapshotUnderWay = false;
  if (progress.state !== "snapshot") return;
  const next = lastIncludedIndex === undefined ? 0 : Math.min(lastIncludedIndex, state.log.lastIndex);
  progress.becomeProbe(next + 1);
  // After a failure the next attempt waits for the next heartbeat.
  progress.paused = lastIncludedIndex === undefined;
  state.flushNeeded = true;
}

/** When a follower is to be told what is committed, at the latest. */
export function commitDeadline(state: RaftState): number {
  let due = Number.POSITIVE_INFINITY;
  for (const progress of state.progress.values()) due = Math.min(due, progress.commitDue);
  return due;
}

/** A link went down or up: what was under way on it is lost, as far as anyone knows. */
export function onUnreachable(state: RaftState, peer: MemberId): void {
  const progress = state.progress.get(peer);
  if (progress === undefined || progress.state === "snapshot") return;
  // While the place is still being looked for it is not known to be so far back: a probe from the beginning would ask for a snapshot.
  progress.becomeProbe(progress.state === "probe" ? progress.nextIndex : progress.matchIndex + 1);
  state.flushNeeded = true;
}

function heardFrom(state: RaftState, id: MemberId): Progress | undefined {
  if (state.role !== "leader") return undefined;
  const progress = state.progress.get(id);
  if (progress !== undefined) progress.heardAt = state.now;
  return progress;
}

function onAccepted(state: RaftState, progress: Progress, index: number): void {
  if (!Number.isSafeInteger(index) || index < 0 || index > state.log.lastIndex) return;
  const advanced = index > progress.matchIndex;
  if (advanced) {
    progress.matchIndex = index;
    progress.advancedAt = state.now;
    progress.nextIndex = Math.max(progress.nextIndex, index + 1);
    progress.inflight.acknowledge(index);
  }
  // A follower that waited for a snapshot is back once the log has what comes next for it.
  const found =
    progress.state === "probe" ? index === progress.matchIndex : progress.state === "snapshot" && isInLog(state, progress.matchIndex + 1);
  if (found) {
    progress.becomeReplicate();
    progress.advancedAt = state.now;
  }
  state.flushNeeded = true;
  if (!advanced) return;
  advanceCommit(state);
  continueTransfer(state);
}

function onRefused(state: RaftState, progress: Progress, { index, conflictIndex, conflictTerm }: AppendEntriesReply): void {
  // An answer to what was sent before the logs were found to agree, or before this place was tried.
  if (!(index > progress.matchIndex) || progress.state === "snapshot") return;
  state.flushNeeded = true;
  if (progress.state === "replicate") {
    progress.becomeProbe(progress.matchIndex + 1);
    return;
  }
  if (index !== progress.nextIndex - 1) return;
  const hint =
    Number.isSafeInteger(conflictIndex) && conflictIndex >= 0 ? state.log.lastWithTermAtMost(conflictIndex, conflictTerm) : index - 1;
  progress.becomeProbe(Math.min(index, hint + 1));
}

function isInLog(state: RaftState, index: number): boolean {
  return index >= state.log.firstIndex;
}

function sendTo(state: RaftState, progress: Progress): void {
  const { log, limits } = state;
  if (progress.state === "snapshot") return;
  // Bounded by the messages that may be in flight.
  while (!progress.paused && progress.logReadFrom === 0 && !progress.inflight.full) {
    if (!isInLog(state, progress.nextIndex) || log.termAt(progress.nextIndex - 1) === undefined) {
      askForSnapshot(state, progress);
      return;
    }
    if (progress.nextIndex > log.lastIndex) break;
    const entries = log.slice(progress.nextIndex, log.lastIndex, limits.appendBytesMax);
    if (entries.length === 0) {
      progress.logReadFrom = progress.nextIndex;
      const { id: to, nextIndex: from } = progress;
      state.logReads.push({ to, from, through: log.memoryFirst - 1, bytesMax: limits.appendBytesMax });
      return;
    }
    sendEntries(state, progress, entries);
  }
  if (progress.state === "probe") {
    // Nothing to send, but where the logs agree is still to be found.
    if (!progress.paused && progress.nextIndex > log.lastIndex) {
      sendAppend(state, progress, NO_ENTRIES);
      progress.paused = true;
    }
  } else {
    sendCommit(state, progress);
  }
}

function sendEntries(state: RaftState, progress: Progress, entries: readonly Entry[]): void {
  sendAppend(state, progress, entries);
  if (progress.state === "probe") {
    progress.paused = true;
    return;
  }
  if (progress.inflight.messages === 0) progress.advancedAt = state.now;
  let bytes = 0;
  for (const entry of entries) bytes += entry.record.byteLength;
  progress.nextIndex += entries.length;
  progress.inflight.add(progress.nextIndex - 1, bytes);
}

function sendAppend(state: RaftState, progress: Progress, entries: readonly Entry[]): void {
  const prevLogIndex = progress.nextIndex - 1;
  const prevLogTerm = state.log.termAt(prevLogIndex);
  // The log was discarded under this follower: the next flush, or the next heartbeat, sees to it.
  if (prevLogTerm === undefined) return;
  const { id: from, term, commitIndex } = state;
  progress.commitIndexSent = commitIndex;
  progress.commitDue = Number.POSITIVE_INFINITY;
  state.send({ kind: "AppendEntries", from, to: progress.id, term, prevLogIndex, prevLogTerm, commitIndex, entries });
}

/**
 * Tells a follower what is committed of the entries that it has. While writes come in, the next append says so at no cost; so this waits for one
 * a little, unless the follower waits itself. Nobody has to answer: if it is lost, the next heartbeat says the same.
 */
function sendCommit(state: RaftState, progress: Progress): void {
  const commitIndex = Math.min(progress.matchIndex, state.commitIndex);
  if (progress.commitIndexSent >= commitIndex) return;
  const awaited = progress.commitAwaited > progress.commitIndexSent && progress.commitAwaited <= commitIndex;
  if (!awaited && state.now < progress.commitDue) {
    progress.commitDue = Math.min(progress.commitDue, state.now + COMMIT_DELAY_MS);
    return;
  }
  progress.commitDue = Number.POSITIVE_INFINITY;
  progress.commitIndexSent = commitIndex;
  const { id: from, term } = state;
  state.send({ kind: "Heartbeat", from, to: progress.id, term, commitIndex, round: 0, clockMs: state.leaseClock.told(state.now) });
}

function askForSnapshot(state: RaftState, progress: Progress): void {
  progress.becomeSnapshot();
  if (progress.snapshotUnderWay) return;
  progress.snapshotUnderWay = true;
  state.snapshotSends.push({ to: progress.id });
}
