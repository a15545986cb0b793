/**
 * The hash of the key-value data as of one revision, taken in slices while writes go on: equal on members that have applied that revision, and
 * whatever each still holds of history. It covers each live key with its value, revisions, version and lease, in the order of the keys; not leases without
 * keys, nor sessions. It finds members that have parted, not forgery.
 */
import { ByteWriter } from "./bytes.ts";
import { crc32 } from "./checksum.ts";
import { writeKv } from "./packed-kv.ts";
import type { Pin } from "./pins.ts";
import type { Table, TableCursor } from "./table.ts";

/** Packed before they are digested. */
const DIGEST_BYTES = 16_384;

/** Made by KvMachine.hash(): step() until it answers true, then `hash`; or cancel(). */
export class HashReading {
  readonly revision: number;
  private readonly table: Table;
  private readonly pin: Pin;
  private readonly cursor: TableCursor;
  private readonly writer: ByteWriter = new ByteWriter(2 * DIGEST_BYTES);
  private crc = 0;

  /** The pin is released at the end. */
  constructor(basis: { readonly table: Table; readonly revision: number; readonly pin: Pin }) {
    this.table = basis.table;
    this.revision = basis.revision;
    this.pin = basis.pin;
    this.cursor = basis.table.cursor({ start: new Uint8Array(0), end: undefined }, "ascending");
  }

  /** Looks at up to `recordsMax` keys, or half a megabyte of them. True when the hash is there. */
  step(recordsMax: number): boolean {
    const { table, revision, writer } = this;
    let bytes = 1 << 19;
    for (let budget = Math.max(1, recordsMax); budget > 0 && bytes > 0; budget--) {
      const newest = this.cursor.next();
      if (newest === 0) {
        this.digest();
        this.pin.release();
        return true;
      }
      const ref = table.asOf(newest, revision);
      if (ref === 0 || table.version(ref) === 0) continue;
      const before = writer.length;
      writeKv(writer, table, ref, false);
      bytes -= writer.length - before;
      if (writer.length >= DIGEST_BYTES) this.digest();
    }
    return false;
  }

  /** 32 bits. */
  get hash(): number {
    return this.crc;
  }

  /** Gives up before the end. */
  cancel(): void {
    this.pin.release();
  }

  private digest(): void {
    this.crc = crc32(this.writer.written(), this.crc);
    this.writer.length = 0;
  }
}
