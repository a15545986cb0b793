/**
 * A bucket of tokens: what a peer may do without being of use. Refilled by time and by useful work, never above its
 * burst. Time is only looked at when the bucket is empty, so a peer may spend up to two bursts at once after a long quiet while.
 */
export class AbuseBudget {
  readonly #burst: number;
  readonly #perMs: number;
  #tokens: number;
  #refilledAtMs: number;

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#tokens = burst;
    this.#refilledAtMs = performance.now();
  }

  /** Takes one token. False: there is none, the peer has gone too far. */
  spend(): boolean {
    if (this.#tokens >= 1) {
      this.#tokens--;
      return true;
    }
    const nowMs = performance.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#refilledAtMs) * this.#perMs);
    this.#refilledAtMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** The peer did something useful. */
  earn(): void {
    if (this.#tokens < this.#burst) this.#tokens++;
  }
}
