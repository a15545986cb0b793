/**
 * The clock of the machine: `process.hrtime`, `Date.now` and the event loop's timers. Of the monotonic sources it is the one whose
 * origin all threads share (`performance.now` counts from each thread's own start), at about 50 ns a call.
 */
import type { Clock, Timer } from "./clock.ts";

/** The event loop's timers take no more than this; longer waits are made of several. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The real clock. Its timers keep the thread's event loop alive until they ran, were cancelled, or were told not to. */
export function createNodeClock(): Clock {
  return {
    now: monotonicMs,
    wallNow: () => Date.now(),
    setTimer: (delayMs, run) => new NodeTimer(delayMs, run),
    defer: (run) => {
      setImmediate(run);
    },
  };
}

function monotonicMs(): number {
  const time = process.hrtime();
  return time[0] * 1000 + time[1] / 1e6;
}

class NodeTimer implements Timer {
  readonly #dueMs: number;
  readonly #run: () => void;
  #timeout: NodeJS.Timeout | undefined;
  #isUnref = false;

  constructor(delayMs: number, run: () => void) {
    this.#dueMs = monotonicMs() + delayMs;
    this.#run = run;
    this.#arm(delayMs);
  }

  cancel(): void {
    clearTimeout(this.#timeout);
    this.#timeout = undefined;
  }

  unref(): void {
    this.#isUnref = true;
    this.#timeout?.unref();
  }

  #arm(delayMs: number): void {
    this.#timeout = setTimeout(this.#onTimeout, Math.min(Math.max(0, Math.ceil(delayMs)), TIMER_MS_MAX));
    if (this.#isUnref) this.#timeout.unref();
  }

  readonly #onTimeout = (): void => {
    // The event loop counts whole milliseconds and so may be up to one early, which this interface rules out.
    const leftMs = this.#dueMs - monotonicMs();
    if (leftMs > 0) {
      this.#arm(leftMs);
      return;
    }
    this.#timeout = undefined;
    this.#run();
  };
}
