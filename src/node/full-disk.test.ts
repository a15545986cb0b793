/** Full and slow disks in a cluster: what each member then refuses, what goes on, who leads, and that it ends by itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Engine } from "../client/engine.ts";
import { EngineError } from "../errors.ts";
import { createTestCluster, type TestCluster } from "../testing/test-cluster.ts";

const VALUE = "v".repeat(5_000);

async function until(cluster: TestCluster, what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !holds(); i++) await cluster.clock.advance(50);
  assert.ok(holds(), what);
}

async function fillDisk(engine: Engine, most = 500): Promise<EngineError<"NO_SPACE">> {
  for (let i = 0; i < most; i++) {
    try {
      await engine.put(`k${i % 10}`, VALUE);
    } catch (error) {
      assert.ok(EngineError.is(error, "NO_SPACE"), String(error));
      return error;
    }
  }
  return assert.fail("the disk has no end");
}

test("a cluster of one on a full disk: growth is refused, deletions and reads go on, and room ends it without a restart", async () => {
  const cluster = await createTestCluster({ nodes: 1, seed: 2 });
  const engine = cluster.engine("n1");
  await engine.put("kept", "1");
  await engine.put("leased", "1", { ttlMs: 60_000 });
  await cluster.clock.advance(2_000);
  cluster.disk("n1", "full");
  const error = await fillDisk(engine);
  assert.equal(error.details.of, "disk");
  assert.equal(error.mayHaveApplied, false);
  assert.ok(error.details.used > 0);
  assert.ok(engine.state.kind === "full" && engine.state.error.details.of === "disk");
  assert.ok(engine.health().live && !engine.health().ready && engine.isLeader());
  for (let i = 0; i < 5; i++) await engine.delete(`k${i}`);
  assert.equal((await engine.get("kept"))?.text(), "1");
  await assert.rejects(engine.put("x", "1"), { code: "NO_SPACE" });
  await cluster.clock.advance(10_000);
  assert.equal(engine.state.kind, "full", "there is no room yet");
  cluster.disk("n1", "ok");
  await until(cluster, "it is ready again", () => engine.state.kind === "ready");
  await engine.put("x", "1");
  await cluster.clock.advance(2_000);
  cluster.disk("n1", "full");
  await cluster.crash("n1");
  const again = await cluster.restart("n1");
  assert.equal((await again.get("x"))?.text(), "1");
  assert.equal(await again.get("k0"), undefined);
  await again.delete("x");
  await cluster.close();
});

for (const isCompacted of [false, true]) {
  const what = isCompacted ? "and compacted, with a history that is kept for ever" : "with the history that is kept by default";
  test(`a disk that a node has filled by itself has room again once all is deleted ${what}`, async () => {
    const cluster = await createTestCluster({ nodes: 1, seed: 21, engine: isCompacted ? { history: "forever" } : {} });
    const engine = cluster.engine("n1");
    await engine.put("other", "1");
    await cluster.clock.advance(2_000);
    for (let i = 0; i < 300; i++) await engine.put(`k${i}`, VALUE);
    await cluster.clock.advance(2_000);
    cluster.disk("n1", "full");
    for (let round = 0; round < 3; round++) {
      await fillDisk(engine, 5_000);
      const { revision } = await engine.delete({ prefix: "k" });
      if (isCompacted) await engine.maintenance.compact(revision);
      await until(cluster, `round ${round}: there is room`, () => engine.state.kind === "ready");
      for (let i = 0; i < 20; i++) await engine.put(`k${i}`, VALUE);
    }
    await cluster.crash("n1");
    const again = await cluster.restart("n1");
    assert.equal((await again.get("other"))?.text(), "1");
    assert.equal((await again.range({ prefix: "k" })).kvs.length, 20);
    await cluster.close();
  });
}

test("history that is little of what the files hold stays on a full disk, and nothing is freed again and again", async () => {
  const cluster = await createTestCluster({ nodes: 1, seed: 23 });
  const engine = cluster.engine("n1");
  for (let i = 0; i < 100; i++) await engine.put(`k${i}`, VALUE);
  await cluster.clock.advance(2_000);
  cluster.disk("n1", "full");
  for (let i = 100; i < 5_000 && engine.state.kind !== "full"; i++) await engine.put(`k${i}`, VALUE).catch(() => {});
  assert.equal(engine.state.kind, "full");
  await engine.delete("k0");
  const before = await engine.maintenance.status();
  await cluster.clock.advance(200_000);
  const after = await engine.maintenance.status();
  assert.equal(after.compactRevision, before.compactRevision);
  assert.equal(engine.state.kind, "full");
  assert.ok(after.lastApplied - before.lastApplied <= 2, `${after.lastApplied - before.lastApplied} entries`);
  await cluster.close();
});

for (const full of ["the leader", "a follower", "every member"] as const) {
  test(`once all is deleted there is room again where the disk of ${full} is full`, async () => {
    const cluster = await createTestCluster({ seed: 29 });
    const leader = await cluster.leader();
    const follower = cluster.engines.find((one) => one !== leader)!;
    for (let i = 0; i < 200; i++) await leader.put(`k${i}`, VALUE);
    await cluster.clock.advance(3_000);
    const hurt = { "the leader": [leader], "a follower": [follower], "every member": cluster.engines }[full];
    for (const { name } of hurt) cluster.disk(name, "full");
    await Promise.all(hurt.map((engine) => (full === "a follower" ? engine.put("k", VALUE) : fillDisk(engine, 5_000))));
    for (let i = 0; i < 50 && hurt.some((one) => one.state.kind !== "full"); i++) {
      await (await cluster.leader()).put(`k${i}`, VALUE).catch(() => {});
      await cluster.clock.advance(10);
    }
    await until(cluster, "they say so", () => hurt.every((one) => one.state.kind === "full"));
    await (await cluster.leader()).delete({ prefix: "k" });
    await until(cluster, "there is room", () => cluster.engines.every((one) => one.state.kind === "ready"));
    for (const engine of cluster.engines) await engine.put(`after ${engine.name}`, VALUE);
    assert.equal((await follower.range({ all: true })).kvs.length, 3);
    await cluster.close();
  });
}

test("a reserve that is used up: the node has failed and says so; with room it opens again and has lost nothing", async () => {
  const cluster = await createTestCluster({ nodes: 1, seed: 4 });
  const engine = cluster.engine("n1");
  await cluster.clock.advance(2_000);
  cluster.disk("n1", "full");
  await fillDisk(engine);
  let deletions = 0;
  try {
    for (; deletions < 2_000; deletions++) await engine.delete(`nothing${deletions}`);
    assert.fail("the reserve has no end");
  } catch (error) {
    assert.ok(EngineError.is(error, "UNAVAILABLE"), String(error));
  }
  assert.ok(deletions > 20, `${deletions} deletions found room`);
  assert.ok(engine.state.kind === "failed" && engine.state.error.code === "NO_SPACE");
  await assert.rejects(engine.put("x", "1"), { code: "UNAVAILABLE", mayHaveApplied: false });
  cluster.disk("n1", "ok");
  await cluster.crash("n1");
  const again = await cluster.restart("n1");
  assert.equal((await again.range({ prefix: "k" })).kvs.length, 10);
  await again.put("x", "1");
  await cluster.close();
});

test("a leader whose disk is full hands over to one that has room, and writes go on there; its own callers are told", async () => {
  const cluster = await createTestCluster({ seed: 11 });
  const before = await cluster.leader();
  await before.put("a", "1");
  await cluster.clock.advance(3_000);
  cluster.disk(before.name, "full");
  await fillDisk(before);
  await until(cluster, "another leads", () => cluster.engines.some((one) => one !== before && one.isLeader()));
  const after = await cluster.leader();
  assert.notEqual(after, before);
  for (let i = 0; i < 100; i++) await after.put(`new${i}`, VALUE);
  assert.equal(before.state.kind, "full");
  await assert.rejects(before.put("x", "1"), { code: "NO_SPACE", mayHaveApplied: false });
  assert.equal((await before.get("a", { consistency: "eventual" }))?.text(), "1", "reads go on there, if not of the latest");
  cluster.disk(before.name, "ok");
  await cluster.settle();
  assert.equal((await before.get("new99"))?.text(), VALUE);
  await cluster.close();
});

test("the disks of all members full at once: deletions go on, votes too, and room ends it", async () => {
  const cluster = await createTestCluster({ seed: 13 });
  const first = await cluster.leader();
  for (let i = 0; i < 20; i++) await first.put(`k${i}`, VALUE);
  await cluster.clock.advance(3_000);
  for (const { name } of cluster.engines) cluster.disk(name, "full");
  const writers = cluster.engines.map((engine) => fillDisk(engine));
  for (const error of await Promise.all(writers)) assert.equal(error.details.of, "disk");
  await until(cluster, "all say so", () => cluster.engines.every((one) => one.state.kind === "full" || one.state.kind === "noQuorum"));
  for (let i = 0; i < 5; i++) await cluster.engines[i % 3]!.delete(`k${i}`);
  const leader = await cluster.leader();
  cluster.pause(leader.name);
  await until(cluster, "a vote finds room", () => cluster.engines.some((one) => one !== leader && one.isLeader()));
  cluster.resume(leader.name);
  await cluster.clock.advance(5_000);
  await cluster.engines[0]!.delete("k7");
  for (const { name } of cluster.engines) cluster.disk(name, "ok");
  await cluster.settle();
  await cluster.engines[1]!.put("after", "1");
  assert.equal((await cluster.engines[2]!.range({ prefix: "k" })).kvs.length, 14);
  await cluster.close();
});

test("a follower whose disk is full takes no more than half of its reserve of what grows, and catches up when it has room", async () => {
  const cluster = await createTestCluster({ seed: 17 });
  const leader = await cluster.leader();
  const follower = cluster.engines.find((one) => one !== leader)!;
  await cluster.clock.advance(3_000);
  cluster.disk(follower.name, "full");
  for (let i = 0; i < 200; i++) await leader.put(`k${i}`, VALUE);
  await until(cluster, "it is full", () => follower.state.kind === "full");
  await cluster.clock.advance(20_000);
  assert.equal(follower.state.kind, "full", "and has not failed");
  assert.equal(leader.isLeader(), true);
  cluster.disk(follower.name, "ok");
  await cluster.settle();
  assert.equal((await follower.get("k199", { consistency: "eventual" }))?.text(), VALUE);
  await cluster.close();
});

test("a leader whose disk does not answer for an election timeout hands over; nobody else is disturbed", async () => {
  const cluster = await createTestCluster({ seed: 19, engine: { electionTimeoutMs: 100, heartbeatMs: 10 } });
  const before = await cluster.leader();
  await before.put("a", "1");
  const { term } = before.leader()!;
  cluster.disk(before.name, "slow"); // 50 to 200 ms for each write.
  const another = (): boolean => cluster.engines.some((one) => one !== before && one.isLeader());
  for (let i = 0; i < 100 && !another(); i++) {
    await before.put("b", "1");
    await cluster.clock.advance(10);
  }
  assert.ok(another(), "another leads");
  const after = await cluster.leader();
  assert.equal(after.leader()!.term, term + 1, "by a handover, not by campaigns");
  await after.put("c", "1");
  assert.equal((await before.get("b"))?.text(), "1");
  cluster.disk(before.name, "ok");
  await cluster.settle();
  await cluster.close();
});
