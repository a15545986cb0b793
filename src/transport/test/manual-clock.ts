/** A clock that moves only when a test says so. What is deferred runs at the end of the event loop's turn, as it really does. */
import type { Clock, Timer } from "../../host/clock.ts";

interface Entry {
  readonly dueMs: number;
  readonly run: () => void;
}

export class ManualClock implements Clock {
  #nowMs = 1000;
  readonly #timers = new Set<Entry>();

  now(): number {
    return this.#nowMs;
  }

  wallNow(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  setTimer(delayMs: number, run: () => void): Timer {
    const entry = { dueMs: this.#nowMs + delayMs, run };
    this.#timers.add(entry);
    return { cancel: () => this.#timers.delete(entry) };
  }

  defer(run: () => void): void {
    setImmediate(run);
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** How long until the next timer is due; infinite if none waits. */
  get untilNextMs(): number {
    let soonestMs = Number.POSITIVE_INFINITY;
    for (const { dueMs } of this.#timers) soonestMs = Math.min(soonestMs, dueMs - this.#nowMs);
    return soonestMs;
  }

  /** Runs what is due until then, in the order of the due times. */
  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    for (;;) {
      let next: Entry | undefined;
      for (const entry of this.#timers) {
        if (entry.dueMs <= untilMs && (next === undefined || entry.dueMs < next.dueMs)) next = entry;
      }
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.run();
    }
    this.#nowMs = untilMs;
  }
}
