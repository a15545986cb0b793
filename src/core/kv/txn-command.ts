/**
 * What a transaction is, unpacked: comparisons, and the operations of its two branches. How it is packed is in txn-codec.ts, what is refused
 * in txn-check.ts, what it does in txn-run.ts.
 *
 * Bytes are views of whoever made them: the caller's, or the command's.
 */
import type { RangeRequest } from "./read.ts";
import type { KeyInterval } from "./table.ts";

/** Default of `limits.txnOpsMax`: comparisons of a transaction, and operations of each of its branches. */
export const TXN_OPS_MAX = 128;

export type CompareTarget = "version" | "createRevision" | "modRevision" | "value" | "lease";
export type CompareResult = "equal" | "not" | "less" | "greater";

/**
 * Holds for one key, or for every live key of an interval. Where there is no key: version, revisions and lease are 0, and no comparison of
 * a value holds, "not" included.
 */
export interface TxnCompare {
  readonly where: Uint8Array | KeyInterval;
  readonly target: CompareTarget;
  readonly result: CompareResult;
  /** Compared with; of version and revisions. */
  readonly number: number;
  /** Of value: compared byte by byte, unsigned. */
  readonly value: Uint8Array;
  /** Of lease: undefined is none, which is 0. Compared as signed 64-bit numbers. */
  readonly lease: string | undefined;
}

export interface TxnPut {
  readonly kind: "put";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease: string | undefined;
  /** At most one put of a transaction has one. */
  readonly ttlMs: number | undefined;
  readonly ignoreValue: boolean;
  readonly ignoreLease: boolean;
  readonly prevKv: boolean;
}

export interface TxnDelete {
  readonly kind: "delete";
  readonly where: Uint8Array | KeyInterval;
  readonly prevKv: boolean;
}

export interface TxnGet {
  readonly kind: "get";
  readonly key: Uint8Array;
}

export interface TxnRange {
  readonly kind: "range";
  /** `revision` undefined: as of this moment of the transaction. */
  readonly request: RangeRequest;
}

export interface TxnNested {
  readonly kind: "txn";
  readonly txn: TxnCommand;
}

export type TxnOp = TxnPut | TxnDelete | TxnGet | TxnRange | TxnNested;

/** If every comparison holds, the operations of `success`, else those of `failure`. */
export interface TxnCommand {
  readonly compare: readonly TxnCompare[];
  readonly success: readonly TxnOp[];
  readonly failure: readonly TxnOp[];
}

/** Whether nothing in it could write: then it is a read, and needs no log. A nested one makes it a write, whatever that one does. */
export function isReadOnly(txn: TxnCommand): boolean {
  return txn.success.every(isRead) && txn.failure.every(isRead);
}

function isRead(op: TxnOp): boolean {
  return op.kind === "get" || op.kind === "range";
}

/** The lowest revision from `readableFrom` on that a transaction that only reads asks for in either branch; Infinity: it asks for none. */
export function oldestRead({ success, failure }: TxnCommand, readableFrom: number): number {
  let oldest = Number.POSITIVE_INFINITY;
  for (const ops of [success, failure]) {
    for (const op of ops) {
      if (op.kind === "range" && op.request.revision !== undefined && op.request.revision >= readableFrom)
        oldest = Math.min(oldest, op.request.revision);
    }
  }
  return oldest;
}

/** Whether a target is one key. */
export function isOneKey(where: Uint8Array | KeyInterval): where is Uint8Array {
  return "length" in where;
}
