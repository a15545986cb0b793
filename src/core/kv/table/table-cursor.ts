/**
 * A walk over the keys of an interval that stays right while keys come and go: it remembers the key it gave last, and finds its place
 * again by that key when the order has changed since.
 */
import type { KeyInterval, RecordRef, TableCursor } from "../table.ts";
import type { KeyOrder } from "./key-order.ts";
import { KEY_BYTES, KEY_HEAD, KEY_HEADER_BYTES, SLAB_UNITS_LOG2, SLAB_UNITS_MASK } from "./layout.ts";
import type { Slabs } from "./slabs.ts";
import { NONE } from "./tree-nodes.ts";

export class PackedCursor implements TableCursor {
  readonly #order: KeyOrder;
  readonly #slabs: Slabs;
  readonly #start: Uint8Array;
  readonly #end: Uint8Array | undefined;
  readonly #ascending: boolean;
  /** The key given last, a copy: the table may have let go of it. */
  #last: Uint8Array = new Uint8Array(32);
  #lastBytes = -1;
  #generation = -1;
  #leaf: number = NONE;
  /** The next slot to give, and the slots of this leaf between which the interval lies. */
  #slot = 0;
  #from = 0;
  #to = 0;

  constructor(order: KeyOrder, slabs: Slabs, interval: KeyInterval, ascending: boolean) {
    this.#order = order;
    this.#slabs = slabs;
    this.#start = interval.start.slice();
    this.#end = interval.end?.slice();
    this.#ascending = ascending;
  }

  next(): RecordRef {
    if (this.#generation !== this.#order.generation) this.#seek();
    while (this.#leaf !== NONE) {
      if (this.#slot >= this.#from && this.#slot < this.#to) {
        const ref = this.#take(this.#slot);
        this.#slot += this.#ascending ? 1 : -1;
        return ref;
      }
      // The interval ends inside this leaf, or goes on in the next.
      const ends = this.#ascending ? this.#to < this.#order.leaves.size(this.#leaf) : this.#from > 0;
      if (ends) break;
      this.#enter(this.#ascending ? this.#order.leaves.next(this.#leaf) : this.#order.leaves.previous(this.#leaf));
      this.#slot = this.#ascending ? this.#from : this.#to - 1;
    }
    return 0;
  }

  #seek(): void {
    this.#generation = this.#order.generation;
    const key = this.#lastBytes >= 0 ? this.#last : this.#ascending ? this.#start : this.#end;
    if (key === undefined) {
      this.#enter(this.#order.outermostLeaf("last"));
      this.#slot = this.#to - 1;
      return;
    }
    const length = this.#lastBytes >= 0 ? this.#lastBytes : key.length;
    this.#enter(this.#order.findLeaf(key, length));
    if (this.#leaf === NONE) return;
    this.#slot = this.#ascending
      ? this.#order.slotsBelow(this.#leaf, key, length, this.#lastBytes >= 0)
      : this.#order.slotsBelow(this.#leaf, key, length, false) - 1;
  }

  #enter(leaf: number): void {
    this.#leaf = leaf;
    if (leaf === NONE) return;
    this.#from = this.#start.length === 0 ? 0 : this.#order.slotsBelow(leaf, this.#start, this.#start.length, false);
    this.#to = this.#end === undefined ? this.#order.leaves.size(leaf) : this.#order.slotsBelow(leaf, this.#end, this.#end.length, false);
  }

  /** The newest record of the slot's key, which is kept in mind. */
  #take(slot: number): RecordRef {
    const key = this.#order.leaves.key(this.#leaf, slot);
    const slab = key >>> SLAB_UNITS_LOG2;
    const at = (key & SLAB_UNITS_MASK) << 1;
    const words = this.#slabs.words[slab]!;
    const bytes = this.#slabs.bytes[slab]!;
    const length = words[at + KEY_BYTES]!;
    if (length > this.#last.length) this.#last = new Uint8Array(length * 2);
    const from = at * 4 + KEY_HEADER_BYTES;
    for (let i = 0; i < length; i++) this.#last[i] = bytes[from + i]!;
    this.#lastBytes = length;
    return words[at + KEY_HEAD]!;
  }
}
