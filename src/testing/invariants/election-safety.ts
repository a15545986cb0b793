/** Election Safety (Raft 5.2): at most one leader in a term. */
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";

export class ElectionSafety implements Invariant {
  readonly #leaders = new Map<number, string>();

  onRole(member: MemberView, raft: RaftView): void {
    if (raft.role !== "leader") return;
    const leader = `${member.name}#${member.boot}`;
    const other = this.#leaders.get(raft.term) ?? leader;
    if (other !== leader) throw new CheckFailure("election safety", `term ${raft.term} has two leaders, ${other} and ${leader}`);
    this.#leaders.set(raft.term, leader);
  }
}
