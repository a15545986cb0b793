/** A bound on bytes that peers make us hold, for one connection and, through its parent, for all connections together. */
export class MemoryBudget {
  readonly bytesMax: number;
  readonly #parent: MemoryBudget | undefined;
  #bytes = 0;

  constructor(bytesMax: number, parent?: MemoryBudget) {
    this.bytesMax = bytesMax;
    this.#parent = parent;
  }

  /** Bytes taken now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** False: there is not so much left, and nothing was taken. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.bytesMax) return false;
    if (this.#parent !== undefined && !this.#parent.take(bytes)) return false;
    this.#bytes += bytes;
    return true;
  }

  /** Takes them though the bound is passed: for what is there already and about to be given back. */
  takeAnyway(bytes: number): void {
    this.#bytes += bytes;
    this.#parent?.takeAnyway(bytes);
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
    this.#parent?.give(bytes);
  }
}
