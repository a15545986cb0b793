/**
 * What can be refused of a transaction without looking at the data: one function for the builder in a caller's thread and for every member that
 * applies it. Both branches are looked at, whichever will be taken.
 *
 * The rule of keys: on no path through the nested transactions may a key be put twice, or be both put and deleted, whatever the order. The
 * branches of one transaction exclude each other and may write the same keys; deletions may overlap.
 */
import { compareBytes, keyAfter } from "./bytes.ts";
import { COMMAND_BYTES_MAX, isTtl, KEY_BYTES_MAX, TXN_DEPTH_MAX, TXN_OPS_CEILING, type RefusalCode } from "./command.ts";
import { canonicalLease } from "./lease-id.ts";
import type { RangeRequest } from "./read.ts";
import type { KeyInterval } from "./table.ts";
import { isOneKey, type TxnCommand, type TxnCompare, type TxnOp, type TxnPut } from "./txn-command.ts";

/**
 * undefined: a transaction that can be applied, as far as can be told without the data. Comparisons, and operations of each branch, may be
 * at most `opsMax`; a nested transaction has what its parent's own have left of that.
 */
export function checkTxn(txn: TxnCommand, opsMax: number): RefusalCode | undefined {
  const counted: Counted = { total: 0, puts: 0, deletions: 0, ttls: 0 };
  const fault = checkParts(txn, opsMax, 1, counted);
  if (fault !== undefined) return fault;
  if (counted.ttls > 1) return "malformed";
  // Most transactions write so little that nothing can be written twice.
  if (counted.puts === 0 || (counted.puts === 1 && counted.deletions === 0)) return undefined;
  return writesOf(txn.success) === undefined || writesOf(txn.failure) === undefined ? "duplicateKey" : undefined;
}

interface Counted {
  total: number;
  puts: number;
  deletions: number;
  ttls: number;
}

function checkParts(txn: TxnCommand, opsMax: number, depth: number, counted: Counted): RefusalCode | undefined {
  const { compare, success, failure } = txn;
  if (depth > TXN_DEPTH_MAX) return "txnDepth";
  const own = Math.max(compare.length, success.length, failure.length);
  counted.total += compare.length + success.length + failure.length;
  if (own > opsMax || counted.total > TXN_OPS_CEILING) return "txnOps";
  for (const each of compare) {
    const fault = checkCompare(each);
    if (fault !== undefined) return fault;
  }
  return checkOps(success, opsMax - own, depth, counted) ?? checkOps(failure, opsMax - own, depth, counted);
}

function checkCompare(compare: TxnCompare): RefusalCode | undefined {
  if (!Number.isSafeInteger(compare.number)) return "malformed";
  if (compare.value.length > COMMAND_BYTES_MAX) return "requestBytes";
  if (compare.lease !== undefined && canonicalLease(compare.lease) === undefined) return "leaseId";
  return checkWhere(compare.where);
}

function checkWhere(where: Uint8Array | KeyInterval): RefusalCode | undefined {
  if (isOneKey(where)) return isKey(where) ? undefined : "keyBytes";
  return where.start.length > KEY_BYTES_MAX + 1 || (where.end?.length ?? 0) > KEY_BYTES_MAX + 1 ? "keyBytes" : undefined;
}

function isKey(key: Uint8Array): boolean {
  return key.length > 0 && key.length <= KEY_BYTES_MAX;
}

function checkOps(ops: readonly TxnOp[], opsLeft: number, depth: number, counted: Counted): RefusalCode | undefined {
  for (const op of ops) {
    const fault = checkOp(op, opsLeft, depth, counted);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function checkOp(op: TxnOp, opsLeft: number, depth: number, counted: Counted): RefusalCode | undefined {
  switch (op.kind) {
    case "put":
      counted.puts++;
      if (op.ttlMs !== undefined) counted.ttls++;
      return checkPut(op);
    case "delete":
      counted.deletions++;
      return checkWhere(op.where);
    case "get":
      return isKey(op.key) ? undefined : "keyBytes";
    case "range":
      return isSoundRange(op.request) ? checkWhere(op.request.interval) : "malformed";
    case "txn":
      return checkParts(op.txn, opsLeft, depth + 1, counted);
  }
}

function checkPut(op: TxnPut): RefusalCode | undefined {
  if (!isKey(op.key)) return "keyBytes";
  if (op.value.length > COMMAND_BYTES_MAX) return "requestBytes";
  if (op.ignoreValue && op.value.length > 0) return "malformed";
  if (op.lease !== undefined && canonicalLease(op.lease) === undefined) return "leaseId";
  if (op.ttlMs !== undefined && !isTtl(op.ttlMs)) return "ttlMs";
  const leases = Number(op.lease !== undefined) + Number(op.ttlMs !== undefined) + Number(op.ignoreLease);
  return leases > 1 ? "leaseAndTtl" : undefined;
}

function isSoundRange(request: RangeRequest): boolean {
  const { limit, revision, minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  const isBound = (bound: number | undefined): boolean => bound === undefined || (Number.isSafeInteger(bound) && bound >= 0);
  if (!Number.isSafeInteger(limit) || limit < 0) return false;
  if (!isBound(revision) || revision === 0) return false;
  return isBound(minModRevision) && isBound(maxModRevision) && isBound(minCreateRevision) && isBound(maxCreateRevision);
}

interface PutOf {
  readonly key: Uint8Array;
  /** Which operation of the branch it comes from. */
  readonly item: number;
}

interface DeletionOf {
  readonly interval: KeyInterval;
  readonly item: number;
}

interface Writes {
  readonly puts: readonly PutOf[];
  readonly deletions: readonly DeletionOf[];
}

/**
 * What a branch writes, nested transactions included; undefined if some path through it writes a key twice. Costs n log n: what comes up
 * from a nested transaction has each key once and no deletions that overlap, so that the puts below a deletion are looked at once.
 */
function writesOf(ops: readonly TxnOp[]): Writes | undefined {
  const puts: PutOf[] = [];
  const deletions: DeletionOf[] = [];
  for (let item = 0; item < ops.length; item++) {
    const op = ops[item]!;
    if (op.kind === "put") {
      puts.push({ key: op.key, item });
    } else if (op.kind === "delete") {
      deletions.push({ interval: isOneKey(op.where) ? { start: op.where, end: keyAfter(op.where) } : op.where, item });
    } else if (op.kind === "txn") {
      const success = writesOf(op.txn.success);
      const failure = writesOf(op.txn.failure);
      if (success === undefined || failure === undefined) return undefined;
      for (const key of keysOf([...success.puts, ...failure.puts])) puts.push({ key, item });
      for (const interval of mergedIntervals([...success.deletions, ...failure.deletions])) deletions.push({ interval, item });
    }
  }
  if (puts.length > 1) {
    puts.sort(byKey);
    for (let i = 1; i < puts.length; i++) {
      if (compareBytes(puts[i - 1]!.key, puts[i]!.key) === 0) return undefined;
    }
  }
  for (const deletion of deletions) {
    if (meetsPut(deletion, puts)) return undefined;
  }
  return { puts, deletions };
}

function byKey(left: PutOf, right: PutOf): number {
  return compareBytes(left.key, right.key);
}

function keysOf(puts: PutOf[]): Uint8Array[] {
  puts.sort(byKey);
  return puts.filter(({ key }, at) => at === 0 || compareBytes(puts[at - 1]!.key, key) !== 0).map(({ key }) => key);
}

function mergedIntervals(deletions: DeletionOf[]): KeyInterval[] {
  const sorted = deletions.map(({ interval }) => interval).filter(({ start, end }) => end === undefined || compareBytes(start, end) < 0);
  sorted.sort((left, right) => compareBytes(left.start, right.start));
  const merged: KeyInterval[] = [];
  for (const interval of sorted) {
    const last = merged.at(-1);
    if (last === undefined || (last.end !== undefined && compareBytes(interval.start, last.end) > 0)) merged.push(interval);
    else if (last.end !== undefined && (interval.end === undefined || compareBytes(interval.end, last.end) > 0))
      merged[merged.length - 1] = { start: last.start, end: interval.end };
  }
  return merged;
}

/** Whether the deletion covers a put of another operation. `puts` are in the order of their keys. */
function meetsPut({ interval, item }: DeletionOf, puts: readonly PutOf[]): boolean {
  let low = 0;
  let high = puts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBytes(puts[middle]!.key, interval.start) < 0) low = middle + 1;
    else high = middle;
  }
  for (let at = low; at < puts.length; at++) {
    const put = puts[at]!;
    if (interval.end !== undefined && compareBytes(put.key, interval.end) >= 0) return false;
    if (put.item !== item) return true;
  }
  return false;
}
