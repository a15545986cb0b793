/**
 * One lease being read: its times at once, its keys in slices, in the order of their bytes, as of one pinned revision, whatever is
 * written meanwhile. Keys are packed one behind another: u32 keyBytes | key.
 */
import { assert } from "../assert.ts";
import { ByteWriter } from "./bytes.ts";
import { LeaseKeys } from "./lease-keys.ts";
import type { LeaseTable } from "./lease-table.ts";
import type { Pin } from "./pins.ts";
import { ANSWER_BYTES_MAX } from "./read.ts";
import type { RecordRef, Table } from "./table.ts";

export interface LeaseAnswer {
  readonly ttlMs: number;
  /** On the lease clock. */
  readonly dueMs: number;
  readonly keys: Uint8Array<ArrayBuffer>;
  readonly count: number;
}

/** Made by KvMachine.lease(): step() until it answers true, then result(); or cancel(). */
export class LeaseReading {
  private readonly table: Table;
  private readonly keys: LeaseKeys;
  private readonly pin: Pin;
  private readonly ttlMs: number;
  private readonly dueMs: number;
  private readonly bytesMax: number;
  private readonly writer: ByteWriter = new ByteWriter();
  private packed = 0;
  private tooLarge = false;
  private done = false;

  constructor(basis: {
    readonly table: Table;
    readonly leases: LeaseTable;
    /** Must be there. */
    readonly id: string;
    readonly withKeys: boolean;
    readonly revision: number;
    /** Of the revision. */
    readonly pin: Pin;
    readonly bytesMax?: number;
  }) {
    const { table, leases, id, withKeys, pin } = basis;
    this.table = table;
    this.pin = pin;
    this.ttlMs = leases.ttlOf(id)!;
    this.dueMs = leases.dueOf(id)!;
    this.bytesMax = basis.bytesMax ?? ANSWER_BYTES_MAX;
    const refs: readonly RecordRef[] = [];
    this.keys = new LeaseKeys(table, withKeys ? leases.refs(id) : { count: 0, refs });
    this.keys.gather();
  }

  /** Works on up to `recordsMax` records and comparisons. True when the result is there. */
  step(recordsMax: number): boolean {
    let budget = this.done ? 0 : this.keys.prepare(Math.max(1, recordsMax));
    while (budget-- > 0 && !this.done) {
      const ref = this.keys.next();
      if (ref === 0) {
        this.cancel();
        break;
      }
      const key = this.table.key(ref);
      if (this.writer.length + key.length + 4 > this.bytesMax) {
        this.tooLarge = true;
        this.cancel();
        break;
      }
      this.writer.u32(key.length);
      this.writer.raw(key);
      this.packed++;
    }
    return this.done;
  }

  /** "tooLarge": the keys together exceed what an answer may hold. */
  result(): LeaseAnswer | "tooLarge" {
    assert(this.done, "a lease is read to its end before its result is taken");
    if (this.tooLarge) return "tooLarge";
    return { ttlMs: this.ttlMs, dueMs: this.dueMs, keys: this.writer.take(), count: this.packed };
  }

  /** Gives up before the end. */
  cancel(): void {
    this.done = true;
    this.pin.release();
  }
}

/** The keys of a LeaseAnswer: views of it. */
export function unpackLeaseKeys(keys: Uint8Array, count: number): Uint8Array[] {
  const view = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
  const unpacked: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const length = view.getUint32(at, true);
    unpacked.push(keys.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return unpacked;
}
