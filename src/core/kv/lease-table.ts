/**
 * The leases: what each is called, when it falls due on the lease clock, and which keys go with it. Held in columns of typed arrays, so
 * that a million of them are no million objects, and so that a snapshot can take a copy in one go. Due ones are found by a binary heap
 * over (due reading, id), which is a total order: all members remove them in the same sequence.
 *
 * A lease that a put made for itself (`ttlMs`) ends with its last key. Leases that clients grant and renew will share this table.
 */
import { assert } from "../assert.ts";
import { leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";
import { LEASES_MAX } from "./command.ts";
import type { RecordRef } from "./table.ts";

/** The lookup is cut into this many maps, since one large map stops for long when it grows. */
const SHARDS = 64;
const NO_SLOT = 0xffff_ffff;

/** Copies of the columns, as of one moment. */
export interface LeaseColumns {
  readonly count: number;
  readonly idHigh: Uint32Array;
  readonly idLow: Uint32Array;
  readonly ttlMs: Float64Array;
  readonly dueMs: Float64Array;
}

/** All leases of one state. At most LEASES_MAX. */
export class LeaseTable {
  private readonly slots: Map<string, number>[] = [];
  /** Slots of the heap, earliest due first; its first `size` are in use. Slots beyond are free. */
  private heap: Uint32Array = new Uint32Array(0);
  private heapAt: Uint32Array = new Uint32Array(0);
  private idHigh: Uint32Array = new Uint32Array(0);
  private idLow: Uint32Array = new Uint32Array(0);
  private ttlMs: Float64Array = new Float64Array(0);
  private dueMs: Float64Array = new Float64Array(0);
  /** The newest record of the lease's only key; 0 if it has none, or several. */
  private only: Float64Array = new Float64Array(0);
  /** The newest records of a lease's keys where it has had more than one, in the order of their revisions. */
  private readonly several: Map<number, Set<RecordRef>> = new Map();
  private size = 0;

  constructor() {
    for (let i = 0; i < SHARDS; i++) this.slots.push(new Map());
  }

  get count(): number {
    return this.size;
  }

  has(id: string): boolean {
    return this.shard(id).has(id);
  }

  /** The earliest due reading; undefined without leases. */
  get nextDue(): number | undefined {
    return this.size === 0 ? undefined : this.dueMs[this.heap[0]!];
  }

  /** The id must be new, and `count` below LEASES_MAX. */
  add(lease: { readonly id: string; readonly ttlMs: number; readonly dueMs: number }): void {
    assert(!this.has(lease.id) && this.size < LEASES_MAX, "a lease that is added is new and finds room");
    if (this.size === this.heap.length) this.grow();
    const at = this.size++;
    const slot = this.heap[at]!;
    this.heapAt[slot] = at;
    this.shard(lease.id).set(lease.id, slot);
    this.idHigh[slot] = leaseHigh(lease.id);
    this.idLow[slot] = leaseLow(lease.id);
    this.ttlMs[slot] = lease.ttlMs;
    this.dueMs[slot] = lease.dueMs;
    this.only[slot] = 0;
    this.siftUp(at);
  }

  /** `ref` is the newest record of a key and carries this lease. A lease that is not there is passed over. */
  attach(id: string, ref: RecordRef): void {
    const slot = this.shard(id).get(id);
    if (slot === undefined) return;
    const set = this.several.get(slot);
    if (set !== undefined) {
      set.add(ref);
      return;
    }
    const only = this.only[slot]!;
    if (only === 0) {
      this.only[slot] = ref;
      return;
    }
    this.only[slot] = 0;
    this.several.set(slot, new Set([only, ref]));
  }

  /** `ref` is a record that was the newest of its key and is no longer. The lease ends with its last key. */
  detach(id: string, ref: RecordRef): void {
    const slot = this.shard(id).get(id);
    if (slot === undefined) return;
    const set = this.several.get(slot);
    if (set === undefined) {
      if (this.only[slot] === ref) this.remove(id, slot);
      return;
    }
    set.delete(ref);
    if (set.size === 0) this.remove(id, slot);
  }

  /** The first lease due at this reading, if any. */
  due(clockMs: number): string | undefined {
    if (this.size === 0) return undefined;
    const slot = this.heap[0]!;
    return this.dueMs[slot]! <= clockMs ? leaseFromWords(this.idHigh[slot]!, this.idLow[slot]!) : undefined;
  }

  /** Removes the lease and answers the newest records of its keys, in the order of their revisions. */
  end(id: string): Iterator<RecordRef> {
    const slot = this.shard(id).get(id);
    assert(slot !== undefined, "a lease that ends is there");
    const only = this.only[slot]!;
    const refs = this.several.get(slot) ?? (only === 0 ? [] : [only]);
    this.remove(id, slot);
    return refs[Symbol.iterator]();
  }

  copyColumns(): LeaseColumns {
    const length = this.heap.length;
    const columns: LeaseColumns = {
      count: this.size,
      idHigh: new Uint32Array(this.size),
      idLow: new Uint32Array(this.size),
      ttlMs: new Float64Array(this.size),
      dueMs: new Float64Array(this.size),
    };
    for (let slot = 0, to = 0; slot < length; slot++) {
      if (this.heapAt[slot] === NO_SLOT) continue;
      columns.idHigh[to] = this.idHigh[slot]!;
      columns.idLow[to] = this.idLow[slot]!;
      columns.ttlMs[to] = this.ttlMs[slot]!;
      columns.dueMs[to] = this.dueMs[slot]!;
      to++;
    }
    return columns;
  }

  /**
   * After a restore, in which keys were attached in the order of the keys: puts them in the order of their revisions. False where a lease
   * has no key: no such state exists.
   */
  settle(revision: (ref: RecordRef) => number): boolean {
    for (const [slot, set] of this.several) {
      const refs = [...set].sort((left, right) => revision(left) - revision(right));
      this.several.set(slot, new Set(refs));
    }
    for (let at = 0; at < this.size; at++) {
      const slot = this.heap[at]!;
      if (this.only[slot] === 0 && !this.several.has(slot)) return false;
    }
    return true;
  }

  private shard(id: string): Map<string, number> {
    const low = leaseLow(id);
    return this.slots[(low ^ (low >>> 16)) & (SHARDS - 1)]!;
  }

  private remove(id: string, slot: number): void {
    this.shard(id).delete(id);
    this.several.delete(slot);
    this.only[slot] = 0;
    const at = this.heapAt[slot]!;
    const last = --this.size;
    const moved = this.heap[last]!;
    this.heap[last] = slot;
    this.heapAt[slot] = NO_SLOT;
    if (at === last) return;
    this.heap[at] = moved;
    this.heapAt[moved] = at;
    this.siftDown(this.siftUp(at));
  }

  private grow(): void {
    const before = this.heap.length;
    const length = Math.max(16, before * 2);
    const words = (from: Uint32Array): Uint32Array => {
      const to = new Uint32Array(length);
      to.set(from);
      return to;
    };
    const numbers = (from: Float64Array): Float64Array => {
      const to = new Float64Array(length);
      to.set(from);
      return to;
    };
    this.heap = words(this.heap);
    this.heapAt = words(this.heapAt);
    this.idHigh = words(this.idHigh);
    this.idLow = words(this.idLow);
    this.ttlMs = numbers(this.ttlMs);
    this.dueMs = numbers(this.dueMs);
    this.only = numbers(this.only);
    for (let slot = before; slot < length; slot++) {
      this.heap[slot] = slot;
      this.heapAt[slot] = NO_SLOT;
    }
  }

  private earlier(left: number, right: number): boolean {
    const byDue = this.dueMs[left]! - this.dueMs[right]!;
    if (byDue !== 0) return byDue < 0;
    const byHigh = this.idHigh[left]! - this.idHigh[right]!;
    return byHigh !== 0 ? byHigh < 0 : this.idLow[left]! < this.idLow[right]!;
  }

  private place(slot: number, at: number): void {
    this.heap[at] = slot;
    this.heapAt[slot] = at;
  }

  private siftUp(from: number): number {
    const slot = this.heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = this.heap[parent]!;
      if (!this.earlier(slot, above)) break;
      this.place(above, at);
      at = parent;
    }
    this.place(slot, at);
    return at;
  }

  private siftDown(from: number): void {
    const slot = this.heap[from]!;
    let at = from;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.earlier(this.heap[child + 1]!, this.heap[child]!)) child++;
      const below = this.heap[child]!;
      if (!this.earlier(below, slot)) break;
      this.place(below, at);
      at = child;
    }
    this.place(slot, at);
  }
}
