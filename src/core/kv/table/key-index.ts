/**
 * From the hash of a key to where the key lies: extendible hashing (Fagin, Nievergelt, Pippenger and Strong, 1979) in shared memory.
 * A directory of at most 65,536 entries, chosen by the low bits of the hash, names segments of 2,048 slots with linear probing, begun by
 * the high bits. A full segment becomes two, written aside while readers use the old one, so the longest stop is some 20 us whatever the
 * number of keys; nothing else is ever rebuilt. Segments do not merge again: after a mass deletion 14 bytes for each key of the peak stay.
 *
 * Readers need no lock here: a slot's hash is written before its reference, a segment before the directory's entry for it. The caller lets
 * readers notice (retired, reclaim) before a replaced segment is used again.
 */
import { assert } from "../../assert.ts";
import type { Slabs } from "./slabs.ts";
import {
  CONTROL_DEPTH,
  CONTROL_DIRECTORY,
  DIRECTORY_DEPTH_MAX,
  HASH_BITS,
  KEY_BYTES,
  KEY_HEADER_BYTES,
  SEGMENT_SLOTS,
  SEGMENT_SLOTS_LOG2,
  SEGMENT_WORDS,
  SEGMENTS_LOG2,
  SEGMENTS_MASK,
  SLAB_UNITS_LOG2,
  SLAB_UNITS_MASK,
  SLOT_DELETED,
} from "./layout.ts";
import type { SharedTableGrowth } from "./layout.ts";

/** Slots in use, deleted ones included, at which a segment is split or, where deleted ones are many, written anew. */
const USED_MAX = (SEGMENT_SLOTS * 3) / 4;
const LIVE_SPLIT = SEGMENT_SLOTS / 2;
/** With a fair hash no segment of the largest directory is more than two thirds full then. */
export const INDEX_KEYS_MAX: number = 1 << 26;

export class KeyIndex {
  readonly #control: Uint32Array;
  readonly #slabs: Slabs;
  readonly #onGrowth: (growth: SharedTableGrowth) => void;
  readonly #buffers: Uint32Array[] = [];
  /** By segment number: how many bits of the hash its keys share; slots used; deleted ones among them. */
  readonly #depths: number[] = [];
  readonly #used: number[] = [];
  readonly #deleted: number[] = [];
  /** Free for use, and replaced but maybe still being read. */
  readonly #free: number[] = [];
  readonly #retired: number[] = [];
  #depth = 0;

  constructor(options: { readonly control: Uint32Array; readonly slabs: Slabs; readonly onGrowth: (growth: SharedTableGrowth) => void }) {
    this.#control = options.control;
    this.#slabs = options.slabs;
    this.#onGrowth = options.onGrowth;
    this.#control[CONTROL_DIRECTORY] = this.#takeSegment(0);
  }

  get memoryBytes(): number {
    return this.#buffers.length * SEGMENT_WORDS * 4 * (SEGMENTS_MASK + 1);
  }

  /** Segments wait to be used again, which reclaim() allows. */
  get retired(): boolean {
    return this.#retired.length > 0;
  }

  buffers(): SharedTableGrowth[] {
    return this.#buffers.map((words, number) => ({ kind: "index", number, epoch: 0, buffer: words.buffer as SharedArrayBuffer }));
  }

  /** The key's reference; 0 if it is not there. */
  find(key: Uint8Array, hash: number): number {
    const segment = this.#segment(hash);
    const words = this.#buffers[segment >>> SEGMENTS_LOG2]!;
    const base = (segment & SEGMENTS_MASK) * SEGMENT_WORDS;
    for (let slot = hash >>> (HASH_BITS - SEGMENT_SLOTS_LOG2); ; slot = (slot + 1) & (SEGMENT_SLOTS - 1)) {
      const at = base + slot * 2;
      const ref = words[at]!;
      if (ref === 0) return 0;
      if (words[at + 1] === hash && ref !== SLOT_DELETED && this.#isKey(ref, key)) return ref;
    }
  }

  /** The key must not be there. */
  insert(ref: number, hash: number): void {
    let segment = this.#segment(hash);
    while (this.#used[segment]! >= USED_MAX) {
      if (!this.#relieve(segment)) break;
      segment = this.#segment(hash);
    }
    assert(this.#used[segment]! < SEGMENT_SLOTS - 1, "a segment of the key index keeps an empty slot");
    this.#place(segment, ref, hash);
  }

  /** The key must be there. */
  remove(ref: number, hash: number): void {
    const segment = this.#segment(hash);
    const words = this.#buffers[segment >>> SEGMENTS_LOG2]!;
    const base = (segment & SEGMENTS_MASK) * SEGMENT_WORDS;
    for (let slot = hash >>> (HASH_BITS - SEGMENT_SLOTS_LOG2); ; slot = (slot + 1) & (SEGMENT_SLOTS - 1)) {
      const at = base + slot * 2;
      assert(words[at] !== 0, "a key that is removed is in the key index");
      if (words[at] !== ref) continue;
      // In front of an empty slot nothing has to be remembered.
      const end = words[base + ((slot + 1) & (SEGMENT_SLOTS - 1)) * 2] === 0;
      Atomics.store(words, at, end ? 0 : SLOT_DELETED);
      if (end) this.#used[segment]!--;
      else this.#deleted[segment]!++;
      return;
    }
  }

  /** No reader that began earlier can finish: replaced segments may be used again. */
  reclaim(): void {
    while (this.#retired.length > 0) this.#free.push(this.#retired.pop()!);
  }

  #segment(hash: number): number {
    return this.#control[CONTROL_DIRECTORY + (hash & ((1 << this.#depth) - 1))]!;
  }

  #isKey(ref: number, key: Uint8Array): boolean {
    const slab = ref >>> SLAB_UNITS_LOG2;
    const at = (ref & SLAB_UNITS_MASK) << 1;
    if (this.#slabs.words[slab]![at + KEY_BYTES] !== key.length) return false;
    const bytes = this.#slabs.bytes[slab]!;
    const from = at * 4 + KEY_HEADER_BYTES;
    for (let i = 0; i < key.length; i++) {
      if (bytes[from + i] !== key[i]) return false;
    }
    return true;
  }

  #place(segment: number, ref: number, hash: number): void {
    const words = this.#buffers[segment >>> SEGMENTS_LOG2]!;
    const base = (segment & SEGMENTS_MASK) * SEGMENT_WORDS;
    for (let slot = hash >>> (HASH_BITS - SEGMENT_SLOTS_LOG2); ; slot = (slot + 1) & (SEGMENT_SLOTS - 1)) {
      const at = base + slot * 2;
      const found = words[at]!;
      if (found !== 0 && found !== SLOT_DELETED) continue;
      words[at + 1] = hash;
      Atomics.store(words, at, ref);
      if (found === 0) this.#used[segment]!++;
      else this.#deleted[segment]!--;
      return;
    }
  }

  /** Splits the segment, or writes it anew without its deleted slots. False if neither is possible. */
  #relieve(segment: number): boolean {
    const live = this.#used[segment]! - this.#deleted[segment]!;
    const depth = this.#depths[segment]!;
    const splits = live >= LIVE_SPLIT && depth < DIRECTORY_DEPTH_MAX;
    if (!splits && this.#deleted[segment] === 0) return false;
    if (splits && depth === this.#depth) this.#doubleDirectory();

    const low = this.#takeSegment(splits ? depth + 1 : depth);
    const high = splits ? this.#takeSegment(depth + 1) : low;
    const words = this.#buffers[segment >>> SEGMENTS_LOG2]!;
    const base = (segment & SEGMENTS_MASK) * SEGMENT_WORDS;
    let anyHash = 0;
    for (let at = base; at < base + SEGMENT_WORDS; at += 2) {
      const ref = words[at]!;
      if (ref === 0 || ref === SLOT_DELETED) continue;
      anyHash = words[at + 1]!;
      this.#place(((anyHash >>> depth) & 1) === 0 ? low : high, ref, anyHash);
    }

    // Without a live key the directory's own entries tell which hashes the segment is for.
    const directory = this.#control;
    const first = live > 0 ? anyHash & ((1 << depth) - 1) : directory.indexOf(segment, CONTROL_DIRECTORY) - CONTROL_DIRECTORY;
    for (let entry = first; entry < 1 << this.#depth; entry += 1 << depth) {
      Atomics.store(directory, CONTROL_DIRECTORY + entry, ((entry >>> depth) & 1) === 0 ? low : high);
    }
    this.#retired.push(segment);
    return true;
  }

  #doubleDirectory(): void {
    // Readers see the upper half only once the depth has changed, and find there what they would have found below.
    const size = 1 << this.#depth;
    this.#control.copyWithin(CONTROL_DIRECTORY + size, CONTROL_DIRECTORY, CONTROL_DIRECTORY + size);
    this.#depth++;
    Atomics.store(this.#control, CONTROL_DEPTH, this.#depth);
  }

  #takeSegment(depth: number): number {
    let segment = this.#free.pop();
    if (segment === undefined) {
      segment = this.#depths.length;
      if ((segment & SEGMENTS_MASK) === 0) this.#addBuffer();
      this.#depths.push(depth);
      this.#used.push(0);
      this.#deleted.push(0);
      return segment;
    }
    const base = (segment & SEGMENTS_MASK) * SEGMENT_WORDS;
    this.#buffers[segment >>> SEGMENTS_LOG2]!.fill(0, base, base + SEGMENT_WORDS);
    this.#depths[segment] = depth;
    this.#used[segment] = 0;
    this.#deleted[segment] = 0;
    return segment;
  }

  #addBuffer(): void {
    const buffer = new SharedArrayBuffer(SEGMENT_WORDS * 4 * (SEGMENTS_MASK + 1));
    const number = this.#buffers.push(new Uint32Array(buffer)) - 1;
    this.#onGrowth({ kind: "index", number, epoch: 0, buffer });
  }
}
