/**
 * The log as its member sees it (Raft 5.3): the term of every index, as runs, and the newest entries themselves in memory. It knows
 * what was handed to the disk and what the disk has confirmed; it does no reading or writing, and judges nothing about commitment.
 *
 *   firstIndex - 1 <= lastIndex; the term is known from firstIndex - 1 to lastIndex
 *   entries in memory: contiguous, [memoryFirst, lastIndex]; whatever is not persisted is in memory
 *   persistedIndex <= lastIndex
 */
import { assert } from "../assert.ts";
import type { Entry } from "./entry.ts";
import type { PersistedTo, RecoveredLog } from "./ready.ts";

/** One write handed to the disk and not yet confirmed. */
interface PendingWrite {
  readonly index: number;
  readonly term: number;
  /** How far this write, and those before it, still hold what the log holds: lowered when later entries replace theirs. */
  validThrough: number;
}

const NO_ENTRIES: readonly Entry[] = [];

export class RaftLog {
  #firstIndex: number;
  #lastIndex: number;
  #persistedIndex: number;
  /** Entries of memory begin at this place of the array; the places before it are empty. */
  #entries: (Entry | undefined)[] = [];
  #head = 0;
  #memoryFirst: number;
  #memoryBytes = 0;
  /** Term runs: #runTerms[i] holds from #runStarts[i] up to the next start. Ascending in both; the first covers firstIndex - 1. */
  #runStarts: number[] = [];
  #runTerms: number[] = [];
  /** The first entry that was not handed to the disk yet. */
  #unsavedFrom: number;
  /** In the order in which they were handed over. Bounded by the writes that the caller leaves unconfirmed. */
  #writes: PendingWrite[] = [];
  /** Entries up to here are committed and persisted, or were recovered; the bytes of those behind it are counted. */
  #settledIndex: number;
  #unsettledBytes = 0;
  /** The last answer of slice(): followers that keep step ask for the same entries. */
  #slice: readonly Entry[] = NO_ENTRIES;
  #sliceBytesMax = 0;

  constructor(recovered: RecoveredLog) {
    const { base, firstIndex, lastIndex, terms, tail } = recovered;
    assert(firstIndex >= 1 && firstIndex <= base.lastIncludedIndex + 1, "the recovered log begins at or below its base");
    assert(lastIndex >= base.lastIncludedIndex, "the recovered log reaches its base");
    this.#firstIndex = firstIndex;
    this.#lastIndex = lastIndex;
    this.#persistedIndex = lastIndex;
    this.#settledIndex = lastIndex;
    this.#unsavedFrom = lastIndex + 1;
    this.#memoryFirst = lastIndex + 1 - tail.length;
    for (const run of terms) {
      const last = this.#runStarts.length - 1;
      if (last >= 0) {
        assert(run.index > (this.#runStarts[last] as number), "recovered term runs ascend by index");
        assert(run.term >= (this.#runTerms[last] as number), "recovered terms never go down");
        if (run.term === this.#runTerms[last]) continue;
      }
      this.#runStarts.push(run.index);
      this.#runTerms.push(run.term);
    }
    assert(this.#runStarts.length > 0 && (this.#runStarts[0] as number) <= firstIndex - 1, "the recovered term runs cover the base");
    assert(tail.length > 0 || lastIndex === base.lastIncludedIndex, "the last entry behind the base is recovered");
    for (const [i, entry] of tail.entries()) {
      assert(entry.index === this.#memoryFirst + i && entry.term === this.termAt(entry.index), "the recovered tail agrees with its terms");
      this.#entries.push(entry);
      this.#memoryBytes += entry.record.byteLength;
    }
    assert(this.termAt(base.lastIncludedIndex) === base.lastIncludedTerm, "the recovered log agrees with its base");
  }

  get firstIndex(): number {
    return this.#firstIndex;
  }

  get lastIndex(): number {
    return this.#lastIndex;
  }

  get lastTerm(): number {
    return this.#runTerms[this.#runTerms.length - 1] as number;
  }

  get persistedIndex(): number {
    return this.#persistedIndex;
  }

  /** The first index whose entry is in memory; lastIndex + 1 where none is. */
  get memoryFirst(): number {
    return this.#memoryFirst;
  }

  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /** Bytes of the entries that are not both committed and persisted. */
  get unsettledBytes(): number {
    return this.#unsettledBytes;
  }

  get hasUnsaved(): boolean {
    return this.#unsavedFrom <= this.#lastIndex;
  }

  /** undefined below firstIndex - 1 and above lastIndex. */
  termAt(index: number): number | undefined {
    if (!(index >= this.#firstIndex - 1 && index <= this.#lastIndex)) return undefined;
    return this.#runTerms[this.#runOf(index)];
  }

  /** undefined where it is not in memory. */
  entryAt(index: number): Entry | undefined {
    if (!(index >= this.#memoryFirst && index <= this.#lastIndex)) return undefined;
    return this.#entries[this.#head + index - this.#memoryFirst];
  }

  /**
   * The largest index, not above `index`, whose term is at most `term`: where a log that is known to hold `term` at `index` can first
   * agree with this one, so that a disagreement costs one message for each term and not for each entry (Raft 5.3). An index that this
   * log no longer knows is answered as it is.
   */
  lastWithTermAtMost(index: number, term: number): number {
    if (index < this.#firstIndex - 1) return index;
    let end = Math.min(index, this.#lastIndex);
    for (let run = this.#runOf(end); run >= 0; run--) {
      if ((this.#runTerms[run] as number) <= term) return Math.max(end, this.#firstIndex - 1);
      end = (this.#runStarts[run] as number) - 1;
    }
    return this.#firstIndex - 2;
  }

  /** Adds an entry behind the last one. */
  append(entry: Entry): void {
    assert(entry.index === this.#lastIndex + 1, "entries are appended without a gap");
    assert(entry.term >= this.lastTerm, "terms never go down along the log");
    if (entry.term !== this.lastTerm) {
      this.#runStarts.push(entry.index);
      this.#runTerms.push(entry.term);
    }
    this.#entries.push(entry);
    this.#lastIndex = entry.index;
    this.#memoryBytes += entry.record.byteLength;
    this.#unsettledBytes += entry.record.byteLength;
    this.#slice = NO_ENTRIES;
  }

  /** Drops `from` and everything behind it. */
  truncate(from: number): void {
    assert(from >= this.#firstIndex && from <= this.#lastIndex, "what is truncated is in the log");
    const memoryFrom = Math.max(from, this.#memoryFirst);
    for (let index = memoryFrom; index <= this.#lastIndex; index++) {
      const bytes = (this.#entries[this.#head + index - this.#memoryFirst] as Entry).record.byteLength;
      this.#memoryBytes -= bytes;
      if (index > this.#settledIndex) this.#unsettledBytes -= bytes;
    }
    this.#entries.length = this.#head + memoryFrom - this.#memoryFirst;
    this.#memoryFirst = Math.min(this.#memoryFirst, from);
    while ((this.#runStarts[this.#runStarts.length - 1] as number) >= from) {
      this.#runStarts.pop();
      this.#runTerms.pop();
    }
    this.#lastIndex = from - 1;
    this.#persistedIndex = Math.min(this.#persistedIndex, from - 1);
    this.#settledIndex = Math.min(this.#settledIndex, from - 1);
    this.#unsavedFrom = Math.min(this.#unsavedFrom, from);
    // What these writes hold from here on is about to be replaced on the disk too, even by an entry of the same index and term.
    for (const write of this.#writes) write.validThrough = Math.min(write.validThrough, from - 1);
    this.#slice = NO_ENTRIES;
  }

  /** The entries that the disk has not been given yet; from now on it has. */
  takeUnsaved(): readonly Entry[] {
    if (!this.hasUnsaved) return NO_ENTRIES;
    const entries = this.#copy(this.#unsavedFrom, this.#lastIndex);
    this.#unsavedFrom = this.#lastIndex + 1;
    this.#writes.push({ index: this.#lastIndex, term: this.lastTerm, validThrough: this.#lastIndex });
    return entries;
  }

  /**
   * The disk confirms the write that ended with this entry, and with it every earlier one.
   *
   *   1. (5, term 2) is handed to the disk; (5, term 3) replaces it; the leader of term 4 replaces that by its (5, term 2).
   *   2. The confirmation of the first write arrives: it names what the log holds now, and the disk is about to lose it.
   *
   * So a confirmation counts for the oldest write that it fits, and a write for no more than what has not been replaced since.
   */
  onPersisted({ index, term }: PersistedTo): void {
    const at = this.#writes.findIndex((write) => write.index === index && write.term === term);
    const write = this.#writes[at];
    if (write === undefined) return;
    this.#writes.splice(0, at + 1);
    const through = Math.min(index, write.validThrough);
    if (through > this.#persistedIndex) this.#persistedIndex = through;
  }

  /** Entries up to here are committed and persisted. */
  settle(index: number): void {
    while (this.#settledIndex < index) {
      this.#settledIndex++;
      const entry = this.entryAt(this.#settledIndex);
      assert(entry !== undefined, "an entry stays in memory until it is committed and persisted");
      this.#unsettledBytes -= entry.record.byteLength;
    }
  }

  /** Lets entries up to `through` out of memory, oldest first, while they take more than `bytesMax`. */
  release(through: number, bytesMax: number): void {
    const last = Math.min(through, this.#persistedIndex, this.#settledIndex);
    while (this.#memoryBytes > bytesMax && this.#memoryFirst <= last) this.#dropFirst();
  }

  /** The log on disk now begins behind this index. */
  discard(through: number): void {
    if (through < this.#firstIndex) return;
    assert(through < this.#unsavedFrom, "only what the disk was given is discarded");
    // A snapshot that is on disk stands for these entries, wherever their own write is.
    this.#persistedIndex = Math.max(this.#persistedIndex, through);
    this.settle(through);
    this.#firstIndex = through + 1;
    while (this.#memoryFirst <= through && this.#memoryFirst <= this.#lastIndex) this.#dropFirst();
    const first = this.#runOf(through);
    this.#runStarts.splice(0, first);
    this.#runTerms.splice(0, first);
  }

  /** Begins again behind a snapshot: nothing of what was there before remains, on disk or here. */
  reset(base: { readonly index: number; readonly term: number }): void {
    this.#firstIndex = base.index + 1;
    this.#lastIndex = base.index;
    this.#persistedIndex = base.index;
    this.#settledIndex = base.index;
    this.#unsavedFrom = base.index + 1;
    this.#memoryFirst = base.index + 1;
    this.#entries = [];
    this.#head = 0;
    this.#memoryBytes = 0;
    this.#unsettledBytes = 0;
    this.#runStarts = [base.index];
    this.#runTerms = [base.term];
    this.#writes = [];
    this.#slice = NO_ENTRIES;
  }

  /** Entries in memory from `from` to at most `through`, cut short after `bytesMax` but never before the first; none if `from` is not in memory. */
  slice(from: number, through: number, bytesMax: number): readonly Entry[] {
    if (!(from >= this.#memoryFirst)) return NO_ENTRIES;
    const last = Math.min(through, this.#lastIndex);
    if (!(from <= last)) return NO_ENTRIES;
    const known = this.#slice;
    if (last === this.#lastIndex && bytesMax === this.#sliceBytesMax && known[0]?.index === from) return known;
    let bytes = (this.entryAt(from) as Entry).record.byteLength;
    let end = from;
    while (end < last) {
      bytes += (this.entryAt(end + 1) as Entry).record.byteLength;
      if (bytes > bytesMax) break;
      end++;
    }
    const entries = this.#copy(from, end);
    if (last === this.#lastIndex) {
      this.#slice = entries;
      this.#sliceBytesMax = bytesMax;
    }
    return entries;
  }

  #copy(from: number, through: number): readonly Entry[] {
    const start = this.#head + from - this.#memoryFirst;
    return this.#entries.slice(start, start + through - from + 1) as Entry[];
  }

  #dropFirst(): void {
    this.#memoryBytes -= (this.#entries[this.#head] as Entry).record.byteLength;
    this.#entries[this.#head] = undefined;
    this.#head++;
    this.#memoryFirst++;
    if (this.#head > 1_024 && this.#head * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#head);
      this.#head = 0;
    }
    if (this.#slice.length > 0 && (this.#slice[0] as Entry).index < this.#memoryFirst) this.#slice = NO_ENTRIES;
  }

  /** The run that holds an index at or above firstIndex - 1. Most questions are about the newest. */
  #runOf(index: number): number {
    let high = this.#runStarts.length - 1;
    if ((this.#runStarts[high] as number) <= index) return high;
    let low = 0;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#runStarts[middle] as number) <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
