/**
 * How long a kind of file call took, from the beginning on: for whoever watches over a disk. The disk's thread counts calls and adds up their time; the
 * node's, which hears of it with each reply, sorts them into buckets. Where a reply tells of several calls each counts as their mean.
 */

/** Upper bounds of the buckets but the last, which has none, in milliseconds. */
export const CALL_TIME_BUCKETS_MS: readonly number[] = Array.from({ length: 14 }, (_, power) => 2 ** power);

/** Calls of one kind. */
export interface CallTimes {
  readonly count: number;
  readonly sumMs: number;
  /** How many fell into each bucket. */
  readonly buckets: readonly number[];
}

/** The same, as it is gathered. */
export class CallTimer implements CallTimes {
  count = 0;
  sumMs = 0;
  readonly buckets: number[] = [...CALL_TIME_BUCKETS_MS.map(() => 0), 0];

  /** There have been `count` by now, which took `sumMs` together. */
  tell(count: number, sumMs: number): void {
    const more = count - this.count;
    if (more <= 0) return;
    const each = (sumMs - this.sumMs) / more;
    let bucket = 0;
    while (bucket < CALL_TIME_BUCKETS_MS.length && each > CALL_TIME_BUCKETS_MS[bucket]!) bucket++;
    this.buckets[bucket]! += more;
    this.count = count;
    this.sumMs = sumMs;
  }
}
