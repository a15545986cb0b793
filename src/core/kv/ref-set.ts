/**
 * A set of records that may hold millions and never stops for long: one large Set copies itself whole when it grows. Small ones, which
 * nearly all are, cost one Set. In no order that means anything.
 */
import type { RecordRef } from "./table.ts";

/** From so many on it is spread over SHARDS sets; moving them takes a few milliseconds, once. */
const SPREAD_AT = 16_384;
const SHARDS = 64;

export class RefSet {
  private sets: Set<RecordRef>[] = [new Set()];
  private count = 0;

  get size(): number {
    return this.count;
  }

  /** The ref must be new. */
  add(ref: RecordRef): void {
    if (this.count === SPREAD_AT && this.sets.length === 1) this.spread();
    this.setOf(ref).add(ref);
    this.count++;
  }

  /** Whether it was there. */
  delete(ref: RecordRef): boolean {
    const found = this.setOf(ref).delete(ref);
    if (found) this.count--;
    return found;
  }

  /** Not to be changed meanwhile. */
  *values(): IterableIterator<RecordRef> {
    for (const set of this.sets) yield* set;
  }

  private setOf(ref: RecordRef): Set<RecordRef> {
    if (this.sets.length === 1) return this.sets[0]!;
    // Refs are places in memory, so that neighbours differ by steps of their alignment: mixed before they are cut.
    return this.sets[(Math.imul(ref | 0, 0x9e37_79b1) >>> 16) & (SHARDS - 1)]!;
  }

  private spread(): void {
    const whole = this.sets[0]!;
    this.sets = Array.from({ length: SHARDS }, () => new Set<RecordRef>());
    for (const ref of whole) this.setOf(ref).add(ref);
  }
}
