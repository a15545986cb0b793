/**
 * What is held until a deadline that a renewal moves: its signal, and what it answers at once. The deadline lies in memory that whoever
 * renews it moves (held-slot.ts); this only looks at it. A lease is one; locks and leaderships are built on leases, and look at the
 * slot of theirs.
 */
import { EngineError, type ErrorDetails } from "../errors.ts";
import type { Clock, Timer } from "../host/clock.ts";
import { momentOf, type HeldSlot } from "../node/held-slot.ts";

/** The three members of Held that do not end it. */
export class Holding {
  readonly slot: HeldSlot;
  readonly #clock: Clock;
  readonly #details: ErrorDetails["LOST"];
  readonly #controller = new AbortController();
  #timer: Timer | undefined;

  /** Held from now on: the slot has been raised. `details` say what is held, in the errors that tell of its loss. */
  constructor(parts: { readonly slot: HeldSlot; readonly clock: Clock; readonly details: ErrorDetails["LOST"] }) {
    this.slot = parts.slot;
    this.#clock = parts.clock;
    this.#details = parts.details;
    this.check();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isLost(): boolean {
    return this.#controller.signal.aborted;
  }

  remainingMs(): number {
    return this.isLost ? 0 : this.slot.remainingMs(momentOf(this.#clock));
  }

  throwIfLost(): void {
    if (this.remainingMs() === 0) this.end(undefined);
    if (this.isLost) throw this.lostError(this.#reason);
  }

  /** Looks at the deadline: aborts if it has passed, else looks again when it does. */
  check(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.isLost) return;
    const remainingMs = this.remainingMs();
    if (remainingMs === 0) {
      this.end(undefined);
      return;
    }
    this.#timer = this.#clock.setTimer(remainingMs, () => this.check());
    this.#timer.unref?.();
  }

  /** It can no longer be relied on, whatever the slot says; undefined: it was not renewed in time. Once. */
  end(reason: string | undefined): void {
    if (this.isLost) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.slot.lose();
    this.#reason = reason ?? "it was not renewed in time";
    this.#controller.abort(this.lostError(this.#reason));
  }

  #reason = "";

  lostError(reason: string): EngineError<"LOST"> {
    const { what, name } = this.#details;
    return new EngineError("LOST", `the ${what} ${name} is lost: ${reason}`, this.#details);
  }
}
