/**
 * The leases: what each is called, when it falls due on the lease clock, and which keys go with it. Held in columns of typed arrays, so
 * that a million of them are no million objects, and so that a snapshot can take a copy in one go. Due ones are found by a binary heap
 * over (due reading, id), which is a total order: all members remove them in the same sequence.
 *
 * A lease that a put made for itself (`ttlMs`) ends with its last key; one that a client was granted ends when it falls due or is revoked.
 */
import { assert } from "../assert.ts";
import { leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";
import { LEASES_MAX } from "./command.ts";
import { RefSet } from "./ref-set.ts";
import type { RecordRef } from "./table.ts";

/** The lookup is cut into this many maps, since one large map stops for long when it grows. */
const SHARDS = 64;
const NO_SLOT = 0xffff_ffff;
const NO_REFS: readonly RecordRef[] = [];

/** How a lease began, and so how it ends. The number is the code in snapshots. */
export const LEASE_GRANTED = 0;
export const LEASE_OF_PUT = 1;

/** A lease as it is added. */
export interface NewLease {
  readonly id: string;
  readonly ttlMs: number;
  readonly dueMs: number;
  /** LEASE_GRANTED or LEASE_OF_PUT. */
  readonly kind: number;
}

/** Copies of the columns, as of one moment. */
export interface LeaseColumns {
  readonly count: number;
  readonly idHigh: Uint32Array;
  readonly idLow: Uint32Array;
  readonly ttlMs: Float64Array;
  readonly dueMs: Float64Array;
  readonly kind: Uint8Array;
}

/** The records of a lease's keys. */
export interface LeaseRefs {
  readonly count: number;
  readonly refs: Iterable<RecordRef>;
}

const NO_LEASE_REFS: LeaseRefs = { count: 0, refs: NO_REFS };

/** When a lease that begins or is renewed now falls due. */
export function dueAfter(clockMs: number, ttlMs: number): number {
  return Math.min(clockMs + ttlMs, Number.MAX_SAFE_INTEGER);
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
  private kinds: Uint8Array = new Uint8Array(0);
  /** The newest record of the lease's only key; 0 if it has none, or several. */
  private only: Float64Array = new Float64Array(0);
  /** The newest records of a lease's keys where it has had more than one. */
  private readonly several: Map<number, RefSet> = new Map();
  private size = 0;
  /** While a state is being restored, whose leases are those of its end: none of them ends on the way there. */
  private restoring = false;

  constructor() {
    for (let i = 0; i < SHARDS; i++) this.slots.push(new Map());
  }

  get count(): number {
    return this.size;
  }

  has(id: string): boolean {
    return this.shard(id).has(id);
  }

  /** Whether it is there and not due: one that is due is as gone, though its keys may go a little later. */
  isLive(id: string, clockMs: number): boolean {
    const slot = this.shard(id).get(id);
    return slot !== undefined && this.dueMs[slot]! > clockMs;
  }

  /** undefined where there is no such lease. */
  ttlOf(id: string): number | undefined {
    const slot = this.shard(id).get(id);
    return slot === undefined ? undefined : this.ttlMs[slot]!;
  }

  /** When it falls due, on the lease clock; undefined where there is no such lease. */
  dueOf(id: string): number | undefined {
    const slot = this.shard(id).get(id);
    return slot === undefined ? undefined : this.dueMs[slot]!;
  }

  /** Gives a lease that is live its whole time again and answers its time to live; 0 where there is none, or it is due: it is never revived. */
  renew(id: string, clockMs: number): number {
    const slot = this.shard(id).get(id);
    if (slot === undefined || this.dueMs[slot]! <= clockMs) return 0;
    const ttlMs = this.ttlMs[slot]!;
    this.dueMs[slot] = dueAfter(clockMs, ttlMs);
    this.siftDown(this.siftUp(this.heapAt[slot]!));
    return ttlMs;
  }

  /** The earliest due reading; undefined without leases. */
  get nextDue(): number | undefined {
    return this.size === 0 ? undefined : this.dueMs[this.heap[0]!];
  }

  /** The id must be new, and `count` below LEASES_MAX. */
  add(lease: NewLease): void {
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
    this.kinds[slot] = lease.kind;
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
    const both = new RefSet();
    both.add(only);
    both.add(ref);
    this.several.set(slot, both);
  }

  /** `ref` is a record that was the newest of its key and is no longer. A lease that a put made ends with its last key. */
  detach(id: string, ref: RecordRef): void {
    const slot = this.shard(id).get(id);
    if (slot === undefined) return;
    const set = this.several.get(slot);
    if (set === undefined) {
      if (this.only[slot] !== ref) return;
      this.only[slot] = 0;
    } else {
      if (!set.delete(ref) || set.size > 0) return;
      this.several.delete(slot);
    }
    if (this.kinds[slot] === LEASE_OF_PUT && !this.restoring) this.remove(id, slot);
  }

  /** The first lease due at this reading, if any. */
  due(clockMs: number): string | undefined {
    if (this.size === 0) return undefined;
    const slot = this.heap[0]!;
    return this.dueMs[slot]! <= clockMs ? leaseFromWords(this.idHigh[slot]!, this.idLow[slot]!) : undefined;
  }

  /** Removes the lease and answers the newest records of its keys, in no order. */
  end(id: string): LeaseRefs {
    const slot = this.shard(id).get(id);
    assert(slot !== undefined, "a lease that ends is there");
    const refs = this.refsOf(slot);
    this.remove(id, slot);
    return refs;
  }

  /** The newest records of the lease's keys, in no order; good until the next change. */
  refs(id: string): LeaseRefs {
    const slot = this.shard(id).get(id);
    return slot === undefined ? NO_LEASE_REFS : this.refsOf(slot);
  }

  copyColumns(): LeaseColumns {
    const length = this.heap.length;
    const columns: LeaseColumns = {
      count: this.size,
      idHigh: new Uint32Array(this.size),
      idLow: new Uint32Array(this.size),
      ttlMs: new Float64Array(this.size),
      dueMs: new Float64Array(this.size),
      kind: new Uint8Array(this.size),
    };
    for (let slot = 0, to = 0; slot < length; slot++) {
      if (this.heapAt[slot] === NO_SLOT) continue;
      columns.idHigh[to] = this.idHigh[slot]!;
      columns.idLow[to] = this.idLow[slot]!;
      columns.ttlMs[to] = this.ttlMs[slot]!;
      columns.dueMs[to] = this.dueMs[slot]!;
      columns.kind[to] = this.kinds[slot]!;
      to++;
    }
    return columns;
  }

  /** Leases are added, and keys attached and detached, as a state is built from a snapshot. settle() ends that. */
  restore(): void {
    this.restoring = true;
  }

  /** False where a lease that a put made has no key: no such state exists. */
  settle(): boolean {
    this.restoring = false;
    for (let at = 0; at < this.size; at++) {
      const slot = this.heap[at]!;
      if (this.kinds[slot] === LEASE_OF_PUT && this.only[slot] === 0 && !this.several.has(slot)) return false;
    }
    return true;
  }

  private refsOf(slot: number): LeaseRefs {
    const set = this.several.get(slot);
    if (set !== undefined) return { count: set.size, refs: set.values() };
    const only = this.only[slot]!;
    return only === 0 ? NO_LEASE_REFS : { count: 1, refs: [only] };
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
    const kinds = new Uint8Array(length);
    kinds.set(this.kinds);
    this.kinds = kinds;
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
