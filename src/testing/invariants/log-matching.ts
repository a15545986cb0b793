/**
 * Log Matching (Raft 5.3): entries of the same index and term are the same, and so is everything before them. By induction it is enough
 * that they have the same bytes and that the entry before has the same term.
 */
import type { LogWrite } from "../../storage/storage.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView } from "./invariant.ts";

interface Known {
  readonly checksum: number;
  readonly prevTerm: number | undefined;
  readonly writer: string;
}

export class LogMatching implements Invariant {
  readonly #entries = new Map<number, Map<number, Known>>();

  onWrite(member: MemberView, write: LogWrite): void {
    const [first] = write.entries;
    if (first === undefined) return;
    const { written } = member.log;
    if (first.index > written.lastIndex + 1) {
      throw new CheckFailure("log matching", `${member.name} leaves a gap: writes ${first.index} behind ${written.lastIndex}`);
    }
    let prevTerm = written.termAt(first.index - 1);
    for (const entry of write.entries) {
      const known: Known = { checksum: checksumOf(entry.record), prevTerm, writer: member.name };
      const terms = this.#entries.get(entry.index) ?? new Map<number, Known>();
      this.#entries.set(entry.index, terms);
      const other = terms.get(entry.term);
      if (other === undefined) terms.set(entry.term, known);
      else if (
        other.checksum !== known.checksum ||
        (prevTerm !== undefined && other.prevTerm !== undefined && other.prevTerm !== prevTerm)
      ) {
        throw new CheckFailure(
          "log matching",
          `${member.name} and ${other.writer} hold different entries at index ${entry.index} of term ${entry.term}`,
        );
      }
      prevTerm = entry.term;
    }
  }
}

/** FNV-1a. */
function checksumOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < bytes.byteLength; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
  return hash >>> 0;
}
