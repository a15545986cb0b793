/**
 * The portable stream of a state: what a snapshot file holds and what a member that lags is sent. Numbers are little-endian.
 *
 *   header   u32 magic | u32 version | f64 revision | f64 compactRevision | f64 clockMs | f64 revisionsMax | f64 bytesMax | f64 leases | f64 sessions
 *   lease    u8 1 | u32 id, high word | u32 id, low word | f64 ttlMs | f64 dueMs
 *   base     u8 2 | kv         the live keys as of the compact revision, in key order
 *   put      u8 3 | kv         then all events behind it up to the revision, in order
 *   delete   u8 4 | u8 cause | u16 0 | f64 revision | u32 keyBytes | key
 *   end      u8 5 | u8 0 | u16 0 | f64 bases | f64 events | u32 CRC-32 of all before this record
 *
 * `sessions` is 0 until there are any. Index and term of the last applied entry are not in the stream: they stand in the snapshot's meta.
 */
import type { DeletionCause } from "./table.ts";

/** "DKVS" */
export const SNAPSHOT_MAGIC = 0x53_56_4b_44;
export const SNAPSHOT_VERSION = 1;
export const SNAPSHOT_HEADER_BYTES = 64;

export const TAG_LEASE = 1;
export const TAG_BASE = 2;
export const TAG_PUT = 3;
export const TAG_DELETE = 4;
export const TAG_END = 5;

export const LEASE_BYTES = 25;
export const DELETE_HEADER_BYTES = 16;
export const END_BYTES = 24;

/** The place in the list is the code, in snapshots and in watch events: append only. */
export const CAUSES: readonly DeletionCause[] = ["request", "expiry", "revocation"];
