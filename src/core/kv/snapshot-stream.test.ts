import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch } from "./command.ts";
import { KvMachine } from "./machine.ts";
import { SnapshotFault, SnapshotRestoring } from "./snapshot-stream.ts";
import { bytesOf } from "./test/model.ts";
import { createSimpleTable } from "./test/simple-table.ts";

function apply(machine: KvMachine, build: (batch: CommandBatch) => void, clockMs = 0): void {
  const batch = new CommandBatch();
  build(batch);
  const { count } = batch;
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count }, false);
  while (!machine.step(1_000));
}

/** With a base, events of each kind, and leases. */
function createFilled(): KvMachine {
  const machine = new KvMachine({ table: createSimpleTable(), history: { revisionsMax: 6, bytesMax: 1_000_000 } });
  for (let i = 0; i < 5; i++) {
    apply(
      machine,
      (batch) => {
        batch.put(bytesOf(`k${i}`), bytesOf(`value ${i}`));
        batch.put(bytesOf("short"), bytesOf("lived"), { ttlMs: 3 });
        batch.put(bytesOf(`long${i}`), bytesOf("lived"), { ttlMs: 1_000 + i });
      },
      i * 5,
    );
  }
  apply(machine, (batch) => batch.deleteRange({ start: bytesOf("k1"), end: bytesOf("k3") }), 25);
  return machine;
}

function streamOf(machine: KvMachine, bytesMax = 1_000): Uint8Array {
  const parts: number[] = [];
  const reading = machine.snapshot();
  for (let slice = reading.read(bytesMax); slice !== undefined; slice = reading.read(bytesMax)) parts.push(...slice);
  return Uint8Array.from(parts);
}

function restore(stream: Uint8Array, sliceBytes = stream.length): KvMachine | SnapshotFault {
  const restoring = new SnapshotRestoring({ table: createSimpleTable() });
  for (let at = 0; at < stream.length; at += sliceBytes) restoring.write(stream.subarray(at, at + sliceBytes));
  return restoring.finish({ index: 9, term: 2 });
}

test("a stream restores to an equal state, whatever the slices", () => {
  const machine = createFilled();
  const stream = streamOf(machine);
  assert.deepEqual(streamOf(machine, 1), stream);
  for (const sliceBytes of [1, 7, 64, stream.length]) {
    const restored = restore(stream, sliceBytes);
    assert(restored instanceof KvMachine);
    assert.equal(restored.stateHash(), machine.stateHash());
    assert.deepEqual(
      [restored.revision, restored.compactRevision, restored.clockMs],
      [machine.revision, machine.compactRevision, machine.clockMs],
    );
    assert.deepEqual([restored.appliedIndex, restored.appliedTerm, restored.leases], [9, 2, machine.leases]);
    assert.deepEqual(restored.history, machine.history);
    assert.equal(restored.historyBytes, machine.historyBytes);
    assert.equal(restored.nextDue(), machine.nextDue());
  }
});

test("an empty state has a stream too", () => {
  const machine = new KvMachine({ table: createSimpleTable() });
  const restored = restore(streamOf(machine));
  assert(restored instanceof KvMachine);
  assert.equal(restored.revision, 1);
  assert.equal(restored.stateHash(), machine.stateHash());
});

test("a stream that is cut short anywhere is refused", () => {
  const stream = streamOf(createFilled());
  for (let length = 0; length < stream.length; length++) {
    const fault = restore(stream.subarray(0, length), 13);
    assert(fault instanceof SnapshotFault, `cut at ${length}`);
  }
});

test("a stream with any one byte changed is refused", () => {
  const stream = streamOf(createFilled());
  for (let at = 0; at < stream.length; at++) {
    for (const flip of [1, 128]) {
      const damaged = stream.slice();
      damaged[at]! ^= flip;
      assert(restore(damaged, 100) instanceof SnapshotFault, `byte ${at}`);
    }
  }
});

test("bytes behind the end, another magic and a later version are refused by name", () => {
  const stream = streamOf(createFilled());
  const reasonOf = (bytes: Uint8Array): string => {
    const fault = restore(bytes);
    assert(fault instanceof SnapshotFault);
    return fault.reason;
  };
  assert.equal(reasonOf(Uint8Array.from([...stream, ...stream.subarray(-24)])), "trailing");
  assert.equal(reasonOf(Uint8Array.from([0, ...stream.subarray(1)])), "magic");
  const later = stream.slice();
  later[4] = 2;
  assert.equal(reasonOf(later), "version");
  assert.equal(reasonOf(stream.subarray(0, -1)), "truncated");
});

test("random bytes are refused without harm", () => {
  const stream = streamOf(createFilled());
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.integer({ min: 0, max: 200 }),
      fc.integer({ min: 1, max: 50 }),
      (noise, keep, slice) => {
        const bytes = Uint8Array.from([...stream.subarray(0, keep), ...noise]);
        assert(restore(bytes, slice) instanceof SnapshotFault);
      },
    ),
  );
});

test("a snapshot that is given up lets history go", () => {
  const machine = createFilled();
  const reading = machine.snapshot();
  const { compactRevision } = machine;
  apply(machine, (batch) => {
    for (let i = 0; i < 20; i++) batch.put(bytesOf("k"), bytesOf("v"));
  });
  apply(machine, () => undefined);
  while (!machine.maintain(10));
  assert.equal(machine.freedRevision, compactRevision);
  reading.cancel();
  while (!machine.maintain(10));
  assert(machine.freedRevision > compactRevision);
  assert.equal(reading.read(100), undefined);
});
