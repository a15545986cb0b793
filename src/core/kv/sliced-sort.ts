/** A stable merge sort that can stop after any number of comparisons and go on later: sorting a million keys is no reason to miss a heartbeat. */

export class SlicedSort {
  /** The sorted places once step() has answered true. */
  order: Uint32Array;
  /** Of a comparison that took long: so many more, set by `compare`. */
  extraCost = 0;
  private readonly compare: (left: number, right: number) => number;
  private spare: Uint32Array;
  /** Runs of this length are sorted; the ones at `start` are being merged. */
  private width = 1;
  private start = 0;
  private left = 0;
  private right = 0;

  /** `compare` takes two places from 0 up to, not including, `length`. */
  constructor(length: number, compare: (left: number, right: number) => number) {
    this.order = new Uint32Array(length);
    for (let i = 0; i < length; i++) this.order[i] = i;
    this.spare = new Uint32Array(length);
    this.compare = compare;
    this.right = Math.min(1, length);
  }

  /** True when all is sorted. */
  step(comparisonsMax: number): boolean {
    const length = this.order.length;
    let budget = comparisonsMax;
    while (this.width < length) {
      const middle = Math.min(this.start + this.width, length);
      const end = Math.min(this.start + this.width * 2, length);
      for (let to = this.left + this.right - middle; to < end; to++) {
        if (budget-- <= 0) return false;
        const takeLeft = this.left < middle && (this.right >= end || this.compare(this.order[this.left]!, this.order[this.right]!) <= 0);
        budget -= this.extraCost;
        this.extraCost = 0;
        this.spare[to] = this.order[takeLeft ? this.left++ : this.right++]!;
      }
      this.beginRuns(end);
    }
    return true;
  }

  private beginRuns(at: number): void {
    const length = this.order.length;
    this.start = at;
    if (at >= length) {
      const sorted = this.spare;
      this.spare = this.order;
      this.order = sorted;
      this.width *= 2;
      this.start = 0;
    }
    this.left = this.start;
    this.right = Math.min(this.start + this.width, length);
  }
}
