/**
 * While a leader may serve reads from its lease, nobody else is elected (thesis 6.4.1). Looked at when a leader is elected: every other
 * member that still believes in a lease breaks it, by its own clock as it runs then.
 */
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";

export class LeaseSafety implements Invariant {
  readonly #members: () => Iterable<MemberView>;

  constructor(members: () => Iterable<MemberView>) {
    this.#members = members;
  }

  onRole(member: MemberView, raft: RaftView): void {
    if (raft.role !== "leader") return;
    for (const other of this.#members()) {
      const { raft: otherRaft } = other;
      // A machine that slept finds out when it next looks at its clocks, before it serves anything.
      if (other === member || otherRaft === undefined || otherRaft.role !== "leader" || other.hasSlept) continue;
      const left = otherRaft.leaseUntil() - other.now();
      if (left > 0) {
        throw new CheckFailure(
          "lease safety",
          `${member.name} is elected in term ${raft.term} while ${other.name} holds the lease of term ${otherRaft.term} for another ${left} ms`,
        );
      }
    }
  }
}
