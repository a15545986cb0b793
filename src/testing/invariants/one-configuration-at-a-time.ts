/**
 * Membership (Raft 6): voters change only through a joint configuration, so that no two majorities can decide apart; and a leader appends
 * a configuration only once the one before is committed.
 */
import type { Configuration } from "../../core/raft/configuration.ts";
import type { LogWrite } from "../../storage/storage.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView } from "./invariant.ts";
import { configurationOf } from "./member-log.ts";

export class OneConfigurationAtATime implements Invariant {
  onWrite(member: MemberView, write: LogWrite): void {
    const { raft, log } = member;
    const [first] = write.entries;
    if (first === undefined) return;
    let before = log.configurations.filter((item) => item.index < first.index).at(-1);
    for (const entry of write.entries) {
      const configuration = configurationOf(entry);
      if (configuration === undefined) continue;
      if (before !== undefined) {
        if (raft?.role === "leader" && raft.term === entry.term && before.index > raft.commitIndex) {
          throw new CheckFailure(
            "one configuration at a time",
            `${member.name} appends one at ${entry.index} while that at ${before.index} is not committed (${raft.commitIndex})`,
          );
        }
        if (!mayFollow(before.configuration, configuration)) {
          throw new CheckFailure(
            "one configuration at a time",
            `${JSON.stringify(voters(configuration))} cannot follow ${JSON.stringify(voters(before.configuration))}`,
          );
        }
      }
      before = { index: entry.index, configuration };
    }
  }
}

function voters({ incoming, outgoing }: Configuration): object {
  return { incoming, outgoing };
}

function mayFollow(before: Configuration, next: Configuration): boolean {
  const same = (one: readonly string[], other: readonly string[]): boolean =>
    one.length === other.length && one.every((id) => other.includes(id));
  if (before.outgoing.length > 0) return next.outgoing.length === 0 && same(next.incoming, before.incoming);
  if (next.outgoing.length > 0) return same(next.outgoing, before.incoming);
  return same(next.incoming, before.incoming);
}
