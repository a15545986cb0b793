/**
 * Which of the records of one revision a record is, where it is not the first: the second half of its key in the store. Most revisions have one
 * record, which costs nothing here; the others take about ten bytes each. Open-addressing maps from references to numbers: many, so that none is
 * large when it grows.
 */
import { assert } from "../errors.ts";

const SLOTS_MIN = 64;
const MAPS_LOG2 = 8;

/** One for each store. */
export class RecordPlaces {
  readonly #maps: PlaceMap[] = Array.from({ length: 1 << MAPS_LOG2 }, () => new PlaceMap());

  /** 0 where nothing was set. */
  get(ref: number): number {
    return this.#mapOf(ref).get(ref);
  }

  /** `place` 0 is what every record has that is not set. */
  set(ref: number, place: number): void {
    this.#mapOf(ref).set(ref, place);
  }

  delete(ref: number): void {
    this.#mapOf(ref).delete(ref);
  }

  #mapOf(ref: number): PlaceMap {
    return this.#maps[Math.imul(ref, 0x9e3779b1) >>> (32 - MAPS_LOG2)]!;
  }
}

class PlaceMap {
  #refs = new Uint32Array(SLOTS_MIN);
  #places = new Uint32Array(SLOTS_MIN);
  #count = 0;

  get(ref: number): number {
    const slot = this.#slotOf(ref);
    return this.#refs[slot] === ref ? this.#places[slot]! : 0;
  }

  set(ref: number, place: number): void {
    assert(ref !== 0, "a record has a reference");
    if (place === 0) {
      this.delete(ref);
      return;
    }
    const slot = this.#slotOf(ref);
    if (this.#refs[slot] !== ref) this.#count++;
    this.#refs[slot] = ref;
    this.#places[slot] = place;
    if (this.#count * 4 > this.#refs.length * 3) this.#resize(this.#refs.length * 2);
  }

  delete(ref: number): void {
    const mask = this.#refs.length - 1;
    let hole = this.#slotOf(ref);
    if (this.#refs[hole] !== ref) return;
    this.#count--;
    // What was pushed on by the one that goes moves back, so that no search ends too early.
    for (let at = (hole + 1) & mask; this.#refs[at] !== 0; at = (at + 1) & mask) {
      const home = this.#home(this.#refs[at]!);
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.#refs[hole] = this.#refs[at]!;
      this.#places[hole] = this.#places[at]!;
      hole = at;
    }
    this.#refs[hole] = 0;
    if (this.#refs.length > SLOTS_MIN && this.#count * 8 < this.#refs.length) this.#resize(this.#refs.length / 2);
  }

  #home(ref: number): number {
    return (Math.imul(ref, 0x9e3779b1) >>> 7) & (this.#refs.length - 1);
  }

  #slotOf(ref: number): number {
    const mask = this.#refs.length - 1;
    let at = this.#home(ref);
    while (this.#refs[at] !== 0 && this.#refs[at] !== ref) at = (at + 1) & mask;
    return at;
  }

  #resize(slots: number): void {
    const refs = this.#refs;
    const places = this.#places;
    this.#refs = new Uint32Array(slots);
    this.#places = new Uint32Array(slots);
    for (let at = 0; at < refs.length; at++) {
      if (refs[at] === 0) continue;
      const slot = this.#slotOf(refs[at]!);
      this.#refs[slot] = refs[at]!;
      this.#places[slot] = places[at]!;
    }
  }
}
