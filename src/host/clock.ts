/**
 * Time, as a node sees it. Every wait and every timestamp of simulated code goes through this interface, so that the
 * simulator can put virtual time behind it.
 */
export interface Clock {
  /** Monotonic milliseconds, fractional, from an origin that all threads of the process share. Stands still while the machine is suspended. */
  now(): number;
  /** Wall-clock milliseconds since the Unix epoch. May jump either way. */
  wallNow(): number;
  /** Runs `run` once, no sooner than `delayMs` from now. */
  setTimer(delayMs: number, run: () => void): Timer;
  /** Runs `run` once, after the input that is ready now has been delivered (the end of an event-loop turn). */
  defer(run: () => void): void;
}

export interface Timer {
  /** Cancelling twice, or after it ran, does nothing. */
  cancel(): void;
  /** Where a timer can keep a process alive: this one does not. */
  unref?(): void;
}
