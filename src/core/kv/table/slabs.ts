/**
 * Memory for keys and records: slabs of 1 MiB, each cut into places of one size, about 12 % apart. A freed place goes back to its slab;
 * a slab that is empty goes to a pool from which any size may take it, and what the pool has too many of is let go of. What is larger
 * than a quarter of a slab has a buffer of its own. Nothing is ever moved. A load that changes from many small to many large values while
 * a few of the small ones stay keeps the small ones' slabs: memory that is not shared between sizes is the price of never moving.
 */
import { assert } from "../../assert.ts";
import { CONTROL_EPOCHS, SLAB_BYTES, SLAB_UNITS, SLAB_UNITS_LOG2, SLAB_UNITS_MASK, SLABS_MAX, VALUE_BYTES_MAX } from "./layout.ts";
import type { SharedTableGrowth } from "./layout.ts";

/** Larger places lie alone in a buffer. */
const PLACE_UNITS_MAX = SLAB_UNITS / 4;
const SIZES = 104;
/** The size of a slab that holds one large place, and of one that is in the pool. */
const LARGE = 254;
const POOLED = 255;
/** An eighth of the slabs may lie empty in the pool, and this many in any case. */
const POOL_SLABS_MIN = 8;

const NO_WORDS = new Uint32Array(0);
const NO_BYTES = new Uint8Array(0);

/** The number of the smallest size that holds so many units: steps of one unit up to 16, then eight steps to each doubling. */
export function sizeOfUnits(units: number): number {
  if (units <= 16) return units - 1;
  const log2 = 31 - Math.clz32(units - 1);
  return 16 + (log2 - 4) * 8 + ((units - 1) >> (log2 - 3)) - 8;
}

/** How many units a place of this size has. */
export function unitsOfSize(size: number): number {
  if (size < 16) return size + 1;
  return ((((size - 16) & 7) + 9) << ((size - 16) >> 3)) << 1;
}

export class Slabs {
  /** By slab number; empty where there is none. What `at` = (ref & SLAB_UNITS_MASK) << 1 is the first word of. */
  readonly words: Uint32Array[] = [NO_WORDS];
  readonly bytes: Uint8Array[] = [NO_BYTES];
  /** Bytes of all buffers, those in the pool included. */
  memoryBytes = 0;

  readonly #control: Uint32Array;
  readonly #slabsMax: number;
  readonly #onGrowth: (growth: SharedTableGrowth) => void;
  #epoch = 0;

  /** By slab number: its size, the places in use, the first freed place plus 1, the first unit never used, its neighbours in #open. */
  readonly #size: number[] = [POOLED];
  readonly #used: number[] = [0];
  readonly #freed: number[] = [0];
  readonly #fresh: number[] = [0];
  readonly #next: number[] = [0];
  readonly #previous: number[] = [0];
  /** By size: a slab with a place left, the head of a list; 0 if there is none. */
  readonly #open: Uint16Array = new Uint16Array(SIZES);
  readonly #pool: number[] = [];
  readonly #unused: number[] = [];

  constructor(options: {
    readonly control: Uint32Array;
    readonly slabsMax: number;
    readonly onGrowth: (growth: SharedTableGrowth) => void;
  }) {
    assert(options.slabsMax <= SLABS_MAX, "slab numbers fit into 15 bits");
    this.#control = options.control;
    this.#slabsMax = options.slabsMax;
    this.#onGrowth = options.onGrowth;
  }

  /** How many slabs can be added yet. */
  get slabsLeft(): number {
    return this.#slabsMax - this.words.length + this.#unused.length + this.#pool.length;
  }

  /** Every buffer there is, as a reader that begins now has to be told. */
  buffers(): SharedTableGrowth[] {
    const buffers: SharedTableGrowth[] = [];
    for (let slab = 1; slab < this.words.length; slab++) {
      const words = this.words[slab]!;
      if (words.length === 0) continue;
      const epoch = this.#control[CONTROL_EPOCHS + slab]!;
      buffers.push({ kind: "records", number: slab, epoch, buffer: words.buffer as SharedArrayBuffer });
    }
    return buffers;
  }

  /** A place of at least so many bytes. What is in it is undefined. Ask `slabsLeft` first. */
  allocate(bytes: number): number {
    const units = (bytes + 7) >>> 3;
    if (units > PLACE_UNITS_MAX) return this.#allocateLarge(units);
    const size = sizeOfUnits(units);
    let slab = this.#open[size]!;
    if (slab === 0) slab = this.#openSlab(size);
    const freed = this.#freed[slab]!;
    const places = unitsOfSize(size);
    let unit: number;
    if (freed !== 0) {
      unit = freed - 1;
      this.#freed[slab] = this.words[slab]![unit << 1]!;
    } else {
      unit = this.#fresh[slab]!;
      this.#fresh[slab] = unit + places;
    }
    this.#used[slab]!++;
    if (this.#isFull(slab, places)) this.#unlink(slab, size);
    return ((slab << SLAB_UNITS_LOG2) | unit) >>> 0;
  }

  /** Gives a place back. Its first word is overwritten at once: no reader may have a way to it any more. */
  release(ref: number): void {
    const slab = ref >>> SLAB_UNITS_LOG2;
    const size = this.#size[slab]!;
    assert(size !== POOLED, "a place that is released is in use");
    if (size === LARGE) {
      this.#drop(slab);
      return;
    }
    const unit = ref & SLAB_UNITS_MASK;
    const wasFull = this.#isFull(slab, unitsOfSize(size));
    this.words[slab]![unit << 1] = this.#freed[slab]!;
    this.#freed[slab] = unit + 1;
    const used = --this.#used[slab]!;
    if (wasFull) this.#link(slab, size);
    // The last open slab of a size stays, so that a put and its compaction do not open and close it for ever.
    if (used === 0 && (this.#open[size] !== slab || this.#next[slab] !== 0)) {
      this.#unlink(slab, size);
      if (this.#pool.length >= Math.max(POOL_SLABS_MIN, this.words.length >>> 3)) {
        this.#drop(slab);
      } else {
        this.#size[slab] = POOLED;
        this.#pool.push(slab);
      }
    }
  }

  #isFull(slab: number, places: number): boolean {
    return this.#freed[slab] === 0 && this.#fresh[slab]! + places > SLAB_UNITS;
  }

  #openSlab(size: number): number {
    const slab = this.#pool.pop() ?? this.#add(SLAB_BYTES);
    this.#size[slab] = size;
    this.#used[slab] = 0;
    this.#freed[slab] = 0;
    this.#fresh[slab] = 0;
    this.#link(slab, size);
    return slab;
  }

  #allocateLarge(units: number): number {
    assert(units <= (VALUE_BYTES_MAX >>> 3) + SLAB_UNITS, "a value's size fits into its record");
    const slab = this.#add(units * 8);
    this.#size[slab] = LARGE;
    return (slab << SLAB_UNITS_LOG2) >>> 0;
  }

  #add(bytes: number): number {
    const slab = this.#unused.pop() ?? this.words.length;
    assert(slab < this.#slabsMax, "the table's address space has room");
    const buffer = new SharedArrayBuffer(bytes);
    this.words[slab] = new Uint32Array(buffer);
    this.bytes[slab] = new Uint8Array(buffer);
    if (slab === this.#size.length) {
      for (const column of [this.#size, this.#used, this.#freed, this.#fresh, this.#next, this.#previous]) column.push(0);
    }
    this.memoryBytes += bytes;
    this.#tell(slab, buffer);
    return slab;
  }

  #drop(slab: number): void {
    this.memoryBytes -= this.bytes[slab]!.length;
    this.words[slab] = NO_WORDS;
    this.bytes[slab] = NO_BYTES;
    this.#size[slab] = POOLED;
    this.#unused.push(slab);
    this.#tell(slab, undefined);
  }

  #tell(slab: number, buffer: SharedArrayBuffer | undefined): void {
    // A reader that has not heard of this change knows from the epoch that it may not use what it has under the number.
    this.#epoch = (this.#epoch + 1) >>> 0;
    Atomics.store(this.#control, CONTROL_EPOCHS + slab, this.#epoch);
    this.#onGrowth({ kind: "records", number: slab, epoch: this.#epoch, buffer });
  }

  #link(slab: number, size: number): void {
    const head = this.#open[size]!;
    this.#next[slab] = head;
    this.#previous[slab] = 0;
    if (head !== 0) this.#previous[head] = slab;
    this.#open[size] = slab;
  }

  #unlink(slab: number, size: number): void {
    const next = this.#next[slab]!;
    const previous = this.#previous[slab]!;
    if (next !== 0) this.#previous[next] = previous;
    if (previous !== 0) this.#next[previous] = next;
    else this.#open[size] = next;
    this.#next[slab] = 0;
    this.#previous[slab] = 0;
  }
}
