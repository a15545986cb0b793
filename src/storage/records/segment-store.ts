/**
 * The store that this package brings along: segments that are only ever appended to, an index in memory, pread. Synchronous, and one slice
 * of work a call: the disk thread does other things in between. Recovery is in segment-store-opening.ts.
 *
 * Space comes back from the front: when more than half of what is there is dead, the oldest segment's live records are written again at the
 * end, that is synced, and the segment goes. Since only ever the oldest goes, no copy of a record is older than what says that it was
 * deleted, and a deletion goes with its segment.
 *
 * Batches reach the disk as they come, but count only from sync() on. After any failed call but a write that found no space the store
 * is of no further use.
 */
import { assert, invalidArgument } from "../../errors.ts";
import type { FileHandle } from "../../host/file-system.ts";
import { GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, roundUpToSector, sealGroup } from "../log-format.ts";
import { SegmentReader, describe } from "../segment.ts";
import { corrupt } from "../storage-failure.ts";
import { PendingBatch } from "./pending-batch.ts";
import { OFFSET_SPAN, OTHER_KEYS_MAX, RecordIndex } from "./record-index.ts";
import type { FrozenIndex } from "./record-index.ts";
import type { RecordRange } from "./record-store.ts";
import {
  PART_BYTES_MAX,
  PART_LAST,
  PART_MOVED,
  PART_ROOM_BYTES,
  putChecksum,
  PUT_OVERHEAD_BYTES,
  readPut,
  readRecords,
  writePart,
} from "./store-format.ts";
import { createStoreSegment } from "./store-segment.ts";
import type { SegmentStoreOptions, StoreSegment } from "./store-segment.ts";

export const STORE_SEGMENT_BYTES: number = 32 * 1024 * 1024;
export const STORE_SEGMENT_BYTES_MIN = 4096;

/** What was written and not synced never grows beyond about this, so that a sync is short. */
const UNSYNCED_BYTES_MAX = 1024 * 1024;
/** Bytes that rewriting may read for each byte that was written: more than it needs to keep up. */
const REWRITE_PACE = 4;
/** Files of older segments that are open at once. */
const OPEN_FILES_MAX = 8;
const WINDOW_BYTES = 256 * 1024;
/** Of a page that turned out longer than was asked for. */
const PAGE_SPARE_BYTES = 16 * 1024;
const NOTHING = new Uint8Array(0);
const WINDOWS_MAX = 8;
/** A record that begins so close behind the one read before it is read with all that follows. */
const WINDOW_GAP_BYTES = 64 * 1024;

export class SegmentStore {
  readonly #options: SegmentStoreOptions;
  readonly #index: RecordIndex;
  readonly #segments: StoreSegment[];
  readonly #slots: (StoreSegment | undefined)[] = [];
  readonly #pending = new PendingBatch();
  #groupNumber: number;
  /** Of the last segment: all up to here is synced. */
  #durableBytes: number;
  /** Where the parts of the batch under way end in the last segment, behind usedBytes. */
  #batchBytes = 0;
  /** Something of a batch that was given up lies behind the end: what comes next begins a new segment. */
  #mustRoll = false;
  #rewriting: { readonly segment: StoreSegment; readonly reader: SegmentReader; offset: number } | undefined;
  /** Bytes that rewriting may read while other work waits. */
  #rewriteCredit = 0;
  #readings = 0;
  /** Something died, or a segment was added, since it was looked whether rewriting pays. */
  #mayBeWasteful = true;
  /** The disk is full: what is dead is not kept for the sake of having less to rewrite. */
  #isTight = false;
  /** `bytes` is the part of `buffer` that was read. */
  readonly #windows = new Map<StoreSegment, { from: number; buffer: Uint8Array; bytes: Uint8Array; lastEnd: number }>();

  /** What opening found or begin() made; the last segment is open for writing, and synced. */
  constructor(
    options: SegmentStoreOptions,
    found: { readonly index: RecordIndex; readonly segments: StoreSegment[]; readonly groupNumber: number },
  ) {
    this.#options = options;
    this.#index = found.index;
    this.#segments = found.segments;
    this.#groupNumber = found.groupNumber;
    this.#durableBytes = this.#current.usedBytes;
    for (const segment of found.segments) this.#slots[segment.slot] = segment;
  }

  /** Makes the directory, and an empty store in it. */
  static begin(options: SegmentStoreOptions): SegmentStore {
    options.fileSystem.makeDirectory(options.directory);
    const segment = createStoreSegment(options, { number: 1, slot: 0, groupNumber: 1, previousBytes: 0 });
    return new SegmentStore(options, { index: new RecordIndex(), segments: [segment], groupNumber: 1 });
  }

  get #current(): StoreSegment {
    return this.#segments[this.#segments.length - 1]!;
  }

  get records(): number {
    return this.#index.count;
  }

  /** Where the last whole batch ends. */
  get end(): { readonly path: string; readonly offset: number } {
    return { path: this.#current.path, offset: this.#current.usedBytes };
  }

  /** Of all files; and how much of that rewriting would free. */
  get bytes(): { readonly used: number; readonly free: number } {
    let used = 0;
    let live = 0;
    for (const segment of this.#segments) {
      used += segment.fileBytes;
      live += segment.liveBytes;
    }
    return { used, free: used - live };
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const entry = this.#index.get(key);
    if (entry === undefined) return undefined;
    const record = this.#read(entry.place, entry.bytes);
    return record.slice(PUT_OVERHEAD_BYTES + key.length);
  }

  /**
   * Writes one part of a batch, which holds once its last part is written. The part has room in front, which is written to, as are the
   * checksums of its puts. A key comes once in a batch.
   */
  write(part: Uint8Array, last: boolean): void {
    const pending = this.#pending;
    if (this.#batchBytes === 0) {
      if (this.#mustRoll || this.#current.usedBytes >= this.#options.segmentBytes) this.#roll();
      this.#batchBytes = this.#current.usedBytes;
    }
    const place = this.#current.slot * OFFSET_SPAN + this.#batchBytes;
    const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
    const problem = readRecords(part, {
      put: (keyAt, keyBytes, at, end) => {
        view.setUint32(at + RECORD_HEADER_BYTES, putChecksum(part, at, end), true);
        pending.put(part, keyAt, keyBytes, place + at, end - at);
      },
      delete: (keyAt, keyBytes) => pending.delete(part, keyAt, keyBytes),
    });
    if (problem === undefined && this.#index.others + pending.others > OTHER_KEYS_MAX) {
      this.abort();
      throw invalidArgument("batch", `more than ${OTHER_KEYS_MAX} keys that are no number keys`);
    }
    if (problem !== undefined) {
      this.abort();
      throw invalidArgument("part", problem);
    }
    const records = last ? this.#index.count + pending.growth(this.#index) : 0;
    try {
      this.#append(part, { flags: last ? PART_LAST : 0, records, offset: this.#batchBytes });
    } catch (error) {
      this.abort();
      throw error;
    }
    this.#batchBytes += roundUpToSector(part.byteLength);
    this.#rewriteCredit += part.byteLength * REWRITE_PACE;
    if (!last) {
      this.#syncIfLong(this.#batchBytes);
      return;
    }
    const current = this.#current;
    current.usedBytes = this.#batchBytes;
    this.#batchBytes = 0;
    pending.apply(this.#index, {
      onLive: (bytes) => {
        current.liveBytes += bytes;
        current.liveRecords++;
      },
      onDead: (entry) => this.#forget(entry.place, entry.bytes),
    });
    assert(this.#index.count === records, "a batch changes the number of records as it said");
    this.#syncIfLong(current.usedBytes);
  }

  get isInBatch(): boolean {
    return this.#batchBytes > 0;
  }

  /** Gives up the batch under way. */
  abort(): void {
    this.#pending.clear();
    this.#batchBytes = 0;
    // Parts of it may lie behind the end, and must never be taken for parts of another.
    this.#mustRoll = true;
  }

  /** All whole batches are on disk when it returns. */
  sync(): void {
    this.#syncTo(this.#current.usedBytes);
  }

  /** Reads a range as it is now, whatever is written before it is read to its end. Must be closed. */
  openReading(range: RecordRange): StoreReading {
    this.#readings++;
    return new StoreReading(this.#index.freeze(range), {
      read: (place, bytes) => this.#read(place, bytes),
      onClose: () => {
        this.#readings--;
      },
    });
  }

  /**
   * One slice of rewriting, if there is enough to gain. With `onlyUrgent` only as much as keeps up with what is written. Answers whether
   * there is more to do.
   */
  background(onlyUrgent: boolean): boolean {
    if (this.#batchBytes > 0 || this.#readings > 0 || (onlyUrgent && this.#rewriteCredit <= 0)) return false;
    if (this.#rewriting === undefined && !(this.#mayBeWasteful && this.#isWasteful())) {
      this.#mayBeWasteful = false;
      this.#isTight = false;
      return false;
    }
    this.#rewriteSlice();
    return true;
  }

  /** The disk is full: where more than half of what is there is dead, that goes, that in the segment in use too. Answers whether. */
  squeeze(): boolean {
    const { used, free } = this.bytes;
    if (this.#batchBytes > 0 || free * 2 <= used) return false;
    const { liveBytes, usedBytes } = this.#current;
    if (liveBytes * 2 < usedBytes) this.#roll();
    this.#isTight = true;
    this.#mayBeWasteful = true;
    return true;
  }

  /** Syncs what was written and says so in the file, so that the next opening has nothing to copy. */
  close(): void {
    const current = this.#current;
    try {
      if (this.#batchBytes > 0) this.abort();
      if (current.usedBytes > current.headBytes && !this.#mustRoll) {
        this.sync();
        const mark = new Uint8Array(PART_ROOM_BYTES);
        this.#append(mark, { flags: PART_LAST | PART_MOVED, records: this.#index.count, offset: current.usedBytes });
        current.usedBytes += roundUpToSector(mark.byteLength);
      } else this.sync();
    } finally {
      this.#closeFiles();
    }
  }

  #closeFiles(): void {
    this.#rewriting?.reader.close();
    this.#rewriting = undefined;
    for (const segment of this.#segments) {
      segment.file?.close();
      segment.file = undefined;
    }
  }

  /** Closes the files and writes nothing. */
  leave(): void {
    this.#closeFiles();
  }

  #append(part: Uint8Array, about: { readonly flags: number; readonly records: number; readonly offset: number }): void {
    const current = this.#current;
    const { flags, records, offset } = about;
    writePart(part, { durableBytes: this.#durableBytes, flags, records });
    const number = this.#groupNumber + 1;
    sealGroup({ place: { segment: current.number, nonce: current.nonce, offset }, kind: "data", number }, [part]);
    // Numbers are never used again, not even after a failure.
    this.#groupNumber = number;
    current.file!.write(part, offset);
    current.fileBytes = Math.max(current.fileBytes, offset + roundUpToSector(part.byteLength));
  }

  #syncIfLong(bytes: number): void {
    if (bytes - this.#durableBytes >= UNSYNCED_BYTES_MAX) this.#syncTo(bytes);
  }

  #syncTo(bytes: number): void {
    if (bytes <= this.#durableBytes) return;
    this.#current.file!.dataSync();
    this.#durableBytes = bytes;
  }

  #roll(): void {
    const before = this.#current;
    this.#syncTo(before.usedBytes);
    let slot = this.#slots.indexOf(undefined);
    if (slot < 0) slot = this.#slots.length;
    const groupNumber = this.#groupNumber + 1;
    const made = { number: before.number + 1, slot, groupNumber, previousBytes: before.usedBytes };
    const segment = createStoreSegment(this.#options, made);
    this.#groupNumber = groupNumber;
    this.#slots[slot] = segment;
    this.#segments.push(segment);
    this.#durableBytes = segment.usedBytes;
    this.#mustRoll = false;
    this.#mayBeWasteful = true;
    before.file?.close();
    before.file = undefined;
  }

  #forget(place: number, bytes: number): void {
    const segment = this.#slots[Math.floor(place / OFFSET_SPAN)]!;
    segment.liveBytes -= bytes;
    segment.liveRecords--;
    this.#mayBeWasteful = true;
  }

  /** More than half of what rewriting can reach is dead; or there are far more segments than the data need. */
  #isWasteful(): boolean {
    const { segmentBytes } = this.#options;
    let used = 0;
    let live = 0;
    for (let at = 0; at + 1 < this.#segments.length; at++) {
      used += this.#segments[at]!.usedBytes;
      live += this.#segments[at]!.liveBytes;
    }
    if (used - live > live + (this.#isTight ? 0 : segmentBytes)) return true;
    return this.#segments.length > 16 + 3 * Math.ceil(live / segmentBytes);
  }

  #rewriteSlice(): void {
    if (this.#rewriting === undefined) {
      const segment = this.#segments[0]!;
      assert(segment !== this.#current, "the segment that is written to is not rewritten");
      const reader = new SegmentReader(this.#options.fileSystem, segment.path, segment.number);
      reader.nonce = segment.nonce;
      this.#rewriting = { segment, reader, offset: segment.headBytes };
    }
    const rewriting = this.#rewriting;
    const { segment, reader } = rewriting;
    const moved: { readonly records: Uint8Array; readonly from: number }[] = [];
    let bytes = 0;
    let readBytes = 0;
    while (segment.liveRecords > 0 && rewriting.offset < segment.usedBytes && readBytes < PART_BYTES_MAX) {
      const offset = rewriting.offset;
      const group = reader.group(offset);
      if (group === undefined) {
        const found = describe(reader.view(offset, GROUP_HEADER_BYTES));
        throw corrupt({ path: segment.path, offset, expected: "the group written here", found });
      }
      const place = segment.slot * OFFSET_SPAN + offset;
      readRecords(group.bytes, {
        put: (keyAt, keyBytes, at, end) => {
          if (this.#index.placeOf(group.bytes, keyAt, keyBytes) !== place + at) return;
          moved.push({ records: group.bytes.slice(at, end), from: place + at });
          bytes += end - at;
        },
        delete: () => {},
      });
      readBytes += group.bytes.byteLength;
      rewriting.offset = offset + roundUpToSector(group.bytes.byteLength);
    }
    this.#rewriteCredit = Math.max(-PART_BYTES_MAX, this.#rewriteCredit - readBytes);
    if (moved.length > 0) this.#writeMoved(moved, bytes);
    if (segment.liveRecords === 0 || rewriting.offset >= segment.usedBytes) this.#removeOldest();
  }

  #writeMoved(moved: readonly { readonly records: Uint8Array }[], bytes: number): void {
    const part = new Uint8Array(PART_ROOM_BYTES + bytes);
    let at = PART_ROOM_BYTES;
    for (const { records } of moved) {
      part.set(records, at);
      at += records.byteLength;
    }
    try {
      if (this.#mustRoll || this.#current.usedBytes >= this.#options.segmentBytes) this.#roll();
      this.#append(part, { flags: PART_LAST | PART_MOVED, records: this.#index.count, offset: this.#current.usedBytes });
    } catch (error) {
      this.#mustRoll = true;
      // Begun again from the front: what was moved already is not moved twice.
      this.#rewriting?.reader.close();
      this.#rewriting = undefined;
      throw error;
    }
    const current = this.#current;
    const place = current.slot * OFFSET_SPAN + current.usedBytes;
    current.usedBytes += roundUpToSector(part.byteLength);
    readRecords(part, {
      put: (keyAt, keyBytes, from, end) => {
        const before = this.#index.put(part, keyAt, keyBytes, place + from, end - from)!;
        this.#forget(before.place, before.bytes);
        current.liveBytes += end - from;
        current.liveRecords++;
      },
      delete: () => {},
    });
    this.#syncIfLong(current.usedBytes);
  }

  /** Its records lie elsewhere, or are dead. */
  #removeOldest(): void {
    const { segment, reader } = this.#rewriting!;
    assert(segment.liveRecords === 0 && segment === this.#segments[0], "a segment goes once nothing in it is live, and the oldest first");
    this.sync();
    reader.close();
    this.#rewriting = undefined;
    segment.file?.close();
    this.#windows.delete(segment);
    const { fileSystem, directory } = this.#options;
    fileSystem.remove(segment.path);
    // One at a time: a crash leaves no hole between those that remain.
    fileSystem.syncDirectory(directory);
    this.#segments.shift();
    this.#mayBeWasteful = true;
    this.#slots[segment.slot] = undefined;
  }

  /** The record at a place of the index, verified: a view until the next call. */
  #read(place: number, bytes: number): Uint8Array {
    const slot = Math.floor(place / OFFSET_SPAN);
    const offset = place % OFFSET_SPAN;
    const segment = this.#slots[slot]!;
    const record = this.#bytesAt(segment, offset, bytes);
    if (record.byteLength < bytes || readPut(record) === undefined) {
      const found = record.byteLength < bytes ? "the end of the file" : "a bad checksum";
      throw corrupt({ path: segment.path, offset, expected: `a record of ${bytes} bytes`, found });
    }
    return record;
  }

  /** Through a window where records are read one behind the other. */
  #bytesAt(segment: StoreSegment, offset: number, bytes: number): Uint8Array {
    let window = this.#windows.get(segment);
    if (window === undefined) {
      window = { from: 0, buffer: NOTHING, bytes: NOTHING, lastEnd: -1 };
      if (this.#windows.size >= WINDOWS_MAX) this.#windows.delete(this.#windows.keys().next().value!);
    } else this.#windows.delete(segment);
    this.#windows.set(segment, window);
    const isInside = offset >= window.from && offset + bytes <= window.from + window.bytes.byteLength;
    // What is written to is read anew each time: a window does not see what is added behind it.
    const isNear = offset >= window.lastEnd && offset - window.lastEnd < WINDOW_GAP_BYTES && window.lastEnd >= 0;
    window.lastEnd = offset + bytes;
    if (isInside) return window.bytes.subarray(offset - window.from, offset - window.from + bytes);
    const file = this.#fileOf(segment);
    if (!isNear || bytes > WINDOW_BYTES) {
      const read = new Uint8Array(bytes);
      return read.subarray(0, file.read(read, offset));
    }
    if (window.buffer.byteLength === 0) window.buffer = new Uint8Array(WINDOW_BYTES);
    const read = window.buffer.subarray(0, Math.min(WINDOW_BYTES, Math.max(bytes, segment.usedBytes - offset)));
    window.from = offset;
    window.bytes = read.subarray(0, file.read(read, offset));
    return window.bytes.subarray(0, bytes);
  }

  #fileOf(segment: StoreSegment): FileHandle {
    if (segment.file !== undefined) return segment.file;
    let open = 0;
    for (const other of this.#segments) if (other.file !== undefined) open++;
    for (const other of this.#segments) {
      if (open < OPEN_FILES_MAX) break;
      if (other.file === undefined || other === this.#current) continue;
      other.file.close();
      other.file = undefined;
      open--;
    }
    segment.file = this.#options.fileSystem.open(segment.path, "read");
    return segment.file;
  }
}

/** A range being read, page by page. */
export class StoreReading {
  readonly #frozen: FrozenIndex;
  readonly #from: { read(place: number, bytes: number): Uint8Array; onClose(): void };
  #closed = false;

  constructor(frozen: FrozenIndex, from: { read(place: number, bytes: number): Uint8Array; onClose(): void }) {
    this.#frozen = frozen;
    this.#from = from;
  }

  /**
   * The next records, as a part with room in front: about `bytesMax`, one record at least. undefined at the end, which closes it. The page is
   * the beginning of a buffer of its own: that of `into`, where it is long enough.
   */
  read(bytesMax: number, into?: Uint8Array): Uint8Array | undefined {
    if (this.#closed) return undefined;
    const limit = PART_ROOM_BYTES + bytesMax;
    let page = into === undefined ? new Uint8Array(limit) : new Uint8Array(into.buffer);
    if (page.byteLength < limit) page = new Uint8Array(limit);
    let used = PART_ROOM_BYTES;
    while (used < limit) {
      const next = this.#frozen.next();
      if (next === undefined) {
        this.close();
        break;
      }
      const record = this.#from.read(next.place, next.bytes);
      if (used + record.byteLength > page.byteLength) {
        // With room to spare, so that the next page, too, finds some for its last record.
        const grown = new Uint8Array(used + record.byteLength + PAGE_SPARE_BYTES);
        grown.set(page.subarray(0, used));
        page = grown;
      }
      page.set(record, used);
      used += record.byteLength;
    }
    return used === PART_ROOM_BYTES ? undefined : page.subarray(0, used);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#frozen.release();
    this.#from.onClose();
  }
}
