/**
 * A backup: everything at one revision as one stream of bytes, for a file, a pipe or the wire. What is in its slices is the portable stream of
 * the state (core/kv/snapshot-format.ts), of which this knows nothing; here is what makes it whole. Numbers are little-endian.
 *
 *   header   u32 magic "dbak" | u32 version | u32 bytes of the description | u32 CRC | the description as JSON
 *   slice    u32 bytes, 1 to 262,144 | u32 CRC, salted with the slice's number | the bytes
 *   end      u32 0 | u32 CRC, salted as of one slice more | f64 bytes of the stream
 *   padding  zeros up to a multiple of 512 bytes
 *   digest   SHA-256 of all before it
 *
 * So the length is 32 more than a multiple of 512, which is what etcd's tools ask of a snapshot.
 */
import { crc32 } from "node:zlib";

/** What a backup is of. */
export interface BackupDescription {
  readonly clusterId: string;
  readonly revision: number;
  /** The last revision whose events are not in it. */
  readonly compactRevision: number;
  /** Of the last entry of the log that it holds. */
  readonly index: number;
  /** The lease clock of that entry. */
  readonly clockMs: number;
}

/** "dbak" */
export const BACKUP_MAGIC = 0x6b_61_62_64;
export const BACKUP_VERSION = 1;
export const BACKUP_HEADER_BYTES = 16;
export const BACKUP_DESCRIPTION_BYTES_MAX = 65_536;
export const BACKUP_SLICE_HEADER_BYTES = 8;
export const BACKUP_SLICE_BYTES_MAX: number = 256 << 10;
export const BACKUP_END_BYTES = 16;
export const BACKUP_BLOCK_BYTES = 512;
export const BACKUP_DIGEST_BYTES = 32;

/** Of the 12 bytes before it and the description. */
export function backupHeaderChecksum(start: Uint8Array, description: Uint8Array): number {
  return crc32(description, crc32(start.subarray(0, 12)));
}

/** `bytes` is a slice's, or the last eight of the end. */
export function backupSliceChecksum(number: number, bytes: Uint8Array): number {
  const salt = new Uint8Array(4);
  new DataView(salt.buffer).setUint32(0, number, true);
  return crc32(bytes, crc32(salt));
}

/** How many zeros follow when so many bytes come before. */
export function backupPaddingBytes(bytesBefore: number): number {
  return (BACKUP_BLOCK_BYTES - (bytesBefore % BACKUP_BLOCK_BYTES)) % BACKUP_BLOCK_BYTES;
}

/** undefined where it is none. */
export function readBackupDescription(value: unknown): BackupDescription | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { clusterId, revision, compactRevision, index, clockMs } = value as Partial<BackupDescription>;
  if (typeof clusterId !== "string" || !/^[0-9a-f]{16}$/.test(clusterId)) return undefined;
  if (!isCount(revision) || revision < 1 || !isCount(compactRevision) || compactRevision > revision) return undefined;
  if (!isCount(index) || index < 1) return undefined;
  if (typeof clockMs !== "number" || !(clockMs >= 0 && clockMs <= Number.MAX_SAFE_INTEGER)) return undefined;
  return { clusterId, revision, compactRevision, index, clockMs };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
