/**
 * The table as shipped. Keys and records lie packed in slabs of SharedArrayBuffer (layout.ts, slabs.ts), found through a hash index
 * (key-index.ts) and a counted B+tree of the keys (key-order.ts); the events are a queue of references (event-queue.ts). There is no object
 * for a key or a record, and nothing is ever rebuilt whole.
 *
 * Logical sizes, equal wherever the same records and events are held: a record counts 64 bytes and its value or, if it is a deletion, its
 * key; a key that has a record counts its own bytes; an event counts 16. `dataBytes` is the sum over all records and keys; `historyBytes`
 * the sum over all events and over the records that are no longer (or, deletions, were never) what a key holds now. Both fall as compact()
 * gets on with its work, not when it is first asked.
 *
 * Threads: one writes; SharedTableReader reads in others. See shared-control.ts for what orders them.
 */
import { assert } from "../../assert.ts";
import type { DeletionCause, KeyInterval, RecordRef, Table, TableCursor } from "../table.ts";
import { EventQueue } from "./event-queue.ts";
import { hashKey } from "./key-hash.ts";
import { INDEX_KEYS_MAX, KeyIndex } from "./key-index.ts";
import { KeyOrder } from "./key-order.ts";
import {
  CAUSE_SHIFT,
  DELETION_NEXT,
  FLAG_LEASE,
  HIGH_BITS,
  KEY_BYTES,
  KEY_HASH,
  KEY_HEAD,
  KEY_HEADER_BYTES,
  LEASE_BYTES,
  leaseAt,
  RECORD_CREATE_HIGH,
  RECORD_CREATE_LOW,
  RECORD_HEADER_BYTES,
  RECORD_KEY,
  RECORD_LEASE_HIGH,
  RECORD_LEASE_LOW,
  RECORD_PREVIOUS,
  RECORD_REVISION_HIGH,
  RECORD_REVISION_LOW,
  RECORD_VALUE_BYTES,
  RECORD_VERSION_LOW,
  REVISION_LIMIT,
  SLAB_UNITS_LOG2,
  SLAB_UNITS_MASK,
  SLABS_MAX,
  VALUE_BYTES_MASK,
  VALUE_BYTES_MAX,
  versionAt,
  wide,
} from "./layout.ts";
import type { SharedTableGrowth, SharedTableHandle } from "./layout.ts";
import { SharedControl } from "./shared-control.ts";
import { Slabs } from "./slabs.ts";
import { PackedCursor } from "./table-cursor.ts";

/** What a record counts in dataBytes beside its value. */
export const RECORD_OVERHEAD_BYTES = 64;
/** What an event counts in historyBytes. */
export const EVENT_BYTES = 16;

const DELETION_CAUSES: readonly DeletionCause[] = ["request", "expiry", "revocation"];
const NO_VALUE = new Uint8Array(0);
/** Places that wait for readers to be told before they are used again. */
const UNLINKED_MAX = 4096;
/** An event that is compacted unlinks at most a record before it, itself, and its key. */
const UNLINKED_BY_EVENT = 3;
/** Events whose memory compaction asks for before it needs it. */
const TOUCHED_AHEAD = 32;
/** A put takes at most a place for the key and one for the record. */
const SLABS_OF_A_PUT = 2;

export interface TableOptions {
  /** 64 random bits, secret from whoever chooses the keys: they choose the hash. Tables with different seeds answer alike. */
  readonly hashSeed: { readonly low: number; readonly high: number };
  /** A bound on memory for tests; 32,768 slabs of 1 MiB or, for large values, more. */
  readonly slabsMax?: number;
}

/** An empty table with nothing published. */
export function createTable(options: TableOptions): PackedTable {
  return new PackedTable(options);
}

/** See the interface for what is not said here. */
export class PackedTable implements Table {
  readonly #control: SharedControl = new SharedControl();
  readonly #slabs: Slabs;
  readonly #index: KeyIndex;
  readonly #order: KeyOrder;
  readonly #events: EventQueue = new EventQueue();
  readonly #seedLow: number;
  readonly #seedHigh: number;
  readonly #listeners: ((growth: SharedTableGrowth) => void)[] = [];
  readonly #unlinked: Uint32Array = new Uint32Array(UNLINKED_MAX);
  #unlinkedCount = 0;
  #held = 0;
  #live = 0;
  #dataBytes = 0;
  #historyBytes = 0;
  #lastRevision = 0;

  constructor(options: TableOptions) {
    this.#seedLow = options.hashSeed.low | 0;
    this.#seedHigh = options.hashSeed.high | 0;
    const onGrowth = (growth: SharedTableGrowth): void => {
      for (const listener of this.#listeners) listener(growth);
    };
    const control = this.#control.words;
    this.#slabs = new Slabs({ control, slabsMax: options.slabsMax ?? SLABS_MAX, onGrowth });
    this.#index = new KeyIndex({ control, slabs: this.#slabs, onGrowth });
    this.#order = new KeyOrder(this.#slabs);
  }

  get keys(): number {
    return this.#live;
  }

  get dataBytes(): number {
    return this.#dataBytes;
  }

  get memoryBytes(): number {
    return this.#slabs.memoryBytes + this.#index.memoryBytes + this.#order.memoryBytes + this.#events.memoryBytes;
  }

  get historyBytes(): number {
    return this.#historyBytes;
  }

  get firstEvent(): number {
    return this.#events.first;
  }

  get endEvent(): number {
    return this.#events.end;
  }

  /**
   * Whether one more put with so many bytes of key and value has room in the address space (32 GiB in small records, 32,767 buffers).
   * A put that has none breaks an invariant: ask first.
   */
  fits(bytes: number): boolean {
    return bytes <= VALUE_BYTES_MAX && this.#slabs.slabsLeft >= SLABS_OF_A_PUT && this.#held < INDEX_KEYS_MAX;
  }

  find(key: Uint8Array): RecordRef {
    const at = this.#index.find(key, hashKey(key, 0, key.length, this.#seedLow, this.#seedHigh));
    return at === 0 ? 0 : this.#word(at, KEY_HEAD);
  }

  put(record: {
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly revision: number;
    readonly lease: string | undefined;
  }): RecordRef {
    const { key, value, revision } = record;
    this.#admit(key, revision);
    const hash = hashKey(key, 0, key.length, this.#seedLow, this.#seedHigh);
    const at = this.#index.find(key, hash);
    const before = at === 0 ? 0 : this.#word(at, KEY_HEAD);
    // Where a key has no record yet, or was deleted, it begins anew.
    const continues = before !== 0 && this.#isPut(before);
    const createRevision = continues ? this.createRevision(before) : revision;
    const version = continues ? this.version(before) + 1 : 1;
    const ref = this.#allocateRecord(value, record.lease, 0, revision, createRevision, version);
    if (at === 0) this.#addKey(key, hash, ref);
    else this.#supersede(at, before, ref);
    this.#dataBytes += value.length + RECORD_OVERHEAD_BYTES;
    this.#historyBytes += EVENT_BYTES;
    this.#events.push(ref);
    return ref;
  }

  delete(record: { readonly key: Uint8Array; readonly revision: number; readonly cause: DeletionCause }): RecordRef {
    const { key, revision } = record;
    this.#admit(key, revision);
    const at = this.#index.find(key, hashKey(key, 0, key.length, this.#seedLow, this.#seedHigh));
    const before = at === 0 ? 0 : this.#word(at, KEY_HEAD);
    assert(before !== 0 && this.#isPut(before), "a key that is deleted is live");
    const ref = this.#allocateRecord(NO_VALUE, undefined, DELETION_CAUSES.indexOf(record.cause) + 1, revision, 0, 0);
    this.#supersede(at, before, ref);
    this.#live--;
    this.#order.setLive(at, false);
    this.#dataBytes += key.length + RECORD_OVERHEAD_BYTES;
    this.#historyBytes += key.length + RECORD_OVERHEAD_BYTES + EVENT_BYTES;
    this.#events.push(ref);
    return ref;
  }

  /** The key must have no record. Makes no event. The order of restored revisions does not matter; those of later puts are not below them. */
  restore(record: {
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly revision: number;
    readonly createRevision: number;
    readonly version: number;
    readonly lease: string | undefined;
  }): RecordRef {
    const { key, value, revision } = record;
    this.#admit(key, Math.max(revision, this.#lastRevision));
    assert(record.createRevision <= revision && Number.isSafeInteger(record.version), "a restored record has a place in history");
    const hash = hashKey(key, 0, key.length, this.#seedLow, this.#seedHigh);
    assert(this.#index.find(key, hash) === 0, "a key that is restored has no record yet");
    const ref = this.#allocateRecord(value, record.lease, 0, revision, record.createRevision, record.version);
    this.#addKey(key, hash, ref);
    this.#dataBytes += value.length + RECORD_OVERHEAD_BYTES;
    return ref;
  }

  revision(ref: RecordRef): number {
    return wide(this.#word(ref, RECORD_REVISION_LOW), this.#word(ref, RECORD_REVISION_HIGH));
  }

  createRevision(ref: RecordRef): number {
    return this.#isPut(ref) ? wide(this.#word(ref, RECORD_CREATE_LOW), this.#word(ref, RECORD_CREATE_HIGH)) : 0;
  }

  version(ref: RecordRef): number {
    return versionAt(this.#slabs.words[ref >>> SLAB_UNITS_LOG2]!, (ref & SLAB_UNITS_MASK) << 1);
  }

  lease(ref: RecordRef): string | undefined {
    return leaseAt(this.#slabs.words[ref >>> SLAB_UNITS_LOG2]!, (ref & SLAB_UNITS_MASK) << 1);
  }

  deletionCause(ref: RecordRef): DeletionCause | undefined {
    const cause = this.#word(ref, RECORD_VALUE_BYTES) >>> CAUSE_SHIFT;
    return cause === 0 ? undefined : DELETION_CAUSES[cause - 1];
  }

  previous(ref: RecordRef): RecordRef {
    return this.#word(ref, RECORD_PREVIOUS);
  }

  key(ref: RecordRef): Uint8Array {
    const at = this.#word(ref, RECORD_KEY);
    const from = (at & SLAB_UNITS_MASK) * 8 + KEY_HEADER_BYTES;
    return this.#slabs.bytes[at >>> SLAB_UNITS_LOG2]!.subarray(from, from + this.#word(at, KEY_BYTES));
  }

  value(ref: RecordRef): Uint8Array {
    const word = this.#word(ref, RECORD_VALUE_BYTES);
    const from = (ref & SLAB_UNITS_MASK) * 8 + RECORD_HEADER_BYTES + ((word & FLAG_LEASE) === 0 ? 0 : LEASE_BYTES);
    return this.#slabs.bytes[ref >>> SLAB_UNITS_LOG2]!.subarray(from, from + (word & VALUE_BYTES_MASK));
  }

  keyBytes(ref: RecordRef): number {
    return this.#word(this.#word(ref, RECORD_KEY), KEY_BYTES);
  }

  valueBytes(ref: RecordRef): number {
    return this.#word(ref, RECORD_VALUE_BYTES) & VALUE_BYTES_MASK;
  }

  asOf(ref: RecordRef, revision: number): RecordRef {
    let at = ref;
    while (at !== 0 && this.revision(at) > revision) at = this.#word(at, RECORD_PREVIOUS);
    return at;
  }

  cursor(interval: KeyInterval, order: "ascending" | "descending"): TableCursor {
    return new PackedCursor(this.#order, this.#slabs, interval, order === "ascending");
  }

  count(interval: KeyInterval): number {
    const below = interval.start.length === 0 ? 0 : this.#order.rank(interval.start);
    const through = interval.end === undefined ? this.#live : this.#order.rank(interval.end);
    return Math.max(0, through - below);
  }

  event(position: number): RecordRef {
    return this.#events.at(position);
  }

  seekEvent(revision: number): number {
    let low = this.#events.first;
    let high = this.#events.end;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.revision(this.#events.at(middle)) < revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** What it frees was published before, or readers would miss it. */
  compact(revision: number, recordsMax: number): boolean {
    let finished = true;
    for (let done = 0; this.#events.first < this.#events.end; done++) {
      const event = this.#events.at(this.#events.first);
      const at = this.revision(event);
      if (at > revision) break;
      if (done >= recordsMax) {
        finished = false;
        break;
      }
      assert(at <= this.#control.published, "what is compacted was published");
      if (this.#unlinkedCount + UNLINKED_BY_EVENT > UNLINKED_MAX) this.#reclaim();
      if (done % TOUCHED_AHEAD === 0) this.#checkAhead(Math.min(TOUCHED_AHEAD, recordsMax - done));
      this.#compactEvent(event);
    }
    this.#reclaim();
    return finished;
  }

  publish(revision: number): void {
    this.#control.publish(revision);
  }

  /** What another thread needs for a SharedTableReader. It must also be sent every growth from now on, in order: see onSharedGrowth. */
  share(): SharedTableHandle {
    return {
      hashSeedLow: this.#seedLow,
      hashSeedHigh: this.#seedHigh,
      control: this.#control.buffer,
      buffers: [...this.#index.buffers(), ...this.#slabs.buffers()],
    };
  }

  /** Is told of each buffer that comes or goes, within the change that causes it. Answers what ends that. */
  onSharedGrowth(listener: (growth: SharedTableGrowth) => void): () => void {
    this.#listeners.push(listener);
    return () => {
      const at = this.#listeners.indexOf(listener);
      if (at >= 0) this.#listeners.splice(at, 1);
    };
  }

  /** A number for readers in other threads, by the caller's own numbering from 0 to 14. */
  setShared(slot: number, value: number): void {
    this.#control.setShared(slot, value);
  }

  #word(ref: number, word: number): number {
    return this.#slabs.words[ref >>> SLAB_UNITS_LOG2]![((ref & SLAB_UNITS_MASK) << 1) + word]!;
  }

  #setWord(ref: number, word: number, value: number): void {
    this.#slabs.words[ref >>> SLAB_UNITS_LOG2]![((ref & SLAB_UNITS_MASK) << 1) + word] = value;
  }

  #isPut(ref: number): boolean {
    return this.#word(ref, RECORD_VALUE_BYTES) >>> CAUSE_SHIFT === 0;
  }

  #admit(key: Uint8Array, revision: number): void {
    assert(key.length > 0, "a key is not empty");
    assert(revision >= this.#lastRevision && revision < REVISION_LIMIT, "revisions never go down");
    this.#lastRevision = revision;
  }

  /** Writes a record that nothing leads to yet. Its key's reference is still missing. */
  #allocateRecord(
    value: Uint8Array,
    lease: string | undefined,
    cause: number,
    revision: number,
    createRevision: number,
    version: number,
  ): RecordRef {
    assert(value.length <= VALUE_BYTES_MAX, "a value's size fits into its record");
    const header = lease === undefined ? RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + LEASE_BYTES;
    const ref = this.#slabs.allocate(header + value.length);
    const slab = ref >>> SLAB_UNITS_LOG2;
    const at = (ref & SLAB_UNITS_MASK) << 1;
    const words = this.#slabs.words[slab]!;
    const versionHigh = Math.floor(version / 4294967296);
    words[at + RECORD_PREVIOUS] = 0;
    words[at + RECORD_VALUE_BYTES] = value.length | (lease === undefined ? 0 : FLAG_LEASE) | (cause << CAUSE_SHIFT);
    words[at + RECORD_REVISION_LOW] = revision;
    words[at + RECORD_REVISION_HIGH] = Math.floor(revision / 4294967296) | ((versionHigh >>> 10) << HIGH_BITS);
    words[at + RECORD_CREATE_LOW] = createRevision;
    words[at + RECORD_CREATE_HIGH] = Math.floor(createRevision / 4294967296) | ((versionHigh & 0x3ff) << HIGH_BITS);
    words[at + RECORD_VERSION_LOW] = version;
    if (lease !== undefined) {
      assert(/^[0-9a-f]{16}$/.test(lease), "a lease's id is 16 hex digits");
      words[at + RECORD_LEASE_HIGH] = Number.parseInt(lease.slice(0, 8), 16);
      words[at + RECORD_LEASE_LOW] = Number.parseInt(lease.slice(8), 16);
    }
    copy(value, this.#slabs.bytes[slab]!, at * 4 + header);
    return ref;
  }

  /** Makes the record the first of a new key. */
  #addKey(key: Uint8Array, hash: number, record: RecordRef): void {
    const ref = this.#slabs.allocate(KEY_HEADER_BYTES + key.length);
    const slab = ref >>> SLAB_UNITS_LOG2;
    const at = (ref & SLAB_UNITS_MASK) << 1;
    const words = this.#slabs.words[slab]!;
    words[at + KEY_HEAD] = record;
    words[at + KEY_HASH] = hash;
    words[at + KEY_BYTES] = key.length;
    copy(key, this.#slabs.bytes[slab]!, at * 4 + KEY_HEADER_BYTES);
    this.#setWord(record, RECORD_KEY, ref);
    this.#index.insert(ref, hash);
    if (this.#index.retired) this.#reclaim();
    this.#order.insert(ref);
    this.#held++;
    this.#live++;
    this.#dataBytes += key.length;
  }

  /** Makes the record the newest one of a key that has one. */
  #supersede(key: number, before: RecordRef, record: RecordRef): void {
    this.#setWord(record, RECORD_PREVIOUS, before);
    this.#setWord(record, RECORD_KEY, key);
    if (this.#isPut(before)) {
      this.#historyBytes += this.#putBytes(before);
    } else {
      this.#setWord(before, DELETION_NEXT, record);
      this.#live++;
      this.#order.setLive(key, true);
    }
    Atomics.store(this.#slabs.words[key >>> SLAB_UNITS_LOG2]!, ((key & SLAB_UNITS_MASK) << 1) + KEY_HEAD, record);
  }

  #putBytes(ref: RecordRef): number {
    return (this.#word(ref, RECORD_VALUE_BYTES) & VALUE_BYTES_MASK) + RECORD_OVERHEAD_BYTES;
  }

  /**
   * Lets go of the first event and of what it alone made history: the put it superseded; and, if it is a deletion, itself. A deletion is
   * freed by its own event, so the record that follows it forgets it; a put is freed by the event that superseded it.
   */
  #compactEvent(event: RecordRef): void {
    this.#events.shift();
    this.#historyBytes -= EVENT_BYTES;
    const before = this.#word(event, RECORD_PREVIOUS);
    if (before !== 0) {
      assert(this.#isPut(before), "a deletion is compacted before what follows it");
      this.#setWord(event, RECORD_PREVIOUS, 0);
      this.#unlinkRecord(before, this.#putBytes(before));
    }
    if (this.#isPut(event)) return;
    const after = this.#word(event, DELETION_NEXT);
    const key = this.#word(event, RECORD_KEY);
    const keyBytes = this.#word(key, KEY_BYTES);
    this.#unlinkRecord(event, keyBytes + RECORD_OVERHEAD_BYTES);
    if (after !== 0) {
      this.#setWord(after, RECORD_PREVIOUS, 0);
      return;
    }
    this.#index.remove(key, this.#word(key, KEY_HASH));
    this.#order.remove(key);
    this.#unlinked[this.#unlinkedCount++] = key;
    this.#dataBytes -= keyBytes;
    this.#held--;
  }

  /**
   * Checks the next events and the records before them. The check is worth little; that it reads a word of each is worth half the time
   * of compaction. They lie anywhere in memory: read one by one, as they are needed, each would be waited for by itself.
   */
  #checkAhead(events: number): void {
    const first = this.#events.first;
    const end = Math.min(this.#events.end, first + events);
    let revision = 0;
    for (let i = first; i < end; i++) {
      const next = this.revision(this.#events.at(i));
      assert(next >= revision, "events are in the order of their revisions");
      revision = next;
    }
    for (let i = first; i < end; i++) {
      const event = this.#events.at(i);
      const before = this.#word(event, RECORD_PREVIOUS);
      assert(before === 0 || this.#word(before, RECORD_KEY) === this.#word(event, RECORD_KEY), "a chain is of one key");
    }
  }

  #unlinkRecord(ref: RecordRef, bytes: number): void {
    this.#dataBytes -= bytes;
    this.#historyBytes -= bytes;
    this.#unlinked[this.#unlinkedCount++] = ref;
  }

  /** Frees what was unlinked, after readers can no longer take it for what it was. */
  #reclaim(): void {
    if (this.#unlinkedCount === 0 && !this.#index.retired) return;
    this.#control.reclaim();
    for (let i = 0; i < this.#unlinkedCount; i++) this.#slabs.release(this.#unlinked[i]!);
    this.#unlinkedCount = 0;
    this.#index.reclaim();
  }
}

/** Short runs are copied faster without the call. */
function copy(from: Uint8Array, to: Uint8Array, at: number): void {
  if (from.length > 48) {
    to.set(from, at);
    return;
  }
  for (let i = 0; i < from.length; i++) to[at + i] = from[i]!;
}
