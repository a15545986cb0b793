/** State Machine Safety (Raft 5.4.3): no two members ever commit different entries at one index. */
import { CheckFailure } from "../history.ts";
import type { CommittedEntries } from "./committed-entries.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";

export class StateMachineSafety implements Invariant {
  readonly #committed: CommittedEntries;

  /** Adds to `committed` what is committed for the first time: it must be called after everything that asks for what was committed before. */
  constructor(committed: CommittedEntries) {
    this.#committed = committed;
  }

  onCommit(member: MemberView, raft: RaftView, before: number): void {
    const committed = this.#committed;
    for (let index = before + 1; index <= raft.commitIndex; index++) {
      const term = raft.termAt(index);
      // What a snapshot brought is no longer in the log.
      if (term === undefined) continue;
      const other = committed.termAt(index);
      if (other !== undefined && other !== term) {
        throw new CheckFailure(
          "state machine safety",
          `${member.name} commits index ${index} of term ${term}, another committed it of term ${other}`,
        );
      }
      if (other === undefined && (committed.firstIndex === 0 || index === committed.lastIndex + 1)) committed.add(index, term);
    }
  }
}
