/** The plain question of a majority, asked apart from core/raft/quorum.ts, which is under test. */
import type { Configuration } from "../../core/raft/configuration.ts";

export function isMajorityOfBoth({ incoming, outgoing }: Configuration, members: ReadonlySet<string>): boolean {
  return [incoming, outgoing].every((half) => half.length === 0 || 2 * half.filter((id) => members.has(id)).length > half.length);
}
