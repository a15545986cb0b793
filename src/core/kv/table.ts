/**
 * The memory of the data: one packed record for each put and each deletion that history still knows, chained from the newest of a
 * key to its older ones, in slabs of SharedArrayBuffer that any thread of the process may read. One writer.
 * Behind it lie a hash index (points), an ordered index with counts (ranges), and the events in the order of their revisions.
 */

/** A place in the table's memory. 0 is none. Valid until compact() frees the record. */
export type RecordRef = number;

/** Why a key went. */
export type DeletionCause = "request" | "expiry" | "revocation";

/** end is exclusive; absent: to the last key. An empty start is the first key. */
export interface KeyInterval {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

/** Newest records in key order, deletions that history still holds included. Stays right when the table changes between two calls. */
export interface TableCursor {
  /** 0 at the end. */
  next(): RecordRef;
}

export interface Table {
  /** Live keys. */
  readonly keys: number;
  /** Logical bytes (docs/formats.md): equal on all members that hold the same records. */
  readonly dataBytes: number;
  /** Bytes of the slabs. */
  readonly memoryBytes: number;

  /** The newest record of the key, a deletion included; 0 if there is none. */
  find(key: Uint8Array): RecordRef;
  /** Adds the newest record of its key. Revisions never go down. createRevision and version follow from the record before. Copies key and value. */
  put(record: {
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly revision: number;
    readonly lease: string | undefined;
  }): RecordRef;
  /** Adds a deletion. The key must be live. */
  delete(record: { readonly key: Uint8Array; readonly revision: number; readonly cause: DeletionCause }): RecordRef;
  /** Adds a record as it was elsewhere, at the time of a restore. `createRevision` and `version` are taken as given. */
  restore(record: {
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly revision: number;
    readonly createRevision: number;
    readonly version: number;
    readonly lease: string | undefined;
  }): RecordRef;

  revision(ref: RecordRef): number;
  /** 0 for a deletion. */
  createRevision(ref: RecordRef): number;
  /** 0 for a deletion. */
  version(ref: RecordRef): number;
  lease(ref: RecordRef): string | undefined;
  /** undefined for a put. */
  deletionCause(ref: RecordRef): DeletionCause | undefined;
  /** The key's record before this one, while history holds it; else 0. */
  previous(ref: RecordRef): RecordRef;
  /** Views into the slabs: valid until the next change of the table. Never hand them out. */
  key(ref: RecordRef): Uint8Array;
  value(ref: RecordRef): Uint8Array;
  /** Their lengths, without a view. */
  keyBytes(ref: RecordRef): number;
  valueBytes(ref: RecordRef): number;
  /** From `ref` back along the chain: the record that held at `revision`; 0 if none. */
  asOf(ref: RecordRef, revision: number): RecordRef;

  cursor(interval: KeyInterval, order: "ascending" | "descending"): TableCursor;
  /** Live keys in the interval, in logarithmic time. */
  count(interval: KeyInterval): number;

  /** Events (puts and deletions) are numbered in order of application; those from firstEvent up to, not including, endEvent are held. */
  readonly firstEvent: number;
  readonly endEvent: number;
  event(position: number): RecordRef;
  /** The first event whose revision is at least this; endEvent if none. */
  seekEvent(revision: number): number;
  /** Bytes that the held events take: what bounds history. */
  readonly historyBytes: number;

  /**
   * Frees what nobody can see at or after `revision`: records that were superseded at or before it, deletions at or before it, their
   * events. Does at most `recordsMax` records of work; true when there is nothing left to do. Callers with a pinned revision pass a lower one.
   */
  compact(revision: number, recordsMax: number): boolean;

  /** Makes everything up to this revision visible to readers in other threads. */
  publish(revision: number): void;
}
