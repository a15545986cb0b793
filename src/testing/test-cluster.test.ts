import assert from "node:assert/strict";
import { test } from "node:test";
import type { Client } from "../client/client.ts";
import { EngineError } from "../errors.ts";
import { createTestCluster } from "./index.ts";

/** A small application: a counter that several processes raise, each write guarded by what was read. */
class Counter {
  readonly #client: Client;
  readonly #key: string;

  constructor(client: Client, name: string) {
    this.#client = client;
    this.#key = `counters/${name}`;
  }

  async raise(): Promise<number> {
    for (;;) {
      const before = (await this.#client.get(this.#key))?.text();
      const next = Number(before ?? "0") + 1;
      if (await this.#client.compareAndSwap(this.#key, before, String(next))) return next;
    }
  }
}

test("a small application counts right while its leader crashes", async () => {
  const cluster = await createTestCluster({ seed: 42 });
  try {
    const raise = async (name: string): Promise<number> => {
      const counter = new Counter(cluster.engine(name), "visits");
      for (let count = 0; count < 20; count++) {
        await counter.raise();
        await cluster.clock.sleep(10);
      }
      return 20;
    };
    const leader = await cluster.leader();
    const others = ["n1", "n2", "n3"].filter((name) => name !== leader.name);
    const working = Promise.all(others.map(raise));
    await cluster.clock.sleep(100);
    await cluster.crash(leader.name);
    const counted = (await working).reduce((sum, count) => sum + count, 0);
    const [first] = others;
    assert.ok(first !== undefined);
    assert.equal((await cluster.engine(first).get("counters/visits"))?.text(), String(counted));
    const back = await cluster.restart(leader.name);
    // The others dial a machine that did not answer again only after a while.
    await back.waitReady({ timeoutMs: 30_000 });
    assert.equal((await back.get("counters/visits"))?.text(), "40");
  } finally {
    await cluster.close();
  }
});

test("a lease is kept over the loss of its leader, and dies with the machine of its holder", async () => {
  const cluster = await createTestCluster({ seed: 7 });
  try {
    const leader = await cluster.leader();
    const [holder, other] = cluster.engines.filter(({ name }) => name !== leader.name);
    assert.ok(holder !== undefined && other !== undefined);
    const lease = await holder.lease({ ttlMs: 10_000 });
    await holder.put("worker", "here", { lease });
    await cluster.crash(leader.name);
    await cluster.clock.sleep(60_000);
    lease.throwIfLost();
    assert.equal((await other.get("worker"))?.lease, lease.id);
    assert.deepEqual(await lease.renew(), { ttlMs: 10_000 });
    await cluster.restart(leader.name);
    await cluster.crash(holder.name);
    await cluster.clock.sleep(8_000);
    assert.equal((await other.get("worker"))?.text(), "here");
    const info = await other.leases.get(lease.id, { keys: true });
    assert.ok(info !== undefined && info.remainingMs < 2_500 && info.keys.length === 1);
    await cluster.clock.sleep(10_000);
    assert.equal(await other.get("worker"), undefined);
    assert.equal(lease.remainingMs(), 0);
    assert.throws(() => lease.throwIfLost(), { code: "LOST" });
    await lease.close();
  } finally {
    await cluster.close();
  }
});

test("ten virtual seconds pass at once, and what has a time to live goes", async () => {
  const cluster = await createTestCluster({ seed: 1 });
  try {
    const engine = cluster.engine("n2");
    await engine.put("lamp", "lit", { ttlMs: 10_000 });
    const watch = engine.watch("lamp", { only: "deletes", progressMs: 0 });
    const before = cluster.clock.now();
    await cluster.clock.advance(9_000);
    assert.equal((await engine.get("lamp"))?.text(), "lit");
    const { value: batch } = await watch[Symbol.asyncIterator]().next();
    assert.equal(batch?.kind, "events");
    assert.ok(cluster.clock.now().getTime() - before.getTime() >= 10_000);
    assert.equal(await engine.get("lamp"), undefined);
    await watch.close();
  } finally {
    await cluster.close();
  }
});

test("a minority does not serve; healed, it catches up", async () => {
  const cluster = await createTestCluster({ seed: 2 });
  try {
    cluster.partition(["n1"], ["n2", "n3"]);
    await cluster.engine("n2").put("a", "1");
    await assert.rejects(cluster.engine("n1").get("a", { timeoutMs: 2_000 }), (error) => EngineError.is(error, "TIMEOUT"));
    await cluster.settle();
    assert.equal((await cluster.engine("n1").get("a", { consistency: "eventual" }))?.text(), "1");
  } finally {
    await cluster.close();
  }
});

test("what was acknowledged survives a crash of all, and calls to a crashed engine end", async () => {
  const cluster = await createTestCluster({ seed: 3 });
  try {
    await cluster.engine("n1").put("a", "1");
    const waiting = cluster.engine("n3").watch("a");
    const next = waiting[Symbol.asyncIterator]().next();
    for (const name of ["n1", "n2", "n3"]) await cluster.crash(name);
    await assert.rejects(next, (error) => EngineError.is(error, "CLOSED"));
    assert.throws(() => cluster.engine("n1"), /n1 is down/);
    for (const name of ["n1", "n2", "n3"]) await cluster.restart(name);
    await cluster.settle();
    assert.equal((await cluster.engine("n2").get("a"))?.text(), "1");
  } finally {
    await cluster.close();
  }
});

test("a paused leader is succeeded, a full disk is reported, and both recover", async () => {
  const cluster = await createTestCluster({ seed: 4, engine: { electionTimeoutMs: 300, heartbeatMs: 30 } });
  try {
    const leader = await cluster.leader();
    cluster.pause(leader.name);
    const other = ["n1", "n2", "n3"].find((name) => name !== leader.name);
    assert.ok(other !== undefined);
    await cluster.engine(other).put("a", "1");
    cluster.resume(leader.name);
    await cluster.settle();
    assert.equal((await cluster.engine(leader.name).get("a"))?.text(), "1");
    cluster.disk(other, "failing");
    await cluster.engine(leader.name).put("a", "2");
    await cluster.clock.advance(1_000);
    assert.equal(cluster.engine(other).state.kind, "failed");
    cluster.disk(other, "ok");
    const again = await cluster.restart(other);
    // The others dial a machine that did not answer again only after a while.
    await again.waitReady({ timeoutMs: 30_000 });
    assert.equal((await again.get("a"))?.text(), "2");
  } finally {
    await cluster.close();
  }
});

test("equal seeds give equal runs", async () => {
  const run = async (): Promise<readonly number[]> => {
    const cluster = await createTestCluster({ seed: 7 });
    const times = [cluster.clock.now().getTime()];
    for (let count = 0; count < 5; count++) {
      await cluster.engine("n1").put("a", String(count));
      times.push(cluster.clock.now().getTime());
    }
    await cluster.close();
    return times;
  };
  assert.deepEqual(await run(), await run());
});

test("bad options are refused", async () => {
  await assert.rejects(createTestCluster({ nodes: 0 }), (error) => EngineError.is(error, "INVALID_ARGUMENT"));
  await assert.rejects(createTestCluster({ seed: 0.5 }), (error) => EngineError.is(error, "INVALID_ARGUMENT"));
  for (const options of [{ node: 3 }, { time: "fast" }, { engine: { dataDir: "./data" } }, { engine: { nobody: 1 } }, 5, null])
    await assert.rejects(createTestCluster(options as never), (error) => EngineError.is(error, "INVALID_ARGUMENT"));
});

test("real time is the wall clock's", async () => {
  const cluster = await createTestCluster({ seed: 8, time: "real", engine: { electionTimeoutMs: 60, heartbeatMs: 10 } });
  try {
    await cluster.engine("n1").put("a", "1");
    const begun = performance.now();
    await cluster.clock.sleep(30);
    assert.ok(performance.now() - begun >= 25);
  } finally {
    await cluster.close();
  }
});
