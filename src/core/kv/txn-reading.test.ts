import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch } from "./command.ts";
import { KvMachine } from "./machine.ts";
import type { RangeRequest } from "./read.ts";
import { ResultReader } from "./result.ts";
import { createTable } from "./table/packed-table.ts";
import { packTxn } from "./txn-codec.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function apply(machine: KvMachine, fill: (batch: CommandBatch) => void): void {
  const batch = new CommandBatch();
  fill(batch);
  const { count } = batch;
  const commands = batch.finish().subarray(BATCH_PREFIX_BYTES);
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands, count }, false);
  while (!machine.step(1_000));
}

function everything(revision: number): RangeRequest {
  return {
    interval: { start: text(""), end: undefined },
    limit: 0,
    order: "ascending",
    sortBy: "key",
    keysOnly: false,
    countOnly: false,
    revision,
  };
}

test("what a read-only transaction reads of the past stays while it is under way, however much is compacted meanwhile", () => {
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  for (const value of ["first", "second"]) for (let i = 0; i < 20; i++) apply(machine, (batch) => batch.put(text(`key ${i}`), text(value)));
  const ranges = [30, 21].map((revision) => ({ kind: "range" as const, request: everything(revision) }));
  const reading = machine.readTxn(packTxn({ compare: [], success: ranges, failure: [] }).slice());
  assert.ok(typeof reading !== "string");
  reading.step(3);
  apply(machine, (batch) => batch.compact(machine.revision));
  while (!machine.maintain(1_000));
  while (!reading.step(3));
  const result = reading.result();
  assert.ok(result instanceof Uint8Array);
  const reader = new ResultReader(result);
  assert.ok(reader.next());
  const answers = reader.answers();
  for (const revision of [30, 21]) {
    answers.next();
    const kvs = answers.kvs();
    assert.equal(answers.number, 20);
    assert.equal(kvs.length, 20);
    assert.ok(kvs.every(({ modRevision }) => modRevision <= revision));
  }
  while (!machine.maintain(1_000));
  assert.equal(machine.freedRevision, machine.compactRevision, "and then goes");
});
