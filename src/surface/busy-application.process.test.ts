/** What the application around a node does to its own main thread and to the thread pool costs the node neither its place nor its promises. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LoadResult, Watched } from "./orders.ts";
import { ProcessCluster, type NodeProcess } from "./process-cluster.ts";

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const leadershipSeenBy = (nodes: readonly NodeProcess[]): Promise<readonly unknown[]> =>
  Promise.all(nodes.map((node) => node.leadership()));

const load = (node: NodeProcess, ms: number, prefix: string, clients = 4): Promise<LoadResult> =>
  node.ask<LoadResult>({ kind: "load", load: { clients, ms, valueBytes: 256, prefix } });

const told = (name: string, { writes, failed, p50Ms, p99Ms, maxMs, errors }: LoadResult): string =>
  `${name}: ${writes} writes, p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, longest ${maxMs.toFixed(0)} ms, ${failed} failed ${errors.join("; ")}`;

test(
  "the leader's application blocks its main thread for ten seconds, then hashes passwords for thirty on one core: no election, no failed call",
  { timeout: 120_000 },
  async (t) => {
    await ProcessCluster.with({ nodes: 3 }, async (cluster) => {
      const leader = await cluster.leader();
      const followers = cluster.nodes.filter((node) => node !== leader);
      const before = await leadershipSeenBy(cluster.nodes);

      const blocked = leader.ask({ kind: "block", ms: 10_000 });
      const [throughFollower] = await Promise.all([load(followers[0] as NodeProcess, 9_500, "a/"), blocked]);
      t.diagnostic(told("through a follower, the leader's main thread blocked", throughFollower));
      assert.equal(throughFollower.failed, 0);
      assert.ok(throughFollower.writes > 100, "writes went on");
      assert.deepEqual(await leadershipSeenBy(cluster.nodes), before);

      const pinned = leader.pinToOneCore();
      t.diagnostic(
        pinned ? "all threads of the leader's process on one core" : "taskset is not there: the leader's threads were not kept on one core",
      );
      const [hashed] = await Promise.all([load(leader, 29_000, "b/"), leader.ask({ kind: "hash", inFlight: 8, ms: 30_000 })]);
      t.diagnostic(told("in the leader, eight hashes in flight", hashed));
      assert.equal(hashed.failed, 0);
      assert.deepEqual(await leadershipSeenBy(cluster.nodes), before);
      assert.ok(hashed.p99Ms < 50, `p99 of writes was ${hashed.p99Ms.toFixed(1)} ms`);
    });
  },
);

test("a node works while the only thread of the pool is blocked for good", { timeout: 60_000 }, async (t) => {
  await ProcessCluster.with({ nodes: 3, env: { UV_THREADPOOL_SIZE: "1" } }, async (cluster) => {
    for (const node of cluster.nodes) await node.ask({ kind: "blockPool", threads: 4 });
    const leader = await cluster.leader();
    const result = await load(leader, 2_000, "a/");
    t.diagnostic(told("pool blocked everywhere", result));
    assert.equal(result.failed, 0);
    assert.ok(result.writes > 50);
    // A node that starts with its pool already blocked finds its files and its peers just the same.
    const [follower] = await cluster.followers();
    await follower?.kill();
    await follower?.start();
    await follower?.ask({ kind: "blockPool", threads: 4 });
    await follower?.ask({ kind: "waitReady", timeoutMs: 20_000 });
    const after = await load(follower as NodeProcess, 1_000, "b/");
    assert.equal(after.failed, 0);
    assert.ok(after.writes > 10);
  });
});

test(
  "the main thread is blocked for ten seconds under 100,000 events a second: memory stays bounded and nothing is lost",
  { timeout: 120_000 },
  async (t) => {
    // 25 watches of what is written 4,500 times a second: what was not read is, in the end, still in the history of the last 100,000 revisions.
    const watches = 25;
    const perSecond = 4_500;
    await ProcessCluster.with({ nodes: 3 }, async (cluster) => {
      const leader = await cluster.leader();
      const [watcher] = await cluster.followers();
      assert.ok(watcher !== undefined);
      await watcher.ask({ kind: "watch", prefix: "flood/", watches });
      const flood = (ms: number): Promise<LoadResult> =>
        leader.ask<LoadResult>({ kind: "load", load: { clients: 200, ms, valueBytes: 16, prefix: "flood/", perSecond } });
      // First with a main thread that reads: what a node grows to anyway.
      const warm = await flood(3_000);
      await watcher.ask<Watched>({ kind: "watched" });
      const rssBefore = await watcher.ask<number>({ kind: "memory" });

      const [unread] = await Promise.all([flood(9_500), watcher.ask({ kind: "block", ms: 10_000 })]);
      const rssAfter = await watcher.ask<number>({ kind: "memory" });
      const grown = (rssAfter - rssBefore) / (1 << 20);
      t.diagnostic(
        `${((unread.writes * watches) / 9.5).toFixed(0)} events/s for 9.5 s; the watcher's process grew by ${grown.toFixed(0)} MiB, from ${(rssBefore / (1 << 20)).toFixed(0)}`,
      );
      assert.equal(warm.failed + unread.failed, 0);

      const wanted = (warm.writes + unread.writes) * watches;
      let seen = await watcher.ask<Watched>({ kind: "watched" });
      for (let i = 0; seen.events < wanted && seen.ended === "" && i < 600; i += 1) {
        await sleep(50);
        seen = await watcher.ask<Watched>({ kind: "watched" });
      }
      assert.deepEqual(
        { events: seen.events, outOfOrder: seen.outOfOrder, ended: seen.ended },
        { events: wanted, outOfOrder: 0, ended: "" },
      );
      assert.ok(grown < 64, `resident memory grew by ${grown.toFixed(0)} MiB`);
    });
  },
);
