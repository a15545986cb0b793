/**
 * Point reads of a table from another thread of the process, on its caller's own stack: no message, no wait. It works on the table's
 * shared memory as of the published revision, and tells by the table's count of reclamations whether something that it read may have been
 * put to another use meanwhile; then it reads again. It reads garbage in that case before it knows: every loop here is bounded, every
 * place is checked against its buffer.
 *
 * It answers one key at one moment. Ranges, several keys at one revision and past revisions are the business of the table's own thread.
 */
import { hashKey } from "./table/key-hash.ts";
import {
  CAUSE_SHIFT,
  CONTROL_DEPTH,
  CONTROL_DIRECTORY,
  CONTROL_EPOCHS,
  CONTROL_RECLAMATIONS,
  CONTROL_SLOTS,
  CONTROL_SLOTS_SEQUENCE,
  DIRECTORY_DEPTH_MAX,
  FLAG_LEASE,
  HASH_BITS,
  KEY_BYTES,
  KEY_HEAD,
  KEY_HEADER_BYTES,
  LEASE_BYTES,
  leaseAt,
  RECORD_CREATE_HIGH,
  RECORD_CREATE_LOW,
  RECORD_HEADER_BYTES,
  RECORD_PREVIOUS,
  RECORD_REVISION_HIGH,
  RECORD_REVISION_LOW,
  RECORD_VALUE_BYTES,
  SEGMENT_SLOTS,
  SEGMENT_SLOTS_LOG2,
  SEGMENT_WORDS,
  SEGMENTS_LOG2,
  SEGMENTS_MASK,
  SLAB_UNITS_LOG2,
  SLAB_UNITS_MASK,
  SLOT_DELETED,
  VALUE_BYTES_MASK,
  versionAt,
  wide,
} from "./table/layout.ts";
import type { SharedTableGrowth, SharedTableHandle } from "./table/layout.ts";

export type { SharedTableGrowth, SharedTableHandle } from "./table/layout.ts";

/** A key's record as of the published revision. The caller's own. */
export interface SharedHit {
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  /** Nobody else writes to it; but a small one shares its ArrayBuffer with others, and keeps that alive. */
  readonly value: Uint8Array<ArrayBuffer>;
}

/** Tries before a reader gives way to a writer that frees memory all the time. */
const TRIES_MAX = 8;
/** Records of one key that are not published yet, at most, before the reader gives up. */
const UNPUBLISHED_MAX = 4096;
/** Looks at the slots of numbers, each some nanoseconds. The writer's thread may be off the processor. */
const SLOT_TRIES_MAX = 10_000;
/** Values up to this size are copied into chunks. */
const POOLED_BYTES_MAX = 1024;
const POOL_BYTES = 16_384;
const AGAIN = "again";
const RETRY = "retry";

export class SharedTableReader {
  readonly #control: Uint32Array;
  readonly #seedLow: number;
  readonly #seedHigh: number;
  readonly #index: Uint32Array[] = [];
  /** By slab number, with the epoch of the buffer that this is. */
  readonly #words: (Uint32Array | undefined)[] = [];
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #epochs: number[] = [];
  #pool: Uint32Array<ArrayBuffer> = new Uint32Array(POOL_BYTES / 4);
  #pooledWords = 0;
  readonly #float: Float64Array = new Float64Array(1);
  readonly #halves: Uint32Array = new Uint32Array(this.#float.buffer);

  constructor(handle: SharedTableHandle) {
    this.#control = new Uint32Array(handle.control);
    this.#seedLow = handle.hashSeedLow;
    this.#seedHigh = handle.hashSeedHigh;
    for (const growth of handle.buffers) this.add(growth);
  }

  /** Takes note of a buffer that came or went, in the order in which the table told of them. Until then what lies there answers "retry". */
  add(growth: SharedTableGrowth): void {
    const { kind, number, epoch, buffer } = growth;
    if (kind === "index") {
      if (buffer !== undefined) this.#index[number] = new Uint32Array(buffer);
      return;
    }
    while (this.#words.length <= number) {
      this.#words.push(undefined);
      this.#bytes.push(undefined);
      this.#epochs.push(0);
    }
    this.#words[number] = buffer === undefined ? undefined : new Uint32Array(buffer);
    this.#bytes[number] = buffer === undefined ? undefined : new Uint8Array(buffer);
    this.#epochs[number] = epoch;
  }

  /**
   * The record of the key that the first `keyBytes` of `key` are; undefined if it has none, or a deletion; "retry" if this thread cannot tell now and the table's own has to be asked:
   * the memory in question is not known here yet, or was reclaimed under our eyes eight times in a row.
   */
  get(key: Uint8Array, keyBytes: number = key.length): SharedHit | undefined | "retry" {
    const hash = hashKey(key, 0, keyBytes, this.#seedLow, this.#seedHigh);
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const before = Atomics.load(this.#control, CONTROL_RECLAMATIONS);
      const answer = this.#read(key, keyBytes, hash);
      // Adding nothing is a write as well: it cannot overtake the plain reads before it, as a load could on arm64.
      if (Atomics.add(this.#control, CONTROL_RECLAMATIONS, 0) !== before || answer === AGAIN) continue;
      return answer;
    }
    return RETRY;
  }

  /** The newest revision that get() may answer from; NaN if the writer's thread was interrupted while it changed it. */
  published(): number {
    if (!this.#readSlot(CONTROL_SLOTS)) return Number.NaN;
    return this.#halves[1]! * 4294967296 + this.#halves[0]!;
  }

  /** What the table's owner set under this number, 0 at first; NaN if its thread was interrupted while it changed one. */
  shared(slot: number): number {
    return this.#readSlot(CONTROL_SLOTS + 2 + slot * 2) ? this.#float[0]! : Number.NaN;
  }

  #readSlot(at: number): boolean {
    const control = this.#control;
    for (let tries = 0; tries < SLOT_TRIES_MAX; tries++) {
      const before = Atomics.load(control, CONTROL_SLOTS_SEQUENCE);
      if ((before & 1) !== 0) continue;
      this.#halves[0] = Atomics.load(control, at);
      this.#halves[1] = Atomics.load(control, at + 1);
      if (Atomics.load(control, CONTROL_SLOTS_SEQUENCE) === before) return true;
    }
    return false;
  }

  #read(key: Uint8Array, keyBytes: number, hash: number): SharedHit | undefined | "retry" | "again" {
    const published = this.published();
    if (Number.isNaN(published)) return RETRY;
    const at = this.#find(key, keyBytes, hash);
    if (at === 0) return undefined;
    if (at === SLOT_DELETED) return RETRY;

    let ref = Atomics.load(this.#words[at >>> SLAB_UNITS_LOG2]!, ((at & SLAB_UNITS_MASK) << 1) + KEY_HEAD);
    for (let skipped = 0; skipped < UNPUBLISHED_MAX; skipped++) {
      if (ref === 0) {
        // Nothing was published before what we skipped, or it was published and compacted since we looked.
        return this.published() === published ? undefined : AGAIN;
      }
      const slab = ref >>> SLAB_UNITS_LOG2;
      if (!this.#isKnown(slab)) return RETRY;
      const words = this.#words[slab]!;
      const first = (ref & SLAB_UNITS_MASK) << 1;
      const revision = wide(words[first + RECORD_REVISION_LOW]!, words[first + RECORD_REVISION_HIGH]!);
      if (revision <= published) return this.#copy(slab, first, revision);
      ref = words[first + RECORD_PREVIOUS] ?? 0;
    }
    return RETRY;
  }

  /** The key's reference; 0 if it is not there, SLOT_DELETED if that is not known. */
  #find(key: Uint8Array, keyBytes: number, hash: number): number {
    const depth = Math.min(Atomics.load(this.#control, CONTROL_DEPTH), DIRECTORY_DEPTH_MAX);
    const segment = Atomics.load(this.#control, CONTROL_DIRECTORY + (hash & ((1 << depth) - 1)));
    const words = this.#index[segment >>> SEGMENTS_LOG2];
    if (words === undefined) return SLOT_DELETED;
    const base = (segment & SEGMENTS_MASK) * SEGMENT_WORDS;
    const begin = hash >>> (HASH_BITS - SEGMENT_SLOTS_LOG2);
    for (let probe = 0; probe < SEGMENT_SLOTS; probe++) {
      const at = base + ((begin + probe) & (SEGMENT_SLOTS - 1)) * 2;
      const ref = Atomics.load(words, at);
      if (ref === 0) return 0;
      if (words[at + 1] !== hash || ref === SLOT_DELETED) continue;
      const slab = ref >>> SLAB_UNITS_LOG2;
      if (!this.#isKnown(slab)) return SLOT_DELETED;
      if (this.#isKey(slab, (ref & SLAB_UNITS_MASK) << 1, key, keyBytes)) return ref;
    }
    return 0;
  }

  /** Whether the buffer that we have under this number is the one that the table means. */
  #isKnown(slab: number): boolean {
    return this.#words[slab] !== undefined && this.#epochs[slab] === Atomics.load(this.#control, CONTROL_EPOCHS + slab);
  }

  #isKey(slab: number, at: number, key: Uint8Array, keyBytes: number): boolean {
    if (this.#words[slab]![at + KEY_BYTES] !== keyBytes) return false;
    const bytes = this.#bytes[slab]!;
    const from = at * 4 + KEY_HEADER_BYTES;
    for (let i = 0; i < keyBytes; i++) {
      if (bytes[from + i] !== key[i]) return false;
    }
    return true;
  }

  #copy(slab: number, first: number, modRevision: number): SharedHit | undefined | "again" {
    const words = this.#words[slab]!;
    const word = words[first + RECORD_VALUE_BYTES]!;
    if (word >>> CAUSE_SHIFT !== 0) return undefined;
    const bytes = this.#bytes[slab]!;
    const from = first * 4 + RECORD_HEADER_BYTES + ((word & FLAG_LEASE) === 0 ? 0 : LEASE_BYTES);
    const length = word & VALUE_BYTES_MASK;
    if (from + length > bytes.length) return AGAIN;
    const value =
      length <= POOLED_BYTES_MAX ? this.#pooled(words, from >>> 2, length) : (bytes.slice(from, from + length) as Uint8Array<ArrayBuffer>);
    return {
      createRevision: wide(words[first + RECORD_CREATE_LOW]!, words[first + RECORD_CREATE_HIGH]!),
      modRevision,
      version: versionAt(words, first),
      lease: leaseAt(words, first),
      value,
    };
  }

  /** A copy in a chunk that many share: an ArrayBuffer for each small value would cost more than all the rest. Values begin on words. */
  #pooled(words: Uint32Array, from: number, length: number): Uint8Array<ArrayBuffer> {
    const count = (length + 3) >>> 2;
    if (this.#pooledWords + count > POOL_BYTES / 4) {
      this.#pool = new Uint32Array(POOL_BYTES / 4);
      this.#pooledWords = 0;
    }
    const pool = this.#pool;
    const at = this.#pooledWords;
    for (let i = 0; i < count; i++) pool[at + i] = words[from + i]!;
    this.#pooledWords = at + count;
    return new Uint8Array(pool.buffer, at * 4, length);
  }
}
