/** Transactions as actions: drawn at random, done to a machine, and read back from its results as the model has them. */
import fc from "fast-check";
import { ByteWriter } from "../bytes.ts";
import { CommandError, type CommandBatch } from "../command.ts";
import type { UnpackedKv } from "../packed-kv.ts";
import { KIND_TXN, packTxn, writeTxn } from "../txn-codec.ts";
import type { TxnCommand, TxnOp } from "../txn-command.ts";
import type { ResultReader } from "../result.ts";
import type { ModelAnswer, ModelCompare, ModelOp, ModelTxn, ModelWhere } from "./model-txn.ts";
import { bytesOf, intervalOf, type ModelKv } from "./model.ts";

/** The same transaction, for the machine. */
export function realTxn(txn: ModelTxn): TxnCommand {
  const where = ({ start, end }: ModelWhere): TxnCommand["compare"][number]["where"] =>
    end === null ? bytesOf(start) : intervalOf(start, end);
  return {
    compare: txn.compare.map((compare) => ({
      ...compare,
      where: where(compare),
      value: bytesOf(compare.target === "value" ? compare.value : ""),
    })),
    success: txn.success.map(realOp),
    failure: txn.failure.map(realOp),
  };
  function realOp(op: ModelOp): TxnOp {
    switch (op.op) {
      case "put": {
        const ignoreValue = op.keep === "value" || op.keep === "both";
        const ignoreLease = op.keep === "lease" || op.keep === "both";
        const { lease, ttlMs, prevKv = false } = op;
        return {
          kind: "put",
          key: bytesOf(op.key),
          value: bytesOf(ignoreValue ? "" : op.value),
          lease,
          ttlMs,
          ignoreValue,
          ignoreLease,
          prevKv,
        };
      }
      case "delete":
        return { kind: "delete", where: where(op), prevKv: op.prevKv ?? false };
      case "get":
        return { kind: "get", key: bytesOf(op.key) };
      case "range": {
        const { op: _, start, end, ...rest } = op;
        return { kind: "range", request: { ...rest, interval: intervalOf(start, end) } };
      }
      case "txn":
        return { kind: "txn", txn: realTxn(op.txn) };
    }
  }
}

/** Also one that is to be refused, past the builder: what a member does with it must be the same. */
export function appendTxn(batch: CommandBatch, txn: ModelTxn): void {
  const real = realTxn(txn);
  try {
    batch.txn(packTxn(real));
  } catch (error) {
    if (!(error instanceof CommandError) || error.refusal.code !== "duplicateKey") throw error;
    const writer = new ByteWriter();
    writeTxn(writer, real);
    batch.txn(writer.take());
  }
}

const KINDS = ["", "put", "delete", "get", "range", "txn"];

/** The answers of a result as the model has them. */
export function answersOf(results: ResultReader, plain: (kv: UnpackedKv) => ModelKv): ModelAnswer[] {
  const reader = results.answers();
  const answers: ModelAnswer[] = [];
  for (let left = reader.operations; left > 0; left--) {
    reader.next();
    const { kind, revision, number, more, succeeded } = reader;
    const isTxn = kind === KIND_TXN;
    answers.push({ kind: KINDS[kind]!, revision, number, flag: isTxn ? succeeded : more, kvs: isTxn ? [] : reader.kvs().map(plain) });
    if (isTxn) left += reader.items;
  }
  return answers;
}

const key: fc.Arbitrary<string> = fc.constantFrom("a", "b", "c", "ab", "abc", "b\0", "\xff");
const bounds: fc.Arbitrary<{ start: string; end: string | undefined }> = fc.record({
  start: fc.constantFrom("", "a", "b", "ab", "c"),
  end: fc.constantFrom(undefined, "a", "b", "b\0", "c", "\xff"),
});
const where: fc.Arbitrary<ModelWhere> = fc.oneof(
  key.map((start) => ({ start, end: null })),
  bounds,
);
const value: fc.Arbitrary<string> = fc.constantFrom("", "1", "2", "value", "x".repeat(90));
/** Leases made by the first commands of early entries, granted ones, and one that never is. */
const lease: fc.Arbitrary<string> = fc.oneof(
  fc.integer({ min: 1, max: 8 }).map((index) => (index * 65_536).toString(16).padStart(16, "0")),
  fc.constantFrom("00000000000000a1", "00000000000000a2", "8000000000000000"),
);

const compare: fc.Arbitrary<ModelCompare> = fc
  .tuple(
    where,
    fc.record({
      target: fc.constantFrom("version" as const, "createRevision" as const, "modRevision" as const, "value" as const, "lease" as const),
      result: fc.constantFrom("equal" as const, "not" as const, "less" as const, "greater" as const),
      number: fc.oneof(fc.integer({ min: -1, max: 3 }), fc.integer({ min: 0, max: 30 })),
      value,
      lease: fc.option(lease, { nil: undefined }),
    }),
  )
  .map(([target, rest]) => ({ ...target, ...rest }));

const bound: fc.Arbitrary<number | undefined> = fc.option(fc.integer({ min: 0, max: 30 }), { nil: undefined, freq: 1 });

const read: fc.Arbitrary<ModelOp> = fc.oneof(
  key.map((one) => ({ op: "get" as const, key: one })),
  fc
    .tuple(
      bounds,
      fc.record({
        limit: fc.constantFrom(0, 0, 1, 2),
        order: fc.constantFrom("ascending" as const, "descending" as const),
        sortBy: fc.constantFrom(
          "key" as const,
          "key" as const,
          "version" as const,
          "createRevision" as const,
          "modRevision" as const,
          "value" as const,
        ),
        keysOnly: fc.boolean(),
        countOnly: fc.constantFrom(false, false, true),
        revision: fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined, freq: 1 }),
        minModRevision: bound,
        maxModRevision: bound,
        minCreateRevision: bound,
        maxCreateRevision: bound,
      }),
    )
    .map(([range, rest]) => ({ op: "range" as const, ...range, ...rest })),
);

const write: fc.Arbitrary<ModelOp> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant("put" as const), key, value, prevKv: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("put" as const), key, value, lease }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("put" as const),
      key,
      value,
      keep: fc.constantFrom("value" as const, "lease" as const, "both" as const),
    }),
  },
  { weight: 2, arbitrary: fc.tuple(where, fc.boolean()).map(([target, prevKv]) => ({ op: "delete" as const, ...target, prevKv })) },
);

/** One put in some transactions lives for a time: more are refused as malformed. */
const withTtl = (txn: ModelTxn, ttlMs: number | undefined): ModelTxn => {
  const at = txn.success.findIndex((op) => op.op === "put" && op.lease === undefined && op.keep === undefined);
  if (ttlMs === undefined || at < 0) return txn;
  return { ...txn, success: txn.success.map((op, place) => (place === at ? ({ ...op, ttlMs } as ModelOp) : op)) };
};

const { txn: anyTxn } = fc.letrec<{ txn: ModelTxn; ops: ModelOp[] }>((tie) => ({
  ops: fc.array(
    fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      { weight: 4, arbitrary: write },
      { weight: 3, arbitrary: read },
      { weight: 2, arbitrary: tie("txn").map((nested) => ({ op: "txn" as const, txn: nested })) },
    ),
    { maxLength: 4, depthIdentifier: "txn" },
  ),
  txn: fc.record({ compare: fc.array(compare, { maxLength: 2 }), success: tie("ops"), failure: tie("ops") }),
}));

export const txn: fc.Arbitrary<ModelTxn> = fc
  .tuple(anyTxn, fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined, freq: 1 }))
  .map(([one, ttlMs]) => withTtl(one, ttlMs));

export const readOnlyTxn: fc.Arbitrary<ModelTxn> = fc.record({
  compare: fc.array(compare, { maxLength: 2 }),
  success: fc.array(read, { maxLength: 3 }),
  failure: fc.array(read, { maxLength: 3 }),
});
