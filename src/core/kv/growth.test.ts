import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch, COMMAND_HEADER_BYTES, OP_NO_SPACE } from "./command.ts";
import { growth, readNoSpace, withoutGrowth } from "./growth.ts";
import { KvMachine } from "./machine.ts";
import { ResultReader } from "./result.ts";
import { createTable } from "./table/packed-table.ts";
import { packTxn } from "./txn-codec.ts";
import type { TxnCommand } from "./txn-command.ts";

const REFUSAL = { of: "quota", used: 5_000_000_001, max: 5_000_000_000 } as const;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function batchOf(fill: (batch: CommandBatch) => void): { record: Uint8Array; count: number } {
  const batch = new CommandBatch();
  fill(batch);
  const { count } = batch;
  return { record: batch.finish(), count };
}

function newMachine(): KvMachine {
  return new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
}

function apply(machine: KvMachine, record: Uint8Array, count: number): ResultReader {
  const commands = record.subarray(BATCH_PREFIX_BYTES);
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands, count }, true);
  while (!machine.step(100));
  return new ResultReader(machine.results());
}

test("puts and compare-and-swaps make the data grow; deletions and compaction do not", () => {
  const puts = batchOf((batch) => {
    batch.put(bytes("a"), bytes("1"));
    batch.compareAndSwap(bytes("a"), undefined, bytes("1"));
  });
  const deletions = batchOf((batch) => {
    batch.deleteKey(bytes("a"));
    batch.deleteRange({ start: bytes(""), end: undefined });
    batch.compact(1);
  });
  const both = batchOf((batch) => {
    batch.deleteKey(bytes("a"));
    batch.put(bytes("a"), bytes("1"));
  });
  assert.equal(growth(puts.record, puts.count), "all");
  assert.equal(growth(deletions.record, deletions.count), "none");
  assert.equal(growth(both.record, both.count), "some");
});

test("a transaction grows the data if either branch could put, nested ones included", () => {
  const put = {
    kind: "put",
    key: bytes("a"),
    value: bytes("1"),
    lease: undefined,
    ttlMs: undefined,
    ignoreValue: false,
    ignoreLease: false,
    prevKv: false,
  } as const;
  const remove = { kind: "delete", where: bytes("b"), prevKv: false } as const;
  const of = (txn: TxnCommand): string => {
    const { record, count } = batchOf((batch) => batch.txn(packTxn(txn)));
    return growth(record, count);
  };
  assert.equal(of({ compare: [], success: [remove], failure: [] }), "none");
  assert.equal(of({ compare: [], success: [remove], failure: [put] }), "all");
  const nested = { kind: "txn", txn: { compare: [], success: [put], failure: [] } } as const;
  assert.equal(of({ compare: [], success: [nested], failure: [remove] }), "all");
});

test("what is refused for want of space keeps its place: its result is the refusal, and the commands beside it are applied", () => {
  const machine = newMachine();
  const first = batchOf((batch) => {
    batch.put(bytes("a"), bytes("1"));
    batch.put(bytes("b"), bytes("1"));
  });
  apply(machine, first.record, first.count);
  const { record, count } = batchOf((batch) => {
    batch.put(bytes("c"), new Uint8Array(10_000));
    batch.deleteKey(bytes("a"));
    batch.compareAndSwap(bytes("b"), bytes("1"), bytes("2"));
    batch.deleteKey(bytes("b"));
  });
  const admitted = withoutGrowth(record, count, REFUSAL);
  assert.deepEqual(admitted.subarray(0, BATCH_PREFIX_BYTES), record.subarray(0, BATCH_PREFIX_BYTES));
  assert.equal(growth(admitted, count), "none", "no further leader refuses anything of it");
  assert.ok(admitted.byteLength < 300);
  const results = apply(machine, admitted, count);
  for (const refused of [true, false, true, false]) {
    assert.ok(results.next());
    if (refused) assert.deepEqual(results.refusal, { code: "quotaFull", max: REFUSAL.max, lease: undefined, used: REFUSAL.used });
    else assert.equal(results.deleted, 1);
  }
  assert.ok(!results.next());
  assert.equal(machine.table.keys, 0);
});

test("hostile batches: any bytes, and any count, are judged and stubbed without a throw", () => {
  const { record, count } = batchOf((batch) => {
    batch.put(bytes("key"), bytes("value"));
    batch.deleteKey(bytes("key"));
    batch.compareAndSwap(bytes("key"), bytes("value"), bytes("other"));
  });
  for (let at = BATCH_PREFIX_BYTES; at < record.byteLength; at++) {
    for (const value of [0, 1, 5, 11, 127, 255]) {
      const changed = record.slice();
      changed[at] = value;
      growth(changed, count);
      const admitted = withoutGrowth(changed, 0xffff_ffff, REFUSAL);
      assert.notEqual(growth(admitted, 0xffff_ffff), "all");
      apply(newMachine(), admitted, count);
    }
  }
  assert.equal(growth(new Uint8Array(0), 5), "none");
  assert.equal(withoutGrowth(new Uint8Array(BATCH_PREFIX_BYTES), 5, REFUSAL).byteLength, BATCH_PREFIX_BYTES);
});

test("a stub that says nothing known is refused as malformed", () => {
  const { record, count } = batchOf((batch) => batch.put(bytes("a"), bytes("1")));
  const stub = withoutGrowth(record, count, REFUSAL);
  const value = stub.subarray(BATCH_PREFIX_BYTES + COMMAND_HEADER_BYTES);
  assert.equal(stub[BATCH_PREFIX_BYTES + 4], OP_NO_SPACE);
  assert.deepEqual(readNoSpace(value), { code: "quotaFull", used: REFUSAL.used, max: REFUSAL.max });
  for (const of of [0, 4, 1.5, Number.NaN, -1]) {
    new DataView(value.buffer, value.byteOffset).setFloat64(0, of, true);
    const results = apply(newMachine(), stub, count);
    assert.ok(results.next());
    assert.equal(results.refusal?.code, "malformed");
  }
});

test("what a quota counts rises with puts and falls with compaction, and says how far to compact", () => {
  const machine = newMachine();
  assert.equal(machine.usedBytes, 0);
  assert.equal(machine.revisionFreeing(1), 0);
  const put = batchOf((batch) => batch.put(bytes("key"), bytes("value")));
  apply(machine, put.record, put.count);
  const record = 64 + 3 + 5;
  assert.equal(machine.usedBytes, record + 16, "the record, and its event in history");
  apply(machine, put.record, put.count);
  assert.equal(machine.usedBytes, 2 * (record + 16));
  // The first put's event is revision 2's; the second one's, with the record that it superseded, revision 3's.
  assert.equal(machine.revisionFreeing(16), 2);
  assert.equal(machine.revisionFreeing(17), 3);
  assert.equal(machine.revisionFreeing(1_000_000), 3);
});
