/**
 * How much history is held, and from which revision on. The account is of what the log made, not of what this member's memory still
 * holds: memory is freed in slices and held back by pins, each member at its own pace, but the compact revision is part of the state and
 * must be equal on all of them. So must the two limits, which therefore travel in the snapshot.
 */
import { assert } from "../assert.ts";

/** Logical bytes beside key and value: of a record that only history needs, and of each event (docs/formats.md). */
export const RECORD_OVERHEAD_BYTES = 64;
export const EVENT_BYTES = 16;

/** History is compacted beyond either. The last entry's revisions are always kept. */
export interface HistoryLimits {
  readonly revisionsMax: number;
  readonly bytesMax: number;
}

/** The defaults. */
export const HISTORY_LIMITS: HistoryLimits = { revisionsMax: 100_000, bytesMax: 67_108_864 };

/** The account of one state. Its memory is a number for each revision held. */
export class HistoryLedger {
  readonly limits: HistoryLimits;
  private compacted: number;
  private bytes = 0;
  /** Bytes of each revision above the compacted one, at the revision modulo the length. */
  private ring: Float64Array = new Float64Array(1024);
  private last: number;

  constructor(limits: HistoryLimits, compactRevision: number) {
    assert(limits.revisionsMax >= 1 && limits.bytesMax >= 0, "history keeps at least one revision");
    this.limits = limits;
    this.compacted = compactRevision;
    this.last = compactRevision;
  }

  /** Revisions below it cannot be read; events at or below it cannot be watched. */
  get compactRevision(): number {
    return this.compacted;
  }

  get historyBytes(): number {
    return this.bytes;
  }

  /** Revisions never go down. */
  add(revision: number, bytes: number): void {
    if (revision !== this.last) this.open(revision);
    const at = revision % this.ring.length;
    this.ring[at] = this.ring[at]! + bytes;
    this.bytes += bytes;
  }

  /**
   * Moves the compact revision up until history fits its limits, but not beyond `through`: what the last entry did can always still be
   * watched, however large it was.
   */
  trim(through: number): void {
    const { revisionsMax, bytesMax } = this.limits;
    while (this.compacted < through && (this.last - this.compacted > revisionsMax || this.bytes > bytesMax)) {
      this.compacted++;
      this.bytes -= this.ring[this.compacted % this.ring.length]!;
    }
  }

  private open(revision: number): void {
    assert(revision > this.last, "revisions never go down");
    if (revision - this.compacted > this.ring.length) this.grow(revision);
    for (let at = this.last + 1; at <= revision; at++) this.ring[at % this.ring.length] = 0;
    this.last = revision;
  }

  private grow(revision: number): void {
    let length = this.ring.length;
    while (revision - this.compacted > length) length *= 2;
    const ring = new Float64Array(length);
    for (let at = this.compacted + 1; at <= this.last; at++) ring[at % length] = this.ring[at % this.ring.length]!;
    this.ring = ring;
  }
}
