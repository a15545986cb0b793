/**
 * Until when one kept lease can be relied on, in memory that the application's thread and the node's share: the node moves it, and the
 * application asks it without waiting for anyone, also when no timer of either could fire.
 *
 * The deadline is the send time of the last renewal that was answered, plus the time to live, less a margin for clocks that differ in
 * rate. What the holder's machine spent suspended since that send is taken off too: the monotonic clock stood still, the lease did not.
 */
import { SUSPENSION_MS } from "../core/raft/options.ts";
import type { Clock } from "../host/clock.ts";

const DEADLINE = 0;
const WALL_OFFSET = 1;
const WORDS = 2;
/** A deadline that no raise() passes: the lease was lost, and is for good. */
const LOST = -(2n ** 62n);

/**
 * How much earlier than the members a holder counts its lease as gone: a tenth of the time to live, as for leader leases, at least
 * 50 ms, at most nine tenths of it.
 */
export function heldMarginMs(ttlMs: number): number {
  return Math.min(Math.max(ttlMs / 10, SUSPENSION_MS), ttlMs * 0.9);
}

/** A moment by both clocks. */
export interface Moment {
  /** Monotonic. */
  readonly now: number;
  readonly wallNow: number;
}

export function momentOf(clock: Clock): Moment {
  return { now: clock.now(), wallNow: clock.wallNow() };
}

/** Microseconds, since shared words that are read whole are integers. */
const micros = (ms: number): bigint => BigInt(Math.floor(ms * 1_000));

export class HeldSlot {
  readonly buffer: SharedArrayBuffer;
  readonly #words: BigInt64Array;

  /** A new one is in the past until it is raised. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(WORDS * 8)) {
    this.buffer = buffer;
    this.#words = new BigInt64Array(buffer);
  }

  /** A grant or renewal that left at `sent` was answered. Never moves the deadline back, and nothing brings a lost lease back. */
  raise(sent: Moment, ttlMs: number): void {
    const deadline = micros(sent.now + ttlMs - heldMarginMs(ttlMs));
    for (;;) {
      const before = Atomics.load(this.#words, DEADLINE);
      if (before === LOST || before >= deadline) return;
      // The offset first: whoever sees it with the deadline of before counts no more than that one left.
      Atomics.store(this.#words, WALL_OFFSET, micros(sent.wallNow - sent.now));
      if (Atomics.compareExchange(this.#words, DEADLINE, before, deadline) === before) return;
    }
  }

  lose(): void {
    Atomics.store(this.#words, DEADLINE, LOST);
  }

  /** 0 once it can no longer be relied on. The lesser of what the monotonic and the wall clock leave. */
  remainingMs({ now, wallNow }: Moment): number {
    const deadline = Atomics.load(this.#words, DEADLINE);
    if (deadline === LOST || deadline === 0n) return 0;
    const sleptMs = wallNow - now - Number(Atomics.load(this.#words, WALL_OFFSET)) / 1_000;
    // Wall clocks show whole milliseconds.
    return Math.max(0, Number(deadline) / 1_000 - now - Math.max(0, sleptMs - 1));
  }
}
