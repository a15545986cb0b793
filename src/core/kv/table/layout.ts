/**
 * Where things lie in the table's shared memory: what the one writer and the readers in other threads have to agree on. All numbers are
 * 32-bit words of the machine's byte order, since this memory never leaves the process. docs/formats.md does not know it.
 *
 * A reference is a u32 that counts 8-byte units: the upper 15 bits name a slab, the lower 17 a place in its first MiB.
 * Slab 0 is never used, so no reference is 0.
 *
 *   key    word 0   reference of the newest record       record  word 0   reference of the record before, 0 if not held
 *               1   hash of the key                                   1   reference of the key
 *               2   bytes of the key                                  2   flags (3 bits), bytes of the value (29)
 *          byte 12  the key                                           3   revision, low 32 bits
 *                                                                     4   version, bits 42 to 52; revision, high 21
 *                                                                     5   createRevision, low 32 (a deletion: the record after it)
 *                                                                     6   version, bits 32 to 41; createRevision, high 21
 *                                                                     7   version, low 32
 *                                                           8 and 9   lease, high and low, where the flag says so
 *                                                          byte 32/40  the value
 *
 * Once linked a record never changes, but for word 0 of any and word 5 of a deletion.
 */

export const SLAB_UNITS_LOG2 = 17;
export const SLAB_UNITS: number = 1 << SLAB_UNITS_LOG2;
export const SLAB_UNITS_MASK: number = SLAB_UNITS - 1;
export const SLAB_BYTES: number = SLAB_UNITS * 8;
/** Slab numbers, 0 included. */
export const SLABS_MAX: number = 1 << (32 - SLAB_UNITS_LOG2);

export const KEY_HEAD = 0;
export const KEY_HASH = 1;
export const KEY_BYTES = 2;
export const KEY_HEADER_BYTES = 12;

export const RECORD_PREVIOUS = 0;
export const RECORD_KEY = 1;
export const RECORD_VALUE_BYTES = 2;
export const RECORD_REVISION_LOW = 3;
export const RECORD_REVISION_HIGH = 4;
export const RECORD_CREATE_LOW = 5;
export const RECORD_CREATE_HIGH = 6;
export const RECORD_VERSION_LOW = 7;
export const RECORD_LEASE_HIGH = 8;
export const RECORD_LEASE_LOW = 9;
export const RECORD_HEADER_BYTES = 32;
export const LEASE_BYTES = 8;
/** Of a deletion: the reference of the record that followed it, in the place of its createRevision. */
export const DELETION_NEXT: number = RECORD_CREATE_LOW;

/** In word 2 of a record: a lease follows the header. */
export const FLAG_LEASE: number = 1 << 29;
/** In word 2 of a record: 0 for a put, else 1 plus the place of its cause in DELETION_CAUSES. */
export const CAUSE_SHIFT = 30;
export const VALUE_BYTES_MASK: number = FLAG_LEASE - 1;
export const VALUE_BYTES_MAX: number = VALUE_BYTES_MASK;

/** A number below 2^53 is a low word and this many bits of a high one. */
export const HIGH_MASK = 0x1fffff;
export const HIGH_BITS = 21;
/** Every revision is below it. */
export const REVISION_LIMIT: number = 2 ** (32 + HIGH_BITS);

/** Of a key's hash. The low ones choose a segment, the high ones a slot in it. */
export const HASH_BITS = 31;
/** Slots of one segment of the hash index: pairs of (reference of the key, hash). */
export const SEGMENT_SLOTS_LOG2 = 11;
export const SEGMENT_SLOTS: number = 1 << SEGMENT_SLOTS_LOG2;
export const SEGMENT_WORDS: number = SEGMENT_SLOTS * 2;
/** Segments of one buffer of the hash index. */
export const SEGMENTS_LOG2 = 6;
export const SEGMENTS_MASK: number = (1 << SEGMENTS_LOG2) - 1;
export const DIRECTORY_DEPTH_MAX = 16;
/** In a slot: a key was here. Probing goes on behind it. The last unit of the last slab is never handed out. */
export const SLOT_DELETED = 0xffffffff;

/** Words of the control block. Its parts lie on cache lines of their own. */
export const CONTROL_RECLAMATIONS = 0;
export const CONTROL_DEPTH = 16;
export const CONTROL_SLOTS_SEQUENCE = 32;
/** Then two words for each slot, low word first. The published revision is slot 0 and an integer in two words, the others are floats. */
export const CONTROL_SLOTS = 48;
export const SHARED_SLOTS = 16;
export const CONTROL_DIRECTORY = 128;
export const CONTROL_EPOCHS: number = CONTROL_DIRECTORY + (1 << DIRECTORY_DEPTH_MAX);
export const CONTROL_WORDS: number = CONTROL_EPOCHS + SLABS_MAX;

/** A buffer that was added, put in another's place, or let go of. Plain data that another thread can be sent. */
export interface SharedTableGrowth {
  readonly kind: "records" | "index";
  readonly number: number;
  /** Counts the changes of record slabs: which buffer under this number is meant. 0 for the index. */
  readonly epoch: number;
  /** undefined: let go of. */
  readonly buffer: SharedArrayBuffer | undefined;
}

/** All that a reader in another thread needs to begin with. Plain data, a few words for each MiB of the table. */
export interface SharedTableHandle {
  readonly hashSeedLow: number;
  readonly hashSeedHigh: number;
  readonly control: SharedArrayBuffer;
  readonly buffers: readonly SharedTableGrowth[];
}

/** A number below 2^53 from its two words. */
export function wide(low: number, high: number): number {
  return (high & HIGH_MASK) * 4294967296 + low;
}

/** The version of the record whose first word is `at`. */
export function versionAt(words: Uint32Array, at: number): number {
  const high = ((words[at + RECORD_REVISION_HIGH]! >>> HIGH_BITS) << 10) | ((words[at + RECORD_CREATE_HIGH]! >>> HIGH_BITS) & 0x3ff);
  return wide(words[at + RECORD_VERSION_LOW]!, high);
}

/** The lease of the record whose first word is `at`: 16 hex digits. */
export function leaseAt(words: Uint32Array, at: number): string | undefined {
  if ((words[at + RECORD_VALUE_BYTES]! & FLAG_LEASE) === 0) return undefined;
  return hex(words[at + RECORD_LEASE_HIGH]!) + hex(words[at + RECORD_LEASE_LOW]!);
}

function hex(word: number): string {
  return word.toString(16).padStart(8, "0");
}
