/** The one timer of a node: for its next turn, if nothing brings one sooner. */
import type { Clock, Timer } from "../host/clock.ts";

export class TurnTimer {
  readonly #clock: Clock;
  readonly #wake: () => void;
  #timer: Timer | undefined;
  #at = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, wake: () => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** In the clock's time; infinity: none. Replaces what was set before. */
  set(at: number, now: number): void {
    if (at === this.#at) return;
    this.cancel();
    this.#at = at;
    if (at === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#clock.setTimer(Math.max(0, at - now), () => {
      this.#at = Number.POSITIVE_INFINITY;
      this.#wake();
    });
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#at = Number.POSITIVE_INFINITY;
  }
}
