/**
 * One watcher of a hub: what it asked for, how far it has been told, and what is under way for it. Plain state: the rules are the hub's
 * (watch-hub.ts).
 */
import type { ByteWriter } from "./bytes.ts";
import type { Pin } from "./pins.ts";
import type { RangeReading } from "./range-reading.ts";
import type { KeyInterval } from "./table.ts";

export interface WatchRequest {
  /** Unique among the hub's watchers. */
  readonly id: number;
  /** Its bytes are the hub's from now on. */
  readonly interval: KeyInterval;
  /** The first revision wanted. undefined: the next. Not looked at with `initial`. */
  readonly fromRevision: number | undefined;
  readonly prevKv: boolean;
  readonly only: "puts" | "deletes" | undefined;
  /** Begin with a reset that holds what is there now. */
  readonly initial: boolean;
  readonly onGap: "throw" | "reset";
}

/** Why a reset came. "restored" is for a cluster that began anew from a backup. */
export type ResetReason = "initial" | "compacted" | "restored";

export interface WatchOutput {
  readonly id: number;
  /** events: all that match at `revision`. progress: nothing more matched up to and including `revision`. reset: what is there at it. */
  readonly kind: "events" | "progress" | "reset" | "ended";
  readonly revision: number;
  /** Packed events, or packed kvs of a reset. The same array in all outputs that say the same: not to be changed, nor transferred twice. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly count: number;
  readonly reason: ResetReason | undefined;
  /** Of "ended": the watcher asked for, or needed, something at or before it. */
  readonly compactRevision: number | undefined;
  /**
   * Of a reset above RESET_BYTES_MAX: the next output of this watcher goes on with it, at the same revision. If that is a reset of another
   * revision, it began anew, and what came before is void.
   */
  readonly more: boolean;
}

/** Watchers that are told the same: one interval, one choice of what to see. */
export interface Audience {
  readonly interval: KeyInterval;
  readonly prevKv: boolean;
  readonly only: "puts" | "deletes" | undefined;
  readonly watchers: Watcher[];
  /** What was packed of the revision under way. */
  packed: ByteWriter | undefined;
  count: number;
}

/** `next` counts for all; the other fields for one that is synced, behind, or being reset, as they say. */
export class Watcher {
  readonly request: WatchRequest;
  /** All events below this revision have been told. A synced watcher is further: see effectiveNext(). */
  next: number;
  creditBytes = 0;
  /** Synced: among whom, and at which place. */
  audience: Audience | undefined = undefined;
  at = 0;
  /** Behind: waits in the queue for its turn. */
  queued = false;
  /** Behind: the event to look at next; -1 where it must be looked for. */
  position = -1;
  /** Behind: what was packed of the revision `next`. */
  packed: ByteWriter | undefined = undefined;
  count = 0;
  /** It needs events that were gone when it came. */
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
