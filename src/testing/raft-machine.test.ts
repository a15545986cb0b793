/** Users' own state machines under faults: each acknowledged command counts exactly once, across failovers, crashes and snapshots. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CROWDED, DISKS, ELECTIONS, LOSSY } from "./profiles.ts";
import type { SwarmProfile } from "./swarm.ts";
import { buildSimulator, type Edit } from "./test/canary-bundle.ts";
import { simulate, type SimulateRaft } from "./test/raft-simulation.ts";

const SEEDS = 6;
const PROFILE_SEEDS = 2;

/** Followers that miss much, and logs that are discarded soon. */
const SNAPSHOTS: SwarmProfile = {
  ...DISKS,
  snapshotLogBytesMin: 2 << 10,
  segmentBytes: 4 << 10,
  faultMsMax: 2_000,
  faults: { crash: 2, crashLeader: 2, isolateLeader: 2, partition: 2 },
  workload: { ...CROWDED, clientsPerNode: 3, writeShare: 0.8, bigShare: 0.2, bigBytes: 500 },
};

for (let seed = 1; seed <= SEEDS; seed++) {
  test(`each acknowledged command counts exactly once, and reads see what was acknowledged: seed ${seed}`, async () => {
    await simulate({ seed });
  });
}

for (const [name, profile] of Object.entries({ elections: ELECTIONS, disks: DISKS, lossy: LOSSY })) {
  test(`under the profile ${name} each acknowledged command counts exactly once`, async () => {
    for (let seed = 1; seed <= PROFILE_SEEDS; seed++) {
      // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
      const { acknowledged } = await simulate({ seed, profile });
      assert.ok(acknowledged > 50, `only ${acknowledged} were acknowledged`);
    }
  });
}

test("machines are restored from snapshots, their own and their leader's, and nothing is lost or counted twice", async () => {
  let restored = 0;
  for (let seed = 1; seed <= 4; seed++) {
    // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
    restored += (await simulate({ seed, profile: SNAPSHOTS })).restored;
  }
  assert.ok(restored > 10, `only ${restored} restorations`);
});

test("a seed runs the same twice", async () => {
  assert.deepEqual(await simulate({ seed: 3 }), await simulate({ seed: 3 }));
});

const CANARIES: readonly {
  readonly name: string;
  readonly edits: readonly Edit[];
  readonly profile: SwarmProfile;
  readonly seedsMax: number;
}[] = [
  {
    name: "what is committed is applied while the machine is being restored",
    edits: [{ file: "node/machine/user-state.ts", find: "return this.#restoring === undefined;", replace: "return true;" }],
    profile: SNAPSHOTS,
    seedsMax: 10,
  },
  {
    name: "a machine that took over a snapshot begins an entry too early",
    edits: [
      {
        file: "node/machine/user-state.ts",
        find: "this.#appliedIndex = meta.lastIncludedIndex;",
        replace: "this.#appliedIndex = meta.lastIncludedIndex - 1;",
      },
    ],
    profile: SNAPSHOTS,
    seedsMax: 10,
  },
  {
    name: "an image holds what was applied after it was asked for",
    edits: [{ file: "node/machine/test/tally-machine.ts", find: "const texts = this.texts.slice();", replace: "const { texts } = this;" }],
    profile: SNAPSHOTS,
    seedsMax: 10,
  },
  {
    name: "a query is answered before what it must hold is applied",
    edits: [
      {
        file: "node/machine/user-state.ts",
        find: "this.#host.read(call, now, () => this.#addQuery(call, now + call.timeoutMs));",
        replace: "this.#addQuery(call, now + call.timeoutMs);",
      },
    ],
    profile: ELECTIONS,
    seedsMax: 5,
  },
];

for (const { name, edits, profile, seedsMax } of CANARIES) {
  test(`the simulation of users' machines finds the planted bug: ${name}`, async (context) => {
    const { simulate: spoiled, close } = await buildSimulator<SimulateRaft>(edits, "testing/test/raft-simulation.ts");
    try {
      for (let seed = 1; seed <= seedsMax; seed++) {
        try {
          // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
          await spoiled({ seed, profile });
        } catch (error) {
          context.diagnostic(`seed ${seed}: ${String(error).split("\n", 1)[0]}`);
          return;
        }
      }
      assert.fail(`not found in ${seedsMax} seeds`);
    } finally {
      await close();
    }
  });
}
