/**
 * Snapshots (Raft 7) as far as the log is concerned: when the leader's offer is ahead of this member, and what holds once one is in
 * place. Its bytes, and the state they restore, are the caller's.
 *
 *   1. The leader offers: pendingSnapshot is set. Appends may still come in, from this leader or another, and may make it useless.
 *   2. The bytes are here and verified: beginSnapshotInstall() answers whether the snapshot is still ahead, and whether the log holds
 *      its last entry (and so can stay) or must go. From then on nothing enters the log: it would be written behind the reset.
 *   3. The log on disk names the snapshot: onSnapshotInstalled(). The leader is told.
 */
import { assert } from "../assert.ts";
import { isWellFormed } from "./configuration-codec.ts";
import { accept } from "./follower.ts";
import type { InstallSnapshot, SnapshotMeta } from "./message.ts";
import { becomeFollower } from "./roles.ts";
import type { RaftState } from "./state.ts";

export function onInstallSnapshot(state: RaftState, { from, snapshot }: InstallSnapshot): void {
  if (!isMeta(snapshot) || snapshot.lastIncludedTerm > state.term) return;
  if (snapshot.lastIncludedIndex <= state.commitIndex) accept(state, from, state.commitIndex);
  else if (!state.installingSnapshot) state.pendingSnapshot = snapshot;
}

/** undefined: no longer wanted. */
export function beginSnapshotInstall(state: RaftState, meta: SnapshotMeta): { readonly resetLog: boolean } | undefined {
  if (state.installingSnapshot || state.role === "leader" || meta.lastIncludedIndex <= state.commitIndex) return undefined;
  const resetLog = state.log.termAt(meta.lastIncludedIndex) !== meta.lastIncludedTerm;
  // Entries of this turn would be written behind the reset; the leader offers again.
  if (resetLog && state.log.hasUnsaved) return undefined;
  state.installingSnapshot = true;
  // A campaign under way speaks of a log that is about to be another.
  if (state.role !== "follower") becomeFollower(state, state.term, undefined);
  return { resetLog };
}

export function onSnapshotInstalled(state: RaftState, meta: SnapshotMeta, logReset: boolean): void {
  const { lastIncludedIndex: index, lastIncludedTerm: term, configuration, clockMs } = meta;
  state.installingSnapshot = false;
  if (logReset) {
    assert(state.role !== "leader" && index >= state.commitIndex, "a snapshot takes the place of nothing that is committed");
    state.log.reset({ index, term });
    state.configurations.reset({ index, configuration });
    state.leaseClock.onReceived(clockMs, state.now);
    state.commitTo(index);
    if (state.term < term) becomeFollower(state, term, undefined);
  } else {
    assert(index <= state.commitIndex || state.log.termAt(index) === term, "the log that stays holds the snapshot's last entry");
    state.commitTo(index);
  }
  state.appliedIndex = Math.max(state.appliedIndex, index);
  if (state.pendingSnapshot !== undefined && state.pendingSnapshot.lastIncludedIndex <= state.commitIndex)
    state.pendingSnapshot = undefined;
  if (state.leader !== undefined && state.role === "follower") accept(state, state.leader, index);
}

function isMeta({ lastIncludedIndex, lastIncludedTerm, configuration, clockMs }: SnapshotMeta): boolean {
  return (
    Number.isSafeInteger(lastIncludedIndex) &&
    lastIncludedIndex >= 1 &&
    Number.isSafeInteger(lastIncludedTerm) &&
    lastIncludedTerm >= 1 &&
    clockMs >= 0 &&
    isWellFormed(configuration)
  );
}
