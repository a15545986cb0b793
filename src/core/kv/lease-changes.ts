/**
 * What an entry does to leases, in slices: one lease ends with all its keys, in the order of their bytes and at one revision, because it
 * fell due or was revoked; or many are renewed. One at a time, within one entry. The machine decides when, and keeps the revisions.
 */
import { assert } from "../assert.ts";
import { LEASE_ID_BYTES, leaseIdAt } from "./lease-commands.ts";
import { LeaseKeys } from "./lease-keys.ts";
import type { ResultWriter } from "./result.ts";
import type { RevisionedData } from "./revisioned-data.ts";
import type { DeletionCause } from "./table.ts";

export class LeaseChanges {
  private readonly data: RevisionedData;
  private keys: LeaseKeys | undefined = undefined;
  private ids: Uint8Array | undefined = undefined;
  private renewed = 0;
  /** Of the lease that ends, or ended last: why, and how many keys went with it so far. */
  cause: DeletionCause = "expiry";
  deleted = 0;

  constructor(data: RevisionedData) {
    this.data = data;
  }

  get isEnding(): boolean {
    return this.keys !== undefined;
  }

  get isRenewing(): boolean {
    return this.ids !== undefined;
  }

  /** The lease must be there. It is gone at once; endSome() takes its keys. */
  beginEnding(id: string, cause: "expiry" | "revocation"): void {
    const { data } = this;
    this.keys = new LeaseKeys(data.table, data.leases.end(id));
    this.cause = cause;
    this.deleted = 0;
  }

  /** Works on up to `budget` records; answers what is left. Once isEnding is false again, all keys are gone. */
  endSome(budget: number, revision: number): number {
    const { keys } = this;
    assert(keys !== undefined, "a lease is ending");
    let left = keys.prepare(budget);
    while (left > 0) {
      left--;
      const ref = keys.next();
      if (ref === 0) {
        this.keys = undefined;
        return left;
      }
      this.data.delete(ref, revision, this.cause);
      this.deleted++;
    }
    return 0;
  }

  /** `ids` stay as they are until isRenewing is false again. */
  beginRenewal(ids: Uint8Array): void {
    this.ids = ids;
    this.renewed = 0;
  }

  /** `results` undefined: nobody asks. */
  renewSome(budget: number, clockMs: number, results: ResultWriter | undefined): number {
    const { ids } = this;
    assert(ids !== undefined, "a renewal is under way");
    const count = ids.length / LEASE_ID_BYTES;
    let left = budget;
    while (left > 0 && this.renewed < count) {
      const id = leaseIdAt(ids, this.renewed++);
      const ttlMs = id === undefined ? 0 : this.data.leases.renew(id, clockMs);
      results?.addRenewed(ttlMs);
      left--;
    }
    if (this.renewed === count) this.ids = undefined;
    return left;
  }
}
