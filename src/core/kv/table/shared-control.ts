/**
 * The writer's side of the control block: the few words through which it tells readers in other threads what they may see.
 *
 * A record is written where no reader looks, then linked with one atomic store, and never changes while it is linked. What is unlinked
 * may still be under some reader's eyes, so it is not used again before `reclamations` was raised; the reader compares that number before
 * and after and throws away what it read if it rose. It is a sequence lock whose writer never holds it: readers never wait, and only the
 * reuse of memory costs them a second try.
 *
 * The slots are numbers with a sequence lock of the usual kind. All accesses of both sides to them are atomic, which JavaScript orders
 * totally, on any processor.
 */
import { CONTROL_RECLAMATIONS, CONTROL_SLOTS, CONTROL_SLOTS_SEQUENCE, CONTROL_WORDS, REVISION_LIMIT, SHARED_SLOTS } from "./layout.ts";
import { assert } from "../../assert.ts";

const PUBLISHED_LOW: number = CONTROL_SLOTS;
const PUBLISHED_HIGH: number = CONTROL_SLOTS + 1;

export class SharedControl {
  readonly buffer: SharedArrayBuffer = new SharedArrayBuffer(CONTROL_WORDS * 4);
  readonly words: Uint32Array = new Uint32Array(this.buffer);
  readonly #float: Float64Array = new Float64Array(1);
  readonly #halves: Uint32Array = new Uint32Array(this.#float.buffer);
  #published = 0;
  #reclamations = 0;
  #sequence = 0;

  get published(): number {
    return this.#published;
  }

  publish(revision: number): void {
    assert(revision >= this.#published && revision < REVISION_LIMIT, "published revisions never go down");
    const low = revision >>> 0;
    const high = Math.floor(revision / 4294967296);
    const highBefore = Math.floor(this.#published / 4294967296);
    this.#published = revision;
    // Nearly always one word changes, which needs no lock.
    if (high === highBefore) Atomics.store(this.words, PUBLISHED_LOW, low);
    else this.#store(PUBLISHED_LOW, low, PUBLISHED_HIGH, high);
  }

  /** Any number, for the owner of the table. Slots from 0 to SHARED_SLOTS - 2. */
  setShared(slot: number, value: number): void {
    assert(Number.isInteger(slot) && slot >= 0 && slot < SHARED_SLOTS - 1, "a shared slot exists");
    this.#float[0] = value;
    const at = CONTROL_SLOTS + 2 + slot * 2;
    this.#store(at, this.#halves[0]!, at + 1, this.#halves[1]!);
  }

  /** From here on a reader that began before finds out that what it read may be something else by now. */
  reclaim(): void {
    this.#reclamations = (this.#reclamations + 1) >>> 0;
    Atomics.store(this.words, CONTROL_RECLAMATIONS, this.#reclamations);
    // An atomic load behind the store keeps the plain writes that reuse the memory from becoming visible before it.
    Atomics.load(this.words, CONTROL_RECLAMATIONS);
  }

  #store(at: number, value: number, otherAt: number, other: number): void {
    Atomics.store(this.words, CONTROL_SLOTS_SEQUENCE, (this.#sequence + 1) >>> 0);
    Atomics.store(this.words, at, value);
    Atomics.store(this.words, otherAt, other);
    this.#sequence = (this.#sequence + 2) >>> 0;
    Atomics.store(this.words, CONTROL_SLOTS_SEQUENCE, this.#sequence);
  }
}
