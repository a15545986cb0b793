/**
 * Where the records of a store lie: key, place and length of each, in memory, in the order of the keys. A key of 13 bytes that reads as
 * (tag, number below 2^53, number below 2^32) takes 24 bytes here, in columns of typed arrays that are cut into chunks, so that no
 * change moves more than one chunk; revisions and leases are named so. All other keys are few, and lie in a map.
 *
 * A frozen index stays as it was while changes go on: chunks that it shows are copied before they are changed.
 */
import { assert } from "../../errors.ts";

/** Entries of one chunk. */
const CHUNK = 512;
const NUMBER_KEY_BYTES = 13;
/** Keys of any other form, at most, in a store. */
export const OTHER_KEYS_MAX = 65_536;

/** Where a record lies: bits of a slot number above those of an offset. */
export const OFFSET_SPAN: number = 2 ** 33;

/** What the index knows of one record. */
export interface IndexEntry {
  readonly place: number;
  readonly bytes: number;
}

class Chunk {
  readonly high: Float64Array = new Float64Array(CHUNK);
  readonly low: Uint32Array = new Uint32Array(CHUNK);
  readonly place: Float64Array = new Float64Array(CHUNK);
  readonly bytes: Uint32Array = new Uint32Array(CHUNK);
  count = 0;
  /** Of the index when this chunk was made: one that is older than the last freeze is shown to somebody. */
  readonly epoch: number;

  constructor(epoch: number) {
    this.epoch = epoch;
  }

  /** The first slot whose key is not below. */
  lowerBound(high: number, low: number): number {
    let from = 0;
    let to = this.count;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const at = this.high[middle]!;
      if (at < high || (at === high && this.low[middle]! < low)) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  take(from: Chunk, start: number, end: number): void {
    this.high.set(from.high.subarray(start, end), this.count);
    this.low.set(from.low.subarray(start, end), this.count);
    this.place.set(from.place.subarray(start, end), this.count);
    this.bytes.set(from.bytes.subarray(start, end), this.count);
    this.count += end - start;
  }

  shift(at: number, by: number): void {
    this.high.copyWithin(at + by, at, this.count);
    this.low.copyWithin(at + by, at, this.count);
    this.place.copyWithin(at + by, at, this.count);
    this.bytes.copyWithin(at + by, at, this.count);
    this.count += by;
  }
}

/** The keys of one tag. */
class NumberKeys {
  count = 0;
  chunks: Chunk[] = [];

  /** Whether the key lies behind all others, as one does that comes in its order. */
  isBeyond(high: number, low: number): boolean {
    const last = this.chunks[this.chunks.length - 1];
    if (last === undefined || last.count === 0) return true;
    const at = last.high[last.count - 1]!;
    return at < high || (at === high && last.low[last.count - 1]! < low);
  }

  /** The chunk that holds the key, or would. */
  chunkOf(high: number, low: number): number {
    const { chunks } = this;
    let from = 0;
    let to = chunks.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const chunk = chunks[middle]!;
      const first = chunk.high[0]!;
      if (first < high || (first === high && chunk.low[0]! <= low)) from = middle + 1;
      else to = middle;
    }
    return Math.max(0, from - 1);
  }
}

interface OtherEntry {
  readonly key: Uint8Array;
  readonly place: number;
  readonly bytes: number;
}

/** A key as the index reads it; `tag` is -1 for one of any other form. One object, used again for each key. */
const parsed = { tag: -1, high: 0, low: 0 };

function parse(bytes: Uint8Array, at: number, length: number): void {
  parsed.tag = -1;
  if (length !== NUMBER_KEY_BYTES) return;
  const upper = ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) >>> 0;
  if (upper > 0x1fffff) return;
  parsed.tag = bytes[at]!;
  parsed.high = upper * 4294967296 + (((bytes[at + 5]! << 24) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 8) | bytes[at + 8]!) >>> 0);
  parsed.low = ((bytes[at + 9]! << 24) | (bytes[at + 10]! << 16) | (bytes[at + 11]! << 8) | bytes[at + 12]!) >>> 0;
}

/** The key that sorts by tag, then `high`, then `low`: the form that costs the index least. */
export function numberKey(tag: number, high: number, low: number): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(NUMBER_KEY_BYTES);
  const upper = Math.floor(high / 4294967296);
  // A view costs more than all of this.
  key[0] = tag;
  key[1] = upper >>> 24;
  key[2] = upper >>> 16;
  key[3] = upper >>> 8;
  key[4] = upper;
  key[5] = high >>> 24;
  key[6] = high >>> 16;
  key[7] = high >>> 8;
  key[8] = high;
  key[9] = low >>> 24;
  key[10] = low >>> 16;
  key[11] = low >>> 8;
  key[12] = low;
  return key;
}

export const NUMBER_KEY_LENGTH: number = NUMBER_KEY_BYTES;

/** The same into a buffer. */
export function writeNumberKey(
  view: DataView,
  at: number,
  key: { readonly tag: number; readonly high: number; readonly low: number },
): void {
  view.setUint8(at, key.tag);
  view.setUint32(at + 1, Math.floor(key.high / 4294967296));
  view.setUint32(at + 5, key.high % 4294967296);
  view.setUint32(at + 9, key.low);
}

/** The numbers of a key that numberKey() made. */
export function readNumberKey(key: Uint8Array): { readonly tag: number; readonly high: number; readonly low: number } | undefined {
  parse(key, 0, key.length);
  return parsed.tag < 0 ? undefined : { ...parsed };
}

/** All live records of a store. A key that changes it is given as a part of some bytes, since a view for each costs more than the rest. */
export class RecordIndex {
  readonly #numbers: (NumberKeys | undefined)[] = [];
  readonly #others = new Map<string, OtherEntry>();
  #othersSorted: readonly OtherEntry[] | undefined;
  #count = 0;
  #epoch = 0;
  #frozen = 0;

  get count(): number {
    return this.#count;
  }

  /** Keys of another form than numberKey()'s. */
  get others(): number {
    return this.#others.size;
  }

  get(key: Uint8Array): IndexEntry | undefined {
    parse(key, 0, key.length);
    const { tag, high, low } = parsed;
    if (tag < 0) return this.#others.get(mapKey(key));
    const keys = this.#numbers[tag];
    const chunk = keys?.chunks[keys.chunkOf(high, low)];
    const slot = chunk?.lowerBound(high, low) ?? 0;
    if (chunk === undefined || slot >= chunk.count || chunk.high[slot] !== high || chunk.low[slot] !== low) return undefined;
    return { place: chunk.place[slot]!, bytes: chunk.bytes[slot]! };
  }

  /** The place of the key's record; -1 if there is none. */
  placeOf(bytes: Uint8Array, from: number, length: number): number {
    parse(bytes, from, length);
    const { tag, high, low } = parsed;
    if (tag < 0) return this.#others.get(mapKey(bytes.subarray(from, from + length)))?.place ?? -1;
    const keys = this.#numbers[tag];
    if (keys === undefined || keys.count === 0 || keys.isBeyond(high, low)) return -1;
    const chunk = keys.chunks[keys.chunkOf(high, low)]!;
    const slot = chunk.lowerBound(high, low);
    return slot < chunk.count && chunk.high[slot] === high && chunk.low[slot] === low ? chunk.place[slot]! : -1;
  }

  /** Answers the bytes and place of the record that it replaces; undefined if there was none. */
  put(keys: Uint8Array, from: number, length: number, place: number, bytes: number): IndexEntry | undefined {
    parse(keys, from, length);
    const { tag, high, low } = parsed;
    if (tag < 0) return this.#putOther(keys.subarray(from, from + length), place, bytes);
    return this.#putNumber(tag, high, low, place, bytes);
  }

  #putNumber(tag: number, high: number, low: number, place: number, bytes: number): IndexEntry | undefined {
    const keys = (this.#numbers[tag] ??= new NumberKeys());
    if (keys.chunks.length === 0) keys.chunks.push(new Chunk(this.#epoch));
    const isBeyond = keys.isBeyond(high, low);
    let at = isBeyond ? keys.chunks.length - 1 : keys.chunkOf(high, low);
    let chunk = this.#owned(keys, at);
    let slot = isBeyond ? chunk.count : chunk.lowerBound(high, low);
    if (slot < chunk.count && chunk.high[slot] === high && chunk.low[slot] === low) {
      const before = { place: chunk.place[slot]!, bytes: chunk.bytes[slot]! };
      chunk.place[slot] = place;
      chunk.bytes[slot] = bytes;
      return before;
    }
    if (chunk.count === CHUNK) {
      const next = new Chunk(this.#epoch);
      // Keys mostly come in their order: then the full chunk stays full.
      const keep = slot === CHUNK && at === keys.chunks.length - 1 ? CHUNK : CHUNK / 2;
      next.take(chunk, keep, CHUNK);
      chunk.count = keep;
      keys.chunks.splice(at + 1, 0, next);
      if (slot >= keep) {
        at++;
        chunk = next;
        slot -= keep;
      }
    }
    if (slot < chunk.count) chunk.shift(slot, 1);
    else chunk.count++;
    chunk.high[slot] = high;
    chunk.low[slot] = low;
    chunk.place[slot] = place;
    chunk.bytes[slot] = bytes;
    keys.count++;
    this.#count++;
    return undefined;
  }

  /** Answers what is forgotten; undefined if there was nothing. */
  delete(bytes: Uint8Array, from: number, length: number): IndexEntry | undefined {
    parse(bytes, from, length);
    const { tag, high, low } = parsed;
    if (tag < 0) return this.#deleteOther(bytes.subarray(from, from + length));
    const keys = this.#numbers[tag];
    if (keys === undefined || keys.count === 0) return undefined;
    const at = keys.chunkOf(high, low);
    const found = keys.chunks[at]!;
    const slot = found.lowerBound(high, low);
    if (slot >= found.count || found.high[slot] !== high || found.low[slot] !== low) return undefined;
    const chunk = this.#owned(keys, at);
    const before = { place: chunk.place[slot]!, bytes: chunk.bytes[slot]! };
    if (slot + 1 < chunk.count) chunk.shift(slot + 1, -1);
    else chunk.count--;
    keys.count--;
    this.#count--;
    if (chunk.count === 0) keys.chunks.splice(at, 1);
    else if (chunk.count < CHUNK / 4) this.#merge(keys, at);
    return before;
  }

  /** What the range holds now, in order, whatever changes until release(). */
  freeze(range: {
    readonly start: Uint8Array;
    readonly end?: Uint8Array | undefined;
    readonly reverse?: boolean | undefined;
  }): FrozenIndex {
    this.#epoch++;
    this.#frozen++;
    this.#othersSorted ??= [...this.#others.values()].sort((left, right) => compareKeys(left.key, right.key));
    const numbers: { tag: number; chunks: readonly { readonly chunk: Chunk; readonly count: number }[] }[] = [];
    for (const [tag, keys] of this.#numbers.entries()) {
      if (keys === undefined || keys.count === 0) continue;
      numbers.push({ tag, chunks: keys.chunks.map((chunk) => ({ chunk, count: chunk.count })) });
    }
    return new FrozenIndex(numbers, this.#othersSorted, range, () => this.#frozen--);
  }

  /** A chunk that may be changed. */
  #owned(keys: NumberKeys, at: number): Chunk {
    const chunk = keys.chunks[at]!;
    if (this.#frozen === 0 || chunk.epoch === this.#epoch) return chunk;
    const copy = new Chunk(this.#epoch);
    copy.take(chunk, 0, chunk.count);
    keys.chunks[at] = copy;
    return copy;
  }

  #merge(keys: NumberKeys, at: number): void {
    const { chunks } = keys;
    const first = at + 1 < chunks.length ? at : at - 1;
    if (first < 0 || chunks[first]!.count + chunks[first + 1]!.count > (CHUNK * 3) / 4) return;
    this.#owned(keys, first).take(chunks[first + 1]!, 0, chunks[first + 1]!.count);
    chunks.splice(first + 1, 1);
  }

  #putOther(key: Uint8Array, place: number, bytes: number): IndexEntry | undefined {
    const name = mapKey(key);
    const before = this.#others.get(name);
    if (before === undefined) this.#count++;
    this.#others.set(name, { key: before?.key ?? key.slice(), place, bytes });
    this.#othersSorted = undefined;
    return before;
  }

  #deleteOther(key: Uint8Array): IndexEntry | undefined {
    const name = mapKey(key);
    const before = this.#others.get(name);
    if (before === undefined) return undefined;
    this.#others.delete(name);
    this.#othersSorted = undefined;
    this.#count--;
    return before;
  }
}

/** Records of a range, as they were when it was made. */
export class FrozenIndex {
  readonly #numbers: readonly { readonly tag: number; readonly chunks: readonly { readonly chunk: Chunk; readonly count: number }[] }[];
  readonly #others: readonly OtherEntry[];
  readonly #range: { readonly start: Uint8Array; readonly end?: Uint8Array | undefined; readonly reverse?: boolean | undefined };
  readonly #onRelease: () => void;
  #released = false;
  /** Cursors: into #numbers, its chunks, the slots of one; and into #others. */
  #tag: number;
  #chunk: number;
  #slot: number;
  #other: number;

  constructor(
    numbers: readonly { readonly tag: number; readonly chunks: readonly { readonly chunk: Chunk; readonly count: number }[] }[],
    others: readonly OtherEntry[],
    range: { readonly start: Uint8Array; readonly end?: Uint8Array | undefined; readonly reverse?: boolean | undefined },
    onRelease: () => void,
  ) {
    this.#numbers = numbers;
    this.#others = others;
    this.#range = range;
    this.#onRelease = onRelease;
    const isReverse = range.reverse === true;
    this.#other = isReverse ? others.length - 1 : 0;
    this.#tag = isReverse ? numbers.length - 1 : 0;
    const chunks = numbers[this.#tag]?.chunks ?? [];
    this.#chunk = isReverse ? chunks.length - 1 : 0;
    this.#slot = isReverse ? (chunks[this.#chunk]?.count ?? 0) - 1 : 0;
    this.#seek();
  }

  /** The next one; undefined at the end. */
  next(): { readonly key: Uint8Array; readonly place: number; readonly bytes: number } | undefined {
    const isReverse = this.#range.reverse === true;
    for (;;) {
      const number = this.#numberAt();
      const other = this.#others[this.#other];
      if (number === undefined && other === undefined) return undefined;
      const order = number === undefined ? 1 : other === undefined ? -1 : compareKeys(number.key, other.key) * (isReverse ? -1 : 1);
      const found = order < 0 ? number! : other!;
      if (order < 0) this.#step();
      else this.#other += isReverse ? -1 : 1;
      const { start, end } = this.#range;
      const isBelow = compareKeys(found.key, start) < 0;
      const isBeyond = end !== undefined && compareKeys(found.key, end) >= 0;
      if (isReverse ? isBelow : isBeyond) return undefined;
      if (!isBelow && !isBeyond) return found;
    }
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#onRelease();
  }

  #numberAt(): { readonly key: Uint8Array; readonly place: number; readonly bytes: number } | undefined {
    const keys = this.#numbers[this.#tag];
    const at = keys?.chunks[this.#chunk];
    if (keys === undefined || at === undefined) return undefined;
    const { chunk } = at;
    const slot = this.#slot;
    return { key: numberKey(keys.tag, chunk.high[slot]!, chunk.low[slot]!), place: chunk.place[slot]!, bytes: chunk.bytes[slot]! };
  }

  #step(): void {
    const isReverse = this.#range.reverse === true;
    this.#slot += isReverse ? -1 : 1;
    if (this.#slot >= 0 && this.#slot < this.#numbers[this.#tag]!.chunks[this.#chunk]!.count) return;
    this.#chunk += isReverse ? -1 : 1;
    if (this.#numbers[this.#tag]!.chunks[this.#chunk] === undefined) {
      this.#tag += isReverse ? -1 : 1;
      const chunks = this.#numbers[this.#tag]?.chunks ?? [];
      this.#chunk = isReverse ? chunks.length - 1 : 0;
    }
    this.#slot = isReverse ? (this.#numbers[this.#tag]?.chunks[this.#chunk]?.count ?? 0) - 1 : 0;
  }

  /** Passes over whole chunks that lie before the range. */
  #seek(): void {
    const isReverse = this.#range.reverse === true;
    const { start, end } = this.#range;
    for (;;) {
      const keys = this.#numbers[this.#tag];
      const at = keys?.chunks[this.#chunk];
      if (keys === undefined || at === undefined) return;
      assert(at.count > 0, "no chunk is empty");
      const edge = isReverse ? 0 : at.count - 1;
      const key = numberKey(keys.tag, at.chunk.high[edge]!, at.chunk.low[edge]!);
      const isBefore = isReverse ? end !== undefined && compareKeys(key, end) >= 0 : compareKeys(key, start) < 0;
      if (!isBefore) return;
      this.#slot = isReverse ? 0 : at.count - 1;
      this.#step();
    }
  }
}

/** One char for each byte. */
function mapKey(key: Uint8Array): string {
  return String.fromCharCode.apply(null, key as unknown as number[]);
}

/** Unsigned; a prefix sorts before what it begins. */
export function compareKeys(left: Uint8Array, right: Uint8Array): number {
  const shared = Math.min(left.length, right.length);
  for (let at = 0; at < shared; at++) {
    const difference = left[at]! - right[at]!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
