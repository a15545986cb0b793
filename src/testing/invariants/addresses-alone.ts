/**
 * An entry that tells other addresses of a member tells nothing else: voters, learners and incarnations are those of the configuration before
 * it. So whatever a member says of where it is reached, and however late, it changes no quorum.
 */
import type { Configuration, MemberRecord } from "../../core/raft/configuration.ts";
import type { LogWrite } from "../../storage/storage.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView } from "./invariant.ts";
import { configurationOf } from "./member-log.ts";

export class AddressesAlone implements Invariant {
  onWrite(member: MemberView, write: LogWrite): void {
    const [first] = write.entries;
    if (first === undefined) return;
    let before = member.log.configurations.filter((item) => item.index < first.index).at(-1)?.configuration;
    for (const entry of write.entries) {
      const next = configurationOf(entry);
      if (next === undefined) continue;
      if (before !== undefined && hasOtherAddresses(before, next) && withoutAddresses(before) !== withoutAddresses(next)) {
        throw new CheckFailure(
          "addresses alone",
          `the entry ${entry.index} at ${member.name} changes addresses and more:\n  ${withoutAddresses(before)}\n  ${withoutAddresses(next)}`,
        );
      }
      before = next;
    }
  }
}

function hasOtherAddresses(before: Configuration, next: Configuration): boolean {
  const addressesOf = ({ peerAddress, clientAddresses }: MemberRecord): string => JSON.stringify([peerAddress, clientAddresses]);
  return next.members.some((record) => {
    const known = before.members.find(({ id }) => id === record.id);
    return known !== undefined && addressesOf(known) !== addressesOf(record);
  });
}

function withoutAddresses({ members, ...rest }: Configuration): string {
  const records = members.map((record) => ({ ...record, peerAddress: "", clientAddresses: [] }));
  return JSON.stringify({ ...rest, members: records });
}
