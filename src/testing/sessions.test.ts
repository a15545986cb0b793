/** Retrying clients with sessions under faults: what was answered was done once, across lost replies, failovers, crashes and snapshots. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CROWDED, DISKS, ELECTIONS, LOSSY } from "./profiles.ts";
import { simulate as simulateNodes } from "./simulation.ts";
import type { SwarmProfile } from "./swarm.ts";
import { buildSimulator, type Edit } from "./test/canary-bundle.ts";
import { simulate, type SimulateSessions } from "./test/session-simulation.ts";

/** Followers that miss much, and logs that are discarded soon. */
const SNAPSHOTS: SwarmProfile = {
  ...DISKS,
  snapshotLogBytesMin: 2 << 10,
  segmentBytes: 4 << 10,
  faultMsMax: 2_000,
  faults: { crash: 2, crashLeader: 2, isolateLeader: 2, partition: 2 },
};

for (const [name, profile] of Object.entries({ elections: ELECTIONS, lossy: LOSSY, snapshots: SNAPSHOTS })) {
  test(`a counter that retried transactions increment ends exactly right under the profile ${name}`, async (context) => {
    for (let seed = 1; seed <= 3; seed++) {
      // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
      const { increments, retries, repeated } = await simulate({ seed, profile });
      context.diagnostic(`seed ${seed}: ${increments} increments, ${retries} retries, ${repeated} answered twice`);
      assert.ok(increments > 20 && retries > 10 && repeated > 0);
    }
  });
}

test("a seed runs the same twice", async () => {
  assert.deepEqual(await simulate({ seed: 3, profile: SNAPSHOTS }), await simulate({ seed: 3, profile: SNAPSHOTS }));
});

const table = (find: string, replace: string): Edit => ({ file: "core/kv/session-table.ts", find, replace });

const CANARIES: readonly { readonly name: string; readonly edits: readonly Edit[]; readonly profile: SwarmProfile }[] = [
  {
    name: "a command that comes again is applied again",
    edits: [table("return what[at] === 0 ? SESSION_APPLY : SESSION_ANSWERED;", "return SESSION_APPLY;")],
    profile: ELECTIONS,
  },
  {
    name: "answers are forgotten at a snapshot",
    edits: [
      { file: "core/kv/session-stream.ts", find: "if (what[at] === 0) continue;", replace: "if (acked >= 0) continue;" },
      table("for (let answer = this.oldest; answer !== undefined; answer = answer.newer) answers.push(answer);", ""),
    ],
    profile: SNAPSHOTS,
  },
  {
    name: "what is acknowledged is applied when it comes late",
    edits: [table("if (place < 1 || place > session.window) return SESSION_WINDOW;", "if (place > session.window) return SESSION_WINDOW;")],
    profile: LOSSY,
  },
];

/** Writes of nodes' own callers, long enough under way that snapshots overtake them. */
const OVERTAKEN: SwarmProfile = {
  ...SNAPSHOTS,
  faultMsMax: 4_000,
  faults: { isolateLeader: 3, partition: 3 },
  workload: { ...CROWDED, clientsPerNode: 3, writeShare: 0.8, timeoutMs: 5_000 },
};

for (const seed of [1, 2, 4]) {
  test(`a node's writes that a snapshot overtakes are done once: seed ${seed}`, async () => {
    await simulateNodes({ seed, profile: OVERTAKEN });
  });
}

test("the simulation finds the planted bug: a write that a snapshot overtakes comes again with other numbers", async (context) => {
  const edits = [{ file: "node/proposals.ts", find: "        batch.isAgain = true;\n", replace: "        batch.stamp = undefined;\n" }];
  const { simulate: spoiled, close } = await buildSimulator(edits);
  try {
    for (let seed = 1; seed <= 10; seed++) {
      try {
        // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
        await spoiled({ seed, profile: OVERTAKEN });
      } catch (error) {
        context.diagnostic(`seed ${seed}: ${String(error).split("\n", 1)[0]}`);
        return;
      }
    }
    assert.fail("not found in 10 seeds");
  } finally {
    await close();
  }
});

for (const { name, edits, profile } of CANARIES) {
  test(`the simulation of sessions finds the planted bug: ${name}`, async (context) => {
    const { simulate: spoiled, close } = await buildSimulator<SimulateSessions>(edits, "testing/test/session-simulation.ts");
    try {
      for (let seed = 1; seed <= 10; seed++) {
        try {
          // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
          await spoiled({ seed, profile });
        } catch (error) {
          context.diagnostic(`seed ${seed}: ${String(error).split("\n", 1)[0]}`);
          return;
        }
      }
      assert.fail("not found in 10 seeds");
    } finally {
      await close();
    }
  });
}
