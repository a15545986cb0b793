/**
 * Responses that carry keys and values, written straight from the packed form in which the node answers (core/kv/packed-kv.ts) into the bytes of
 * their message: sizes first, then one buffer, no object for a key. Fields with defaults are left out, as proto3 has it.
 */
import { KV_HEADER_BYTES, type UnpackedKv } from "../core/kv/packed-kv.ts";
import { varintBytes, wordsBytes, writeVarint, writeWords } from "./proto-writer.ts";

const EMPTY = new Uint8Array(0);

/** A header, as field 1 of a response. */
export interface Heads {
  /** Bytes of a header that says this revision (0: none), with its tag and length. */
  size(revision: number): number;
  /** Writes it; answers where it ends. */
  write(buffer: Uint8Array, start: number, revision: number): number;
}

/** The header of an answer within a transaction: a revision, and nothing else. */
export const INNER_HEADS: Heads = {
  size: (revision) => 3 + varintBytes(revision),
  write: (buffer, start, revision) => {
    buffer[start] = 0x0a;
    buffer[start + 1] = 1 + varintBytes(revision);
    buffer[start + 2] = 0x18;
    return writeVarint(buffer, start + 3, revision);
  },
};

/** Who answers, as every response says it in its header: written once, with what changes behind it. */
export class ResponseHeads implements Heads {
  /** Fields 1 and 2. */
  private readonly ids: Uint8Array;
  private readonly term: () => number;

  /** Ids are 16 hex digits. `term`: the present one. */
  constructor(clusterId: string, memberId: string, term: () => number) {
    const ids = Buffer.alloc(32);
    let at = writeId(ids, 0, 0x08, clusterId);
    at = writeId(ids, at, 0x10, memberId);
    this.ids = ids.subarray(0, at);
    this.term = term;
  }

  size(revision: number): number {
    return 2 + this.bodyBytes(revision, this.term());
  }

  write(buffer: Uint8Array, start: number, revision: number): number {
    const term = this.term();
    let at = start;
    buffer[at++] = 0x0a;
    buffer[at++] = this.bodyBytes(revision, term);
    const { ids } = this;
    for (let i = 0; i < ids.length; i++) buffer[at++] = ids[i]!;
    if (revision !== 0) {
      buffer[at++] = 0x18;
      at = writeVarint(buffer, at, revision);
    }
    if (term !== 0) {
      buffer[at++] = 0x20;
      at = writeVarint(buffer, at, term);
    }
    return at;
  }

  // Below 128 at most: two ids, two varints.
  private bodyBytes(revision: number, term: number): number {
    return this.ids.length + (revision === 0 ? 0 : 1 + varintBytes(revision)) + (term === 0 ? 0 : 1 + varintBytes(term));
  }
}

function writeId(buffer: Uint8Array, start: number, tag: number, id: string): number {
  buffer[start] = tag;
  return writeWords(buffer, start + 1, Number.parseInt(id.slice(0, -8), 16), Number.parseInt(id.slice(-8), 16));
}

/** Bytes of a mvccpb.KeyValue, without tag and length. */
export function kvBytes(kv: UnpackedKv, withValue: boolean): number {
  return sizeOf(kv.key.length, withValue ? kv.value.length : 0, kv.createRevision, kv.modRevision, kv.version, leaseBytes(kv.lease));
}

/** Writes a mvccpb.KeyValue of `bytes` bytes with its tag; answers where it ends. */
export function writeKv(buffer: Uint8Array, start: number, tag: number, kv: UnpackedKv, bytes: number, withValue: boolean): number {
  let at = start;
  buffer[at++] = tag;
  at = writeVarint(buffer, at, bytes);
  const { lease } = kv;
  const high = lease === undefined ? 0 : Number.parseInt(lease.slice(0, 8), 16);
  const low = lease === undefined ? 0 : Number.parseInt(lease.slice(8), 16);
  return writeFields(buffer, at, kv.key, kv.createRevision, kv.modRevision, kv.version, withValue ? kv.value : EMPTY, high, low);
}

function leaseBytes(lease: string | undefined): number {
  return lease === undefined ? 0 : 1 + wordsBytes(Number.parseInt(lease.slice(0, 8), 16), Number.parseInt(lease.slice(8), 16));
}

function sizeOf(key: number, value: number, createRevision: number, modRevision: number, version: number, lease: number): number {
  let bytes = lease;
  if (key > 0) bytes += 1 + varintBytes(key) + key;
  if (createRevision > 0) bytes += 1 + varintBytes(createRevision);
  if (modRevision > 0) bytes += 1 + varintBytes(modRevision);
  if (version > 0) bytes += 1 + varintBytes(version);
  if (value > 0) bytes += 1 + varintBytes(value) + value;
  return bytes;
}

function writeFields(
  buffer: Uint8Array,
  start: number,
  key: Uint8Array,
  createRevision: number,
  modRevision: number,
  version: number,
  value: Uint8Array,
  leaseHigh: number,
  leaseLow: number,
): number {
  let at = writeBytes(buffer, start, 0x0a, key);
  if (createRevision > 0) {
    buffer[at] = 0x10;
    at = writeVarint(buffer, at + 1, createRevision);
  }
  if (modRevision > 0) {
    buffer[at] = 0x18;
    at = writeVarint(buffer, at + 1, modRevision);
  }
  if (version > 0) {
    buffer[at] = 0x20;
    at = writeVarint(buffer, at + 1, version);
  }
  at = writeBytes(buffer, at, 0x2a, value);
  if (leaseHigh !== 0 || leaseLow !== 0) {
    buffer[at] = 0x30;
    at = writeWords(buffer, at + 1, leaseHigh, leaseLow);
  }
  return at;
}

/** A bytes field; nothing if it is empty. */
function writeBytes(buffer: Uint8Array, start: number, tag: number, bytes: Uint8Array): number {
  if (bytes.length === 0) return start;
  buffer[start] = tag;
  const at = writeVarint(buffer, start + 1, bytes.length);
  buffer.set(bytes, at);
  return at + bytes.length;
}

/** A PutResponse; `before` is its prev_kv. */
export function encodePutResponse(heads: Heads, revision: number, before: UnpackedKv | undefined): Uint8Array {
  const kv = before === undefined ? 0 : kvBytes(before, true);
  const size = heads.size(revision) + (before === undefined ? 0 : 1 + varintBytes(kv) + kv);
  const buffer = Buffer.allocUnsafe(size);
  const at = heads.write(buffer, 0, revision);
  if (before !== undefined) writeKv(buffer, at, 0x12, before, kv, true);
  return buffer;
}

/** A RangeResponse for one key. */
export function encodePointResponse(
  heads: ResponseHeads,
  revision: number,
  kv: UnpackedKv | undefined,
  shape: { readonly keys_only: boolean; readonly count_only: boolean },
): Uint8Array {
  if (kv === undefined) {
    const buffer = Buffer.allocUnsafe(heads.size(revision));
    heads.write(buffer, 0, revision);
    return buffer;
  }
  const withValue = !shape.keys_only;
  const bytes = shape.count_only ? 0 : kvBytes(kv, withValue);
  const buffer = Buffer.allocUnsafe(heads.size(revision) + (shape.count_only ? 0 : 1 + varintBytes(bytes) + bytes) + 2);
  let at = heads.write(buffer, 0, revision);
  if (!shape.count_only) at = writeKv(buffer, at, 0x12, kv, bytes, withValue);
  buffer[at] = 0x20;
  buffer[at + 1] = 1;
  return buffer;
}

/** A range as the node answered it: kvs packed, one behind another. */
export interface PackedRange {
  readonly kvs: Uint8Array;
  readonly returned: number;
  readonly count: number;
  readonly more: boolean;
  readonly revision: number;
}

/** A RangeResponse. `heads` undefined: without a header. */
export function encodeRangeResponse(heads: Heads | undefined, range: PackedRange): Uint8Array {
  const { count, more, revision } = range;
  const size =
    (heads?.size(revision) ?? 0) + packedBytes(range.kvs, range.returned) + (more ? 2 : 0) + (count > 0 ? 1 + varintBytes(count) : 0);
  const buffer = Buffer.allocUnsafe(size);
  let at = heads?.write(buffer, 0, revision) ?? 0;
  at = writePacked(buffer, at, 0x12, range.kvs, range.returned);
  if (more) {
    buffer[at++] = 0x18;
    buffer[at++] = 1;
  }
  if (count > 0) {
    buffer[at] = 0x20;
    writeVarint(buffer, at + 1, count);
  }
  return buffer;
}

/** A DeleteRangeResponse; `before` are its prev_kvs. */
export function encodeDeleteResponse(heads: Heads, revision: number, deleted: number, before: readonly UnpackedKv[]): Uint8Array {
  let size = heads.size(revision) + (deleted > 0 ? 1 + varintBytes(deleted) : 0);
  for (const kv of before) {
    const bytes = kvBytes(kv, true);
    size += 1 + varintBytes(bytes) + bytes;
  }
  const buffer = Buffer.allocUnsafe(size);
  let at = heads.write(buffer, 0, revision);
  if (deleted > 0) {
    buffer[at] = 0x10;
    at = writeVarint(buffer, at + 1, deleted);
  }
  for (const kv of before) at = writeKv(buffer, at, 0x1a, kv, kvBytes(kv, true), true);
  return buffer;
}

/** A bytes or message field, whatever its length, to be joined with others. */
export function encodeField(tag: number, parts: readonly Uint8Array[]): Uint8Array {
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  const field = Buffer.allocUnsafe(1 + varintBytes(bytes) + bytes);
  field[0] = tag;
  let at = writeVarint(field, 1, bytes);
  for (const part of parts) {
    field.set(part, at);
    at += part.length;
  }
  return field;
}

/** A TxnResponse; `responses` are its fields of that name, encoded. `heads` undefined: with an empty header, as of a nested one. */
export function encodeTxnResponse(
  heads: Heads | undefined,
  revision: number,
  succeeded: boolean,
  responses: readonly Uint8Array[],
): Uint8Array {
  let bytes = 0;
  for (const response of responses) bytes += response.length;
  const buffer = Buffer.allocUnsafe((heads?.size(revision) ?? 2) + (succeeded ? 2 : 0) + bytes);
  let at: number;
  if (heads === undefined) {
    buffer[0] = 0x0a;
    buffer[1] = 0;
    at = 2;
  } else {
    at = heads.write(buffer, 0, revision);
  }
  if (succeeded) {
    buffer[at++] = 0x10;
    buffer[at++] = 1;
  }
  for (const response of responses) {
    buffer.set(response, at);
    at += response.length;
  }
  return buffer;
}

/** Bytes of so many packed kvs as repeated fields with a tag of one byte. */
export function packedBytes(kvs: Uint8Array, count: number): number {
  const view = new DataView(kvs.buffer, kvs.byteOffset, kvs.byteLength);
  let size = 0;
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const bytes = packedKvBytes(view, offset);
    size += 1 + varintBytes(bytes) + bytes;
    offset = packedEnd(view, offset);
  }
  return size;
}

/** Writes them; answers where they end. */
export function writePacked(buffer: Uint8Array, start: number, tag: number, kvs: Uint8Array, count: number): number {
  const view = new DataView(kvs.buffer, kvs.byteOffset, kvs.byteLength);
  let at = start;
  let offset = 0;
  for (let i = 0; i < count; i++) {
    at = writePackedKv(buffer, at, tag, kvs, view, offset);
    offset = packedEnd(view, offset);
  }
  return at;
}

/** Where the packed kv at `offset` ends. */
export function packedEnd(view: DataView, offset: number): number {
  return offset + KV_HEADER_BYTES + view.getUint32(offset + 32, true) + view.getUint32(offset + 36, true);
}

/** Bytes of the mvccpb.KeyValue that the packed kv at `offset` becomes. */
export function packedKvBytes(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 24, true);
  const low = view.getUint32(offset + 28, true);
  return sizeOf(
    view.getUint32(offset + 32, true),
    view.getUint32(offset + 36, true),
    view.getFloat64(offset, true),
    view.getFloat64(offset + 8, true),
    view.getFloat64(offset + 16, true),
    high === 0 && low === 0 ? 0 : 1 + wordsBytes(high, low),
  );
}

/** Writes the packed kv at `offset` as a field of that tag; answers where it ends. */
export function writePackedKv(buffer: Uint8Array, start: number, tag: number, kvs: Uint8Array, view: DataView, offset: number): number {
  buffer[start] = tag;
  const at = writeVarint(buffer, start + 1, packedKvBytes(view, offset));
  const keyAt = offset + KV_HEADER_BYTES;
  const valueAt = keyAt + view.getUint32(offset + 32, true);
  return writeFields(
    buffer,
    at,
    kvs.subarray(keyAt, valueAt),
    view.getFloat64(offset, true),
    view.getFloat64(offset + 8, true),
    view.getFloat64(offset + 16, true),
    kvs.subarray(valueAt, valueAt + view.getUint32(offset + 36, true)),
    view.getUint32(offset + 24, true),
    view.getUint32(offset + 28, true),
  );
}
