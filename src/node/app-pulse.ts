/**
 * When the application's thread last ran, in memory that it shares with the node's. A holder that hangs must not keep its leases for
 * ever: the node looks here before it renews them.
 */

export class AppPulse {
  readonly buffer: SharedArrayBuffer;
  readonly #stamp: BigInt64Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.buffer = buffer;
    this.#stamp = new BigInt64Array(buffer);
  }

  /** The application's thread runs: `now` on the monotonic clock that the process's threads share. */
  stamp(now: number): void {
    Atomics.store(this.#stamp, 0, BigInt(Math.floor(now * 1_000)));
  }

  lagMs(now: number): number {
    return now - Number(Atomics.load(this.#stamp, 0)) / 1_000;
  }
}
