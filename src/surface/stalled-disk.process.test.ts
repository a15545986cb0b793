/**
 * A sync that takes five seconds is no reason to make callers wait: on a follower nobody notices, and a leader hands over to another, without
 * an election that anybody would have to wait for.
 */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { LoadResult, Status } from "./orders.ts";
import { ProcessCluster, type NodeProcess } from "./process-cluster.ts";

const STALL_MS = 5_000;

test("a sync takes five seconds, on a follower, then on the leader, which hands over: no failed call", { timeout: 120_000 }, async (t) => {
  const workerUrl = new URL("stalling/worker.js", import.meta.url).href;
  await ProcessCluster.with({ nodes: 3, engine: { workerUrl } }, async (cluster) => {
    const leader = await cluster.leader();
    const followers = cluster.nodes.filter((node) => node !== leader);
    const leadership = (): Promise<readonly unknown[]> => Promise.all(cluster.nodes.map((node) => node.leadership()));
    const before = await leadership();
    const termBefore = (await leader.ask<Status>({ kind: "status" })).term ?? 0;
    const stall = async (name: string, node: NodeProcess, from: NodeProcess): Promise<void> => {
      const order = path.join(cluster.directory, `n${cluster.nodes.indexOf(node) + 1}.stall`);
      writeFileSync(order, String(STALL_MS));
      const result = await from.ask<LoadResult>({
        kind: "load",
        load: { clients: 8, ms: STALL_MS + 2_000, valueBytes: 256, prefix: `${name}/` },
      });
      t.diagnostic(
        `${name}'s disk stalled: ${result.writes} writes, longest ${result.maxMs.toFixed(0)} ms, ${result.failed} failed ${result.errors.join("; ")}`,
      );
      assert.ok(!existsSync(order), "the disk did stall");
      assert.equal(result.failed, 0);
      assert.ok(result.maxMs < STALL_MS - 1_500, "writes were acknowledged by the other two meanwhile");
    };
    await stall("follower", followers[0] as NodeProcess, leader);
    assert.deepEqual(await leadership(), before, "no election");
    await stall("leader", leader, followers[1] as NodeProcess);
    const { isLeader, term } = await leader.ask<Status>({ kind: "status" });
    assert.equal(isLeader, false);
    assert.equal(term, termBefore + 1, "one handover, and no campaigns");
  });
});
