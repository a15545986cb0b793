/** A value that changes, and those who follow it: each sees the present value first, then the latest; not every one between. */
import { forgetAbort, onAbortOf } from "./abort-listeners.ts";

export class LatestValue<T> {
  #value: T;
  #version = 0;
  #ended = false;
  readonly #waiting = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    this.#version++;
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Ends without an error when the value ends or the signal aborts. */
  follow(signal: AbortSignal | undefined): AsyncIterableIterator<T> {
    let seen = -1;
    let done = false;
    const waits = new Set<() => void>();
    const finish = (): void => {
      done = true;
      if (signal !== undefined) forgetAbort(signal, finish);
      for (const wake of [...waits]) wake();
    };
    if (signal?.aborted === false) onAbortOf(signal, finish);
    const next = async (): Promise<IteratorResult<T>> => {
      for (;;) {
        if (done || signal?.aborted === true) return { done: true, value: undefined };
        if (this.#version !== seen) {
          seen = this.#version;
          return { done: false, value: this.#value };
        }
        if (this.#ended) {
          finish();
          return { done: true, value: undefined };
        }
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            waits.delete(wake);
            this.#waiting.delete(wake);
            resolve();
          };
          waits.add(wake);
          this.#waiting.add(wake);
        });
      }
    };
    return {
      next,
      return: () => {
        finish();
        return Promise.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}
