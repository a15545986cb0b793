/**
 * Transactions as callers write them: literals, whose types decide those of their results.
 *
 *   const { succeeded, results } = await client.txn({
 *     compare: [{ key: "a", version: 0 }],
 *     success: [{ put: "a", value: "1" }],
 *     failure: [{ get: "a" }],
 *   });
 */
import type {
  DeleteResult,
  Key,
  KeyMeta,
  KeyRange,
  KeyValue,
  Lease,
  LeaseId,
  PutResult,
  RangeOptions,
  RangeResult,
  Revision,
  Target,
  Value,
} from "./client.ts";

/** A plain value means "equals". */
export type Match<T> = T | { readonly not: T } | { readonly lessThan: T } | { readonly greaterThan: T };

/**
 * Of one key, or of every key of a range. Several fields must all hold. Where there is no key (or the range has none): version and
 * revisions are 0, the lease is "0", and nothing can be said of the value, so that no comparison of it holds, `not` included. Leases compare
 * as signed 64-bit numbers, values byte by byte.
 */
export type Comparison = ({ readonly key: Key } | { readonly range: KeyRange }) & {
  /** true: it is there; false: it is not. Of a range: every key is there, and there is one; or there is none. */
  readonly exists?: boolean;
  readonly version?: Match<number>;
  readonly createRevision?: Match<Revision>;
  readonly modRevision?: Match<Revision>;
  readonly value?: Match<Value>;
  readonly lease?: Match<LeaseId>;
};

export interface GetOp {
  readonly get: Key;
}

/** As Client.range. `revision`: as of that one, instead of what the transaction sees at this point. */
export interface RangeOp {
  readonly range: KeyRange;
  readonly limit?: number;
  readonly sortBy?: NonNullable<RangeOptions["sortBy"]>;
  readonly order?: NonNullable<RangeOptions["order"]>;
  readonly keysOnly?: boolean;
  readonly revision?: Revision;
  readonly minModRevision?: Revision;
  readonly maxModRevision?: Revision;
  readonly minCreateRevision?: Revision;
  readonly maxCreateRevision?: Revision;
}

export type PutOp = { readonly put: Key; readonly lease?: LeaseId | Lease; readonly ignoreLease?: boolean; readonly prevKv?: boolean } & (
  | { readonly value: Value }
  | { readonly ignoreValue: true }
);

export interface DeleteOp {
  readonly delete: Target;
  readonly prevKv?: boolean;
}

/** Its comparisons look at the state of before the outermost transaction. Makes that one a write, whatever it does. */
export interface TxnOp {
  readonly txn: Txn;
}

export type Op = GetOp | RangeOp | PutOp | DeleteOp | TxnOp;

/**
 * If every comparison holds (none: it does), the operations of `success`, else those of `failure`, in order, at one revision. Each sees what
 * those before it have written. A transaction writes each key at most once.
 */
export interface Txn<Success extends readonly Op[] = readonly Op[], Failure extends readonly Op[] = readonly Op[]> {
  readonly compare?: readonly Comparison[];
  readonly success?: Success;
  readonly failure?: Failure;
}

/** Of one operation. */
export type OpResult<O> = O extends { readonly get: Key }
  ? KeyValue | undefined
  : O extends { readonly txn: infer T }
    ? TxnResult<BranchOf<T, "success">, BranchOf<T, "failure">>
    : O extends { readonly put: Key }
      ? PutResult
      : O extends { readonly delete: Target }
        ? DeleteResult
        : O extends { readonly range: KeyRange; readonly keysOnly: true }
          ? RangeResult<KeyMeta>
          : O extends { readonly range: KeyRange }
            ? RangeResult
            : never;

type BranchOf<T, Branch extends "success" | "failure"> = T extends { readonly [B in Branch]: infer Ops extends readonly Op[] }
  ? Ops
  : Branch extends keyof T
    ? readonly Op[]
    : readonly [];

export type OpResults<Ops extends readonly Op[]> = { readonly [I in keyof Ops]: OpResult<Ops[I]> };

/** `results` has one entry for each operation of the branch taken, in order, each with its operation's own type. */
export type TxnResult<Success extends readonly Op[] = readonly Op[], Failure extends readonly Op[] = readonly Op[]> =
  | { readonly succeeded: true; readonly revision: Revision; readonly results: OpResults<Success> }
  | { readonly succeeded: false; readonly revision: Revision; readonly results: OpResults<Failure> };
