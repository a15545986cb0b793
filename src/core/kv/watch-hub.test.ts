import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch } from "./command.ts";
import { KvMachine } from "./machine.ts";
import { decodeKv } from "./packed-kv.ts";
import { SnapshotRestoring } from "./snapshot-stream.ts";
import { joinInTheMiddle } from "./test/canaries.ts";
import { bytesOf, intervalOf, textOf } from "./test/model.ts";
import { createSimpleTable } from "./test/simple-table.ts";
import { decodeWatchEvent } from "./watch-event.ts";
import { RESET_BYTES_MAX, WATCH_OUTPUT_BYTES, type WatchOutput, type WatchRequest } from "./watch-hub.ts";

function create(revisionsMax = 100): KvMachine {
  return new KvMachine({ table: createSimpleTable(), history: { revisionsMax, bytesMax: 1_000_000_000 } });
}

function apply(machine: KvMachine, build: (batch: CommandBatch) => void, clockMs = machine.clockMs): void {
  const batch = new CommandBatch();
  build(batch);
  const { count } = batch;
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count }, false);
  while (!machine.step(1_000));
}

function put(machine: KvMachine, key: string, value: string | Uint8Array = "", options = {}): void {
  apply(machine, (batch) => batch.put(bytesOf(key), typeof value === "string" ? bytesOf(value) : value, options));
}

function watch(machine: KvMachine, id: number, request: Partial<WatchRequest> = {}, creditBytes = 1_000_000): number {
  const { revision } = machine.watches.add({
    id,
    interval: intervalOf("", undefined),
    fromRevision: undefined,
    prevKv: false,
    only: undefined,
    initial: false,
    onGap: "throw",
    ...request,
  });
  if (creditBytes > 0) machine.watches.credit(id, creditBytes);
  return revision;
}

function drain(machine: KvMachine, records = 1_000): WatchOutput[] {
  const outputs: WatchOutput[] = [];
  do outputs.push(...machine.watches.pump(records));
  while (machine.watches.behind);
  return outputs;
}

function idsOf({ ids }: WatchOutput): number[] {
  return Array.from(ids);
}

function keysOf(output: WatchOutput): string[] {
  const keys: string[] = [];
  for (let i = 0, at = 0; i < output.count; i++) {
    const event = decodeWatchEvent(output.bytes, at);
    keys.push(textOf(event.kv.key));
    at = event.next;
  }
  return keys;
}

test("watchers that want the same are told the same bytes", () => {
  const machine = create();
  for (let id = 1; id <= 3; id++) watch(machine, id, { interval: intervalOf("a", "a\0") });
  watch(machine, 4, { interval: intervalOf("b", "b\0") });
  put(machine, "a");
  const outputs = drain(machine);
  assert.deepEqual(outputs.flatMap(idsOf).sort(), [1, 2, 3]);
  assert.equal(outputs.length, 1);
});

test("all events of one revision come together, though they were found in many slices", () => {
  const machine = create();
  for (let i = 0; i < 9; i++) put(machine, `k${i}`);
  watch(machine, 1);
  apply(machine, (batch) => batch.deleteRange(intervalOf("", undefined)));
  const outputs = drain(machine, 1);
  assert.equal(outputs.length, 1);
  assert.equal(outputs[0]!.count, 9);
});

function joinWhileRevisionIsTold(machine: KvMachine): void {
  for (let i = 0; i < 8; i++) put(machine, `k${i}`);
  watch(machine, 1, { interval: intervalOf("k", "l") });
  apply(machine, (batch) => batch.deleteRange(intervalOf("", undefined)));
  // Half of the deletion is matched; then others ask for it from its beginning.
  assert.deepEqual(machine.watches.pump(4), []);
  watch(machine, 2, { interval: intervalOf("k", "l"), fromRevision: machine.revision });
  watch(machine, 3, { interval: intervalOf("k1", "k8"), fromRevision: machine.revision });
  watch(machine, 4);
  const told = new Map(drain(machine, 2).flatMap((output) => idsOf(output).map((id) => [id, output.count])));
  assert.deepEqual([...told].sort(), [
    [1, 8],
    [2, 8],
    [3, 7],
  ]);
  put(machine, "k5");
  assert.deepEqual(drain(machine, 2).flatMap(idsOf).sort(), [1, 2, 3, 4]);
}

test("a watcher that catches up while a revision is being told is told all of it", () => {
  joinWhileRevisionIsTold(create());
});

test("a hub that lets watchers join in the middle of a revision is found out", () => {
  const machine = create();
  joinInTheMiddle(machine);
  assert.throws(() => joinWhileRevisionIsTold(machine));
});

test("a watcher without credit holds nobody back, and reads on from history when it has some", () => {
  const machine = create();
  watch(machine, 1, {}, 0);
  watch(machine, 2);
  for (let i = 0; i < 5; i++) put(machine, `k${i}`);
  assert.deepEqual(drain(machine).flatMap(idsOf), [2, 2, 2, 2, 2]);
  machine.watches.credit(1, 1);
  const first = drain(machine);
  assert.deepEqual(
    first.map(({ ids, revision }) => [ids[0], revision]),
    [[1, 2]],
  );
  machine.watches.credit(1, first[0]!.bytes.length + WATCH_OUTPUT_BYTES - 1);
  assert.deepEqual(drain(machine), [], "what was told too much must be paid first");
  machine.watches.credit(1, 1_000_000);
  assert.deepEqual(
    drain(machine).map(({ revision }) => revision),
    [3, 4, 5, 6],
  );
});

test("progress says that all was told, and comes once for each time it is asked for", () => {
  const machine = create();
  watch(machine, 1, { interval: intervalOf("x", "y") });
  put(machine, "a");
  assert.deepEqual(drain(machine), []);
  machine.watches.requestProgress(1);
  assert.deepEqual(
    drain(machine).map(({ kind, revision }) => [kind, revision]),
    [["progress", 2]],
  );
  assert.deepEqual(drain(machine), []);
});

test("a watch from the future is told nothing before it, and progress does not run ahead of the data", () => {
  const machine = create();
  assert.equal(watch(machine, 1, { fromRevision: 5 }), 4);
  for (let i = 0; i < 2; i++) put(machine, "a");
  machine.watches.requestProgress(1);
  assert.deepEqual(
    drain(machine).map(({ kind, revision }) => [kind, revision]),
    [["progress", 3]],
  );
  for (let i = 0; i < 3; i++) put(machine, "a");
  assert.deepEqual(
    drain(machine).map(({ kind, revision }) => [kind, revision]),
    [
      ["events", 5],
      ["events", 6],
    ],
  );
});

test("a watch from before the compact revision ends with COMPACTED, or begins with a reset", () => {
  const machine = create(2);
  for (let i = 0; i < 5; i++) put(machine, "a", String(i));
  assert.equal(machine.compactRevision, 4);
  assert.equal(watch(machine, 1, { fromRevision: 4 }, 0), 3);
  watch(machine, 2, { fromRevision: 4, onGap: "reset" });
  watch(machine, 3, { fromRevision: 5 });
  const outputs = drain(machine);
  assert.deepEqual(
    outputs
      .filter(({ ids }) => ids[0]! < 3)
      .map(({ ids, kind, reason, compactRevision, count }) => [ids[0], kind, reason, compactRevision, count]),
    [
      [1, "ended", undefined, 4, 0],
      [2, "reset", "compacted", undefined, 1],
    ],
  );
  assert.deepEqual(
    outputs.filter((output) => idsOf(output).includes(3)).map(({ revision }) => revision),
    [5, 6],
  );
  assert.equal(machine.watches.count, 2);
});

test("expiry is told as such, with the value that went", () => {
  const machine = create();
  put(machine, "a", "gone", { ttlMs: 5 });
  watch(machine, 1, { prevKv: true, only: "deletes" });
  put(machine, "b");
  apply(machine, () => undefined, 5);
  const [output] = drain(machine);
  const event = decodeWatchEvent(output!.bytes, 0);
  assert.deepEqual([event.kind, event.cause, textOf(event.kv.key), textOf(event.prevKv!.value)], ["delete", "expiry", "a", "gone"]);
  assert.equal(event.kv.modRevision, output!.revision);
});

test("a reset above its bound comes in parts of one revision", () => {
  const machine = create();
  const value = new Uint8Array(20_000).fill(7);
  const keys = Math.ceil((RESET_BYTES_MAX * 2.2) / value.length);
  for (let i = 0; i < keys; i++) put(machine, `k${String(i).padStart(3, "0")}`, value);
  watch(machine, 1, { initial: true }, 1_000_000_000);
  put(machine, "later");
  const outputs = drain(machine);
  assert.deepEqual(
    outputs.map(({ kind, more }) => [kind, more]),
    [
      ["reset", true],
      ["reset", true],
      ["reset", false],
      ["events", false],
    ],
  );
  const found: string[] = [];
  for (const { bytes, count } of outputs.slice(0, 3)) {
    for (let i = 0, at = 0; i < count; i++) {
      const kv = decodeKv(bytes, at);
      found.push(textOf(kv.key));
      at = kv.next;
    }
  }
  assert.equal(found.length, keys);
  assert.equal(new Set(found).size, keys);
  assert.deepEqual(keysOf(outputs[3]!), ["later"]);
});

test("a reset whose reader waits for ever does not hold history for ever, and begins anew", () => {
  const machine = create(2);
  put(machine, "a", "old");
  watch(machine, 1, { initial: true }, 0);
  for (let i = 0; i < 9; i++) {
    put(machine, "a", String(i));
    machine.watches.pump(10);
    while (!machine.maintain(10));
  }
  assert.equal(machine.freedRevision, machine.compactRevision);
  machine.watches.credit(1, 1_000);
  const outputs = drain(machine);
  assert.deepEqual(
    outputs.map(({ kind, revision }) => [kind, revision]),
    [["reset", machine.revision]],
  );
});

test("a hub that nobody asks does not hold history for ever", () => {
  const machine = create(2);
  watch(machine, 1);
  put(machine, "a");
  for (let i = 0; i < 3; i++) {
    put(machine, "a");
    while (!machine.maintain(10));
  }
  assert.equal(machine.freedRevision, 1, "it is waited for");
  for (let i = 0; i < 9; i++) {
    put(machine, "a");
    while (!machine.maintain(10));
  }
  assert(machine.freedRevision > 1, "but not for ever");
  assert.deepEqual(
    drain(machine).map(({ kind }) => kind),
    ["ended"],
  );
});

test("watches go on across a snapshot: with what it holds, or with COMPACTED", () => {
  const leader = create(3);
  const follower = create(3);
  watch(follower, 1);
  watch(follower, 2, { onGap: "reset" });
  watch(follower, 3, { fromRevision: 9 });
  for (let i = 0; i < 8; i++) put(leader, "a", String(i));
  assert.equal(leader.compactRevision, 6);
  const reading = leader.snapshot();
  const restoring = new SnapshotRestoring({ table: createSimpleTable() });
  for (let slice = reading.read(1_000); slice !== undefined; slice = reading.read(1_000)) assert.equal(restoring.write(slice), undefined);
  const restored = restoring.finish({ index: 8, term: 1 });
  assert(restored instanceof KvMachine);
  follower.watches.rebase(restored);
  assert.equal(restored.watches, follower.watches);
  put(restored, "b");
  const outputs = drain(restored);
  const of = (id: number): unknown[] =>
    outputs.filter((output) => idsOf(output).includes(id)).map(({ kind, revision }) => [kind, revision]);
  assert.deepEqual(of(1), [["ended", 1]]);
  assert.deepEqual(of(2)[0], ["reset", 10]);
  assert.deepEqual(of(3), [
    ["events", 9],
    ["events", 10],
  ]);
});

test("a revision that was being told when a snapshot came is told from the snapshot's state", () => {
  const machine = create();
  for (let i = 0; i < 8; i++) put(machine, `k${i}`);
  watch(machine, 1);
  apply(machine, (batch) => batch.deleteRange(intervalOf("", undefined)));
  assert.deepEqual(machine.watches.pump(4), []);
  const reading = machine.snapshot();
  const restoring = new SnapshotRestoring({ table: createSimpleTable() });
  for (let slice = reading.read(1_000); slice !== undefined; slice = reading.read(1_000)) assert.equal(restoring.write(slice), undefined);
  const restored = restoring.finish({ index: machine.appliedIndex, term: 1 });
  assert(restored instanceof KvMachine);
  machine.watches.rebase(restored);
  assert.deepEqual(
    drain(restored).map(({ revision, count }) => [revision, count]),
    [[10, 8]],
  );
});

test("a watch that is removed is told nothing more", () => {
  const machine = create();
  watch(machine, 1);
  watch(machine, 2, { fromRevision: 1 });
  watch(machine, 3, { initial: true });
  put(machine, "a");
  for (const id of [1, 2, 3, 4]) machine.watches.remove(id);
  assert.deepEqual(drain(machine), []);
  assert.equal(machine.watches.count, 0);
  watch(machine, 1);
  put(machine, "b");
  assert.deepEqual(drain(machine).map(keysOf), [["b"]]);
});
