import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch, CommandError, TXN_DEPTH_MAX, TXN_OPS_CEILING, type RefusalCode } from "./command.ts";
import { KvMachine } from "./machine.ts";
import type { RangeRequest, ReadRefused } from "./read.ts";
import { ResultReader, ResultWriter } from "./result.ts";
import { bytesOf, intervalOf, textOf } from "./test/model.ts";
import { createSimpleTable } from "./test/simple-table.ts";
import { appendTxn, txn as anyTxn } from "./test/txn-actions.ts";
import { KIND_TXN, packTxn, readTxn } from "./txn-codec.ts";
import type { TxnCommand, TxnCompare, TxnOp } from "./txn-command.ts";

function create(history?: { revisionsMax: number; bytesMax: number }): KvMachine {
  return new KvMachine({ table: createSimpleTable(), history });
}

function apply(machine: KvMachine, build: (batch: CommandBatch) => void, options: { slice?: number; clockMs?: number } = {}): ResultReader {
  const batch = new CommandBatch();
  build(batch);
  const { count } = batch;
  const commands = batch.finish().subarray(BATCH_PREFIX_BYTES);
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs: options.clockMs ?? machine.clockMs, commands, count }, true);
  while (!machine.step(options.slice ?? 100));
  const reader = new ResultReader(machine.results());
  assert(reader.next());
  return reader;
}

const txnOf = (parts: Partial<TxnCommand>): TxnCommand => ({ compare: [], success: [], failure: [], ...parts });

const run = (machine: KvMachine, parts: Partial<TxnCommand>, options = {}): ResultReader =>
  apply(machine, (batch) => batch.txn(packTxn(txnOf(parts), TXN_OPS_CEILING)), options);

const put = (key: string, value = "", options: Partial<TxnOp & { kind: "put" }> = {}): TxnOp => ({
  kind: "put",
  key: bytesOf(key),
  value: bytesOf(value),
  lease: undefined,
  ttlMs: undefined,
  ignoreValue: false,
  ignoreLease: false,
  prevKv: false,
  ...options,
});
const drop = (key: string, prevKv = false): TxnOp => ({ kind: "delete", where: bytesOf(key), prevKv });
const dropRange = (start: string, end: string | undefined, prevKv = false): TxnOp => ({
  kind: "delete",
  where: intervalOf(start, end),
  prevKv,
});
const get = (key: string): TxnOp => ({ kind: "get", key: bytesOf(key) });
const range = (start: string, end: string | undefined, request: Partial<RangeRequest> = {}): TxnOp => ({
  kind: "range",
  request: {
    interval: intervalOf(start, end),
    limit: 0,
    order: "ascending",
    sortBy: "key",
    keysOnly: false,
    countOnly: false,
    revision: undefined,
    ...request,
  },
});
const nested = (parts: Partial<TxnCommand>): TxnOp => ({ kind: "txn", txn: txnOf(parts) });
const compare = (where: string | [string, string | undefined], parts: Partial<TxnCompare>): TxnCompare => ({
  where: typeof where === "string" ? bytesOf(where) : intervalOf(...where),
  target: "version",
  result: "equal",
  number: 0,
  value: bytesOf(""),
  lease: undefined,
  ...parts,
});

/** The answers as text: kind, revision, number, kvs. */
function answers(reader: ResultReader): string[] {
  const read = reader.answers();
  const walk = (count: number): string[] => {
    const lines: string[] = [];
    for (let i = 0; i < count; i++) {
      read.next();
      const kvs = read.kind === KIND_TXN ? [] : read.kvs().map((kv) => `${textOf(kv.key)}=${textOf(kv.value)}@${kv.modRevision}`);
      const flags = (read.more ? " more" : "") + (read.succeeded ? " succeeded" : "");
      const head = `${["", "put", "delete", "get", "range", "txn"][read.kind]} ${read.revision} ${read.number}${flags}`;
      const inner = read.kind === KIND_TXN ? walk(read.items) : kvs;
      lines.push(`${head} [${inner.join(", ")}]`);
    }
    return lines;
  };
  return walk(read.operations);
}

function refusedAs(parts: Partial<TxnCommand>, opsMax?: number): RefusalCode | undefined {
  try {
    packTxn(txnOf(parts), opsMax);
    return undefined;
  } catch (error) {
    assert(error instanceof CommandError);
    return error.refusal.code;
  }
}

test("a transaction makes one revision, its events in the order of its operations; one that changes nothing makes none", () => {
  const machine = create();
  const result = run(machine, { success: [put("b", "1"), put("a", "2"), drop("missing"), put("c", "3")] });
  assert.equal(result.succeeded, true);
  assert.equal(result.revision, 2);
  const keys: string[] = [];
  for (let at = machine.table.firstEvent; at < machine.table.endEvent; at++) keys.push(textOf(machine.table.key(machine.table.event(at))));
  assert.deepEqual(keys, ["b", "a", "c"]);
  assert.equal(run(machine, { success: [drop("missing"), get("a")] }).revision, 2);
  const empty = run(machine, {});
  assert.deepEqual([empty.succeeded, empty.revision, answers(empty)], [true, 2, []]);
});

test("an answer has the revision of before the first change, and then of the one that is made", () => {
  const machine = create();
  run(machine, { success: [put("a", "0")] });
  const result = run(machine, { success: [drop("missing"), get("a"), put("a", "1", { prevKv: true }), get("a"), range("", undefined)] });
  assert.deepEqual(answers(result), ["delete 2 0 []", "get 2 1 [a=0@2]", "put 3 0 [a=0@2]", "get 3 1 [a=1@3]", "range 3 1 [a=1@3]"]);
});

test("comparisons are of version, revisions, value and lease, each with four results", () => {
  const machine = create();
  apply(machine, (batch) => batch.grantLease("7", 1_000));
  run(machine, { success: [put("a", "m", { lease: "7" })] });
  run(machine, { success: [put("a", "m", { lease: "7" })] });
  const cases: [Partial<TxnCompare>, string][] = [
    [{ target: "version", number: 2 }, "equal"],
    [{ target: "version", number: 3 }, "not less"],
    [{ target: "version", number: 1 }, "not greater"],
    [{ target: "createRevision", number: 2 }, "equal"],
    [{ target: "modRevision", number: 3 }, "equal"],
    [{ target: "modRevision", number: 4 }, "not less"],
    [{ target: "value", value: bytesOf("m") }, "equal"],
    [{ target: "value", value: bytesOf("n") }, "not less"],
    [{ target: "value", value: bytesOf("") }, "not greater"],
    [{ target: "value", value: bytesOf("ma") }, "not less"],
    [{ target: "lease", lease: "7" }, "equal"],
    [{ target: "lease", lease: "8" }, "not less"],
    [{ target: "lease", lease: undefined }, "not greater"],
    // As signed 64-bit numbers.
    [{ target: "lease", lease: "8000000000000000" }, "not greater"],
  ];
  for (const [parts, holding] of cases) {
    for (const result of ["equal", "not", "less", "greater"] as const) {
      const { succeeded } = run(machine, { compare: [compare("a", { ...parts, result })] });
      assert.equal(succeeded, holding.includes(result), `${JSON.stringify(parts)} ${result}`);
    }
  }
});

test("a key that is not there has version, revisions and lease of 0, and no comparison of its value holds", () => {
  const machine = create();
  for (const target of ["version", "createRevision", "modRevision", "lease"] as const) {
    assert.equal(run(machine, { compare: [compare("a", { target })] }).succeeded, true, target);
    assert.equal(run(machine, { compare: [compare("a", { target, result: "greater" })] }).succeeded, false, target);
  }
  for (const result of ["equal", "not", "less", "greater"] as const) {
    for (const value of ["", "x"])
      assert.equal(run(machine, { compare: [compare("a", { target: "value", result, value: bytesOf(value) })] }).succeeded, false, result);
  }
});

test("a comparison of a range holds for each of its keys; without any it is as of a key that is not there", () => {
  const machine = create();
  run(machine, { success: [put("a", "1"), put("b", "1"), put("c", "2")] });
  run(machine, { success: [drop("b")] });
  const holds = (parts: Partial<TxnCompare>, end: string | undefined): boolean =>
    run(machine, { compare: [compare(["a", end], parts)] }, { slice: 1 }).succeeded;
  assert.equal(holds({ target: "value", value: bytesOf("1") }, "c"), true, "what was deleted does not count");
  assert.equal(holds({ target: "value", value: bytesOf("1") }, undefined), false);
  assert.equal(holds({ target: "createRevision", result: "greater" }, undefined), true);
  assert.equal(holds({ target: "createRevision", result: "greater" }, "a"), false, "an empty range");
  assert.equal(holds({ target: "createRevision" }, "a"), true);
  assert.equal(holds({ target: "value", value: bytesOf("1") }, "a"), false);
});

test("comparisons are anded, and decide between the branches", () => {
  const machine = create();
  const both = [compare("a", {}), compare("b", { number: 1 })];
  const failed = run(machine, { compare: both, success: [put("a")], failure: [put("b")] });
  assert.deepEqual([failed.succeeded, failed.revision], [false, 2]);
  assert.equal(run(machine, { compare: both, success: [put("a")] }).succeeded, true);
});

test("nested comparisons look at the state of before the transaction, along the path that is taken", () => {
  const machine = create();
  const result = run(machine, {
    success: [
      put("a", "1"),
      nested({
        compare: [compare("a", { number: 0 })],
        success: [put("b", "was absent"), nested({ compare: [compare("a", { number: 1 })], failure: [get("a")] })],
        failure: [put("b", "was there")],
      }),
    ],
  });
  assert.deepEqual(answers(result), ["put 2 0 []", "txn 2 0 succeeded [put 2 0 [], txn 2 0 [get 2 1 [a=1@2]]]"]);
});

test("what the path needs is checked before anything is written", () => {
  const machine = create({ revisionsMax: 2, bytesMax: 1_000_000 });
  for (let i = 0; i < 6; i++) run(machine, { success: [put("a", String(i))] });
  assert.equal(machine.readableFrom, 6);
  const cases: [TxnOp, RefusalCode, number][] = [
    [range("", undefined, { revision: 8 }), "future", 7],
    [range("", undefined, { revision: 5 }), "compacted", 6],
    [put("b", "", { lease: "99" }), "leaseNotFound", 0],
    [put("b", "", { ignoreValue: true }), "keyNotFound", 0],
    [put("b", "", { ignoreLease: true }), "keyNotFound", 0],
  ];
  for (const [op, code, max] of cases) {
    for (const ops of [
      [put("first"), op],
      [put("first"), nested({ success: [op] })],
    ]) {
      const { refusal } = run(machine, { success: ops });
      assert.deepEqual([refusal?.code, refusal?.max], [code, max]);
      assert.equal(machine.revision, 7);
      assert.equal(machine.table.find(bytesOf("first")), 0, "nothing was written");
    }
    assert.equal(run(machine, { failure: [op] }).refusal, undefined, "the other branch needs nothing");
  }
  assert.equal(run(machine, { success: [put("b", "", { lease: "99" })] }).refusal?.lease, "0000000000000099");
});

test("a range within a transaction may be of the past, while what it sees now has its writes", () => {
  const machine = create();
  run(machine, { success: [put("a", "1"), put("b", "1")] });
  const result = run(machine, {
    success: [
      put("a", "2"),
      drop("b"),
      range("", undefined, { revision: 2 }),
      range("", undefined, { limit: 1, sortBy: "value", order: "descending" }),
      range("", undefined, { countOnly: true, revision: 2 }),
      range("", undefined, { keysOnly: true }),
      range("", undefined, { minModRevision: 3 }),
      range("", undefined, { maxModRevision: 2 }),
      range("", undefined, { maxCreateRevision: 0 }),
      range("", undefined, { minModRevision: 0 }),
    ],
  });
  assert.deepEqual(answers(result).slice(2), [
    "range 3 2 [a=1@2, b=1@2]",
    "range 3 1 [a=2@3]",
    "range 3 2 []",
    "range 3 1 [a=@3]",
    "range 3 1 [a=2@3]",
    "range 3 1 []",
    "range 3 1 []",
    "range 3 1 [a=2@3]",
  ]);
});

test("a put may keep the value or the lease that is there, in a transaction and by itself", () => {
  const machine = create();
  apply(machine, (batch) => batch.grantLease("7", 1_000));
  apply(machine, (batch) => batch.put(bytesOf("a"), bytesOf("1"), { lease: "7" }));
  const newest = (): (string | undefined)[] => {
    const ref = machine.table.find(bytesOf("a"));
    return [textOf(machine.table.value(ref)), machine.table.lease(ref), String(machine.table.version(ref))];
  };
  run(machine, { success: [put("a", "2", { ignoreLease: true })] });
  assert.deepEqual(newest(), ["2", "0000000000000007", "2"]);
  run(machine, { success: [put("a", "", { ignoreValue: true })] });
  assert.deepEqual(newest(), ["2", undefined, "3"], "without a lease it is detached");
  apply(machine, (batch) => batch.put(bytesOf("a"), bytesOf(""), { ignoreValue: true, lease: "7" }));
  assert.deepEqual(newest(), ["2", "0000000000000007", "4"]);
  apply(machine, (batch) => batch.put(bytesOf("a"), bytesOf("3"), { ignoreLease: true }));
  assert.deepEqual(newest(), ["3", "0000000000000007", "5"]);
  const { refusal } = apply(machine, (batch) => batch.put(bytesOf("b"), bytesOf(""), { ignoreValue: true }));
  assert.equal(refusal?.code, "keyNotFound");
});

test("a lease that a put made lives on where the transaction that takes its last key gives it another", () => {
  const machine = create();
  apply(machine, (batch) => batch.put(bytesOf("a"), bytesOf("1"), { ttlMs: 50 }));
  const lease = machine.table.lease(machine.table.find(bytesOf("a")))!;
  run(machine, { success: [put("a", "2"), put("b", "3", { lease })] });
  assert.equal(machine.leases, 1);
  assert.equal(machine.nextDue(), 50);
  run(machine, { success: [drop("b")] });
  assert.equal(machine.leases, 0);
});

test("one put of a transaction may have a time to live", () => {
  const machine = create();
  run(machine, { success: [put("a", "1", { ttlMs: 30 })] });
  assert.equal(machine.nextDue(), 30);
  assert.equal(refusedAs({ success: [put("a", "", { ttlMs: 30 }), put("b", "", { ttlMs: 30 })] }), "malformed");
  apply(machine, (batch) => batch.deleteKey(bytesOf("none")), { clockMs: 30 });
  assert.equal(machine.table.keys, 0);
});

describe("a key is written at most once on a path", () => {
  const duplicates: [string, TxnOp[]][] = [
    ["two puts", [put("a"), put("a")]],
    ["a put and a deletion", [put("a"), drop("a")]],
    ["a deletion and a put", [drop("a"), put("a")]],
    ["a deletion of a range over a put", [put("b"), dropRange("a", "c")]],
    ["a deletion of everything", [dropRange("", undefined), put("x")]],
    ["a put and a nested put", [put("a"), nested({ success: [put("a")] })]],
    ["a put and a put nested in the other branch", [nested({ failure: [put("a")] }), put("a")]],
    ["sibling puts", [nested({ success: [put("a")] }), nested({ failure: [put("a")] })]],
    ["a nested put and a sibling's deletion", [nested({ success: [put("a")] }), nested({ success: [drop("a")] })]],
    ["a nested deletion and a put", [nested({ success: [dropRange("a", "b")] }), put("aa")]],
    ["within a nested one", [nested({ success: [put("a"), put("a")] })]],
    ["two levels apart", [put("a"), nested({ success: [nested({ failure: [drop("a")] })] })]],
  ];
  for (const [name, success] of duplicates) {
    test(name, () => {
      assert.equal(refusedAs({ success }), "duplicateKey");
      assert.equal(refusedAs({ failure: success }), "duplicateKey", "in whichever branch");
    });
  }
  const allowed: [string, Partial<TxnCommand>][] = [
    ["deletions overlap", { success: [drop("a"), dropRange("", undefined), drop("a")] }],
    ["a deletion beside a put", { success: [dropRange("a", "b"), put("b"), dropRange("c", undefined)] }],
    ["the same key in both branches", { success: [put("a")], failure: [put("a"), drop("b")] }],
    ["the same key in both branches of a nested one", { success: [nested({ success: [put("a")], failure: [drop("a")] })] }],
    ["an interval that ends before it starts", { success: [put("b"), dropRange("c", "a")] }],
    ["reads of what is written", { success: [put("a"), get("a"), range("", undefined)] }],
  ];
  for (const [name, parts] of allowed) {
    test(`but ${name}`, () => {
      assert.equal(refusedAs(parts), undefined);
      assert.equal(run(create(), parts).refusal, undefined);
    });
  }
});

test("operations are bounded: by the longest of the three lists, and a nested one has what is left of its parent's", () => {
  const puts = (count: number, from = 0): TxnOp[] => Array.from({ length: count }, (_, i) => put(`k${from + i}`));
  assert.equal(refusedAs({ success: puts(128) }), undefined);
  assert.equal(refusedAs({ success: puts(129) }), "txnOps");
  assert.equal(refusedAs({ failure: puts(3) }, 2), "txnOps");
  assert.equal(refusedAs({ compare: [compare("a", {}), compare("b", {})] }, 1), "txnOps");
  assert.equal(refusedAs({ success: [...puts(63), nested({ success: puts(64, 100) })] }), undefined);
  assert.equal(refusedAs({ success: [...puts(63), nested({ success: puts(65, 100) })] }), "txnOps");
  assert.equal(refusedAs({ success: puts(TXN_OPS_CEILING + 1) }, 1_000_000), "txnOps");
  let deep = nested({ success: [put("a")] });
  for (let i = 0; i < TXN_DEPTH_MAX - 2; i++) deep = nested({ success: [deep] });
  assert.equal(refusedAs({ success: [deep] }), undefined);
  assert.equal(refusedAs({ success: [nested({ success: [deep] })] }), "txnDepth");
});

test("every key, interval, value, lease and number is checked, in whichever branch", () => {
  const long = "k".repeat(32_769);
  const cases: [Partial<TxnCommand>, RefusalCode][] = [
    [{ compare: [compare("", {})] }, "keyBytes"],
    [{ compare: [compare(["a", `${long}k`], {})] }, "keyBytes"],
    [{ compare: [compare("a", { number: Number.NaN })] }, "malformed"],
    [{ compare: [compare("a", { target: "lease", lease: "xyz" })] }, "leaseId"],
    [{ failure: [put("")] }, "keyBytes"],
    [{ failure: [put(long)] }, "keyBytes"],
    [{ failure: [drop("")] }, "keyBytes"],
    [{ failure: [get("")] }, "keyBytes"],
    [{ failure: [dropRange(`${long}k`, undefined)] }, "keyBytes"],
    [{ failure: [put("a", "x", { ignoreValue: true })] }, "malformed"],
    [{ failure: [put("a", "", { lease: "0" })] }, "leaseId"],
    [{ failure: [put("a", "", { ttlMs: 0 })] }, "ttlMs"],
    [{ failure: [put("a", "", { ttlMs: 1, ignoreLease: true })] }, "leaseAndTtl"],
    [{ failure: [put("a", "", { lease: "1", ignoreLease: true })] }, "leaseAndTtl"],
    [{ failure: [range("a", undefined, { limit: -1 })] }, "malformed"],
    [{ failure: [range("a", undefined, { minModRevision: 0.5 })] }, "malformed"],
    [{ failure: [range("a", undefined, { revision: 0 })] }, "malformed"],
    [{ failure: [nested({ success: [put("")] })] }, "keyBytes"],
  ];
  for (const [parts, code] of cases) assert.equal(refusedAs(parts), code, JSON.stringify(parts).slice(0, 80));
});

test("what was packed is read as it was", () => {
  const txn = txnOf({
    compare: [
      compare("a", { target: "value", result: "less", value: bytesOf("v") }),
      compare(["", undefined], { target: "lease", result: "not", lease: "00000000000000ff" }),
      compare(["a", "b"], { target: "modRevision", result: "greater", number: 7 }),
    ],
    success: [
      put("a", "1", { lease: "8000000000000001", prevKv: true }),
      put("b", "", { ttlMs: 5, ignoreValue: true }),
      put("b2", "x", { ignoreLease: true }),
      drop("c", true),
      dropRange("d", "e"),
      dropRange("f", undefined, true),
    ],
    failure: [
      get("a"),
      range("a", "b", { limit: 3, order: "descending", sortBy: "modRevision", keysOnly: true, revision: 5, minModRevision: 2 }),
      range("", undefined, { countOnly: true, maxModRevision: 9, minCreateRevision: 1, maxCreateRevision: 8 }),
      nested({ success: [nested({})], failure: [put("z")] }),
    ],
  });
  const plain = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value, (_, part: unknown) => (part instanceof Uint8Array ? textOf(part) : part)));
  assert.deepEqual(plain(readTxn(packTxn(txn).slice())), plain(txn));
});

test("whatever the slices, a transaction is done once, and seen whole or not at all", () => {
  for (const slice of [1, 2, 3, 7]) {
    const machine = create();
    run(machine, { success: Array.from({ length: 9 }, (_, i) => put(`k${i}`, "old")) });
    const batch = new CommandBatch();
    batch.txn(
      packTxn(
        txnOf({
          compare: [compare(["k0", "l"], { target: "value", value: bytesOf("old") })],
          success: [put("a", "new"), dropRange("k0", "k5"), nested({ success: [dropRange("k7", "k9"), range("", undefined)] })],
        }),
      ),
    );
    const commands = batch.finish().subarray(BATCH_PREFIX_BYTES);
    machine.begin({ index: 2, term: 1, clockMs: 0, commands, count: 1 }, true);
    for (;;) {
      const done = machine.step(slice);
      const reading = machine.range((range("", undefined) as TxnOp & { kind: "range" }).request);
      while (!reading.step(100));
      const answer = reading.result();
      assert("kvs" in answer);
      assert.equal(answer.count, machine.revision === 2 ? 9 : 3);
      assert.equal(answer.returned, answer.count);
      if (done) break;
    }
    assert.equal(machine.revision, 3);
    const reader = new ResultReader(machine.results());
    assert(reader.next() && reader.succeeded);
    assert.deepEqual(answers(reader), [
      "put 3 0 []",
      "delete 3 5 []",
      "txn 3 0 succeeded [delete 3 2 [], range 3 3 [a=new@3, k5=old@2, k6=old@2]]",
    ]);
  }
});

test("answers beyond the bound of a result are left out, and it says so; the transaction is done", () => {
  class SmallResults extends KvMachine {
    constructor() {
      super({ table: createSimpleTable() });
      (this as unknown as { resultWriter: ResultWriter }).resultWriter = new ResultWriter(400);
    }
  }
  for (const op of [range("", undefined), get("a"), drop("a", true), dropRange("", "z", true)]) {
    const machine = new SmallResults();
    run(machine, { success: [put("a", "x".repeat(500))] });
    const result = run(machine, { success: [put("zz", "1"), op, get("zz")] });
    assert.deepEqual([result.cut, result.succeeded, result.revision], [true, true, 3]);
    assert.equal(machine.table.version(machine.table.find(bytesOf("zz"))), 1);
    const after = run(machine, { success: [get("zz")] });
    assert.deepEqual([after.cut, answers(after)], [false, ["get 3 1 [zz=1@3]"]]);
  }
});

describe("a transaction that only reads", () => {
  const read = (machine: KvMachine, parts: Partial<TxnCommand>, between: () => void = () => undefined): ResultReader | ReadRefused => {
    const reading = machine.readTxn(packTxn(txnOf(parts)).slice());
    assert(typeof reading !== "string");
    while (!reading.step(1)) between();
    const result = reading.result();
    if (!(result instanceof Uint8Array)) return result;
    const reader = new ResultReader(result);
    assert(reader.next());
    return reader;
  };

  test("answers as of one revision, whatever is written meanwhile", () => {
    const machine = create();
    run(machine, { success: [put("a", "1"), put("b", "1")] });
    const result = read(
      machine,
      {
        compare: [compare(["a", "c"], { target: "value", value: bytesOf("1") })],
        success: [get("a"), range("", undefined), range("", undefined, { countOnly: true })],
      },
      () => {
        run(machine, { success: [put("a", "2"), drop("b"), put("c", "3")] });
        run(machine, { success: [drop("a"), put("b", "2"), drop("c")] });
      },
    );
    assert(result instanceof ResultReader);
    assert.deepEqual([result.succeeded, result.revision], [true, 2]);
    assert.deepEqual(answers(result), ["get 2 1 [a=1@2]", "range 2 2 [a=1@2, b=1@2]", "range 2 2 []"]);
  });

  test("is refused where a revision cannot be read, and writes nothing", () => {
    const machine = create();
    assert.deepEqual(read(machine, { success: [range("", undefined, { revision: 9 })] }), { refused: "future", revision: 1 });
    assert.equal(machine.readTxn(packTxn(txnOf({ success: [put("a")] })).slice()), "unsupported");
    assert.equal(machine.readTxn(packTxn(txnOf({ failure: [nested({})] })).slice()), "unsupported");
    assert.equal(machine.readTxn(bytesOf("nonsense")), "malformed");
  });

  test("that is given up lets go of its pin", () => {
    const machine = create({ revisionsMax: 1, bytesMax: 1_000_000 });
    run(machine, { success: [put("a")] });
    const reading = machine.readTxn(packTxn(txnOf({ success: [range("", undefined)] })).slice());
    assert(typeof reading !== "string");
    reading.step(1);
    for (let i = 0; i < 4; i++) run(machine, { success: [put("a")] });
    while (!machine.maintain(10));
    assert.equal(machine.freedRevision, 2);
    reading.cancel();
    while (!machine.maintain(10));
    assert.equal(machine.freedRevision, machine.compactRevision);
  });
});

test("a transaction with some bytes changed is applied without harm, alike on all members, whatever their slices", () => {
  const change = fc.record({
    at: fc.nat(10_000),
    to: fc.oneof(fc.constantFrom(0, 1, 2, 4, 8, 16, 64, 255), fc.integer({ min: 0, max: 255 })),
  });
  fc.assert(
    fc.property(fc.array(anyTxn, { minLength: 1, maxLength: 3 }), fc.array(change, { maxLength: 6 }), (txns, changes) => {
      const batch = new CommandBatch();
      for (const txn of txns) appendTxn(batch, txn);
      const { count } = batch;
      const commands = batch.finish().subarray(BATCH_PREFIX_BYTES).slice();
      for (const { at, to } of changes) commands[at % commands.length] = to;
      const members = [create(), create()];
      for (const [at, machine] of members.entries()) {
        run(machine, { success: [put("a", "1"), put("b", "2")] });
        machine.begin({ index: 2, term: 1, clockMs: 5, commands, count }, at === 0);
        for (let steps = 0; !machine.step(at === 0 ? 100 : 1); steps++) assert(steps < 100_000, "an entry ends");
      }
      assert.equal(members[0]!.stateHash(), members[1]!.stateHash());
    }),
    { numRuns: 1_000 },
  );
});

test("bytes that are no transaction are refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const txn = readTxn(bytes);
      assert(typeof txn !== "string" || txn.length > 0);
      const machine = create();
      apply(machine, (batch) => batch.txn(bytes));
      machine.stateHash();
    }),
  );
});

describe("compaction", () => {
  const compact = (machine: KvMachine, revision: number): ResultReader => apply(machine, (batch) => batch.compact(revision));
  const readable = (machine: KvMachine, revision: number): boolean => {
    const reading = machine.range((range("", undefined, { revision }) as TxnOp & { kind: "range" }).request);
    while (!reading.step(10));
    return "kvs" in reading.result();
  };

  test("makes what is below the revision unreadable, and leaves that one", () => {
    const machine = create();
    for (let i = 0; i < 5; i++) run(machine, { success: [put("a", String(i))] });
    const result = compact(machine, 4);
    assert.deepEqual([result.refusal, result.revision], [undefined, 6], "it makes no revision");
    assert.deepEqual([readable(machine, 3), readable(machine, 4), machine.readableFrom], [false, true, 4]);
    while (!machine.maintain(1));
    assert.deepEqual([readable(machine, 3), readable(machine, 4)], [false, true]);
  });

  test("of the future, or again, is refused with what there is", () => {
    const machine = create();
    for (let i = 0; i < 5; i++) run(machine, { success: [put("a", String(i))] });
    assert.deepEqual(compact(machine, 7).refusal, { code: "future", max: 6, lease: undefined });
    assert.equal(compact(machine, 6).refusal, undefined);
    assert.deepEqual(compact(machine, 6).refusal, { code: "compacted", max: 6, lease: undefined });
    assert.deepEqual(compact(machine, 2).refusal, { code: "compacted", max: 6, lease: undefined });
    assert.equal(compact(create(), 1).refusal, undefined, "of nothing");
  });

  test("keeps the event of the revision itself, a deletion too", () => {
    const machine = create();
    run(machine, { success: [put("a")] });
    run(machine, { success: [drop("a")] });
    run(machine, { success: [put("b")] });
    compact(machine, 3);
    while (!machine.maintain(100));
    const { revision } = machine.watches.add({
      id: 1,
      interval: intervalOf("", undefined),
      fromRevision: 3,
      prevKv: false,
      only: undefined,
      initial: false,
      onGap: "throw",
    });
    assert.equal(revision, 2);
    machine.watches.credit(1, 10_000);
    const kinds: string[] = [];
    for (let i = 0; i < 3; i++) for (const output of machine.watches.pump(100)) kinds.push(`${output.kind} ${output.revision}`);
    assert.deepEqual(kinds, ["events 3", "events 4"]);
  });

  test("by bounds goes on with other bounds once they are changed", () => {
    const machine = create({ revisionsMax: 1_000, bytesMax: 1_000_000 });
    for (let i = 0; i < 9; i++) run(machine, { success: [put("a", String(i))] });
    assert.equal(machine.readableFrom, 1);
    apply(machine, (batch) => batch.limitHistory({ revisionsMax: 3, bytesMax: 1_000_000 }));
    assert.equal(machine.readableFrom, 8);
    assert.deepEqual(machine.history, { revisionsMax: 3, bytesMax: 1_000_000 });
    const { refusal } = apply(machine, (batch) => batch.limitHistory({ revisionsMax: 0, bytesMax: 1 }));
    assert.equal(refusal?.code, "malformed");
  });
});
