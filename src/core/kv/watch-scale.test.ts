/** What thousands of watchers cost, counted in looks at events and at bytes of keys, not in time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch } from "./command.ts";
import { IntervalIndex } from "./interval-index.ts";
import { KvMachine } from "./machine.ts";
import type { RecordRef } from "./table.ts";
import { bytesOf, intervalOf } from "./test/model.ts";
import { SimpleTable } from "./test/simple-table.ts";
import { COHORTS_MAX, WATCHES_OWED_BYTES_MAX, type WatchOutput, type WatchRequest } from "./watch-hub.ts";
import { Watcher, WatcherQueue } from "./watcher.ts";

const MANY = 10_000;

/** A key that counts how often it is looked at. */
function counted(key: Uint8Array, look: () => void): Uint8Array {
  return new Proxy(key, {
    get: (target, name) => {
      look();
      const found: unknown = Reflect.get(target, name, target);
      return typeof found === "function" ? found.bind(target) : found;
    },
  });
}

/** Counts what the hub looks at. */
class CountingTable extends SimpleTable {
  events = 0;
  keyLooks = 0;
  counting = false;

  override event(position: number): RecordRef {
    if (this.counting) this.events++;
    return super.event(position);
  }

  override key(ref: RecordRef): Uint8Array {
    const key = super.key(ref);
    return this.counting ? counted(key, () => this.keyLooks++) : key;
  }
}

class Scene {
  readonly table: CountingTable = new CountingTable();
  readonly machine: KvMachine = new KvMachine({ table: this.table, history: { revisionsMax: 1_000_000, bytesMax: 1_000_000_000 } });

  put(keys: readonly string[], value: Uint8Array = bytesOf("value")): void {
    for (const key of keys) {
      const batch = new CommandBatch();
      batch.put(bytesOf(key), value);
      const commands = batch.finish().subarray(BATCH_PREFIX_BYTES);
      this.machine.begin({ index: this.machine.appliedIndex + 1, term: 1, clockMs: 0, commands, count: 1 }, false);
      while (!this.machine.step(1_000));
    }
  }

  watch(id: number, request: Partial<WatchRequest>, creditBytes = 1_000_000): void {
    const rest = { fromRevision: undefined, prevKv: false, only: undefined, initial: false, onGap: "throw" } as const;
    this.machine.watches.add({ id, interval: intervalOf("", undefined), ...rest, ...request });
    if (creditBytes > 0) this.machine.watches.credit(id, creditBytes);
  }

  /** What is told, with the counts of this alone. */
  drain(): WatchOutput[] {
    const outputs: WatchOutput[] = [];
    this.table.events = 0;
    this.table.keyLooks = 0;
    this.table.counting = true;
    do outputs.push(...this.machine.watches.pump(1_000));
    while (this.machine.watches.behind);
    this.table.counting = false;
    return outputs;
  }
}

const told = (outputs: readonly WatchOutput[]): number => outputs.reduce((sum, { ids }) => sum + ids.length, 0);

test("an event costs what the watchers cost that want it, whatever others there are", () => {
  const costs = [1, MANY].map((others) => {
    const scene = new Scene();
    for (let i = 1; i <= others; i++) scene.watch(i, { interval: intervalOf(`other/${i}`, `other/${i}\0`) });
    for (let i = 1; i <= others; i++) scene.watch(MANY + i, { interval: intervalOf(`range/${i}/`, `range/${i}0`) });
    scene.watch(3 * MANY, { interval: intervalOf("k", "l") });
    scene.put(Array.from({ length: 100 }, (_, i) => `k${i}`));
    assert.equal(told(scene.drain()), 100);
    assert.ok(scene.table.events <= 201, `${scene.table.events} looks at 100 events`);
    return scene.table.keyLooks;
  });
  // The logarithm of 10,000 is 14; each step looks at a length and a few bytes.
  assert.ok(costs[1]! < costs[0]! + 100 * 14 * 20, `${costs.join(" and ")} looks at 100 keys`);
});

test("what many watchers are told is packed once, and listed once", () => {
  const scene = new Scene();
  for (let i = 1; i <= 1_000; i++) scene.watch(i, { interval: intervalOf("k", "k\0") });
  scene.watch(1_001, { interval: intervalOf("", undefined) });
  scene.watch(1_002, { interval: intervalOf("k", "l"), only: "puts" });
  scene.put(["k", "k"]);
  const outputs = scene.drain();
  assert.equal(told(outputs), 2 * 1_002);
  assert.equal(outputs.length, 2 * 3);
  assert.equal(new Set(outputs.map(({ bytes }) => bytes.buffer)).size, 2, "one buffer for each revision");
  assert.equal(new Set(outputs.filter(({ ids }) => ids.length === 1_000).map(({ ids }) => ids)).size, 1);
});

test("ten thousand watchers from the past read history together", () => {
  const scene = new Scene();
  const keys = Array.from({ length: 3_000 }, (_, i) => `k${i % MANY}`);
  scene.put(keys);
  for (let i = 0; i < MANY; i++) scene.watch(i + 1, { interval: intervalOf(`k${i}`, `k${i}\0`), fromRevision: 2 + (i % 2_500) });
  const outputs = scene.drain();
  const expected = keys.filter((_, i) => 2 + i >= 2 + (i % 2_500)).length;
  assert.equal(told(outputs), expected);
  // One after another, they would have looked at fifteen million.
  assert.ok(scene.table.events < 20 * keys.length, `${scene.table.events} looks at ${keys.length} events`);
});

test("a watcher that is nearly there is not held back by those from long ago, however many places they take", () => {
  const scene = new Scene();
  const far = 2_000;
  scene.put(Array.from({ length: (COHORTS_MAX + 3) * far }, () => "k"));
  // Each so far before the last that it wants a cohort of its own.
  for (let i = 0; i < COHORTS_MAX + 2; i++) scene.watch(i + 1, { fromRevision: (COHORTS_MAX + 2 - i) * far }, 1_000_000_000);
  const seen = new Map<number, number>();
  let nearId = 0;
  for (let pumps = 0; scene.machine.watches.behind || pumps < 3; pumps++) {
    if (pumps === 2) scene.watch((nearId = 100), { fromRevision: scene.machine.revision - 3 });
    for (const { ids, revision, kind } of scene.machine.watches.pump(1_000)) {
      assert.equal(kind, "events");
      for (const id of Array.from(ids)) {
        const before = seen.get(id);
        if (before !== undefined) assert.equal(revision, before + 1, "in order, and none left out");
        seen.set(id, revision);
      }
    }
    if (pumps === 60) assert.equal(seen.get(nearId), scene.machine.revision, "the one that was nearly there is done");
  }
  assert.equal(seen.size, COHORTS_MAX + 3);
  for (const revision of seen.values()) assert.equal(revision, scene.machine.revision);
});

test("an index of intervals stays flat, in whatever order they come and go", () => {
  const index = new IntervalIndex<number>();
  const nameOf = (i: number): string => `k${String(i).padStart(5, "0")}`;
  for (let i = 0; i < MANY; i++) index.add(intervalOf(nameOf(i), `${nameOf(i)}~`), i);
  for (let i = 0; i < MANY; i++) if (i % 10 !== 0) index.remove(intervalOf(nameOf(i), `${nameOf(i)}~`));
  for (const wanted of [0, 10, 5_000, MANY - 10]) {
    let looks = 0;
    const found: number[] = [];
    index.collect(
      counted(bytesOf(`${nameOf(wanted)}/x`), () => looks++),
      found,
    );
    assert.deepEqual(found, [wanted]);
    assert.ok(looks < 1_000, `${looks} looks at one key`);
  }
});

test("watchers that do not read hold a bounded amount together, and those that read go on meanwhile", () => {
  const scene = new Scene();
  const value = new Uint8Array(200_000);
  for (let i = 1; i <= 100; i++) scene.watch(i, { interval: intervalOf(`k${i}`, `k${i}\0`) }, 1_000_000_000);
  for (let round = 0; round < 3; round++) {
    scene.put(
      Array.from({ length: 100 }, (_, i) => `k${i + 1}`),
      value,
    );
    if (round < 2) {
      const bytes = scene.drain().reduce((sum, output) => sum + output.bytes.length, 0);
      if (round === 1) assert.equal(bytes, 0, "each has had one, and all together more than they may");
      else assert.ok(bytes > WATCHES_OWED_BYTES_MAX);
    }
  }
  // One of them reads: it is told the rest one by one, the others nothing.
  const revisions: number[] = [];
  for (let i = 0; i < 2; i++) {
    scene.machine.watches.credit(7, 200_000 + 1_000);
    for (const { ids, revision } of scene.drain()) {
      assert.deepEqual(Array.from(ids), [7]);
      revisions.push(revision);
    }
  }
  assert.deepEqual(revisions, [8 + 100, 8 + 200]);
  for (let i = 1; i <= 100; i++) scene.machine.watches.remove(i);
  scene.watch(1_000, { interval: intervalOf("", undefined) });
  scene.put(["a", "b"]);
  assert.equal(told(scene.drain()), 2, "those that are gone owe nothing");
});

test("thousands of watchers that begin with what is there all get it, and leave pins to others", () => {
  const scene = new Scene();
  scene.put(["a", "b", "c"]);
  for (let i = 1; i <= 3_000; i++) scene.watch(i, { initial: true });
  const pins = Array.from({ length: 8_000 }, () => scene.machine.pin());
  assert.ok(pins.every((pin) => pin !== undefined));
  scene.put(["d"]);
  const seen = new Map<number, number>();
  for (const { ids, kind, revision } of scene.drain()) {
    for (const id of Array.from(ids)) {
      assert.equal(kind, seen.has(id) ? "events" : "reset");
      seen.set(id, revision);
    }
  }
  assert.equal(seen.size, 3_000);
  for (const revision of seen.values()) assert.equal(revision, 5);
});

test("a watcher leaves a queue from any place", () => {
  const queue = new WatcherQueue();
  const rest = { interval: intervalOf("", undefined), prevKv: false, only: undefined, initial: false, onGap: "throw" } as const;
  const watchers = [5, 3, 4, 9].map((next, id) => new Watcher({ id, fromRevision: next, ...rest }, next));
  for (const watcher of watchers) queue.push(watcher);
  assert.equal(queue.furthestBack()?.next, 3);
  queue.remove(watchers[1]!);
  assert.equal(queue.furthestBack()?.next, 4);
  queue.remove(watchers[3]!);
  queue.push(watchers[1]!);
  assert.deepEqual(
    [queue.shift(), queue.shift(), queue.shift(), queue.shift()].map((watcher) => watcher?.request.id),
    [0, 2, 1, undefined],
  );
  assert.equal(queue.size, 0);
});
