/** Things with a deadline, the earliest first: a binary heap from which any of them may leave. Keeps no timer. */

/** The heap keeps its place in `heapAt`. */
export interface Timed {
  /** Must not change while it is in a heap. */
  deadline: number;
  /** -1 while it is in none. */
  heapAt: number;
}

export class DeadlineHeap<T extends Timed> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The one whose deadline is the earliest. */
  get first(): T | undefined {
    return this.#heap[0];
  }

  /** It must be in no heap. */
  add(timed: T): void {
    this.#heap.push(timed);
    this.#up(timed, this.#heap.length - 1);
  }

  /** Nothing if it is not in this heap. */
  remove(timed: T): void {
    const at = timed.heapAt;
    if (at < 0 || this.#heap[at] !== timed) return;
    timed.heapAt = -1;
    const last = this.#heap.pop()!;
    if (last === timed) return;
    this.#up(last, at);
    this.#down(last, last.heapAt);
  }

  #up(timed: T, from: number): void {
    let at = from;
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const other = this.#heap[above]!;
      if (other.deadline <= timed.deadline) break;
      this.#place(other, at);
      at = above;
    }
    this.#place(timed, at);
  }

  #down(timed: T, from: number): void {
    let at = from;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= this.#heap.length) break;
      if (below + 1 < this.#heap.length && this.#heap[below + 1]!.deadline < this.#heap[below]!.deadline) below++;
      const other = this.#heap[below]!;
      if (other.deadline >= timed.deadline) break;
      this.#place(other, at);
      at = below;
    }
    this.#place(timed, at);
  }

  #place(timed: T, at: number): void {
    this.#heap[at] = timed;
    timed.heapAt = at;
  }
}
