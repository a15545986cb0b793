/** The terms of a log as runs: few, however long the log, since terms only rise along it. */
export interface TermRun {
  readonly index: number;
  readonly term: number;
}

export class TermRuns {
  #runs: TermRun[];

  /** The first run begins at the index before the first entry. */
  constructor(runs: readonly TermRun[]) {
    this.#runs = runs.slice();
  }

  /** Ascending; the first covers the index before the first entry. */
  get runs(): readonly TermRun[] {
    return this.#runs;
  }

  get lastTerm(): number {
    return this.#runs[this.#runs.length - 1]!.term;
  }

  /** The term at an index from the one before the first entry up to the last. */
  at(index: number): number {
    for (let run = this.#runs.length - 1; run >= 0; run--) {
      if (this.#runs[run]!.index <= index) return this.#runs[run]!.term;
    }
    return 0;
  }

  /** The entry at `index` is the last one now. */
  append(index: number, term: number): void {
    while (this.#runs.length > 1 && this.#runs[this.#runs.length - 1]!.index >= index) this.#runs.pop();
    if (this.lastTerm !== term) this.#runs.push({ index, term });
  }

  discardBefore(firstIndex: number): void {
    const term = this.at(firstIndex - 1);
    const later = this.#runs.filter((run) => run.index >= firstIndex);
    this.#runs = [{ index: firstIndex - 1, term }, ...later];
  }
}
