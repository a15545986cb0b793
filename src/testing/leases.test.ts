import assert from "node:assert/strict";
import { test } from "node:test";
import { CROWDED, FAILOVERS } from "./profiles.ts";
import { simulate } from "./simulation.ts";

test("a leader is lost each second for ten minutes: a lease that is kept lives, and one that nobody renews ends in time", async (context) => {
  // What a lease of 5 s may live on: 100 ms for each of the failovers in its life, and the time without a leader at its end.
  const { leasePromises } = FAILOVERS;
  assert.deepEqual(leasePromises, { lateMsMax: 1_000, keptLive: true });
  const result = await simulate({
    seed: 1,
    profile: { ...FAILOVERS, faultsMs: 600_000, workload: { ...CROWDED, clientsPerNode: 1, thinkMs: 500, timeoutMs: 5_000 } },
  });
  const failovers = Object.entries(result.faults)
    .filter(([kind]) => kind === "isolateLeader" || kind === "pauseLeader")
    .reduce((sum, [, count]) => sum + count, 0);
  context.diagnostic(`${failovers} leaders lost in ${Math.round(result.simulatedMs / 1_000)} s`);
  assert.ok(failovers > 400);
});
