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

/** Whether they are bounds that history can have. */
export function areHistoryLimits({ revisionsMax, bytesMax }: HistoryLimits): boolean {
  return Number.isSafeInteger(revisionsMax) && revisionsMax >= 1 && Number.isSafeInteger(bytesMax) && bytesMax >= 0;
}

/** Revisions whose bytes lie together: so many that each can be looked at, so few that no pause is noticed. */
const SHARE = 4_096;

/** The bytes of SHARE revisions, at the revision modulo that, and of all of them that are held. */
interface Share {
  readonly bytes: Float64Array;
  sum: number;
}

/** The account of one state. Its memory is a number for each revision held, in shares that come and go: nothing takes longer the more it holds. */
export class HistoryLedger {
  private bounds: HistoryLimits;
  private compacted: number;
  private bytes = 0;
  /** By the number of its revisions, divided by SHARE. One that is not there is all 0. */
  private readonly shares: Map<number, Share> = new Map();
  /** The one that was added to last. */
  private newest: Share | undefined = undefined;
  private newestNumber = -1;
  private last: number;

  constructor(limits: HistoryLimits, compactRevision: number) {
    assert(areHistoryLimits(limits), "history keeps at least one revision");
    this.bounds = limits;
    this.compacted = compactRevision;
    this.last = compactRevision;
  }

  get limits(): HistoryLimits {
    return this.bounds;
  }

  /** Holds from the next trim() on. */
  limit(limits: HistoryLimits): void {
    assert(areHistoryLimits(limits), "history keeps at least one revision");
    this.bounds = limits;
  }

  /** The last revision whose events are gone: what is behind it can be read, and watched. */
  get compactRevision(): number {
    return this.compacted;
  }

  get historyBytes(): number {
    return this.bytes;
  }

  /** The last at which something changed, or that was compacted. */
  get lastRevision(): number {
    return this.last;
  }

  /** Of the revisions held, up to and including this one. */
  bytesThrough(through: number): number {
    const end = Math.min(through, this.last);
    let bytes = 0;
    let revision = this.compacted + 1;
    while (revision <= end) {
      const share = this.shares.get(Math.floor(revision / SHARE));
      const next = nextShare(revision);
      if (next - 1 <= end) {
        bytes += share?.sum ?? 0;
        revision = next;
      } else {
        if (share === undefined) break;
        bytes += share.bytes[revision++ % SHARE]!;
      }
    }
    return bytes;
  }

  /** The revision to compact so that so many bytes go, or as many as there are; 0 where there are none. */
  revisionFreeing(bytes: number): number {
    let freed = 0;
    let revision = this.compacted + 1;
    while (revision <= this.last) {
      const share = this.shares.get(Math.floor(revision / SHARE));
      if (freed + (share?.sum ?? 0) < bytes) {
        freed += share?.sum ?? 0;
        revision = nextShare(revision);
        continue;
      }
      freed += share?.bytes[revision % SHARE] ?? 0;
      if (freed >= bytes) return revision;
      revision++;
    }
    return this.last > this.compacted ? this.last : 0;
  }

  /** Revisions never go down. */
  add(revision: number, bytes: number): void {
    assert(revision >= this.last, "revisions never go down");
    const number = Math.floor(revision / SHARE);
    const share = this.newest !== undefined && number === this.newestNumber ? this.newest : this.open(number);
    this.last = revision;
    const at = revision % SHARE;
    share.bytes[at] = share.bytes[at]! + bytes;
    share.sum += bytes;
    this.bytes += bytes;
  }

  /**
   * Moves the compact revision up until history fits its limits, but not beyond `through`: what the last entry did can always still be
   * watched, however large it was.
   */
  trim(through: number): void {
    const { revisionsMax, bytesMax } = this.bounds;
    const tooOld = Math.min(through, this.last - revisionsMax);
    if (tooOld > this.compacted) this.compact(tooOld);
    if (this.bytes > bytesMax && this.compacted < through) this.compact(Math.min(through, this.revisionFreeing(this.bytes - bytesMax)));
  }

  /** Moves the compact revision up to this one, which must exist. */
  compact(through: number): void {
    assert(through <= this.last, "what is compacted has been");
    while (this.compacted < through) {
      const number = Math.floor((this.compacted + 1) / SHARE);
      const share = this.shares.get(number);
      const end = nextShare(this.compacted + 1) - 1;
      if (end <= through) {
        this.bytes -= share?.sum ?? 0;
        this.compacted = end;
        this.shares.delete(number);
        if (number === this.newestNumber) this.newest = undefined;
        continue;
      }
      if (share === undefined) {
        this.compacted = through;
        return;
      }
      this.compacted++;
      const at = this.compacted % SHARE;
      const bytes = share.bytes[at]!;
      share.bytes[at] = 0;
      share.sum -= bytes;
      this.bytes -= bytes;
    }
  }

  private open(number: number): Share {
    let share = this.shares.get(number);
    if (share === undefined) {
      share = { bytes: new Float64Array(SHARE), sum: 0 };
      this.shares.set(number, share);
    }
    this.newest = share;
    this.newestNumber = number;
    return share;
  }
}

/** The first revision of the next share. */
function nextShare(revision: number): number {
  return (Math.floor(revision / SHARE) + 1) * SHARE;
}
