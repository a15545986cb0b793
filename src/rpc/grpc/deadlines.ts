/**
 * The deadlines of all calls of one server or client: a binary heap, and one timer for the earliest. A call that ends in time leaves the
 * heap at once, so the heap is never larger than the calls in flight.
 */
import { TIMER_MS_MAX } from "../http2/limits.ts";

/** Something that has a deadline. The heap keeps its place in `heapIndex`. */
export interface Timed {
  /** On the clock of performance.now(). Must not change while it is in the heap. */
  deadlineAtMs: number;
  /** -1 while it is not in a heap. */
  heapIndex: number;
  onDeadline(): void;
}

/** A heap of deadlines with one timer. */
export class Deadlines {
  readonly #heap: Timed[] = [];
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  readonly #keepsAlive: boolean;
  readonly #onTimer: () => void = () => this.#expire();

  /** keepsAlive: the timer keeps the process running. */
  constructor(options: { readonly keepsAlive: boolean }) {
    this.#keepsAlive = options.keepsAlive;
  }

  get size(): number {
    return this.#heap.length;
  }

  add(timed: Timed): void {
    this.#heap.push(timed);
    timed.heapIndex = this.#heap.length - 1;
    this.#rise(timed);
    if (timed.heapIndex === 0 && timed.deadlineAtMs < this.#timerAtMs) this.#arm();
  }

  /** Does nothing if it is not there. The timer stays: it may fire for nothing, once. */
  remove(timed: Timed): void {
    const index = timed.heapIndex;
    if (index < 0) return;
    timed.heapIndex = -1;
    const last = this.#heap.pop()!;
    if (last !== timed) {
      this.#heap[index] = last;
      last.heapIndex = index;
      this.#rise(last);
      this.#sink(last);
    }
    if (this.#heap.length === 0 && this.#keepsAlive) this.#disarm();
  }

  /** Forgets all deadlines. */
  clear(): void {
    for (const timed of this.#heap) timed.heapIndex = -1;
    this.#heap.length = 0;
    this.#disarm();
  }

  #arm(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timerAtMs = this.#heap[0]!.deadlineAtMs;
    // Rounded up: a timer that fires early would only be set again.
    const delayMs = Math.max(1, Math.ceil(this.#timerAtMs - performance.now()));
    this.#timer = setTimeout(this.#onTimer, Math.min(delayMs, TIMER_MS_MAX));
    if (!this.#keepsAlive) this.#timer.unref();
  }

  #disarm(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }

  #expire(): void {
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const nowMs = performance.now();
    while (this.#heap.length > 0 && this.#heap[0]!.deadlineAtMs <= nowMs) {
      const timed = this.#heap[0]!;
      this.remove(timed);
      timed.onDeadline();
    }
    if (this.#heap.length > 0 && this.#timer === undefined) this.#arm();
  }

  #rise(timed: Timed): void {
    const heap = this.#heap;
    let index = timed.heapIndex;
    while (index > 0) {
      const parentIndex = (index - 1) >>> 1;
      const parent = heap[parentIndex]!;
      if (parent.deadlineAtMs <= timed.deadlineAtMs) break;
      heap[index] = parent;
      parent.heapIndex = index;
      index = parentIndex;
    }
    heap[index] = timed;
    timed.heapIndex = index;
  }

  #sink(timed: Timed): void {
    const heap = this.#heap;
    const { length } = heap;
    let index = timed.heapIndex;
    for (;;) {
      let childIndex = index * 2 + 1;
      if (childIndex >= length) break;
      const right = childIndex + 1;
      if (right < length && heap[right]!.deadlineAtMs < heap[childIndex]!.deadlineAtMs) childIndex = right;
      const child = heap[childIndex]!;
      if (child.deadlineAtMs >= timed.deadlineAtMs) break;
      heap[index] = child;
      child.heapIndex = index;
      index = childIndex;
    }
    heap[index] = timed;
    timed.heapIndex = index;
  }
}
