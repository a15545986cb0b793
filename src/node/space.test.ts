/** Quotas on bytes and keys, as callers meet them: typed refusals, nothing changed, and a state that ends by itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EngineError } from "../errors.ts";
import type { Engine } from "../client/engine.ts";
import { createTestCluster, type TestCluster } from "../testing/test-cluster.ts";
import { LocalCluster } from "./test/local-cluster.ts";

const MIB = 1 << 20;
const VALUE = "v".repeat(20_000);

/** Puts keys of about 20 kB until one is refused: how many were taken, and the refusal. */
async function fill(engine: Engine, prefix: string, most = 2_000): Promise<{ taken: number; refusal: EngineError<"NO_SPACE"> }> {
  for (let taken = 0; taken < most; taken++) {
    try {
      await engine.put(`${prefix}${taken}`, VALUE);
    } catch (error) {
      assert.ok(EngineError.is(error, "NO_SPACE"), String(error));
      return { taken, refusal: error };
    }
  }
  return assert.fail("nothing was refused");
}

async function until(cluster: TestCluster, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !holds(); i++) await cluster.clock.advance(50);
  assert.ok(holds());
}

for (const who of ["the leader", "a follower"] as const) {
  test(`beyond the quota what grows the data is refused through ${who}, all else goes on, and room ends it`, async () => {
    const cluster = await createTestCluster({ seed: 7, engine: { limits: { dataBytesMax: 2 * MIB } } });
    const leader = await cluster.leader();
    const engine = who === "the leader" ? leader : cluster.engines.find((one) => one !== leader)!;
    await engine.put("kept", "1", { ttlMs: 3_600_000 });
    const { taken, refusal } = await fill(engine, "k/");
    assert.equal(refusal.details.of, "quota");
    assert.equal(refusal.details.max, 2 * MIB);
    assert.ok(refusal.details.used <= 2 * MIB && refusal.details.used > 1.9 * MIB, `${refusal.details.used} bytes`);
    assert.equal(refusal.mayHaveApplied, false);
    assert.equal(await engine.get(`k/${taken}`), undefined, "nothing was changed");
    await until(cluster, () => engine.state.kind === "full");
    assert.ok(engine.state.kind === "full" && engine.state.error.details.of === "quota");
    const { ready, live, reasons } = engine.health();
    assert.ok(live && !ready && reasons[0]!.startsWith("full: "), reasons.join());
    assert.equal(leader.isLeader(), true);
    await assert.rejects(engine.put("k/0", "shorter"), { code: "NO_SPACE", mayHaveApplied: false });
    await assert.rejects(engine.compareAndSwap("k/0", VALUE, "other"), { code: "NO_SPACE" });

    // In one tick with others: each has its own answer.
    const mixed = await Promise.allSettled([engine.put("x", "1"), engine.delete("k/0"), engine.put("y", "1"), engine.get("kept")]);
    assert.deepEqual(
      mixed.map((one) => one.status),
      ["rejected", "fulfilled", "rejected", "fulfilled"],
    );
    assert.equal(await engine.get("x"), undefined);
    assert.equal(await engine.get("k/0"), undefined);

    // Deleted is not free yet: history has it, and is compacted early.
    assert.equal((await engine.delete({ prefix: "k/" })).deleted, taken - 1);
    await until(cluster, () => engine.state.kind === "ready" && leader.state.kind === "ready");
    const again = await fill(engine, "again/");
    assert.ok(again.taken >= taken - 2, `${again.taken} of ${taken} fit again`);
    await cluster.close();
  });
}

test("history that only the past needs is compacted early, so that overwriting one key goes on for ever", async () => {
  const cluster = await createTestCluster({ nodes: 1, seed: 3, engine: { limits: { dataBytesMax: 2 * MIB } } });
  const engine = cluster.engine("n1");
  for (let round = 0; round < 30; round++) await Promise.all(Array.from({ length: 10 }, (_, i) => engine.put(`k${i}`, `${round}${VALUE}`)));
  assert.equal((await engine.get("k3"))?.version, 30);
  assert.equal(engine.state.kind, "ready");
  await cluster.close();
});

test("history without an age is compacted early like any other, as long as it has some bound; kept for ever it fills the quota", async () => {
  for (const history of [{ ms: Number.POSITIVE_INFINITY, revisionsMax: 100_000 }, "forever"] as const) {
    const cluster = await createTestCluster({ nodes: 1, seed: 3, engine: { history, limits: { dataBytesMax: 2 * MIB } } });
    const engine = cluster.engine("n1");
    let refused = false;
    for (let round = 0; round < 30 && !refused; round++) {
      const results = await Promise.allSettled(Array.from({ length: 10 }, (_, i) => engine.put(`k${i}`, `${round}${VALUE}`)));
      refused = results.some(({ status }) => status === "rejected");
    }
    assert.equal(refused, history === "forever");
    await cluster.close();
  }
});

test("puts that keep a large value find room for it, or are refused, though they are small themselves", async () => {
  const cluster = await createTestCluster({ nodes: 1, seed: 3, engine: { history: "forever", limits: { dataBytesMax: 4 * MIB } } });
  const engine = cluster.engine("n1");
  await engine.put("large", "v".repeat(MIB));
  const results = await Promise.allSettled(Array.from({ length: 50 }, () => engine.put("large", undefined, { ignoreValue: true })));
  const refused = results.filter(({ status }) => status === "rejected");
  assert.ok(refused.length > 0 && refused.every((one) => EngineError.is((one as PromiseRejectedResult).reason, "NO_SPACE")));
  const { dataBytes } = await engine.maintenance.status();
  assert.ok(dataBytes <= 4 * MIB, `${dataBytes} bytes`);
  await cluster.close();
});

test("many writes at once do not pass the quota by what is on its way", async () => {
  const cluster = await createTestCluster({ seed: 5, engine: { limits: { dataBytesMax: 2 * MIB } } });
  const leader = await cluster.leader();
  const results = await Promise.allSettled(
    cluster.engines.flatMap((engine, at) => Array.from({ length: 150 }, (_, i) => engine.put(`${at}/${i}`, VALUE))),
  );
  const taken = results.filter(({ status }) => status === "fulfilled").length;
  for (const result of results) {
    if (result.status === "rejected") assert.ok(EngineError.is(result.reason, "NO_SPACE") && !result.reason.mayHaveApplied);
  }
  const { kvs } = await leader.range({ all: true });
  assert.equal(kvs.length, taken, "as many as were acknowledged");
  const bytes = kvs.reduce((sum, { key, value }) => sum + key.length + value.length + 80, 0);
  assert.ok(bytes <= 2 * MIB, `${bytes} bytes`);
  assert.ok(bytes > 0.5 * MIB);
  await cluster.close();
});

test("beyond keysMax new keys are refused, and with fewer keys they are not", async () => {
  const cluster = await createTestCluster({ seed: 9, engine: { limits: { keysMax: 100 } } });
  const leader = await cluster.leader();
  const results: PromiseSettledResult<unknown>[] = [];
  for (let i = 0; i < 120; i++) results.push(...(await Promise.allSettled([leader.put(`k${i}`, "1")])));
  const refused = results.filter((one) => one.status === "rejected");
  assert.ok(refused.length >= 20 && refused.length <= 21, `${refused.length} refused`);
  const first = refused[0] as PromiseRejectedResult;
  assert.ok(EngineError.is(first.reason, "NO_SPACE") && first.reason.details.of === "keys" && first.reason.details.max === 100);
  await leader.delete({ prefix: "k1" });
  await until(cluster, () => leader.state.kind === "ready");
  await leader.put("new", "1");
  await cluster.close();
});

test("a leader's smaller quota rules what a follower with a larger one forwards: the refusal comes back as one", async () => {
  const cluster = await LocalCluster.create(["n1", "n2", "n3"]);
  try {
    const sizes: Record<string, number> = { n1: 2 * MIB, n2: 64 * MIB, n3: 64 * MIB };
    await Promise.all(Object.entries(sizes).map(([name, dataBytesMax]) => cluster.open(name, { limits: { dataBytesMax } })));
    const small = cluster.engines.get("n1")!;
    while (!(await cluster.leader()).isLeader());
    const first = await cluster.leader();
    if (first === small) {
      const { refusal } = await fill(cluster.engines.get("n2")!, "k/");
      assert.equal(refusal.details.max, 2 * MIB);
      assert.equal(refusal.mayHaveApplied, false);
      const mixed = await Promise.allSettled([cluster.engines.get("n3")!.put("x", "1"), cluster.engines.get("n3")!.delete("k/1")]);
      assert.deepEqual(
        mixed.map((one) => one.status),
        ["rejected", "fulfilled"],
      );
    } else {
      // A member that does not lead judges what its own callers write.
      const { refusal } = await fill(small, "k/");
      assert.equal(refusal.details.max, 2 * MIB);
      await first.put("more", VALUE);
    }
  } finally {
    await cluster.end();
  }
});
