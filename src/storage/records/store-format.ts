/**
 * The bytes of a store's segments: groups in the log's envelope (log-format.ts), each one part of a batch. A batch lies in one segment,
 * part behind part; with its last one it holds, without it it never was. Described byte by byte in docs/formats.md.
 *
 *   head     JSON: { store: 1, segment, previousBytes }: how far the segment before this one counts
 *   part     the first record of every other group: f64 durableBytes | u32 flags | u32 zero | f64 records
 *   put      u32 CRC-32 of what follows | u8 bytes of the key | key | value
 *   delete   u8 bytes of the key | key
 */
import { crc32 } from "node:zlib";
import { GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, writeRecordHeader } from "../log-format.ts";
import type { RecordBatch } from "./record-store.ts";

/** Kinds of records, told from the log's. */
export const RECORD_STORE_HEAD = 32;
export const RECORD_PART = 33;
export const RECORD_PUT = 34;
export const RECORD_DELETE = 35;

/** The part that ends its batch. */
export const PART_LAST = 1;
/** Records that were moved here from an older segment: nothing changes. */
export const PART_MOVED = 2;

const PART_BYTES = 24;
/** Room in front of a part's records, for the header of the group and the record that says what it is a part of. */
export const PART_ROOM_BYTES: number = GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + PART_BYTES;
/** Of what a part's records take, unless one record alone takes more. */
export const PART_BYTES_MAX: number = 256 * 1024;
const PART_MEMORY_BYTES_MAX: number = PART_BYTES_MAX * 2;
/** What a put takes beside key and value. */
export const PUT_OVERHEAD_BYTES: number = RECORD_HEADER_BYTES + 5;

/** What is known of a part. */
export interface Part {
  /** All of the segment up to here was synced when this was written. */
  readonly durableBytes: number;
  readonly flags: number;
  /** How many the store holds once the batch holds; 0 in all parts but the last. */
  readonly records: number;
}

/** Fills in the record between the header of a group and its other records. */
export function writePart(group: Uint8Array, part: Part): void {
  const view = new DataView(group.buffer, group.byteOffset, PART_ROOM_BYTES);
  const at = writeRecordHeader(view, GROUP_HEADER_BYTES, { kind: RECORD_PART, bytes: PART_BYTES });
  view.setFloat64(at, part.durableBytes, true);
  view.setUint32(at + 8, part.flags, true);
  view.setUint32(at + 12, 0, true);
  view.setFloat64(at + 16, part.records, true);
}

/** undefined where the group is no part of a batch. */
export function readPart(group: Uint8Array): Part | undefined {
  if (group.byteLength < PART_ROOM_BYTES) return undefined;
  const view = new DataView(group.buffer, group.byteOffset, PART_ROOM_BYTES);
  if (view.getUint32(GROUP_HEADER_BYTES, true) !== PART_BYTES || view.getUint32(GROUP_HEADER_BYTES + 4, true) !== RECORD_PART)
    return undefined;
  const at = GROUP_HEADER_BYTES + RECORD_HEADER_BYTES;
  const durableBytes = view.getFloat64(at, true);
  const records = view.getFloat64(at + 16, true);
  if (!Number.isSafeInteger(durableBytes) || !Number.isSafeInteger(records) || records < 0) return undefined;
  return { durableBytes, flags: view.getUint32(at + 8, true), records };
}

/** Told of the records of a part, in their order, by offsets of the part's bytes: a view for each record costs more than the rest. */
export interface PartReader {
  /** `at` to `end`: the record, its header included. The value lies between the key and the end. */
  put(keyAt: number, keyBytes: number, at: number, end: number): void;
  delete(keyAt: number, keyBytes: number): void;
}

/** Reads the records behind a part's room. A text says what is wrong with them. */
export function readRecords(bytes: Uint8Array, reader: PartReader): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = PART_ROOM_BYTES; at < bytes.byteLength;) {
    if (bytes.byteLength - at < RECORD_HEADER_BYTES) return "a record cut short";
    const body = at + RECORD_HEADER_BYTES;
    const end = body + view.getUint32(at, true);
    const kind = view.getUint32(at + 4, true);
    if (end > bytes.byteLength) return "a record cut short";
    if (kind !== RECORD_PUT && kind !== RECORD_DELETE) return `a record of kind ${kind}`;
    const keyAt = kind === RECORD_PUT ? body + 5 : body + 1;
    const keyBytes = keyAt <= end ? bytes[keyAt - 1]! : 0;
    if (keyBytes === 0 || keyAt + keyBytes > end || (kind === RECORD_DELETE && keyAt + keyBytes !== end)) return "a record without its key";
    if (kind === RECORD_PUT) reader.put(keyAt, keyBytes, at, end);
    else reader.delete(keyAt, keyBytes);
    at = end;
  }
  return undefined;
}

/** The checksum that each put carries of itself, so that it can be read and verified alone. `at` to `end`: the record, its header included. */
export function putChecksum(bytes: Uint8Array, at: number, end: number): number {
  return crc32(bytes.subarray(at + RECORD_HEADER_BYTES + 4, end));
}

/** Key and value of a put as it lies in a segment; undefined where the bytes are not what was written. */
export function readPut(record: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined {
  if (record.byteLength < PUT_OVERHEAD_BYTES) return undefined;
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  if (view.getUint32(0, true) !== record.byteLength - RECORD_HEADER_BYTES || view.getUint32(4, true) !== RECORD_PUT) return undefined;
  if (view.getUint32(RECORD_HEADER_BYTES, true) !== putChecksum(record, 0, record.byteLength)) return undefined;
  const valueAt = PUT_OVERHEAD_BYTES + record[PUT_OVERHEAD_BYTES - 1]!;
  return { key: record.subarray(PUT_OVERHEAD_BYTES, valueAt), value: record.subarray(valueAt) };
}

/**
 * Packs puts and deletions into parts of a batch, with the room that a store needs in front. The checksums of puts are left open: the
 * store fills them in, in its own thread, which is why the parts lie in shared memory: one after the other in the same, since buffers that
 * come and go by the megabyte keep the collector busy.
 */
export class PartWriter {
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(this.#bytes.buffer);
  #used = PART_ROOM_BYTES;

  /** Of the part so far, the room in front included. */
  get usedBytes(): number {
    return this.#used;
  }

  get isEmpty(): boolean {
    return this.#used === PART_ROOM_BYTES;
  }

  /** Whether the part should be handed over before more is added. */
  get isFull(): boolean {
    return this.#used >= PART_BYTES_MAX;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    const at = this.beginPut(key.length, value.length);
    this.#bytes.set(key, at);
    this.#bytes.set(value, at + key.length);
  }

  /** Writes all of a put but its key and value; answers where the key begins in bytes(), and the value behind it. */
  beginPut(keyBytes: number, valueBytes: number): number {
    const body = this.#begin(RECORD_PUT, 5 + keyBytes + valueBytes);
    this.#view.setUint32(body, 0, true);
    this.#view.setUint8(body + 4, keyBytes);
    return body + 5;
  }

  delete(key: Uint8Array): void {
    const at = this.beginDelete(key.length);
    this.#bytes.set(key, at);
  }

  /** As beginPut(). */
  beginDelete(keyBytes: number): number {
    const body = this.#begin(RECORD_DELETE, 1 + keyBytes);
    this.#view.setUint8(body, keyBytes);
    return body + 1;
  }

  /** The buffer as it is now: good until the next record is begun. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get view(): DataView {
    return this.#view;
  }

  /** The part, a view, which is the caller's until the next record is begun: that one begins the next part, in the same memory. */
  take(): Uint8Array {
    if (this.#bytes.length === 0) this.#grow(PART_ROOM_BYTES);
    const taken = this.#bytes.subarray(0, this.#used);
    this.#used = PART_ROOM_BYTES;
    // One record may be as long as a value may be: its memory is not kept.
    if (this.#bytes.length > PART_MEMORY_BYTES_MAX) this.#bytes = new Uint8Array(0);
    return taken;
  }

  #begin(kind: number, bytes: number): number {
    const end = this.#used + RECORD_HEADER_BYTES + bytes;
    if (end > this.#bytes.length) this.#grow(Math.max(end, Math.min(this.#bytes.length * 2, PART_MEMORY_BYTES_MAX), 4096));
    const body = writeRecordHeader(this.#view, this.#used, { kind, bytes });
    this.#used = end;
    return body;
  }

  #grow(bytes: number): void {
    const grown = new Uint8Array(new SharedArrayBuffer(bytes));
    grown.set(this.#bytes.subarray(0, Math.min(this.#used, this.#bytes.length)));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** The parts of a batch, the last one last; at least one. Each is good until the next is asked for. */
export function* packBatch(batch: RecordBatch): Generator<{ readonly part: Uint8Array; readonly last: boolean }> {
  const writer = new PartWriter();
  for (const [key, value] of batch.puts) {
    if (writer.isFull) yield { part: writer.take(), last: false };
    writer.put(key, value);
  }
  for (const key of batch.deletes) {
    if (writer.isFull) yield { part: writer.take(), last: false };
    writer.delete(key);
  }
  yield { part: writer.take(), last: true };
}

/** What packBatch() packed. */
export class BatchReader implements PartReader {
  readonly puts: [Uint8Array, Uint8Array][] = [];
  readonly deletes: Uint8Array[] = [];
  #part: Uint8Array = new Uint8Array(0);

  /** Copies the records of a part. A text says what is wrong with them. */
  add(part: Uint8Array): string | undefined {
    this.#part = part;
    return readRecords(part, this);
  }

  put(keyAt: number, keyBytes: number, _at: number, end: number): void {
    this.puts.push([this.#part.slice(keyAt, keyAt + keyBytes), this.#part.slice(keyAt + keyBytes, end)]);
  }

  delete(keyAt: number, keyBytes: number): void {
    this.deletes.push(this.#part.slice(keyAt, keyAt + keyBytes));
  }
}
