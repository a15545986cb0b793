/**
 * The bytes of the log: groups of records. One group is what one sync makes durable. It begins on a sector boundary, so that no sector
 * of an acknowledged group is ever written again, and carries one CRC over header and records, salted with its place: a group that was
 * copied, shifted or left over from another segment is no group. Described byte by byte in docs/formats.md. No file call is made here.
 *
 *   header, 32 bytes, little-endian         record: 8 bytes of header, then its bytes
 *    0  u32  magic                           0  u32  bytes
 *    4  u8   format version                  4  u8   kind
 *    5  u8   kind: 1 head, 2 data            5  3 bytes of zeros
 *    6  u16  zero
 *    8  u32  bytes of records
 *   12  u32  CRC
 *   16  f64  group number, rising by one
 *   24  u32  nonce of the segment
 *   28  u32  zero
 *
 * The envelope (all but the meaning of the records) stays as it is in every later version, so that a newer format is told from rot.
 */
import { crc32 } from "node:zlib";

export const SECTOR_BYTES = 512;
export const LOG_FORMAT_VERSION = 1;
export const GROUP_HEADER_BYTES = 32;
export const RECORD_HEADER_BYTES = 8;
/** Of one group; the length field holds more, memory may not. */
export const GROUP_BYTES_MAX: number = 1024 * 1024 * 1024;

/** "dlog", read little-endian. Not zero, so that zeros are never a group. */
const MAGIC = 0x676f6c64;

export type GroupKind = "head" | "data";

export const RECORD_ENTRY = 1;
export const RECORD_VOTE = 2;
export const RECORD_BASE = 3;
export const RECORD_HEAD = 4;

/** Where a group lies. The nonce is drawn for each segment, so that no caller can make a value that passes for a group. */
export interface GroupPlace {
  readonly segment: number;
  readonly nonce: number;
  readonly offset: number;
}

export interface GroupHeader {
  readonly version: number;
  readonly kind: GroupKind;
  readonly number: number;
  readonly nonce: number;
  readonly recordBytes: number;
}

const salt = new Uint8Array(16);
const saltView = new DataView(salt.buffer);
const headerCopy = new Uint8Array(GROUP_HEADER_BYTES);

function checksumBegin(place: GroupPlace, header: Uint8Array): number {
  saltView.setFloat64(0, place.segment, true);
  saltView.setFloat64(8, place.offset, true);
  headerCopy.set(header);
  headerCopy.fill(0, 12, 16);
  return crc32(headerCopy, crc32(salt));
}

/**
 * Fills in the header that `parts[0]` begins with. The records are the rest of parts[0] and the whole of every further part, in this
 * order.
 */
export function sealGroup(
  group: { readonly place: GroupPlace; readonly kind: GroupKind; readonly number: number },
  parts: readonly Uint8Array[],
): void {
  const first = parts[0]!;
  const view = new DataView(first.buffer, first.byteOffset, GROUP_HEADER_BYTES);
  let recordBytes = -GROUP_HEADER_BYTES;
  for (const part of parts) recordBytes += part.byteLength;
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, LOG_FORMAT_VERSION);
  view.setUint8(5, group.kind === "head" ? 1 : 2);
  view.setUint16(6, 0, true);
  view.setUint32(8, recordBytes, true);
  view.setUint32(12, 0, true);
  view.setFloat64(16, group.number, true);
  view.setUint32(24, group.place.nonce, true);
  view.setUint32(28, 0, true);
  let checksum = checksumBegin(group.place, first.subarray(0, GROUP_HEADER_BYTES));
  checksum = crc32(first.subarray(GROUP_HEADER_BYTES), checksum);
  for (let at = 1; at < parts.length; at++) checksum = crc32(parts[at]!, checksum);
  view.setUint32(12, checksum, true);
}

/** The header at the start of `bytes`, unverified; undefined where the bytes do not even look like one. */
export function readGroupHeader(bytes: Uint8Array): GroupHeader | undefined {
  if (bytes.byteLength < GROUP_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, GROUP_HEADER_BYTES);
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  const kind = view.getUint8(5);
  const version = view.getUint8(4);
  const number = view.getFloat64(16, true);
  const recordBytes = view.getUint32(8, true);
  if ((kind !== 1 && kind !== 2) || version === 0 || recordBytes > GROUP_BYTES_MAX) return undefined;
  if (!Number.isSafeInteger(number) || number < 1) return undefined;
  return { version, kind: kind === 1 ? "head" : "data", number, nonce: view.getUint32(24, true), recordBytes };
}

/** Whether `group`, header and records, is what was written at `place`. */
export function verifyGroup(place: GroupPlace, group: Uint8Array): boolean {
  const stored = new DataView(group.buffer, group.byteOffset, GROUP_HEADER_BYTES).getUint32(12, true);
  const header = group.subarray(0, GROUP_HEADER_BYTES);
  return crc32(group.subarray(GROUP_HEADER_BYTES), checksumBegin(place, header)) === stored;
}

export function roundUpToSector(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

/** Writes a record's header; answers where its bytes begin. */
export function writeRecordHeader(view: DataView, offset: number, record: { readonly kind: number; readonly bytes: number }): number {
  view.setUint32(offset, record.bytes, true);
  view.setUint32(offset + 4, record.kind, true);
  return offset + RECORD_HEADER_BYTES;
}

/** A group of one record whose bytes are JSON, its header still to be sealed. */
export function jsonGroup(kind: number, value: object): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(value));
  const group = new Uint8Array(GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + json.byteLength);
  const at = writeRecordHeader(new DataView(group.buffer), GROUP_HEADER_BYTES, { kind, bytes: json.byteLength });
  group.set(json, at);
  return group;
}

/** undefined where the bytes are no JSON object. */
export function parseJson(bytes: Uint8Array): object | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
