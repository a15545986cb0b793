/** Leader Append-Only (Raft 5.3): a leader never overwrites or deletes entries of its log. */
import type { LogWrite } from "../../storage/storage.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView } from "./invariant.ts";

export class LeaderAppendOnly implements Invariant {
  onWrite(member: MemberView, write: LogWrite): void {
    const [first] = write.entries;
    if (first === undefined || member.raft?.role !== "leader") return;
    if (first.index <= member.log.written.lastIndex) {
      throw new CheckFailure(
        "leader append-only",
        `${member.name} leads and replaces index ${first.index} of ${member.log.written.lastIndex}`,
      );
    }
  }
}
