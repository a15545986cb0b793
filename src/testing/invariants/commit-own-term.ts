/** A leader commits by counting only entries of its own term; what is before them is committed with them (Raft 5.4.2, figure 8). */
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";

export class CommitOwnTerm implements Invariant {
  onCommit(member: MemberView, raft: RaftView): void {
    const term = raft.termAt(raft.commitIndex);
    if (raft.role !== "leader" || term === undefined || term === raft.term) return;
    throw new CheckFailure(
      "commit own term",
      `${member.name} leads term ${raft.term} and commits index ${raft.commitIndex} of term ${term}`,
    );
  }
}
