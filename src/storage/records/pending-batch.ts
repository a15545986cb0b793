/** The records of a batch that does not hold yet: what to do to the index once it does. Some thirty bytes for each record. */
import { NUMBER_KEY_LENGTH } from "./record-index.ts";
import type { IndexEntry, RecordIndex } from "./record-index.ts";

const RECORDS_MIN = 256;
/** Room that is kept from one batch to the next. */
const RECORDS_KEPT = 32_768;
const KEY_BYTES_KEPT: number = RECORDS_KEPT * (1 + NUMBER_KEY_LENGTH);

export class PendingBatch {
  /** Each behind a byte that says how long it is. */
  #keys: Uint8Array = new Uint8Array(RECORDS_MIN * (1 + NUMBER_KEY_LENGTH));
  #keysUsed = 0;
  /** -1 for a deletion. */
  #places = new Float64Array(RECORDS_MIN);
  #bytes = new Uint32Array(RECORDS_MIN);
  #count = 0;
  /** Puts whose keys cannot be number keys. */
  others = 0;

  /** Copies the key, which begins at `keyAt` of `part`. `bytes`: of the whole record. */
  put(part: Uint8Array, keyAt: number, keyBytes: number, place: number, bytes: number): void {
    if (keyBytes !== NUMBER_KEY_LENGTH) this.others++;
    this.#add(part, keyAt, keyBytes, place, bytes);
  }

  delete(part: Uint8Array, keyAt: number, keyBytes: number): void {
    this.#add(part, keyAt, keyBytes, -1, 0);
  }

  clear(): void {
    if (this.#keys.length > KEY_BYTES_KEPT) this.#keys = new Uint8Array(KEY_BYTES_KEPT);
    if (this.#places.length > RECORDS_KEPT) {
      this.#places = new Float64Array(RECORDS_KEPT);
      this.#bytes = new Uint32Array(RECORDS_KEPT);
    }
    this.#keysUsed = 0;
    this.#count = 0;
    this.others = 0;
  }

  /** By how many records the index would grow. */
  growth(index: RecordIndex): number {
    let growth = 0;
    for (let at = 0, keyAt = 0; at < this.#count; at++) {
      const keyBytes = this.#keys[keyAt]!;
      const isThere = index.placeOf(this.#keys, keyAt + 1, keyBytes) >= 0;
      if (this.#places[at]! >= 0) growth += isThere ? 0 : 1;
      else growth -= isThere ? 1 : 0;
      keyAt += 1 + keyBytes;
    }
    return growth;
  }

  /** Changes the index, and forgets the batch. */
  apply(index: RecordIndex, account: { onLive(bytes: number): void; onDead(entry: IndexEntry): void }): void {
    for (let at = 0, keyAt = 0; at < this.#count; at++) {
      const keyBytes = this.#keys[keyAt]!;
      const from = keyAt + 1;
      const place = this.#places[at]!;
      const bytes = this.#bytes[at]!;
      const before = place < 0 ? index.delete(this.#keys, from, keyBytes) : index.put(this.#keys, from, keyBytes, place, bytes);
      if (before !== undefined) account.onDead(before);
      if (place >= 0) account.onLive(bytes);
      keyAt = from + keyBytes;
    }
    this.clear();
  }

  #add(part: Uint8Array, keyAt: number, keyBytes: number, place: number, bytes: number): void {
    if (this.#keysUsed + 1 + keyBytes > this.#keys.length) {
      const grown = new Uint8Array(this.#keys.length * 2 + keyBytes);
      grown.set(this.#keys.subarray(0, this.#keysUsed));
      this.#keys = grown;
    }
    if (this.#count === this.#places.length) {
      const places = new Float64Array(this.#count * 2);
      places.set(this.#places);
      this.#places = places;
      const lengths = new Uint32Array(this.#count * 2);
      lengths.set(this.#bytes);
      this.#bytes = lengths;
    }
    const keys = this.#keys;
    let to = this.#keysUsed;
    keys[to++] = keyBytes;
    for (let at = keyAt; at < keyAt + keyBytes; at++) keys[to++] = part[at]!;
    this.#keysUsed = to;
    this.#places[this.#count] = place;
    this.#bytes[this.#count++] = bytes;
  }
}
