/** Small commands that stand for much: what they are reckoned to add, what of them is refused whatever anybody reckons, and that none makes a long turn. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch, KEPT_BYTES_MAX } from "./command.ts";
import { growthCost } from "./growth-cost.ts";
import { KvMachine } from "./machine.ts";
import { ResultReader } from "./result.ts";
import { createTable } from "./table/packed-table.ts";
import { packTxn } from "./txn-codec.ts";
import type { TxnCommand, TxnOp } from "./txn-command.ts";

const MIB = 1 << 20;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function newMachine(): KvMachine {
  return new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }), history: { revisionsMax: 100_000, bytesMax: 64 * MIB } });
}

function batchOf(fill: (batch: CommandBatch) => void): { record: Uint8Array; count: number } {
  const batch = new CommandBatch();
  fill(batch);
  const { count } = batch;
  return { record: batch.finish(), count };
}

/** Answers the refusals, undefined for what was applied, and how many slices it took. */
function apply(
  machine: KvMachine,
  { record, count }: { record: Uint8Array; count: number },
): { refusals: (string | undefined)[]; slices: number } {
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands: record.subarray(BATCH_PREFIX_BYTES), count }, true);
  let slices = 1;
  while (!machine.step(1_000)) slices++;
  const results = new ResultReader(machine.results());
  const refusals: (string | undefined)[] = [];
  while (results.next()) refusals.push(results.refusal?.code);
  return { refusals, slices };
}

function put(key: string, value: Uint8Array, ignoreValue = false): TxnOp {
  return { kind: "put", key: text(key), value, lease: undefined, ttlMs: undefined, ignoreValue, ignoreLease: false, prevKv: false };
}

const txn = (parts: Partial<TxnCommand>): Uint8Array => packTxn({ compare: [], success: [], failure: [], ...parts });

test("a batch adds no more than it is reckoned to", () => {
  const machine = newMachine();
  apply(
    machine,
    batchOf((batch) => batch.put(text("large"), new Uint8Array(MIB))),
  );
  const batches = [
    batchOf((batch) => batch.put(text("a"), text("1"))),
    batchOf((batch) => {
      for (let i = 0; i < 5; i++) batch.put(text("large"), text(""), { ignoreValue: true });
    }),
    batchOf((batch) => batch.txn(txn({ success: Array.from({ length: 100 }, (_, i) => put(`k${i}`, text(""))) }))),
    batchOf((batch) =>
      batch.txn(
        txn({
          failure: [],
          success: [put("large", text(""), true), { kind: "txn", txn: { compare: [], success: [put("b", text("1"))], failure: [] } }],
        }),
      ),
    ),
  ];
  for (const batch of batches) {
    const { usedBytes } = machine;
    const { keys } = machine.table;
    const cost = growthCost(batch.record, batch.count, machine);
    assert.ok(apply(machine, batch).refusals.every((refusal) => refusal === undefined));
    assert.ok(machine.usedBytes - usedBytes <= cost.bytes, `${machine.usedBytes - usedBytes} bytes of ${cost.bytes}`);
    assert.ok(machine.table.keys - keys <= cost.keys, `${machine.table.keys - keys} keys of ${cost.keys}`);
  }
});

test("of a transaction only the dearer branch is reckoned, and a comparison costs nothing", () => {
  const machine = newMachine();
  const one = batchOf((batch) => batch.txn(txn({ success: [put("a", text("1"))], failure: [put("b", text("1")), put("c", text("1"))] })));
  assert.equal(growthCost(one.record, one.count, machine).keys, 2);
});

test("puts of one entry keep no more than so many bytes of values, however few bytes they are themselves", () => {
  const machine = newMachine();
  apply(
    machine,
    batchOf((batch) => batch.put(text("k"), new Uint8Array(MIB))),
  );
  const before = machine.usedBytes;
  const { refusals } = apply(
    machine,
    batchOf((batch) => {
      for (let i = 0; i < 100; i++) batch.put(text("k"), text(""), { ignoreValue: true });
    }),
  );
  assert.equal(refusals.filter((refusal) => refusal === undefined).length, KEPT_BYTES_MAX / MIB);
  assert.ok(refusals.every((refusal) => refusal === undefined || refusal === "keptBytes"));
  assert.ok(machine.usedBytes - before <= KEPT_BYTES_MAX + MIB);
  const transactions = apply(
    machine,
    batchOf((batch) => {
      for (let i = 0; i < 70; i++) batch.txn(txn({ success: [put("k", text(""), true)] }));
    }),
  );
  assert.equal(transactions.refusals.filter((refusal) => refusal === "keptBytes").length, 70 - KEPT_BYTES_MAX / MIB);
});

test("what copies or compares large values counts for as many records as take as long", () => {
  const machine = newMachine();
  for (let i = 0; i < 40; i++)
    apply(
      machine,
      batchOf((batch) => batch.put(text(`k${i}`), new Uint8Array(MIB))),
    );
  const kept = apply(
    machine,
    batchOf((batch) => {
      for (let i = 0; i < 40; i++) batch.put(text(`k${i}`), text(""), { ignoreValue: true });
    }),
  );
  assert.ok(kept.slices >= 10, `${kept.slices} slices`);
  const where = { start: text(""), end: undefined };
  const compare = [{ where, target: "value" as const, result: "equal" as const, number: 0, value: new Uint8Array(MIB), lease: undefined }];
  const compared = apply(
    machine,
    batchOf((batch) => batch.txn(txn({ compare, success: [put("done", text(""))] }))),
  );
  assert.deepEqual(compared.refusals, [undefined]);
  assert.equal(machine.valueBytes(text("done")), 0);
  assert.ok(compared.slices >= 40, `${compared.slices} slices`);
});
