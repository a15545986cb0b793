/**
 * A member's record store never holds the outcome of an entry that the member's own disk does not: a store that was ahead of its log after a
 * crash would hold what the cluster may yet replace.
 */
import type { SnapshotMeta } from "../../core/raft/message.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView } from "./invariant.ts";

export class StoreBehindLog implements Invariant {
  onStored(member: MemberView, { lastIncludedIndex: index, lastIncludedTerm: term }: SnapshotMeta): void {
    const { durable } = member.log;
    if (index <= durable.baseIndex || durable.holds(index, term)) return;
    throw new CheckFailure(
      "store behind log",
      `${member.name} stores the state after index ${index} of term ${term}; on disk is ${durable.lastIndex} of term ${durable.termAt(durable.lastIndex)}`,
    );
  }
}
