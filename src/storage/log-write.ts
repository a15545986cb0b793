/** What any log refuses to write: a gap, a term that goes back, an entry at or below the base, which is committed. */
import type { SnapshotMeta } from "../core/raft/message.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import type { LogWrite } from "./storage.ts";
import type { TermRuns } from "./term-runs.ts";

/** The error to reject with; undefined where the write is good. `log` is undefined while there is no base. */
export function checkLogWrite(
  log: { readonly base: SnapshotMeta; readonly lastIndex: number; readonly terms: TermRuns } | undefined,
  write: LogWrite,
): EngineError | undefined {
  if (log === undefined) return invalidArgument("write", "the log has no base yet");
  const { vote, entries } = write;
  if (vote !== undefined && !(Number.isSafeInteger(vote.term) && vote.term >= 0)) return invalidArgument("vote", `term ${vote.term}`);
  const first = entries[0];
  if (first === undefined) return undefined;
  const { base, lastIndex } = log;
  if (first.index > lastIndex + 1) return invalidArgument("entries", `entry ${first.index} behind ${lastIndex} leaves a gap`);
  if (first.index <= base.lastIncludedIndex) {
    return invalidArgument("entries", `entry ${first.index} is at or below the base, ${base.lastIncludedIndex}`);
  }
  let term = log.terms.at(first.index - 1);
  let index = first.index;
  for (const entry of entries) {
    if (entry.index !== index) return invalidArgument("entries", `entry ${entry.index} where ${index} follows`);
    if (entry.term < term) return invalidArgument("entries", `entry ${index} of term ${entry.term} behind term ${term}`);
    term = entry.term;
    index++;
  }
  return undefined;
}

/** Takes the entries of a good write into what is known of the log's terms. */
export function noteTerms(terms: TermRuns, write: LogWrite): void {
  let term: number | undefined;
  for (const entry of write.entries) {
    if (entry.term !== term) terms.append(entry.index, entry.term);
    term = entry.term;
  }
}
