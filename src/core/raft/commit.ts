/**
 * Commitment (Raft 5.3, 5.4.2) and what follows from it for membership (Raft 6): a committed joint configuration is left, by whoever
 * leads then; a leader that the committed configuration does not name steps down.
 */
import { ENTRY_HEADER_BYTES } from "./entry.ts";
import type { Configuration } from "./configuration.ts";
import { encodeConfiguration, isJoint, leaveJoint } from "./membership.ts";
import { agreedValue } from "./quorum.ts";
import { appendOwn, becomeFollower } from "./roles.ts";
import type { RaftState } from "./state.ts";
import { handOver } from "./transfer.ts";

/** Commits what a quorum has on disk. The leader's own disk counts like any other, and no quorum needs it. */
export function advanceCommit(state: RaftState): void {
  if (state.role !== "leader") return;
  // Twice at most: leaving a joint configuration makes the quorum another.
  for (let changed = true; changed;) {
    changed = false;
    const agreed = agreedValue(state.configuration, (id) =>
      id === state.id ? state.log.persistedIndex : (state.progress.get(id)?.matchIndex ?? 0),
    );
    // Only an entry of the own term is committed by counting; what is before it is committed with it (Raft 5.4.2, figure 8).
    if (agreed > state.commitIndex && state.log.termAt(agreed) === state.term) state.commitTo(agreed);
    if (state.ready && isJoint(state.configuration) && state.commitIndex >= state.configurations.latestIndex) {
      appendConfiguration(state, leaveJoint(state.configuration));
      changed = true;
    }
  }
  stepDownIfRemoved(state);
}

/** Appends a configuration, which is in force from here on. */
export function appendConfiguration(state: RaftState, configuration: Configuration): void {
  const payload = encodeConfiguration(configuration);
  const record = new Uint8Array(ENTRY_HEADER_BYTES + payload.byteLength);
  record.set(payload, ENTRY_HEADER_BYTES);
  appendOwn(state, record, "configuration", configuration);
}

/** A leader outside C_new manages it until it is committed, without counting itself (Raft 6), and hands over to who is ready. */
function stepDownIfRemoved(state: RaftState): void {
  const { configuration, configurations } = state;
  if (isJoint(configuration) || configuration.incoming.includes(state.id)) return;
  if (!state.ready || state.commitIndex < configurations.latestIndex) return;
  handOver(state);
  becomeFollower(state, state.term, undefined);
}
