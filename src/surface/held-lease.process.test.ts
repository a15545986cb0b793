/** A lease that is held outlives a busy application, and does not outlive one that hangs; the holder knows which, at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Performed, StillHeld } from "./orders.ts";
import { ProcessCluster, type NodeProcess } from "./process-cluster.ts";

const TTL_MS = 2_000;
const BLOCK_MS = 5_000;

const isThere = async (node: NodeProcess, key: string): Promise<boolean> => {
  const { values } = await node.ask<Performed>({ kind: "perform", body: { kind: "get", keys: [key] }, consistency: "linearizable" });
  return values?.[0]?.value !== undefined;
};

test(
  "the main thread of a holder is blocked for longer than the time to live: the lease is kept, unless the holder allows less",
  { timeout: 60_000 },
  async (t) => {
    await ProcessCluster.with({ nodes: 3 }, async (cluster) => {
      const [busy, hanging] = await cluster.followers();
      const leader = await cluster.leader();
      assert.ok(busy !== undefined && hanging !== undefined);
      await busy.ask({ kind: "hold", ttlMs: TTL_MS, appLagMsMax: 30_000, key: "busy" });
      await hanging.ask({ kind: "hold", ttlMs: TTL_MS, appLagMsMax: 1_000, key: "hanging" });
      const [kept, lost] = await Promise.all([
        busy.ask<StillHeld>({ kind: "blockHolding", ms: BLOCK_MS }),
        hanging.ask<StillHeld>({ kind: "blockHolding", ms: BLOCK_MS }),
      ]);
      t.diagnostic(`after ${BLOCK_MS} ms: ${kept.remainingMs.toFixed(0)} ms left where it was kept`);
      assert.equal(kept.thrown, undefined);
      assert.ok(kept.remainingMs > 0 && kept.remainingMs < TTL_MS);
      assert.deepEqual(lost, { remainingMs: 0, thrown: "LOST" });
      assert.equal(await isThere(leader, "busy"), true);
      assert.equal(await isThere(leader, "hanging"), false);
    });
  },
);
