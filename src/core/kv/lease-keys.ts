/**
 * The keys of one lease in the order of their bytes, found in slices: first the records are gathered, then sorted. The records must stay
 * as they are until the last one is taken: nothing may write in between, or a pin must hold their revision. Changes nothing.
 */
import { compareBytes } from "./bytes.ts";
import type { LeaseRefs } from "./lease-table.ts";
import { SlicedSort } from "./sliced-sort.ts";
import type { RecordRef, Table } from "./table.ts";

export class LeaseKeys {
  readonly count: number;
  private readonly table: Table;
  private readonly gathering: Iterator<RecordRef>;
  private readonly gathered: Float64Array;
  private got = 0;
  private sort: SlicedSort | undefined = undefined;
  private sorted = false;
  private taken = 0;

  constructor(table: Table, refs: LeaseRefs) {
    this.table = table;
    this.count = refs.count;
    this.gathering = refs.refs[Symbol.iterator]();
    this.gathered = new Float64Array(refs.count);
  }

  /** Gathers all of them now, so that the lease may change behind it. */
  gather(): void {
    this.gatherSome(this.count);
  }

  /** Works on up to `budget` records and comparisons; what is left of it. Above 0: next() may be called. */
  prepare(budget: number): number {
    let left = budget;
    if (this.got < this.count) left = this.gatherSome(left);
    if (left <= 0 || this.sorted) return left;
    if (this.count > 1) {
      const { table, gathered } = this;
      this.sort ??= new SlicedSort(this.count, (one, other) => compareBytes(table.key(gathered[one]!), table.key(gathered[other]!)));
      // What it used is not told: a slice is either used up or the sorting is done.
      if (!this.sort.step(left)) return 0;
    }
    this.sorted = true;
    return left;
  }

  /** 0 at the end. */
  next(): RecordRef {
    if (this.taken === this.count) return 0;
    const at = this.taken++;
    return this.gathered[this.sort === undefined ? at : this.sort.order[at]!]!;
  }

  private gatherSome(budget: number): number {
    let left = budget;
    while (left > 0 && this.got < this.count) {
      const { value } = this.gathering.next();
      this.gathered[this.got++] = value as RecordRef;
      left--;
    }
    return left;
  }
}
