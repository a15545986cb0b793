/**
 * A committed entry is on the disks of a majority of voters, of both halves while the configuration is joint (Raft 5.3, 6): as the
 * disks answered, not as the leader counted.
 */
import { CheckFailure } from "../history.ts";
import type { CommittedEntries } from "./committed-entries.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";
import { isMajorityOfBoth } from "./majority.ts";

export class CommitDurability implements Invariant {
  readonly #committed: CommittedEntries;
  readonly #members: () => Iterable<MemberView>;

  constructor(committed: CommittedEntries, members: () => Iterable<MemberView>) {
    this.#committed = committed;
    this.#members = members;
  }

  onCommit(member: MemberView, raft: RaftView): void {
    const index = raft.commitIndex;
    const term = raft.termAt(index);
    if (raft.role !== "leader" || term === undefined || index <= this.#committed.lastIndex) return;
    const holders = new Set<string>();
    for (const other of this.#members()) {
      // An acknowledgement may be counted after the disk that it spoke of was wiped.
      if ([other.log, ...other.lostLogs].some((log) => log.isFounded && log.durable.holds(index, term))) holders.add(other.id);
    }
    if (!isMajorityOfBoth(raft.configuration, holders)) {
      throw new CheckFailure(
        "commit durability",
        `${member.name} commits index ${index} of term ${term}, which only ${[...holders].join(", ") || "nobody"} of ${JSON.stringify({ incoming: raft.configuration.incoming, outgoing: raft.configuration.outgoing })} has on disk`,
      );
    }
  }
}
