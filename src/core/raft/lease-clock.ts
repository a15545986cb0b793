/**
 * The lease clock: milliseconds that never go back along the log and that every entry carries. It is the only time that a state
 * machine knows. A leader continues from the last reading in its log plus what its own monotonic clock has counted since that reading
 * came in, which is never more than has truly passed; so a change of leader loses a message delay and gains nothing.
 */
export class LeaseClock {
  /** A reading, and when it was received. */
  #reading: number;
  #readAt: number;
  /** The reading of the last entry in the log. */
  #last: number;

  constructor(reading: number, now: number) {
    this.#reading = reading;
    this.#readAt = now;
    this.#last = reading;
  }

  /** The reading that an entry proposed now would carry. */
  now(now: number): number {
    return Math.max(this.#last, Math.floor(this.#reading + Math.max(0, now - this.#readAt)));
  }

  /** An entry from another member is now the last one of the log. */
  onReceived(clockMs: number, now: number): void {
    this.#reading = clockMs;
    this.#readAt = now;
    this.#last = clockMs;
  }

  /** An entry of our own: time is counted on from the reading before, so that fractions are not lost with each entry. */
  onProposed(clockMs: number): void {
    this.#last = clockMs;
  }
}
