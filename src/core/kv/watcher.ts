/**
 * One watcher of a hub: what it asked for, how far it has been told, and where it stands. Plain state: the rules are the hub's
 * (watch-hub.ts) and its cohorts' (watch-cohort.ts).
 */
import type { WatchCohort } from "./watch-cohort.ts";
import type { Audience } from "./watch-parts.ts";
import type { Pin } from "./pins.ts";
import type { RangeReading } from "./range-reading.ts";
import type { KeyInterval } from "./table.ts";

export interface WatchRequest {
  /** Unique among the hub's watchers. */
  readonly id: number;
  /** Its bytes are the hub's from now on. */
  readonly interval: KeyInterval;
  /** The first revision wanted; one that is not there yet is waited for. undefined: the next. Not looked at with `initial`. */
  readonly fromRevision: number | undefined;
  readonly prevKv: boolean;
  readonly only: "puts" | "deletes" | undefined;
  /** Begin with a reset that holds what is there now. */
  readonly initial: boolean;
  readonly onGap: "throw" | "reset";
}

/** Why a reset came. "restored" is for a cluster that began anew from a backup. */
export type ResetReason = "initial" | "compacted" | "restored";

/** What one or many watchers are told. */
export interface WatchOutput {
  /** Whom. The same list may stand in many outputs: not to be changed. */
  readonly ids: ArrayLike<number>;
  /** events: all that match at `revision`, or part of them (`more`). progress: nothing more matched up to and including `revision`. reset: what is there at it. */
  readonly kind: "events" | "progress" | "reset" | "ended";
  readonly revision: number;
  /** Packed events, or packed kvs of a reset. Several outputs may be views of one buffer: not to be changed, nor transferred twice. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly count: number;
  readonly reason: ResetReason | undefined;
  /** Of "ended": the watcher asked for, or needed, something at or before it. */
  readonly compactRevision: number | undefined;
  /**
   * The next output of this watcher goes on with it, at the same revision. Of a reset above RESET_BYTES_MAX; if what comes next is a reset of
   * another revision, it began anew, and what came before is void. Of the events of a revision above REVISION_PART_BYTES or _EVENTS, in one
   * order with no other output between, but for a reset or an end where history was lost meanwhile.
   */
  readonly more: boolean;
}

/** `next` counts for all; the other fields for one that is in a cohort, waiting, or being reset, as they say. */
export class Watcher {
  readonly request: WatchRequest;
  /** All events below this revision have been told. In a cohort, it may be further: see WatchCohort.nextOf(). */
  next: number;
  /** And of that revision all that were wanted among its first so many events, wanted or not: it was being told in parts. Counts outside cohorts. */
  skip = 0;
  creditBytes = 0;
  /** Told, and not given back as credit since. */
  owedBytes = 0;
  /** When it was told something last, on the clock of who pumps the hub. */
  toldAt: number = Number.NEGATIVE_INFINITY;
  /** Reads history together with others: with whom, among which of them, and at which place there. */
  cohort: WatchCohort | undefined = undefined;
  audience: Audience | undefined = undefined;
  at = 0;
  /** Waits in a queue, between these. */
  queue: WatcherQueue | undefined = undefined;
  before: Watcher | undefined = undefined;
  behind: Watcher | undefined = undefined;
  /** It needs events that are gone. */
  gap = false;
  /** It must begin with what is there. */
  reset: ResetReason | undefined = undefined;
  pin: Pin | undefined = undefined;
  reading: RangeReading | undefined = undefined;
  /** Where the next part of the reset begins; undefined: at the interval's start. */
  resetFrom: Uint8Array | undefined = undefined;
  /** Progress was asked for when the data were at this revision; -1 if not. */
  progressAt = -1;

  constructor(request: WatchRequest, next: number) {
    this.request = request;
    this.next = next;
  }
}

/** Watchers in order of arrival. A watcher stands in one queue at most, and leaves it from any place at no cost. */
export class WatcherQueue {
  size = 0;
  private first: Watcher | undefined = undefined;
  private last: Watcher | undefined = undefined;

  push(watcher: Watcher): void {
    watcher.queue = this;
    watcher.before = this.last;
    if (this.last === undefined) this.first = watcher;
    else this.last.behind = watcher;
    this.last = watcher;
    this.size++;
  }

  shift(): Watcher | undefined {
    const { first } = this;
    if (first !== undefined) this.remove(first);
    return first;
  }

  /** The watcher must be in this queue. */
  remove(watcher: Watcher): void {
    const { before, behind } = watcher;
    if (before === undefined) this.first = behind;
    else before.behind = behind;
    if (behind === undefined) this.last = before;
    else behind.before = before;
    watcher.queue = undefined;
    watcher.before = undefined;
    watcher.behind = undefined;
    this.size--;
  }

  /** One that has the furthest to go. Looks at all. */
  furthestBack(): Watcher | undefined {
    let found = this.first;
    for (let watcher = this.first; watcher !== undefined; watcher = watcher.behind) {
      if (watcher.next < found!.next || (watcher.next === found!.next && watcher.skip < found!.skip)) found = watcher;
    }
    return found;
  }
}
