/**
 * A key with its value, packed: the one form in which results, ranges, reads, watch events and snapshots carry them.
 *
 *   f64 createRevision | f64 modRevision | f64 version | u32 lease, high word | u32 lease, low word | u32 keyBytes | u32 valueBytes | key | value
 *
 * A deletion is one whose createRevision and version are 0 and whose modRevision says when.
 */
import { copyBytes } from "./bytes.ts";
import type { ByteWriter } from "./bytes.ts";
import { canonicalLease, leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";
import type { RecordRef, Table } from "./table.ts";

export const KV_HEADER_BYTES = 40;

/** `key` and `value` are views of the packed bytes. */
export interface UnpackedKv {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  /** Where the next thing begins. */
  readonly next: number;
}

const NOTHING = new Uint8Array(0);

/** Packs the record; `keysOnly` leaves the value empty. */
export function writeKv(writer: ByteWriter, table: Table, ref: RecordRef, keysOnly: boolean): void {
  const key = table.key(ref);
  const value = keysOnly ? NOTHING : table.value(ref);
  const lease = table.lease(ref);
  const padded = lease === undefined ? undefined : canonicalLease(lease);
  const at = writer.length;
  writer.reserve(KV_HEADER_BYTES + key.length + value.length);
  writer.length = at + KV_HEADER_BYTES;
  writer.setF64(at, table.createRevision(ref));
  writer.setF64(at + 8, table.revision(ref));
  writer.setF64(at + 16, table.version(ref));
  writer.setU32(at + 24, padded === undefined ? 0 : leaseHigh(padded));
  writer.setU32(at + 28, padded === undefined ? 0 : leaseLow(padded));
  writer.setU32(at + 32, key.length);
  writer.setU32(at + 36, value.length);
  writer.raw(key);
  writer.raw(value);
}

/** The same into bytes that have room for it at `at`, `view` being over the same. */
export function packKv(bytes: Uint8Array, view: DataView, at: number, table: Table, ref: RecordRef): void {
  const lease = table.lease(ref);
  const padded = lease === undefined ? undefined : canonicalLease(lease);
  view.setFloat64(at, table.createRevision(ref), true);
  view.setFloat64(at + 8, table.revision(ref), true);
  view.setFloat64(at + 16, table.version(ref), true);
  view.setUint32(at + 24, padded === undefined ? 0 : leaseHigh(padded), true);
  view.setUint32(at + 28, padded === undefined ? 0 : leaseLow(padded), true);
  view.setUint32(at + 32, table.keyBytes(ref), true);
  view.setUint32(at + 36, table.valueBytes(ref), true);
  const valueAt = at + KV_HEADER_BYTES + table.keyBytes(ref);
  copyBytes(table.key(ref), bytes, at + KV_HEADER_BYTES);
  copyBytes(table.value(ref), bytes, valueAt);
}

/** How many bytes the kv at `offset` takes; 0 while the bytes do not hold its header. The answer may lie beyond the bytes. */
export function packedKvBytes(bytes: Uint8Array, offset: number): number {
  if (bytes.byteLength - offset < KV_HEADER_BYTES) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, KV_HEADER_BYTES);
  return KV_HEADER_BYTES + view.getUint32(32, true) + view.getUint32(36, true);
}

/** Reads what writeKv() wrote. The bytes are the engine's own: where they are cut short, so is the answer. */
export function decodeKv(bytes: Uint8Array, offset: number): UnpackedKv {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, KV_HEADER_BYTES);
  const keyAt = offset + KV_HEADER_BYTES;
  const valueAt = keyAt + view.getUint32(32, true);
  const next = valueAt + view.getUint32(36, true);
  return {
    key: bytes.subarray(keyAt, valueAt),
    value: bytes.subarray(valueAt, next),
    createRevision: view.getFloat64(0, true),
    modRevision: view.getFloat64(8, true),
    version: view.getFloat64(16, true),
    lease: leaseFromWords(view.getUint32(24, true), view.getUint32(28, true)),
    next,
  };
}
