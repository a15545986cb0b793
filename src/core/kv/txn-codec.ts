/**
 * A transaction, packed as the value of a command. Numbers are little-endian.
 *
 *   txn      u32 comparisons | u32 success | u32 failure | comparison ... | op of success ... | op of failure ...
 *   compare  u8 target | u8 result | u8 flags | u8 0 | u32 keyBytes | u32 endBytes | u32 valueBytes | 8 bytes | key | end | value
 *            the 8 bytes are f64 number, or u32 lease, high word | u32 lease, low word
 *   op       u32 length, of all of it | u8 kind | u8 flags | u8 sortBy | u8 order | body
 *   put      u32 keyBytes | u32 valueBytes | [f64 ttlMs] [u32 lease, high word | u32 lease, low word] | key | value
 *   delete   u32 keyBytes | u32 endBytes | key | end
 *   get      u32 keyBytes | key
 *   range    u32 keyBytes | u32 endBytes | f64 limit | f64 revision | f64 minMod | f64 maxMod | f64 minCreate | f64 maxCreate | start | end
 *   txn      txn
 *
 * What can be told of a transaction as a whole is checkTxn()'s business; here is only whether the bytes are one.
 */
import { ByteWriter } from "./bytes.ts";
import {
  CommandError,
  FLAG_IGNORE_LEASE,
  FLAG_IGNORE_VALUE,
  FLAG_LEASE,
  FLAG_NO_END,
  FLAG_PREV_KV,
  FLAG_TTL,
  limitOf,
  TXN_DEPTH_MAX,
  TXN_OPS_CEILING,
  type RefusalCode,
} from "./command.ts";
import { canonicalLease, leaseFromWords, leaseHigh, leaseLow } from "./lease-id.ts";
import type { RangeRequest } from "./read.ts";
import type { KeyInterval } from "./table.ts";
import { checkTxn } from "./txn-check.ts";
import {
  isOneKey,
  TXN_OPS_MAX,
  type CompareResult,
  type CompareTarget,
  type TxnCommand,
  type TxnCompare,
  type TxnOp,
} from "./txn-command.ts";

/** Places in these lists are the codes: append only. */
const TARGETS: readonly CompareTarget[] = ["version", "createRevision", "modRevision", "value", "lease"];
const RESULTS: readonly CompareResult[] = ["equal", "not", "less", "greater"];
const SORTS: readonly RangeRequest["sortBy"][] = ["key", "version", "createRevision", "modRevision", "value"];
const ORDERS: readonly RangeRequest["order"][] = ["ascending", "descending"];

/** Kinds of operations, also in results. */
export const KIND_PUT = 1;
export const KIND_DELETE = 2;
export const KIND_GET = 3;
export const KIND_RANGE = 4;
export const KIND_TXN = 5;

/** Of comparisons, deletions and ranges: an interval. */
const FLAG_INTERVAL = 2;
const FLAG_KEYS_ONLY = 4;
const FLAG_COUNT_ONLY = 8;

/** Where the parts of a packed transaction lie, for who only walks over it. */
export const TXN_HEADER_BYTES = 12;
export const COMPARE_HEADER_BYTES = 24;
export const OP_HEADER_BYTES = 8;
const RANGE_BODY_BYTES = 56;

const NOTHING = new Uint8Array(0);
const NO_VIEW = new DataView(NOTHING.buffer);
const NO_OPS: readonly TxnOp[] = [];
const NO_COMPARES: readonly TxnCompare[] = [];
/** Used again for each transaction that is packed. */
const scratch = new ByteWriter(1_024);

/**
 * Packs a transaction that could be applied; throws CommandError at any other. `opsMax` bounds comparisons and operations as
 * `limits.txnOpsMax` says. What it answers is a view that is good until the next call.
 */
export function packTxn(txn: TxnCommand, opsMax: number = TXN_OPS_MAX): Uint8Array {
  const fault = checkTxn(txn, opsMax);
  if (fault !== undefined) throw new CommandError({ code: fault, max: fault === "txnOps" ? opsMax : limitOf(fault), lease: undefined });
  scratch.length = 0;
  writeTxn(scratch, txn);
  return scratch.written();
}

/** Without a check. */
export function writeTxn(writer: ByteWriter, txn: TxnCommand): void {
  writer.u32(txn.compare.length);
  writer.u32(txn.success.length);
  writer.u32(txn.failure.length);
  for (const compare of txn.compare) writeCompare(writer, compare);
  for (const op of txn.success) writeOp(writer, op);
  for (const op of txn.failure) writeOp(writer, op);
}

function writeCompare(writer: ByteWriter, compare: TxnCompare): void {
  const { where, value, number } = compare;
  const oneKey = isOneKey(where);
  const key = oneKey ? where : where.start;
  const end = oneKey ? undefined : where.end;
  const flags = oneKey ? 0 : FLAG_INTERVAL | (end === undefined ? FLAG_NO_END : 0);
  const lease = compare.lease === undefined ? undefined : canonicalLease(compare.lease);
  writer.u8(TARGETS.indexOf(compare.target));
  writer.u8(RESULTS.indexOf(compare.result));
  writer.u8(flags);
  writer.u8(0);
  writer.u32(key.length);
  writer.u32(end?.length ?? 0);
  writer.u32(value.length);
  if (compare.target === "lease") {
    writer.u32(lease === undefined ? 0 : leaseHigh(lease));
    writer.u32(lease === undefined ? 0 : leaseLow(lease));
  } else {
    writer.f64(number);
  }
  writer.raw(key);
  if (end !== undefined) writer.raw(end);
  writer.raw(value);
}

function writeOp(writer: ByteWriter, op: TxnOp): void {
  const start = writer.length;
  writer.u32(0);
  switch (op.kind) {
    case "put": {
      const lease = op.lease === undefined ? undefined : canonicalLease(op.lease);
      const flags =
        (op.prevKv ? FLAG_PREV_KV : 0) |
        (op.ttlMs === undefined ? 0 : FLAG_TTL) |
        (lease === undefined ? 0 : FLAG_LEASE) |
        (op.ignoreValue ? FLAG_IGNORE_VALUE : 0) |
        (op.ignoreLease ? FLAG_IGNORE_LEASE : 0);
      writer.u32(KIND_PUT | (flags << 8));
      writer.u32(op.key.length);
      writer.u32(op.value.length);
      if (op.ttlMs !== undefined) writer.f64(op.ttlMs);
      if (lease !== undefined) {
        writer.u32(leaseHigh(lease));
        writer.u32(leaseLow(lease));
      }
      writer.raw(op.key);
      writer.raw(op.value);
      break;
    }
    case "delete": {
      const { where } = op;
      const oneKey = isOneKey(where);
      const end = oneKey ? undefined : where.end;
      const flags = (op.prevKv ? FLAG_PREV_KV : 0) | (oneKey ? 0 : FLAG_INTERVAL | (end === undefined ? FLAG_NO_END : 0));
      writer.u32(KIND_DELETE | (flags << 8));
      const key = oneKey ? where : where.start;
      writer.u32(key.length);
      writer.u32(end?.length ?? 0);
      writer.raw(key);
      if (end !== undefined) writer.raw(end);
      break;
    }
    case "get":
      writer.u32(KIND_GET);
      writer.u32(op.key.length);
      writer.raw(op.key);
      break;
    case "range":
      writeRange(writer, op.request);
      break;
    case "txn":
      writer.u32(KIND_TXN);
      writeTxn(writer, op.txn);
  }
  writer.setU32(start, writer.length - start);
}

function writeRange(writer: ByteWriter, request: RangeRequest): void {
  const { start, end } = request.interval;
  const flags =
    FLAG_INTERVAL |
    (end === undefined ? FLAG_NO_END : 0) |
    (request.keysOnly ? FLAG_KEYS_ONLY : 0) |
    (request.countOnly ? FLAG_COUNT_ONLY : 0);
  writer.u32(KIND_RANGE | (flags << 8) | (SORTS.indexOf(request.sortBy) << 16) | (ORDERS.indexOf(request.order) << 24));
  writer.u32(start.length);
  writer.u32(end?.length ?? 0);
  writer.f64(request.limit);
  writer.f64(request.revision ?? 0);
  writer.f64(request.minModRevision ?? 0);
  writer.f64(upperBound(request.maxModRevision));
  writer.f64(request.minCreateRevision ?? 0);
  writer.f64(upperBound(request.maxCreateRevision));
  writer.raw(start);
  if (end !== undefined) writer.raw(end);
}

/** 0 stands for none, so that what is below every revision needs a number of its own. */
function upperBound(revision: number | undefined): number {
  return revision === 0 ? -1 : (revision ?? 0);
}

/** The transaction that the bytes hold, all of them, as views of them; or why they hold none. Never throws. */
export function readTxn(bytes: Uint8Array): TxnCommand | RefusalCode {
  return new TxnReader().read(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.length);
}

/** Unpacks transactions. May be used again; each private method answers undefined at bytes that make no sense, and has said why. */
export class TxnReader {
  private fault: RefusalCode = "malformed";
  private bytes: Uint8Array = NOTHING;
  private view: DataView = NO_VIEW;
  private at = 0;
  private total = 0;

  /** What lies from `at` to `end`, to the last byte: as views, or why it is none. `view` is of all the bytes. */
  read(bytes: Uint8Array, view: DataView, at: number, end: number): TxnCommand | RefusalCode {
    this.bytes = bytes;
    this.view = view;
    this.at = at;
    this.total = 0;
    this.fault = "malformed";
    const txn = this.txn(end, 1);
    // The bytes are not held on to.
    this.bytes = NOTHING;
    this.view = NO_VIEW;
    return txn ?? this.fault;
  }

  private txn(end: number, depth: number): TxnCommand | undefined {
    const { view, at } = this;
    if (end - at < TXN_HEADER_BYTES) return undefined;
    if (depth > TXN_DEPTH_MAX) return this.refuse("txnDepth");
    const compares = view.getUint32(at, true);
    const success = view.getUint32(at + 4, true);
    const failure = view.getUint32(at + 8, true);
    this.total += compares + success + failure;
    if (this.total > TXN_OPS_CEILING) return this.refuse("txnOps");
    this.at = at + TXN_HEADER_BYTES;
    const compare = this.compares(compares, end);
    const successOps = compare === undefined ? undefined : this.ops(success, end, depth);
    const failureOps = successOps === undefined ? undefined : this.ops(failure, end, depth);
    if (compare === undefined || successOps === undefined || failureOps === undefined || this.at !== end) return undefined;
    return { compare, success: successOps, failure: failureOps };
  }

  private compares(count: number, end: number): readonly TxnCompare[] | undefined {
    if (count === 0) return NO_COMPARES;
    const compares: TxnCompare[] = [];
    for (let i = 0; i < count; i++) {
      const compare = this.compare(end);
      if (compare === undefined) return undefined;
      compares.push(compare);
    }
    return compares;
  }

  private refuse(fault: RefusalCode): undefined {
    this.fault = fault;
  }

  private compare(end: number): TxnCompare | undefined {
    const { view, at } = this;
    if (end - at < COMPARE_HEADER_BYTES) return undefined;
    const target = TARGETS[view.getUint8(at)];
    const result = RESULTS[view.getUint8(at + 1)];
    const flags = view.getUint8(at + 2);
    const keyBytes = view.getUint32(at + 4, true);
    const endBytes = view.getUint32(at + 8, true);
    const valueBytes = view.getUint32(at + 12, true);
    const keyAt = at + COMPARE_HEADER_BYTES;
    if (target === undefined || result === undefined || view.getUint8(at + 3) !== 0) return undefined;
    if (keyBytes + endBytes + valueBytes > end - keyAt || (target !== "value" && valueBytes > 0)) return undefined;
    const where = this.where(flags, keyAt, keyBytes, endBytes);
    if (where === undefined) return undefined;
    const valueAt = keyAt + keyBytes + endBytes;
    this.at = valueAt + valueBytes;
    const isLease = target === "lease";
    return {
      where,
      target,
      result,
      number: isLease ? 0 : view.getFloat64(at + 16, true),
      lease: isLease ? leaseFromWords(view.getUint32(at + 16, true), view.getUint32(at + 20, true)) : undefined,
      value: valueBytes === 0 ? NOTHING : this.bytes.subarray(valueAt, valueAt + valueBytes),
    };
  }

  /** undefined where the flags say something else. */
  private where(flags: number, keyAt: number, keyBytes: number, endBytes: number): Uint8Array | KeyInterval | undefined {
    const key = this.bytes.subarray(keyAt, keyAt + keyBytes);
    if (flags === 0) return endBytes === 0 ? key : undefined;
    if (flags === FLAG_INTERVAL) return { start: key, end: this.bytes.subarray(keyAt + keyBytes, keyAt + keyBytes + endBytes) };
    return flags === (FLAG_INTERVAL | FLAG_NO_END) && endBytes === 0 ? { start: key, end: undefined } : undefined;
  }

  private ops(count: number, end: number, depth: number): readonly TxnOp[] | undefined {
    if (count === 0) return NO_OPS;
    const ops: TxnOp[] = [];
    for (let i = 0; i < count; i++) {
      const { at } = this;
      const left = end - at;
      if (left < OP_HEADER_BYTES) return undefined;
      const length = this.view.getUint32(at, true);
      if (length < OP_HEADER_BYTES || length > left) return undefined;
      const op = this.op(at, at + length, depth);
      if (op === undefined || (op.kind !== "range" && this.view.getUint16(at + 6, true) !== 0)) return undefined;
      ops.push(op);
      this.at = at + length;
    }
    return ops;
  }

  private op(at: number, end: number, depth: number): TxnOp | undefined {
    const flags = this.view.getUint8(at + 5);
    const body = at + OP_HEADER_BYTES;
    switch (this.view.getUint8(at + 4)) {
      case KIND_PUT:
        return this.put(body, end, flags);
      case KIND_DELETE:
        return this.delete(body, end, flags);
      case KIND_GET: {
        if (flags !== 0 || end - body < 4 || this.view.getUint32(body, true) !== end - body - 4) return undefined;
        return { kind: "get", key: this.bytes.subarray(body + 4, end) };
      }
      case KIND_RANGE:
        return this.range(at, body, end, flags);
      case KIND_TXN: {
        if (flags !== 0) return undefined;
        this.at = body;
        const txn = this.txn(end, depth + 1);
        return txn === undefined ? undefined : { kind: "txn", txn };
      }
      default:
        return undefined;
    }
  }

  private put(body: number, end: number, flags: number): TxnOp | undefined {
    const { view, bytes } = this;
    const hasTtl = (flags & FLAG_TTL) !== 0;
    const hasLease = (flags & FLAG_LEASE) !== 0;
    if ((flags & ~(FLAG_PREV_KV | FLAG_TTL | FLAG_LEASE | FLAG_IGNORE_VALUE | FLAG_IGNORE_LEASE)) !== 0) return undefined;
    const leaseAt = body + 8 + (hasTtl ? 8 : 0);
    const keyAt = leaseAt + (hasLease ? 8 : 0);
    if (keyAt > end) return undefined;
    const keyBytes = view.getUint32(body, true);
    if (keyBytes + view.getUint32(body + 4, true) !== end - keyAt) return undefined;
    const lease = hasLease ? leaseFromWords(view.getUint32(leaseAt, true), view.getUint32(leaseAt + 4, true)) : undefined;
    if (hasLease && lease === undefined) return this.refuse("leaseId");
    return {
      kind: "put",
      key: bytes.subarray(keyAt, keyAt + keyBytes),
      value: bytes.subarray(keyAt + keyBytes, end),
      lease,
      ttlMs: hasTtl ? view.getFloat64(body + 8, true) : undefined,
      ignoreValue: (flags & FLAG_IGNORE_VALUE) !== 0,
      ignoreLease: (flags & FLAG_IGNORE_LEASE) !== 0,
      prevKv: (flags & FLAG_PREV_KV) !== 0,
    };
  }

  private delete(body: number, end: number, flags: number): TxnOp | undefined {
    const keyAt = body + 8;
    if (keyAt > end) return undefined;
    const keyBytes = this.view.getUint32(body, true);
    const endBytes = this.view.getUint32(body + 4, true);
    if (keyBytes + endBytes !== end - keyAt) return undefined;
    const where = this.where(flags & ~FLAG_PREV_KV, keyAt, keyBytes, endBytes);
    return where === undefined ? undefined : { kind: "delete", where, prevKv: (flags & FLAG_PREV_KV) !== 0 };
  }

  private range(at: number, body: number, end: number, flags: number): TxnOp | undefined {
    const { view } = this;
    const keyAt = body + RANGE_BODY_BYTES;
    if (keyAt > end) return undefined;
    const keyBytes = view.getUint32(body, true);
    const endBytes = view.getUint32(body + 4, true);
    if (keyBytes + endBytes !== end - keyAt) return undefined;
    const where = this.where(flags & ~(FLAG_KEYS_ONLY | FLAG_COUNT_ONLY), keyAt, keyBytes, endBytes);
    const sortBy = SORTS[view.getUint8(at + 6)];
    const order = ORDERS[view.getUint8(at + 7)];
    if (where === undefined || isOneKey(where) || sortBy === undefined || order === undefined) return undefined;
    const bound = (place: number): number | undefined => {
      const revision = view.getFloat64(body + 8 + place * 8, true);
      return revision === 0 ? undefined : revision;
    };
    const upper = (place: number): number | undefined => {
      const revision = bound(place);
      return revision === -1 ? 0 : revision;
    };
    const request: RangeRequest = {
      interval: where,
      limit: view.getFloat64(body + 8, true),
      order,
      sortBy,
      keysOnly: (flags & FLAG_KEYS_ONLY) !== 0,
      countOnly: (flags & FLAG_COUNT_ONLY) !== 0,
      revision: bound(1),
      minModRevision: bound(2),
      maxModRevision: upper(3),
      minCreateRevision: bound(4),
      maxCreateRevision: upper(5),
    };
    return { kind: "range", request };
  }
}
