import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../core/batch.ts";
import { CommandBatch } from "../core/kv/command.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { EngineError } from "../errors.ts";
import { createTestCluster } from "../testing/test-cluster.ts";
import { HistoryKeeper, type HistoryRules } from "./history-keeper.ts";
import type { StateBatch } from "./replicated-state.ts";

const KEY = new Uint8Array([107]);
const BOUNDS = { revisionsMax: 100_000, bytesMax: 67_108_864 };

function rules(more: Partial<HistoryRules>): HistoryRules {
  return { ms: 60_000, revisionsMin: 0, ...BOUNDS, ...more };
}

function create(): KvMachine {
  return new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
}

function apply(machine: KvMachine, clockMs: number, batch: Pick<StateBatch, "record" | "commands">): void {
  const commands = batch.record.subarray(BATCH_PREFIX_BYTES);
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs, commands, count: batch.commands }, false);
  while (!machine.step(1_000));
}

function put(machine: KvMachine, clockMs: number, count = 1): void {
  const batch = new CommandBatch();
  for (let i = 0; i < count; i++) batch.put(KEY, KEY);
  apply(machine, clockMs, { record: batch.finish(), commands: count });
}

test("what is older than the time kept is compacted, to within a sixtieth of it, and no more", () => {
  const machine = create();
  const keeper = new HistoryKeeper(rules({}), machine);
  const madeAt: number[] = [0, 0];
  for (let clockMs = 0; clockMs < 300_000; clockMs += 700) {
    put(machine, clockMs);
    madeAt[machine.revision] = clockMs;
    keeper.note(machine);
    const batch = keeper.upkeep(machine, clockMs);
    if (batch !== undefined) apply(machine, clockMs, batch);
    // The present state of a minute ago can be read.
    const then = madeAt.findLastIndex((at) => at <= clockMs - 60_000);
    assert.ok(machine.readableFrom <= Math.max(1, then), `at ${clockMs} from ${machine.readableFrom}, not ${then}`);
    if (clockMs > 62_100) assert.ok(madeAt[machine.readableFrom + 1]! > clockMs - 62_100, "what is too old is gone");
  }
  assert.ok(machine.readableFrom > 300);
});

test("without further writes all but the last revisions goes in time, and then there is nothing to wait for", () => {
  const machine = create();
  const keeper = new HistoryKeeper(rules({ revisionsMin: 3 }), machine);
  put(machine, 1_000, 50);
  keeper.note(machine);
  put(machine, 1_001, 50);
  keeper.note(machine);
  let now = 1_001;
  for (let i = 0; i < 10; i++) {
    const at = keeper.dueAt(machine);
    if (at === Number.POSITIVE_INFINITY) break;
    assert.ok(at > now, "time goes on");
    now = at;
    const batch = keeper.upkeep(machine, now);
    if (batch !== undefined) apply(machine, now, batch);
  }
  assert.equal(keeper.dueAt(machine), Number.POSITIVE_INFINITY);
  assert.equal(machine.readableFrom, machine.revision - 3);
  assert.ok(now <= 1_001 + 62_000);
});

test("one that knows nothing of the past keeps it for as long as if it were new", () => {
  const machine = create();
  put(machine, 1_000_000, 100);
  const keeper = new HistoryKeeper(rules({}), machine);
  assert.equal(keeper.upkeep(machine, 1_059_999), undefined);
  const batch = keeper.upkeep(machine, 1_060_000);
  assert.ok(batch !== undefined);
  apply(machine, 1_060_000, batch);
  assert.equal(machine.readableFrom, machine.revision);
});

test("bounds that differ are proposed at once; forever keeps all", () => {
  const machine = create();
  put(machine, 0, 100);
  const all = { ms: Number.POSITIVE_INFINITY, revisionsMin: 0, revisionsMax: Number.MAX_SAFE_INTEGER, bytesMax: Number.MAX_SAFE_INTEGER };
  const keeper = new HistoryKeeper(all, machine);
  assert.equal(keeper.keepsAll, true);
  const batch = keeper.upkeep(machine, 0);
  assert.ok(batch !== undefined);
  apply(machine, 0, batch);
  assert.equal(machine.history.revisionsMax, Number.MAX_SAFE_INTEGER);
  assert.equal(keeper.dueAt(machine), Number.POSITIVE_INFINITY);
  const bounded = new HistoryKeeper(rules({ revisionsMax: 10 }), machine);
  assert.equal(bounded.keepsAll, false);
  apply(machine, 0, bounded.upkeep(machine, 0)!);
  assert.equal(machine.readableFrom, machine.revision - 9);
  assert.equal(bounded.upkeep(machine, 0), undefined);
});

test("in a cluster history is compacted by age, alike on all members, whoever leads", async () => {
  const cluster = await createTestCluster({ seed: 11, engine: { history: { ms: 20_000, revisionsMin: 5 } } });
  let leader = await cluster.leader();
  const first = await leader.put("k", "0");
  for (let i = 1; i <= 30; i++) {
    await cluster.clock.advance(1_000);
    if (i % 10 === 0) {
      const old = leader;
      await cluster.crash(old.name);
      leader = await cluster.leader();
      await leader.put("k", String(i));
      await cluster.restart(old.name);
      continue;
    }
    await leader.put("k", String(i));
    if (i === 19) assert.equal((await leader.get("k", { revision: first.revision }))?.text(), "0", "younger than asked");
  }
  await cluster.settle();
  const { revision } = (await leader.get("k"))! && (await leader.range({ all: true }));
  const readable: number[] = [];
  for (const engine of cluster.engines) {
    const options = { consistency: "eventual", minRevision: revision } as const;
    const error: unknown = await engine.get("k", { ...options, revision: first.revision }).catch((thrown: unknown) => thrown);
    assert.ok(EngineError.is(error, "COMPACTED"), String(error));
    readable.push(error.details.compactRevision);
  }
  assert.equal(new Set(readable).size, 1, `equal on all members: ${readable.join(" ")}`);
  assert.ok(readable[0]! > first.revision && readable[0]! <= revision - 15, `${readable[0]} of ${revision}: 20 s are kept`);
  await cluster.clock.advance(60_000);
  const error: unknown = await leader.get("k", { revision: revision - 6 }).catch((thrown: unknown) => thrown);
  assert.ok(EngineError.is(error, "COMPACTED"), "without any writes too");
  assert.equal((await leader.get("k", { revision: revision - 5 }))?.text(), "25", "the last five stay");
  await cluster.close();
});
