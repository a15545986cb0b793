/** How a node stands, for whoever asks: read from its parts at that moment, and kept nowhere. */
import type { NodeInspection } from "./boundary.ts";
import type { NodeContext } from "./node-context.ts";
import type { StatusReport } from "./node-status.ts";
import type { Proposals } from "./proposals.ts";
import type { Space } from "./space.ts";

/** Needs no leader and no majority. Before the founding of its cluster a node stands at nothing. */
export function inspect(
  { raft, state, options, storage }: NodeContext,
  parts: { readonly space: Space; readonly status: StatusReport; readonly proposals: Proposals },
): NodeInspection {
  const { space, status, proposals } = parts;
  return {
    term: raft?.term ?? 0,
    commitIndex: raft?.commitIndex ?? 0,
    appliedIndex: raft === undefined ? 0 : state.appliedIndex,
    revision: state.revision,
    compactRevision: state.kv?.readableFrom ?? 1,
    keys: state.keys,
    dataBytes: state.usedBytes,
    dataBytesMax: options.dataBytesMax,
    diskBytes: storage.diskBytes,
    isFull: space.refusal !== undefined,
    leaderChanges: status.leaderChanges,
    proposalsPending: proposals.pending,
    proposalsFailed: proposals.failed,
    watches: state.kv?.watches.count ?? 0,
    diskTimes: storage.times,
  };
}
