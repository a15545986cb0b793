/**
 * Results, packed one behind another in the order of their commands.
 *
 *   u32 length, of all of it | u8 refusal (0: applied) | u8 op | u8 flags | u8 0 | f64 revision
 *   put              [kv before]
 *   deletion         f64 deleted | u32 kvs | kv before ...
 *   compareAndSwap   nothing: a flag says whether it succeeded
 *   refused          f64 max | u32 lease, high word | u32 lease, low word
 *
 * The revision is that of the data after the command. A batch whose bytes could not be read to the end has fewer results than commands:
 * the rest was not applied.
 */
import { ByteWriter } from "./bytes.ts";
import { limitOf, OP_DELETE_KEY, OP_DELETE_RANGE, OP_PUT, REFUSALS, type Refusal, type RefusalCode } from "./command.ts";
import { leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";
import { decodeKv, writeKv, type UnpackedKv } from "./packed-kv.ts";
import type { RecordRef, Table } from "./table.ts";

export { decodeKv, type UnpackedKv } from "./packed-kv.ts";

const RESULT_HEADER_BYTES = 16;
/** Previous kvs of one entry's results, together. Beyond it they are left out, and flagged so. */
export const RESULT_BYTES_MAX = 67_108_864;

const FLAG_PREV_KV = 1;
const FLAG_SUCCEEDED = 2;
const FLAG_CUT = 4;

/** In the node: one for each machine, used again for each entry. */
export class ResultWriter {
  private readonly writer: ByteWriter = new ByteWriter();
  private start = 0;
  private kvs = 0;
  private cut = false;
  private readonly bytesMax: number;

  constructor(bytesMax: number = RESULT_BYTES_MAX) {
    this.bytesMax = bytesMax;
  }

  refuse(op: number, revision: number, code: RefusalCode, lease: string | undefined): void {
    this.open(op, REFUSALS.indexOf(code) + 1);
    this.writer.f64(limitOf(code));
    this.writer.u32(lease === undefined ? 0 : leaseHigh(lease));
    this.writer.u32(lease === undefined ? 0 : leaseLow(lease));
    this.close(revision, 0);
  }

  /** `before` 0: there was none, or nobody asked. */
  put(revision: number, table: Table, before: RecordRef): void {
    this.open(OP_PUT, 0);
    if (before !== 0) this.addPrevious(table, before);
    this.close(revision, this.kvs > 0 ? FLAG_PREV_KV : 0);
  }

  compareAndSwap(op: number, revision: number, succeeded: boolean): void {
    this.open(op, 0);
    this.close(revision, succeeded ? FLAG_SUCCEEDED : 0);
  }

  /** A deletion's result is open while it goes on in slices: addPrevious() for each key, if asked for, then endDelete(). */
  beginDelete(op: number): void {
    this.open(op, 0);
    this.writer.f64(0);
    this.writer.u32(0);
  }

  addPrevious(table: Table, before: RecordRef): void {
    if (this.cut || this.writer.length + table.value(before).length > this.bytesMax) {
      this.cut = true;
      return;
    }
    writeKv(this.writer, table, before, false);
    this.kvs++;
  }

  endDelete(revision: number, deleted: number): void {
    this.writer.setF64(this.start + RESULT_HEADER_BYTES, deleted);
    this.writer.setU32(this.start + RESULT_HEADER_BYTES + 8, this.kvs);
    this.close(revision, this.kvs > 0 ? FLAG_PREV_KV : 0);
  }

  /** The results so far, in an ArrayBuffer of their own whose tail may be unused. */
  take(): Uint8Array<ArrayBuffer> {
    return this.writer.take();
  }

  /** Forgets what nobody took. */
  clear(): void {
    this.writer.length = 0;
  }

  private open(op: number, refusal: number): void {
    this.start = this.writer.length;
    this.kvs = 0;
    this.cut = false;
    this.writer.reserve(RESULT_HEADER_BYTES + 16);
    this.writer.length += RESULT_HEADER_BYTES;
    this.writer.setU32(this.start + 4, refusal | (op << 8));
  }

  private close(revision: number, flags: number): void {
    this.writer.setU32(this.start, this.writer.length - this.start);
    this.writer.setU8(this.start + 6, flags | (this.cut ? FLAG_CUT : 0));
    this.writer.setF64(this.start + 8, revision);
  }
}

/** In a caller's thread: its fields speak of the result last read. */
export class ResultReader {
  op = 0;
  /** undefined: applied. */
  refusal: Refusal | undefined = undefined;
  revision = 0;
  /** compareAndSwap. */
  succeeded = false;
  /** Deletions. */
  deleted = 0;
  /** There would have been more previous kvs than an answer may hold: they are left out. */
  cut = false;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;
  private kvsAt = 0;
  private kvs = 0;

  constructor(results: Uint8Array) {
    this.bytes = results;
    this.view = new DataView(results.buffer, results.byteOffset, results.byteLength);
  }

  /** false: there are no more results. Commands beyond were not applied: their batch made no sense. */
  next(): boolean {
    const { view, at } = this;
    if (this.bytes.length - at < RESULT_HEADER_BYTES) return false;
    this.at = at + view.getUint32(at, true);
    this.op = view.getUint8(at + 5);
    const flags = view.getUint8(at + 6);
    this.revision = view.getFloat64(at + 8, true);
    this.succeeded = (flags & FLAG_SUCCEEDED) !== 0;
    this.cut = (flags & FLAG_CUT) !== 0;
    this.kvsAt = at + RESULT_HEADER_BYTES;
    this.kvs = (flags & FLAG_PREV_KV) === 0 ? 0 : 1;
    this.deleted = 0;
    const refusal = REFUSALS[view.getUint8(at + 4) - 1];
    if (refusal !== undefined) {
      const lease = leaseFromWords(view.getUint32(at + RESULT_HEADER_BYTES + 8, true), view.getUint32(at + RESULT_HEADER_BYTES + 12, true));
      this.refusal = { code: refusal, max: view.getFloat64(at + RESULT_HEADER_BYTES, true), lease };
      return true;
    }
    this.refusal = undefined;
    if (this.op === OP_DELETE_RANGE || this.op === OP_DELETE_KEY) {
      this.deleted = view.getFloat64(at + RESULT_HEADER_BYTES, true);
      this.kvs = view.getUint32(at + RESULT_HEADER_BYTES + 8, true);
      this.kvsAt += 12;
    }
    return true;
  }

  /** The kvs as they were before: at most one for a put. Views of the results. */
  prevKvs(): UnpackedKv[] {
    const kvs: UnpackedKv[] = [];
    let at = this.kvsAt;
    for (let i = 0; i < this.kvs; i++) {
      const kv = decodeKv(this.bytes, at);
      kvs.push(kv);
      at = kv.next;
    }
    return kvs;
  }

  prevKv(): UnpackedKv | undefined {
    return this.kvs === 0 ? undefined : decodeKv(this.bytes, this.kvsAt);
  }
}
