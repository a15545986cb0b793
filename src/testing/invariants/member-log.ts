/**
 * What a member's log holds, and what of it is on its disk, as its storage was told and as it answered: followed from outside, so that
 * neither Raft's own account nor the disk's has to be believed.
 */
import type { Configuration } from "../../core/raft/configuration.ts";
import { decodeConfiguration } from "../../core/raft/configuration-codec.ts";
import { entryPayload, type Entry } from "../../core/raft/entry.ts";
import type { SnapshotMeta } from "../../core/raft/message.ts";
import type { RecoveredLog, Vote } from "../../core/raft/ready.ts";
import type { LogWrite } from "../../storage/storage.ts";

/** Terms by index, above a base that stands for all before it. */
export class TermList {
  baseIndex = 0;
  baseTerm = 0;
  #terms: number[] = [];

  get lastIndex(): number {
    return this.baseIndex + this.#terms.length;
  }

  /** undefined behind the end, and before the base. */
  termAt(index: number): number | undefined {
    return index === this.baseIndex ? this.baseTerm : this.#terms[index - this.baseIndex - 1];
  }

  /** Whether an entry of this index and term is in it; what lies before the base counts as held. */
  holds(index: number, term: number): boolean {
    return index < this.baseIndex || this.termAt(index) === term;
  }

  append(index: number, term: number): void {
    this.truncate(index);
    this.#terms.push(term);
  }

  /** Drops `from` and everything behind it. */
  truncate(from: number): void {
    const kept = from - this.baseIndex - 1;
    if (kept < 0) throw new RangeError(`index ${from} lies before the base ${this.baseIndex}`);
    if (kept < this.#terms.length) this.#terms.length = kept;
  }

  reset(baseIndex: number, baseTerm: number): void {
    this.baseIndex = baseIndex;
    this.baseTerm = baseTerm;
    this.#terms = [];
  }

  restore(log: RecoveredLog): void {
    const [first] = log.terms;
    this.reset(log.firstIndex - 1, first?.term ?? log.base.lastIncludedTerm);
    let run = 0;
    for (let index = log.firstIndex; index <= log.lastIndex; index++) {
      while (run + 1 < log.terms.length && (log.terms[run + 1]?.index as number) <= index) run++;
      this.#terms.push(log.terms[run]?.term as number);
    }
  }
}

/** A member's disk, over all its restarts, until it is wiped. */
export class MemberLog {
  /** What the storage was asked to hold. */
  readonly written: TermList = new TermList();
  /** What it answered for. */
  readonly durable: TermList = new TermList();
  durableVote: Vote = { term: 0, votedFor: undefined };
  /** Configurations written, by index, ascending; the first is the base's. */
  configurations: { readonly index: number; readonly configuration: Configuration }[] = [];
  isFounded = false;

  found(meta: SnapshotMeta): void {
    this.isFounded = true;
    this.resettingTo = undefined;
    this.written.reset(meta.lastIncludedIndex, meta.lastIncludedTerm);
    this.durable.reset(meta.lastIncludedIndex, meta.lastIncludedTerm);
    this.configurations = [{ index: meta.lastIncludedIndex, configuration: meta.configuration }];
  }

  write(write: LogWrite): void {
    const [first] = write.entries;
    if (first === undefined) return;
    // What is being replaced may be gone from the disk at any moment from now on.
    if (first.index <= this.durable.lastIndex) this.durable.truncate(first.index);
    this.configurations = this.configurations.filter((item) => item.index < first.index);
    for (const entry of write.entries) {
      this.written.append(entry.index, entry.term);
      const configuration = configurationOf(entry);
      if (configuration !== undefined) this.configurations.push({ index: entry.index, configuration });
    }
  }

  /** A write that was made earlier is on disk: those of its entries that were not replaced since. */
  persisted(write: LogWrite): void {
    if (write.vote !== undefined) this.durableVote = write.vote;
    for (const entry of write.entries) {
      if (entry.index <= this.durable.lastIndex) continue;
      if (this.written.termAt(entry.index) !== entry.term || entry.index !== this.durable.lastIndex + 1) return;
      this.durable.append(entry.index, entry.term);
    }
  }

  /** The index of a snapshot that is taking the log's place: after a crash one or the other is there. */
  resettingTo: number | undefined;

  snapshotBegins(meta: SnapshotMeta, resetLog: boolean): void {
    if (resetLog) this.resettingTo = meta.lastIncludedIndex;
  }

  snapshotDone(meta: SnapshotMeta, resetLog: boolean): void {
    if (resetLog) this.found(meta);
  }

  recover(log: RecoveredLog): void {
    this.isFounded = true;
    this.resettingTo = undefined;
    this.written.restore(log);
    this.durable.restore(log);
    this.durableVote = log.vote;
    this.configurations = [{ index: log.base.lastIncludedIndex, configuration: log.base.configuration }];
    for (const entry of log.configurationEntries) {
      const configuration = configurationOf(entry);
      if (configuration !== undefined) this.configurations.push({ index: entry.index, configuration });
    }
  }
}

export function configurationOf(entry: Entry): Configuration | undefined {
  return entry.kind === "configuration" ? decodeConfiguration(entryPayload(entry)) : undefined;
}
