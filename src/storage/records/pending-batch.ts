/** The records of a batch that does not hold yet: what to do to the index once it does. Some thirty bytes for each record. */
import { NUMBER_KEY_LENGTH } from "./record-index.ts";
import type { IndexEntry, RecordIndex } from "./record-index.ts";

export class PendingBatch {
  #keys: Uint8Array = new Uint8Array(4096);
  #keysUsed = 0;
  /** -1 for a deletion. */
  #places: number[] = [];
  #bytes: number[] = [];
  /** Puts whose keys cannot be number keys. */
  others = 0;

  put(key: Uint8Array, place: number, bytes: number): void {
    if (key.length !== NUMBER_KEY_LENGTH) this.others++;
    this.#add(key, place, bytes);
  }

  delete(key: Uint8Array): void {
    this.#add(key, -1, 0);
  }

  clear(): void {
    if (this.#keys.length > 65_536) this.#keys = new Uint8Array(4096);
    this.#keysUsed = 0;
    this.others = 0;
    this.#places = [];
    this.#bytes = [];
  }

  /** By how many records the index would grow. */
  growth(index: RecordIndex): number {
    let growth = 0;
    for (let at = 0, keyAt = 0; at < this.#places.length; at++) {
      const keyBytes = this.#keys[keyAt]!;
      const isThere = index.placeOf(this.#keys.subarray(keyAt + 1, keyAt + 1 + keyBytes)) >= 0;
      if (this.#places[at]! >= 0) growth += isThere ? 0 : 1;
      else growth -= isThere ? 1 : 0;
      keyAt += 1 + keyBytes;
    }
    return growth;
  }

  /** Changes the index, and forgets the batch. */
  apply(index: RecordIndex, account: { onLive(bytes: number): void; onDead(entry: IndexEntry): void }): void {
    for (let at = 0, keyAt = 0; at < this.#places.length; at++) {
      const keyBytes = this.#keys[keyAt]!;
      const key = this.#keys.subarray(keyAt + 1, keyAt + 1 + keyBytes);
      keyAt += 1 + keyBytes;
      const place = this.#places[at]!;
      const before = place < 0 ? index.delete(key) : index.put(key, place, this.#bytes[at]!);
      if (before !== undefined) account.onDead(before);
      if (place >= 0) account.onLive(this.#bytes[at]!);
    }
    this.clear();
  }

  #add(key: Uint8Array, place: number, bytes: number): void {
    if (this.#keysUsed + 1 + key.length > this.#keys.length) {
      const grown = new Uint8Array(this.#keys.length * 2);
      grown.set(this.#keys);
      this.#keys = grown;
    }
    this.#keys[this.#keysUsed] = key.length;
    this.#keys.set(key, this.#keysUsed + 1);
    this.#keysUsed += 1 + key.length;
    this.#places.push(place);
    this.#bytes.push(bytes);
  }
}
