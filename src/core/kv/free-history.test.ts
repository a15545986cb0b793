import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch } from "./command.ts";
import { KvMachine } from "./machine.ts";
import { AnswerReader, ReadBatch } from "./read.ts";
import { SnapshotRestoring } from "./snapshot-stream.ts";
import { createTable } from "./table/packed-table.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function newMachine(): KvMachine {
  return new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
}

function apply(machine: KvMachine, fill: (batch: CommandBatch) => void): void {
  const batch = new CommandBatch();
  fill(batch);
  const { count } = batch;
  const commands = batch.finish().subarray(BATCH_PREFIX_BYTES);
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands, count }, false);
  while (!machine.step(100));
}

/** Three keys of a kilobyte, of which one command then deletes all. */
function emptied(): KvMachine {
  const machine = newMachine();
  for (const key of ["a", "b", "c"]) apply(machine, (batch) => batch.put(bytes(key), new Uint8Array(1_000)));
  apply(machine, (batch) => batch.deleteRange({ start: bytes(""), end: undefined }));
  return machine;
}

test("the history of the present revision can be let go of: it stays readable, and writes go on behind it", () => {
  const machine = emptied();
  assert.equal(machine.revision, 5);
  assert.ok(machine.usedBytes > 3_000);
  apply(machine, (batch) => batch.freeHistory(5));
  assert.deepEqual([machine.revision, machine.usedBytes, machine.compactRevision, machine.readableFrom], [5, 0, 5, 5]);
  const reads = new ReadBatch();
  reads.get(bytes("a"));
  const packed = reads.finish();
  assert.equal(new AnswerReader(machine.read(packed, 1)).next(), undefined);
  assert.ok(machine.readAt(packed, 1, 5) instanceof Uint8Array);
  assert.deepEqual(machine.readAt(packed, 1, 4), { refused: "compacted", revision: 5 });
  const pin = machine.pin();
  assert.ok(pin !== undefined);
  pin.release();
  apply(machine, (batch) => batch.put(bytes("d"), bytes("1")));
  assert.deepEqual([machine.revision, machine.readableFrom], [6, 6]);
});

test("what is named beyond the present is the present, and what is gone is no fault", () => {
  const machine = emptied();
  apply(machine, (batch) => batch.freeHistory(3));
  assert.deepEqual([machine.revision, machine.compactRevision], [5, 3]);
  apply(machine, (batch) => batch.freeHistory(2));
  assert.equal(machine.compactRevision, 3);
  apply(machine, (batch) => batch.freeHistory(1_000_000));
  assert.deepEqual([machine.revision, machine.compactRevision], [5, 5]);
});

test("a state whose history went is restored equal, and memory is freed", () => {
  const machine = emptied();
  apply(machine, (batch) => batch.freeHistory(5));
  while (!machine.maintain(100));
  assert.equal(machine.table.dataBytes, 0);
  const reading = machine.snapshot();
  const restoring = new SnapshotRestoring({ table: createTable({ hashSeed: { low: 3, high: 4 } }) });
  for (let slice = reading.read(1_000); slice !== undefined; slice = reading.read(1_000)) restoring.write(slice);
  const restored = restoring.finish({ index: machine.appliedIndex, term: machine.appliedTerm });
  assert.ok(restored instanceof KvMachine);
  assert.equal(restored.revision, 5);
  apply(restored, (batch) => batch.put(bytes("d"), bytes("1")));
  apply(machine, (batch) => batch.put(bytes("d"), bytes("1")));
  assert.equal(restored.stateHash(), machine.stateHash());
});
