/**
 * The lease clock: milliseconds that never go back along the log and that every entry carries. It is the only time that a state
 * machine knows. A leader continues from the last reading in its log plus what its own monotonic clock has counted since that reading
 * came in, which is never more than has truly passed; so a change of leader loses a message delay and gains nothing. Leaders tell their
 * reading with each heartbeat, so that this holds for members that were restarted too.
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

  /** What a leader tells of its reading: whole, and so never ahead of it. */
  told(now: number): number {
    return Math.floor(this.now(now));
  }

  /**
   * The leader's reading. Without it a member that is told of no entry for long, or was restarted, would know only the reading in its log,
   * and would give all leases that much more time if it came to lead. Taken as it is, so that clocks of other rates do not part.
   */
  onHeard(clockMs: number, now: number): void {
    if (clockMs < this.#last) return;
    this.#reading = clockMs;
    this.#readAt = now;
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
