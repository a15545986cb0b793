/**
 * Results, packed one behind another in the order of their commands.
 *
 *   u32 length, of all of it | u8 refusal (0: applied) | u8 op | u8 flags | u8 0 | f64 revision
 *   put              [kv before]
 *   deletion         f64 deleted | u32 kvs | kv before ...
 *   compareAndSwap   nothing: a flag says whether it succeeded
 *   lease renewal    u32 leases | f64 ttlMs ...    in the order asked; 0: there is no such lease any more
 *   lease grant, lease revocation   nothing
 *   transaction      the answers of its operations (txn-result.ts); a flag says whether its comparisons held
 *   compaction, bounds of history, the end of a session   nothing
 *   the beginning of a session   u32 id, high word | u32 id, low word
 *   refused          f64 max | u32 lease, high word | u32 lease, low word; for want of space f64 max | f64 used
 *
 * The revision is that of the data after the command. A batch whose bytes could not be read to the end has fewer results than commands:
 * the rest was not applied.
 */
import { ByteWriter } from "./bytes.ts";
import {
  limitOf,
  OP_DELETE_KEY,
  OP_DELETE_RANGE,
  OP_LEASE_RENEW,
  OP_NO_SPACE,
  OP_PUT,
  OP_SESSION_OPEN,
  OP_TXN,
  REFUSALS,
  type Refusal,
  type RefusalCode,
} from "./command.ts";
import { shortageOf } from "./growth.ts";
import { leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";
import { ANSWER_BYTES_KEPT_MAX } from "./session-bounds.ts";
import { decodeKv, writeKv, type UnpackedKv } from "./packed-kv.ts";
import type { RecordRef, Table } from "./table.ts";
import { TxnAnswerReader } from "./txn-result.ts";

export { decodeKv, type UnpackedKv } from "./packed-kv.ts";

export const RESULT_HEADER_BYTES = 16;
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
  /** Where the results of an entry must end: beyond it what could be long is left out. See beginAnswer(). */
  bytesMax: number;
  private readonly allBytesMax: number;

  constructor(bytesMax: number = RESULT_BYTES_MAX) {
    this.bytesMax = bytesMax;
    this.allBytesMax = bytesMax;
  }

  /**
   * The result of a command of a session comes next. Whether it is short enough to be remembered must not depend on the results before it,
   * which other members may not have: for that much there is always room. `isWanted` false: and for no more, since it is only remembered. `isPlain`:
   * nothing of it could be long.
   */
  beginAnswer(isWanted: boolean, isPlain: boolean): void {
    this.start = this.writer.length;
    if (isPlain) return;
    const least = this.writer.length + RESULT_HEADER_BYTES + ANSWER_BYTES_KEPT_MAX;
    this.bytesMax = isWanted ? Math.max(this.allBytesMax, least) : least;
  }

  /** How long the result is that was begun with beginAnswer(); 0: there is none. */
  get answerBytes(): number {
    return this.writer.length - this.start;
  }

  /** What a command that was begun with beginAnswer() was answered, if it was: the whole of it, header included. Good until the next write. */
  answer(): Uint8Array<ArrayBuffer> {
    return this.writer.written(this.start);
  }

  /** The result is whole. `isWanted` false: it is forgotten here. */
  endAnswer(isWanted: boolean): void {
    if (!isWanted) this.writer.length = this.start;
    this.bytesMax = this.allBytesMax;
  }

  /** What was remembered of a command that comes again. `refusal` is the code's number; 0: it was applied. */
  repeat(op: number, refusal: number, flags: number, revision: number, body: Uint8Array): void {
    this.open(op, refusal);
    this.writer.raw(body);
    // Of a refusal whose particulars were not kept.
    for (let left = refusal === 0 ? 0 : 16 - body.length; left > 0; left--) this.writer.u8(0);
    this.close(revision, flags);
  }

  sessionOpened(revision: number, high: number, low: number): void {
    this.open(OP_SESSION_OPEN, 0);
    this.writer.u32(high);
    this.writer.u32(low);
    this.close(revision, 0);
  }

  refuse(op: number, revision: number, code: RefusalCode, lease: string | undefined, max: number = limitOf(code)): void {
    this.open(op, REFUSALS.indexOf(code) + 1);
    this.writer.f64(max);
    this.writer.u32(lease === undefined ? 0 : leaseHigh(lease));
    this.writer.u32(lease === undefined ? 0 : leaseLow(lease));
    this.close(revision, 0);
  }

  refuseForSpace(revision: number, { code, used, max }: { readonly code: RefusalCode; readonly used: number; readonly max: number }): void {
    this.open(OP_NO_SPACE, REFUSALS.indexOf(code) + 1);
    this.writer.f64(max);
    this.writer.f64(used);
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

  /** A transaction's result is open while it goes on in slices: what it answers is packed into what this answers, then endTxn(). */
  beginTxn(): ByteWriter {
    this.open(OP_TXN, 0);
    return this.writer;
  }

  /** `cut`: the answers were more than there may be, and have been left out. */
  endTxn(revision: number, succeeded: boolean, cut: boolean): void {
    this.cut = cut;
    this.close(revision, succeeded ? FLAG_SUCCEEDED : 0);
  }

  /** A transaction that was begun is refused after all. */
  abandonTxn(): void {
    this.writer.length = this.start;
  }

  /** What has no answer but that it was done. */
  done(op: number, revision: number): void {
    this.open(op, 0);
    this.close(revision, 0);
  }

  /** A grant or a revocation that was done. */
  lease(op: number, revision: number): void {
    this.open(op, 0);
    this.close(revision, 0);
  }

  /** A renewal's result is open while it goes on in slices: addRenewed() for each lease, then endRenewal(). */
  beginRenewal(leases: number): void {
    this.open(OP_LEASE_RENEW, 0);
    this.writer.u32(leases);
  }

  /** 0: there is no such lease. */
  addRenewed(ttlMs: number): void {
    this.writer.f64(ttlMs);
  }

  endRenewal(revision: number): void {
    this.close(revision, 0);
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
      if (shortageOf(refusal) !== undefined) {
        const bodyAt = at + RESULT_HEADER_BYTES;
        this.refusal = { code: refusal, max: view.getFloat64(bodyAt, true), lease: undefined, used: view.getFloat64(bodyAt + 8, true) };
        return true;
      }
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

  /** Of a transaction that was done, and whose answers were not cut. */
  answers(): TxnAnswerReader {
    return new TxnAnswerReader(this.bytes, this.view, this.kvsAt);
  }

  /** Of the beginning of a session: its id, in two words. */
  get session(): { readonly high: number; readonly low: number } | undefined {
    if (this.op !== OP_SESSION_OPEN || this.refusal !== undefined) return undefined;
    return { high: this.view.getUint32(this.kvsAt, true), low: this.view.getUint32(this.kvsAt + 4, true) };
  }

  /** Leases that a renewal named. */
  get renewals(): number {
    return this.op === OP_LEASE_RENEW && this.refusal === undefined ? this.view.getUint32(this.kvsAt, true) : 0;
  }

  /** The time to live of the lease in this place of the renewal; 0: there is no such lease any more. */
  renewedTtlMs(place: number): number {
    return place < this.renewals ? this.view.getFloat64(this.kvsAt + 4 + place * 8, true) : 0;
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
