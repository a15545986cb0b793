/** Leader Completeness (Raft 5.4): whoever leads a term has every entry that was committed in an earlier one. */
import { CheckFailure } from "../history.ts";
import type { CommittedEntries } from "./committed-entries.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";

export class LeaderCompleteness implements Invariant {
  readonly #committed: CommittedEntries;

  constructor(committed: CommittedEntries) {
    this.#committed = committed;
  }

  onRole(member: MemberView, raft: RaftView, before: { readonly role: string; readonly term: number } | undefined): void {
    if (raft.role !== "leader" || (before?.role === "leader" && before.term === raft.term)) return;
    const committed = this.#committed;
    for (let index = Math.max(committed.firstIndex, raft.firstIndex); index <= committed.lastIndex; index++) {
      const term = committed.termAt(index) as number;
      // Of a leader that does not know yet that another was elected, nothing is asked.
      if (term > raft.term) return;
      if (raft.termAt(index) !== term) {
        throw new CheckFailure(
          "leader completeness",
          `${member.name} leads term ${raft.term} without the committed entry ${index} of term ${term}`,
        );
      }
    }
  }
}
