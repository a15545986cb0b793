/**
 * What watchers are told of one revision: whole up to a bound, in parts beyond it. Plain state and constants: when a part is full, and who is told
 * it, is the cohort's business (watch-cohort.ts).
 */
import type { ByteWriter } from "./bytes.ts";
import type { KeyInterval } from "./table.ts";
import type { Watcher } from "./watcher.ts";

/** A revision is told whole up to so many bytes and so many events; beyond, in parts of about that: a part ends with the event that fills it. */
export const REVISION_PART_BYTES: number = 2 << 20;
export const REVISION_PART_EVENTS = 8_192;
/** What is copied, for watchers of different intervals, of a revision that is not told whole yet. Above it, parts of the least size go out. */
export const REVISION_COPIES_BYTES_MAX: number = 32 << 20;
export const REVISION_PART_BYTES_MIN = 4_096;

/** Packed events of one revision. */
export interface ToldEvents {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly count: number;
  readonly more: boolean;
}

/** What a revision is told whole up to. */
export interface PartBounds {
  readonly bytes: number;
  readonly events: number;
  /** See REVISION_COPIES_BYTES_MAX. */
  readonly copiesBytes: number;
}

export const PART_BOUNDS: PartBounds = { bytes: REVISION_PART_BYTES, events: REVISION_PART_EVENTS, copiesBytes: REVISION_COPIES_BYTES_MAX };

/** Watchers that are told the same: one interval, one choice of what to see. */
export interface Audience {
  readonly interval: KeyInterval;
  readonly prevKv: boolean;
  readonly only: "puts" | "deletes" | undefined;
  readonly watchers: Watcher[];
  /** It wants no event before this position: the one at which its watchers go on with a revision. 0: all of whatever revision comes. */
  readonly skipTo: number;
  /** Their ids, in order of `watchers`; undefined while they must be listed anew. */
  ids: ArrayLike<number> | undefined;
  /** Of the revision under way, what lies before this position has been told, as parts; 0: nothing has. */
  toldTo: number;
  /** Events of the part under way that it wants, and where they lie in what the cohort packed. */
  count: number;
  from: number;
  to: number;
  /** The last of them: where it lies behind the first, and its position. */
  lastFrom: number;
  lastAt: number;
  /** Its events, where others lie between them that it does not want, or the pack was closed meanwhile. */
  own: ByteWriter | undefined;
}
