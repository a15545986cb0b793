/**
 * The portable stream of a state: what a snapshot file holds and what a member that lags is sent. Numbers are little-endian.
 *
 *   header   u32 magic | u32 version | f64 revision | f64 compactRevision | f64 clockMs | f64 revisionsMax | f64 bytesMax | f64 leases | f64 sessions
 *   lease    u8 1 | u8 kind | u32 id, high word | u32 id, low word | f64 ttlMs | f64 dueMs     kind 0: granted to a client, 1: made by a put
 *   session  u8 6 | u8 0 | u16 0 | u32 id, high word | u32 id, low word | u32 window | f64 lifeMs | f64 dueMs | f64 acked | u32 answers
 *            answers x ( u32 number above acked | u32 how it ended: op | refusal << 8 | flags << 16 | f64 revision )   in that order
 *   answer   u8 7 | u8 0 | u16 0 | u32 id, high word | u32 id, low word | f64 number | u32 bytes | bytes       from the oldest, of all sessions
 *   base     u8 2 | kv         the live keys as of the compact revision, in key order
 *   put      u8 3 | kv         then all events behind it up to the revision, in order
 *   delete   u8 4 | u8 cause | u16 0 | f64 revision | u32 keyBytes | key
 *   end      u8 5 | u8 0 | u16 0 | f64 bases | f64 events | u32 CRC-32 of all before this record
 *
 * Flags of an answer are those of its result (result.ts), with 64: its bytes are kept, 128: it was too long, or too old, to keep them. Index and term of the last applied entry are not in the stream: they stand in the snapshot's meta.
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
export const TAG_SESSION = 6;
export const TAG_ANSWER = 7;

export const LEASE_BYTES = 26;
export const DELETE_HEADER_BYTES = 16;
export const SESSION_HEADER_BYTES = 44;
export const SESSION_SLOT_BYTES = 16;
export const ANSWER_HEADER_BYTES = 24;
export const END_BYTES = 24;

/** The place in the list is the code, in snapshots and in watch events: append only. */
export const CAUSES: readonly DeletionCause[] = ["request", "expiry", "revocation"];
