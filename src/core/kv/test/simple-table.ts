/**
 * The table as one would write it in a test: a Map of arrays and a sorted list of keys, every answer found by looking at everything.
 * It is the model that the packed table must agree with, and a table for tests of what is built on one. Slow, unshared, never shipped.
 */
import { assert } from "../../assert.ts";
import type { DeletionCause, KeyInterval, RecordRef, Table, TableCursor } from "../table.ts";

/** RECORD_OVERHEAD_BYTES and EVENT_BYTES of the packed table. */
const RECORD_BYTES = 64;
const EVENT_BYTES = 16;

interface SimpleRecord {
  readonly ref: RecordRef;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly revision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  readonly cause: DeletionCause | undefined;
}

/** Negative: left sorts first. Bytes compare unsigned; a prefix sorts before what it begins. */
export function compareKeys(left: Uint8Array, right: Uint8Array): number {
  const shared = Math.min(left.length, right.length);
  for (let i = 0; i < shared; i++) {
    if (left[i] !== right[i]) return left[i]! - right[i]!;
  }
  return left.length - right.length;
}

export function createSimpleTable(): Table {
  return new SimpleTable();
}

/** Open to subclasses, so that a canary can be a table with one thing wrong. */
export class SimpleTable implements Table {
  protected nextRef = 1;
  protected readonly records: Map<RecordRef, SimpleRecord> = new Map();
  /** Oldest first, for each key in latin1. */
  protected readonly chains: Map<string, SimpleRecord[]> = new Map();
  /** All keys with a record, in order. */
  protected sorted: Uint8Array[] = [];
  protected held: SimpleRecord[] = [];
  protected lastRevision = 0;
  protected published = 0;
  firstEvent = 0;

  get endEvent(): number {
    return this.firstEvent + this.held.length;
  }

  get keys(): number {
    return this.count({ start: new Uint8Array(0), end: undefined });
  }

  get dataBytes(): number {
    let bytes = 0;
    for (const record of this.records.values()) bytes += sizeOf(record);
    for (const key of this.sorted) bytes += key.length;
    return bytes;
  }

  get memoryBytes(): number {
    return this.dataBytes;
  }

  get historyBytes(): number {
    let bytes = this.held.length * EVENT_BYTES;
    for (const record of this.records.values()) {
      if (record.cause !== undefined || this.find(record.key) !== record.ref) bytes += sizeOf(record);
    }
    return bytes;
  }

  find(key: Uint8Array): RecordRef {
    return this.chains.get(text(key))?.at(-1)?.ref ?? 0;
  }

  put(record: {
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly revision: number;
    readonly lease: string | undefined;
  }): RecordRef {
    const before = this.liveRecord(record.key);
    return this.append({
      ...record,
      createRevision: before?.createRevision ?? record.revision,
      version: (before?.version ?? 0) + 1,
      cause: undefined,
      event: true,
    });
  }

  delete(record: { readonly key: Uint8Array; readonly revision: number; readonly cause: DeletionCause }): RecordRef {
    assert(this.liveRecord(record.key) !== undefined, "a key that is deleted is live");
    return this.append({ ...record, value: new Uint8Array(0), createRevision: 0, version: 0, lease: undefined, event: true });
  }

  restore(record: {
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly revision: number;
    readonly createRevision: number;
    readonly version: number;
    readonly lease: string | undefined;
  }): RecordRef {
    assert(this.find(record.key) === 0, "a key that is restored has no record yet");
    return this.append({ ...record, cause: undefined, event: false });
  }

  revision(ref: RecordRef): number {
    return this.at(ref).revision;
  }

  createRevision(ref: RecordRef): number {
    return this.at(ref).createRevision;
  }

  version(ref: RecordRef): number {
    return this.at(ref).version;
  }

  lease(ref: RecordRef): string | undefined {
    return this.at(ref).lease;
  }

  deletionCause(ref: RecordRef): DeletionCause | undefined {
    return this.at(ref).cause;
  }

  previous(ref: RecordRef): RecordRef {
    const record = this.at(ref);
    const chain = this.chains.get(text(record.key))!;
    return chain[chain.indexOf(record) - 1]?.ref ?? 0;
  }

  key(ref: RecordRef): Uint8Array {
    return this.at(ref).key.slice();
  }

  value(ref: RecordRef): Uint8Array {
    return this.at(ref).value.slice();
  }

  keyBytes(ref: RecordRef): number {
    return this.key(ref).length;
  }

  valueBytes(ref: RecordRef): number {
    return this.value(ref).length;
  }

  asOf(ref: RecordRef, revision: number): RecordRef {
    let at = ref;
    while (at !== 0 && this.revision(at) > revision) at = this.previous(at);
    return at;
  }

  cursor(interval: KeyInterval, order: "ascending" | "descending"): TableCursor {
    let last: Uint8Array | undefined;
    return {
      next: (): RecordRef => {
        const left = this.sorted.filter((key) => {
          if (!contains(interval, key)) return false;
          if (last === undefined) return true;
          return order === "ascending" ? compareKeys(key, last) > 0 : compareKeys(key, last) < 0;
        });
        const key = order === "ascending" ? left[0] : left.at(-1);
        if (key === undefined) return 0;
        last = key;
        return this.find(key);
      },
    };
  }

  count(interval: KeyInterval): number {
    return this.sorted.filter((key) => contains(interval, key) && this.liveRecord(key) !== undefined).length;
  }

  event(position: number): RecordRef {
    const record = this.held[position - this.firstEvent];
    assert(record !== undefined, "an event that is asked for is held");
    return record.ref;
  }

  seekEvent(revision: number): number {
    const found = this.held.findIndex((record) => record.revision >= revision);
    return found < 0 ? this.endEvent : this.firstEvent + found;
  }

  compact(revision: number, recordsMax: number): boolean {
    for (let done = 0; ; done++) {
      const event = this.held[0];
      if (event === undefined || event.revision > revision) return true;
      if (done >= recordsMax) return false;
      assert(event.revision <= this.published, "what is compacted was published");
      this.held.shift();
      this.firstEvent++;
      const chain = this.chains.get(text(event.key))!;
      this.drop(chain[chain.indexOf(event) - 1]);
      if (event.cause !== undefined) this.drop(event);
    }
  }

  publish(revision: number): void {
    assert(revision >= this.published, "published revisions never go down");
    this.published = revision;
  }

  protected at(ref: RecordRef): SimpleRecord {
    const record = this.records.get(ref);
    assert(record !== undefined, "a record that is asked for is held");
    return record;
  }

  protected liveRecord(key: Uint8Array): SimpleRecord | undefined {
    const head = this.chains.get(text(key))?.at(-1);
    return head?.cause === undefined ? head : undefined;
  }

  protected append(record: Omit<SimpleRecord, "ref"> & { readonly event: boolean }): RecordRef {
    assert(record.key.length > 0, "a key is not empty");
    if (record.event) {
      assert(record.revision >= this.lastRevision, "revisions never go down");
    }
    this.lastRevision = Math.max(this.lastRevision, record.revision);
    const { revision, createRevision, version, lease, cause } = record;
    const key = record.key.slice();
    const added: SimpleRecord = { ref: this.nextRef++, key, value: record.value.slice(), revision, createRevision, version, lease, cause };
    this.records.set(added.ref, added);
    const chain = this.chains.get(text(key));
    if (chain === undefined) {
      this.chains.set(text(key), [added]);
      this.sorted.push(key);
      this.sorted.sort(compareKeys);
    } else {
      chain.push(added);
    }
    if (record.event) this.held.push(added);
    return added.ref;
  }

  protected drop(record: SimpleRecord | undefined): void {
    if (record === undefined) return;
    const chain = this.chains.get(text(record.key))!;
    chain.splice(chain.indexOf(record), 1);
    this.records.delete(record.ref);
    if (chain.length > 0) return;
    this.chains.delete(text(record.key));
    this.sorted = this.sorted.filter((key) => compareKeys(key, record.key) !== 0);
  }
}

function sizeOf(record: SimpleRecord): number {
  return RECORD_BYTES + (record.cause === undefined ? record.value : record.key).length;
}

function text(key: Uint8Array): string {
  return String.fromCharCode(...key);
}

function contains(interval: KeyInterval, key: Uint8Array): boolean {
  return compareKeys(key, interval.start) >= 0 && (interval.end === undefined || compareKeys(key, interval.end) < 0);
}
