/**
 * What a state becomes when a new cluster begins with it: its leases have their whole time again, since nobody knows how long ago the backup was
 * made, and it has no sessions, whose clients numbered their writes for another log. With `bumpRevision` the data stand at a revision so much higher, with
 * nothing of the history before it: then a client that saw more of the old cluster than the backup holds finds what it had seen compacted,
 * instead of other events under the same revisions.
 */
import { dueAfter } from "./lease-table.ts";
import type { SnapshotBasis } from "./snapshot-reading.ts";

/** Deterministic: members that begin with the same backup begin with the same state. */
export function foundingState(basis: Omit<SnapshotBasis, "sessions">, bumpRevision: number): SnapshotBasis {
  const { leases, clockMs } = basis;
  const dueMs = leases.ttlMs.map((ttlMs) => dueAfter(clockMs, ttlMs));
  const state = { ...basis, leases: { ...leases, dueMs }, sessions: { sessions: [], answers: [] } };
  if (bumpRevision === 0) return state;
  const revision = basis.revision + bumpRevision;
  return { ...state, revision, compactRevision: revision };
}
