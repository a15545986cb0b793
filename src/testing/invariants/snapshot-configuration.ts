/** A snapshot carries the configuration as of its last index, joint or not (Raft 7); not the latest. */
import type { Configuration } from "../../core/raft/configuration.ts";
import type { SnapshotMeta } from "../../core/raft/message.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView } from "./invariant.ts";

export class SnapshotConfiguration implements Invariant {
  readonly #known = new Map<number, string>();

  onSnapshot(member: MemberView, meta: SnapshotMeta, resetLog: boolean): void {
    const { lastIncludedIndex: index, configuration } = meta;
    const found = describe(configuration);
    // What the leader sent is not in this member's own log.
    const inForce = resetLog ? undefined : member.log.configurations.filter((item) => item.index <= index).at(-1);
    const expected = inForce === undefined ? (this.#known.get(index) ?? found) : describe(inForce.configuration);
    this.#known.set(index, expected);
    if (found !== expected)
      throw new CheckFailure(
        "snapshot configuration",
        `${member.name} makes a snapshot of index ${index} with ${found}, in force there is ${expected}`,
      );
  }
}

function describe({ incoming, outgoing, learners, learnersNext }: Configuration): string {
  return JSON.stringify({ incoming, outgoing, learners, learnersNext });
}
