import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch } from "./command.ts";
import { KvMachine } from "./machine.ts";
import { decodeKv } from "./packed-kv.ts";
import { SnapshotRestoring } from "./snapshot-stream.ts";
import { createTable } from "./table/packed-table.ts";
import { joinInTheMiddle } from "./test/canaries.ts";
import { bytesOf, intervalOf, textOf } from "./test/model.ts";
import { createSimpleTable } from "./test/simple-table.ts";
import { decodeWatchEvent } from "./watch-event.ts";
import { RESET_BYTES_MAX, REVISION_PART_EVENTS, WATCH_OUTPUT_BYTES, type WatchOutput, type WatchRequest } from "./watch-hub.ts";

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

function createLarge(): KvMachine {
  const history = { revisionsMax: 1_000_000, bytesMax: 1_000_000_000 };
  return new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }), history });
}

/** A deletion of so many keys, in one revision: k00000, k00001, ... */
function deleteMany(machine: KvMachine, keys: number): void {
  apply(machine, (batch) => {
    for (let i = 0; i < keys; i++) batch.put(bytesOf(`k${String(i).padStart(5, "0")}`), bytesOf(""));
  });
  while (machine.watches.behind) machine.watches.pump(100_000);
  apply(machine, (batch) => batch.deleteRange(intervalOf("", undefined)));
}

test("a revision of very many events is told in parts, each when it is full and its reader has credit, and none but the next is made", () => {
  const machine = createLarge();
  const keys = 2 * REVISION_PART_EVENTS + 100;
  watch(machine, 1, { only: "deletes" }, 1);
  watch(machine, 2, { only: "deletes" }, 1_000_000_000);
  deleteMany(machine, keys);
  const [first, ...others] = drain(machine);
  assert.deepEqual(
    [first!, ...others].map(({ ids, count, more }) => [idsOf({ ids } as WatchOutput).sort(), count, more]),
    [
      [[1, 2], REVISION_PART_EVENTS, true],
      [[2], REVISION_PART_EVENTS, true],
      [[2], 100, false],
    ],
  );
  assert.deepEqual(drain(machine), [], "what the other has not paid for");
  const found = keysOf(first!);
  for (let owed = first!.bytes.length + WATCH_OUTPUT_BYTES; ;) {
    machine.watches.credit(1, owed);
    const outputs = drain(machine);
    assert.deepEqual(
      outputs.map(({ ids, revision }) => [ids[0], revision]),
      [[1, first!.revision]],
    );
    found.push(...keysOf(outputs[0]!));
    if (!outputs[0]!.more) break;
    owed = outputs[0]!.bytes.length + WATCH_OUTPUT_BYTES;
  }
  assert.equal(found.length, keys);
  assert.deepEqual(found, found.toSorted(), "in the order of the operations");
});

test("who wants little of a revision of very many events is told it whole", () => {
  const machine = createLarge();
  watch(machine, 1, { only: "deletes" }, 1_000_000_000);
  // Across the border between two parts of the other, and from their beginning to their end.
  watch(machine, 2, { only: "deletes", interval: intervalOf("k08000", "k08500") }, 1_000_000_000);
  watch(machine, 3, { only: "deletes", interval: intervalOf("k1", "k3"), prevKv: true }, 1_000_000_000);
  deleteMany(machine, 3 * REVISION_PART_EVENTS);
  const told = drain(machine).flatMap((output) => idsOf(output).map((id) => [id, output.count, output.more]));
  assert.deepEqual(
    told.filter(([id]) => id === 2),
    [[2, 500, false]],
  );
  assert.equal(told.filter(([id]) => id === 1).length, 3);
  assert.deepEqual(
    told.filter(([id]) => id === 3),
    [
      [3, REVISION_PART_EVENTS, true],
      [3, 3 * REVISION_PART_EVENTS - 10_000 - REVISION_PART_EVENTS, false],
    ],
  );
});

test("a revision that is more than history has room for is held for who reads it in parts, and not for ever", () => {
  for (const isSlow of [false, true]) {
    const machine = new KvMachine({ table: createSimpleTable(), history: { revisionsMax: 1_000, bytesMax: 5_000 } });
    machine.watches.partBounds.events = 10;
    apply(machine, (batch) => {
      for (let i = 0; i < 100; i++) batch.put(bytesOf(`k${i}`), new Uint8Array(100));
    });
    watch(machine, 1, {}, 1);
    apply(machine, (batch) => batch.deleteRange(intervalOf("", undefined)));
    const deletion = machine.revision;
    const outputs = [...machine.watches.pump(1_000, 0)];
    for (let round = 1; round < 20 && outputs.at(-1)?.more === true; round++) {
      put(machine, "other");
      assert.ok(machine.compactRevision >= deletion, "it is not part of the state any more");
      while (!machine.maintain(1_000));
      const now = round * (isSlow ? 30_001 : 30_000);
      machine.watches.pump(1_000, now);
      while (!machine.maintain(1_000));
      machine.watches.credit(1, outputs.at(-1)!.bytes.length + WATCH_OUTPUT_BYTES);
      // Each of them as large as credit allows: one part.
      do outputs.push(...machine.watches.pump(1_000, now));
      while (machine.watches.behind);
    }
    const counts = outputs.map(({ kind, count, more }) => [kind, count, more]);
    if (isSlow) {
      assert.deepEqual(counts, [
        ["events", 10, true],
        ["ended", 0, false],
      ]);
    } else {
      assert.deepEqual(counts.slice(0, 10), [...Array.from({ length: 9 }, () => ["events", 10, true]), ["events", 10, false]]);
    }
    while (!machine.maintain(1_000));
    assert.ok(machine.freedRevision >= deletion, "then it is freed");
  }
});

test("large events fill a part before it has many, and what ranges without number want of one revision is copied within a bound", () => {
  const machine = createLarge();
  const value = new Uint8Array(20_000);
  const keys = 400;
  // Each wants another three quarters: none of them all that is packed, so that all of them hold copies.
  for (let id = 1; id <= 60; id++) watch(machine, id, { interval: intervalOf(`k${100 + id}`, `k${400 + id}`) }, 1_000_000_000);
  apply(machine, (batch) => {
    for (let i = 0; i < keys; i++) batch.put(bytesOf(`k${100 + i}`), value);
  });
  apply(machine, (batch) => batch.deleteRange(intervalOf("", undefined)));
  while (machine.watches.behind) machine.watches.pump(100_000);
  for (let id = 1; id <= 60; id++) machine.watches.remove(id);
  for (let id = 1; id <= 60; id++) {
    watch(
      machine,
      id,
      { interval: intervalOf(`k${100 + id}`, `k${400 + id}`), fromRevision: machine.revision, prevKv: true },
      1_000_000_000,
    );
  }
  let largest = 0;
  const counts = new Map<number, number>();
  const ended = new Set<number>();
  let pumped = 0;
  do {
    const buffers = new Set<ArrayBuffer>();
    for (const output of machine.watches.pump(1)) {
      buffers.add(output.bytes.buffer);
      for (const id of idsOf(output)) {
        assert.equal(ended.has(id), false);
        counts.set(id, (counts.get(id) ?? 0) + output.count);
        if (!output.more) ended.add(id);
        machine.watches.credit(id, output.bytes.length + WATCH_OUTPUT_BYTES);
      }
    }
    largest = Math.max(
      largest,
      [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0),
    );
    pumped++;
  } while (machine.watches.behind && pumped < 10_000);
  assert.equal(ended.size, 60);
  assert.deepEqual(new Set(counts.values()), new Set([300]));
  assert.ok(largest < 2 * (32 << 20), `${largest} bytes at once`);
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
