/**
 * The commands of leases: what they carry, and what is refused before it is looked at. A grant carries id and time to live, a revocation
 * an id, both in the fields that puts have for them. A renewal carries any number of ids as its value, 8 bytes each, so that all leases
 * that a node keeps alive are one small command. What they do is in lease-changes.ts.
 */
import { canonicalLease, leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";

export const LEASE_ID_BYTES = 8;
/** Ids of one renewal. A node that keeps more leases alive sends several. */
export const RENEWED_LEASES_MAX = 65_536;

/** How long the parts of a command are. */
export interface LeaseCommandShape {
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly expectedBytes: number;
}

/** Whether it carries nothing, as a grant and a revocation must. */
export function isBare({ keyBytes, valueBytes, expectedBytes }: LeaseCommandShape): boolean {
  return keyBytes + valueBytes + expectedBytes === 0;
}

/** Whether it carries ids and nothing else, as a renewal must. An id of 0 among them is no fault: there is no such lease. */
export function isRenewal({ keyBytes, valueBytes, expectedBytes }: LeaseCommandShape): boolean {
  if (keyBytes > 0 || expectedBytes > 0) return false;
  return valueBytes > 0 && valueBytes % LEASE_ID_BYTES === 0 && valueBytes <= RENEWED_LEASES_MAX * LEASE_ID_BYTES;
}

/** Ids as a renewal carries them. undefined where one is no id. */
export function packLeaseIds(ids: readonly string[]): Uint8Array | undefined {
  const bytes = new Uint8Array(ids.length * LEASE_ID_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [at, id] of ids.entries()) {
    const canonical = canonicalLease(id);
    if (canonical === undefined) return undefined;
    view.setUint32(at * LEASE_ID_BYTES, leaseHigh(canonical), true);
    view.setUint32(at * LEASE_ID_BYTES + 4, leaseLow(canonical), true);
  }
  return bytes;
}

/** The id in place `at`, counted from 0; undefined for 0. */
export function leaseIdAt(ids: Uint8Array, at: number): string | undefined {
  const from = at * LEASE_ID_BYTES;
  return leaseFromWords(word(ids, from), word(ids, from + 4));
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)) + bytes[at + 3]! * 0x1_00_00_00) >>> 0;
}
