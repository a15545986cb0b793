/**
 * What a leader proposes of its own accord, once a turn: entries that carry a reading of the lease clock at which something falls due, the upkeep
 * of its state, and, in a cluster of one, its new address. Nobody waits for any of it.
 */
import { writeBatchHeader } from "../core/batch.ts";
import { ENTRY_HEADER_BYTES } from "../core/raft/entry.ts";
import type { Raft } from "../core/raft/raft.ts";
import type { Membership } from "./membership.ts";
import type { NodeContext } from "./node-context.ts";

export class LeaderDuties {
  readonly #context: NodeContext;
  readonly #membership: Membership;
  #dueProposed = 0;
  #upkeep = { index: 0, term: 0 };

  constructor(context: NodeContext, membership: Membership) {
    this.#context = context;
    this.#membership = membership;
  }

  poll(raft: Raft): void {
    if (raft.role !== "leader" || !raft.ready) return;
    if (this.#context.phase === "open") {
      this.#proposeDue(raft);
      this.#proposeUpkeep(raft);
    }
    this.#membership.proposeAddress(raft);
  }

  /** The lease clock: an empty entry when something falls due and no entry that would carry the reading is on its way. */
  #proposeDue(raft: Raft): void {
    const { state } = this.#context;
    const due = state.nextDue();
    if (due === undefined || due > raft.leaseClock() || raft.lastIndex > state.appliedIndex || this.#dueProposed === raft.lastIndex + 1)
      return;
    if (raft.propose(new Uint8Array(ENTRY_HEADER_BYTES), "empty") !== undefined) this.#dueProposed = raft.lastIndex;
  }

  /** History is compacted by its age, and bounded as this node's options say while it leads. One at a time. */
  #proposeUpkeep(raft: Raft): void {
    const { state, identity, bootId } = this.#context;
    if (this.#upkeep.term === raft.term && state.appliedIndex < this.#upkeep.index) return;
    const batch = state.upkeep(raft.leaseClock());
    if (batch === undefined) return;
    // Nobody's: no call waits for a batch of this number.
    writeBatchHeader(batch.record, { origin: identity.memberId, bootId, sequence: 0, commands: batch.commands });
    const entry = raft.propose(batch.record, "command");
    if (entry !== undefined) this.#upkeep = entry;
  }

  /** When poll() must be called next at the latest, in the node's clock. */
  deadline(raft: Raft, now: number): number {
    const { state, phase } = this.#context;
    // While entries are on their way, applying them looks again.
    if (raft.role !== "leader" || phase !== "open" || raft.lastIndex > state.appliedIndex) return Number.POSITIVE_INFINITY;
    const due = Math.min(state.nextDue() ?? Number.POSITIVE_INFINITY, state.upkeepAt);
    return due < Number.POSITIVE_INFINITY ? now + Math.max(1, due - raft.leaseClock()) : due;
  }
}
