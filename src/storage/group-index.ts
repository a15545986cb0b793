/**
 * Where entries lie: one item for each group of the log that holds any, so that reading an entry means reading, and verifying, its
 * group. An item takes 16 bytes and a group at least 512, so the index is at most a thirty-second of the log that it describes.
 */
import { SECTOR_BYTES } from "./log-format.ts";

export interface GroupLocation {
  readonly segment: number;
  readonly offset: number;
}

/** Room for the sector number of an offset, so that segment and offset fit a safe integer: segments below 2^28, files below 8 GiB. */
const SECTORS = 2 ** 24;

export class GroupIndex {
  #firstIndexes = new Float64Array(1024);
  #locations = new Float64Array(1024);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /**
   * Adds a group behind the others. `firstIndex` is that of the contiguous entries that the group leaves at the end of the log; items that
   * begin there or later are replaced by it.
   */
  push(firstIndex: number, location: GroupLocation): void {
    this.truncate(firstIndex);
    if (this.#count === this.#firstIndexes.length) this.#grow();
    this.#firstIndexes[this.#count] = firstIndex;
    this.#locations[this.#count] = location.segment * SECTORS + location.offset / SECTOR_BYTES;
    this.#count++;
  }

  /** Forgets the items that begin at `index` or later. */
  truncate(index: number): void {
    while (this.#count > 0 && this.#firstIndexes[this.#count - 1]! >= index) this.#count--;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Forgets the items of segments before `segment`. */
  dropSegmentsBefore(segment: number): void {
    let drop = 0;
    while (drop < this.#count && this.#locations[drop]! < segment * SECTORS) drop++;
    if (drop === 0) return;
    this.#firstIndexes.copyWithin(0, drop, this.#count);
    this.#locations.copyWithin(0, drop, this.#count);
    this.#count -= drop;
  }

  /** The item whose group holds `index`; -1 where there is none. */
  find(index: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#firstIndexes[middle]! <= index) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  firstIndexOf(item: number): number {
    return this.#firstIndexes[item]!;
  }

  locationOf(item: number): GroupLocation {
    const location = this.#locations[item]!;
    return { segment: Math.floor(location / SECTORS), offset: (location % SECTORS) * SECTOR_BYTES };
  }

  #grow(): void {
    const firstIndexes = new Float64Array(this.#count * 2);
    const locations = new Float64Array(this.#count * 2);
    firstIndexes.set(this.#firstIndexes);
    locations.set(this.#locations);
    this.#firstIndexes = firstIndexes;
    this.#locations = locations;
  }
}
