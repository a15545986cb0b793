/** What was ever committed, by index: the account that several invariants share. */
export class CommittedEntries {
  /** Index of the first entry that is known; what was founded counts as committed before it. */
  #first = 0;
  readonly #terms: number[] = [];

  get lastIndex(): number {
    return this.#first + this.#terms.length - 1;
  }

  get firstIndex(): number {
    return this.#first;
  }

  /** undefined for what lies before the first or is not committed yet. */
  termAt(index: number): number | undefined {
    return this.#terms[index - this.#first];
  }

  /** The next one. */
  add(index: number, term: number): void {
    if (this.#terms.length === 0) this.#first = index;
    this.#terms.push(term);
  }
}
