/**
 * The simulator's only source of chance: a small seeded generator (sfc32), one per concern. A concern has a generator of its own, so
 * that drawing once more in one of them (a new fault, another client) does not shift what all the others draw.
 */
import type { Random } from "../host/random.ts";

/** FNV-1a over the UTF-16 units of a text, started from `basis`. */
export function hashText(text: string, basis: number = 0x811c9dc5): number {
  let hash = basis;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

export class SimRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;
  readonly #seed: number;

  /** `seed` is a safe integer; equal seeds give equal sequences. */
  constructor(seed: number) {
    this.#seed = seed;
    this.#a = seed >>> 0;
    this.#b = Math.floor(seed / 4294967296) >>> 0;
    this.#c = 0x9e3779b9;
    for (let round = 0; round < 12; round++) this.uint32();
  }

  /** A generator for one concern: the same seed and label give the same one, whatever this one has drawn meanwhile. */
  split(label: string): SimRandom {
    return new SimRandom(hashText(label, (this.#seed ^ 0x5bd1e995) >>> 0) * 1048576 + (hashText(label) & 0xfffff));
  }

  uint32(): number {
    const mixed = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + mixed;
    return mixed >>> 0;
  }

  /** 0 <= x < 1. */
  fraction(): number {
    return this.uint32() / 4294967296;
  }

  /** An integer, 0 <= x < bound. */
  below(bound: number): number {
    return Math.floor(this.fraction() * bound);
  }

  /** low <= x < high. */
  between(low: number, high: number): number {
    return low + this.fraction() * (high - low);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  /** One of the items, of which there must be some. */
  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError("nothing to pick from");
    return item;
  }

  /** The same items in an order of chance; a new array. */
  shuffle<T>(items: readonly T[]): T[] {
    const shuffled = [...items];
    for (let at = shuffled.length - 1; at > 0; at--) {
      const other = this.below(at + 1);
      const kept = shuffled[at] as T;
      shuffled[at] = shuffled[other] as T;
      shuffled[other] = kept;
    }
    return shuffled;
  }
}
