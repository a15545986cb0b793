/** Clusters that are founded while members lose power, disks and each other: one founding comes into force, whoever is left serves, and who lost what counts is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimCluster, type SimNode } from "./sim-cluster.ts";
import { buildSimulator, type Edit } from "./test/canary-bundle.ts";
import { simulate, type FoundingSimulationOptions, type SimulateFounding } from "./test/founding-simulation.ts";

const SEEDS = 30;

test("whatever is lost while a cluster is founded, it is founded once, and by the disks that are there", async (context) => {
  const sum = { wipes: 0, foundingsLost: 0, refused: 0, again: 0 };
  for (let seed = 1; seed <= SEEDS; seed++) {
    // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
    const { wipes, foundingsLost, refused, rounds } = await simulate({ seed });
    sum.wipes += wipes;
    sum.foundingsLost += foundingsLost;
    sum.refused += refused;
    if (rounds > 1) sum.again++;
  }
  context.diagnostic(JSON.stringify(sum));
  assert.ok(sum.wipes > SEEDS && sum.foundingsLost > 0 && sum.refused > 0 && sum.again > 0);
});

test("a founder that lost power with its log begun founds with the disk that another member has got since", async () => {
  let again = 0;
  for (let seed = 1; seed <= 10; seed++) {
    // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
    const { refused, rounds } = await simulate({ seed, isFounderCut: true });
    // The last that the disk did before power was lost may have been to say that the log counts.
    assert.equal(refused, rounds === 1 ? 1 : 0);
    if (rounds > 1) again++;
  }
  assert.ok(again > 0);
});

test("who came back with another disk while the founder was about to begin is let in by nobody, and is told so", async () => {
  const cluster = new SimCluster({ seed: 1, nodes: 3, engine: { electionTimeoutMs: 300, heartbeatMs: 30 } });
  const [founder, wiped, other] = cluster.nodes as [SimNode, SimNode, SimNode];
  founder.disk.hangAt("found");
  for (const node of cluster.nodes) cluster.start(node);
  await cluster.scheduler.advance(1_000);
  assert.ok(founder.disk.isHung, "all have accepted");
  cluster.crash(wiped);
  cluster.wipe(wiped);
  cluster.start(wiped);
  // It has links to both: nothing is recorded yet that it could be refused by.
  await cluster.scheduler.advance(1_000);
  assert.deepEqual([wiped.engine?.state.kind], ["starting"]);
  founder.disk.release();
  await cluster.scheduler.advance(3_000);
  assert.deepEqual(
    [founder, other].map(({ engine }) => engine?.state.kind),
    ["ready", "ready"],
  );
  const state = wiped.engine?.state;
  assert.ok(state?.kind === "failed" && state.error.code === "INCOMPATIBLE");
});

test("a seed runs the same twice", async () => {
  assert.deepEqual(await simulate({ seed: 14 }), await simulate({ seed: 14 }));
});

const CANARIES: readonly {
  readonly name: string;
  readonly edits: readonly Edit[];
  readonly options: Partial<FoundingSimulationOptions>;
  readonly seedsMax: number;
}[] = [
  {
    name: "a log that was begun before a crash is kept, whatever was founded since",
    edits: [
      {
        file: "node/recovery.ts",
        find: "if (log !== undefined && isSameFounding(log.base, base)) return log;",
        replace: "if (log !== undefined && log.base.configuration.members.length > 0) return log;",
      },
    ],
    options: { isFounderCut: true },
    seedsMax: 2,
  },
  {
    name: "the founder does not wait for the last disk",
    edits: [
      {
        file: "node/founding.ts",
        find: "if (this.#accepted.size < this.#members.length - 1) return;",
        replace: "if (this.#accepted.size < this.#members.length - 2) return;",
      },
    ],
    options: {},
    seedsMax: 5,
  },
];

for (const { name, edits, options, seedsMax } of CANARIES) {
  test(`the simulation of foundings finds the planted bug: ${name}`, async (context) => {
    const { simulate: spoiled, close } = await buildSimulator<SimulateFounding>(edits, "testing/test/founding-simulation.ts");
    try {
      for (let seed = 1; seed <= seedsMax; seed++) {
        try {
          // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
          await spoiled({ seed, ...options });
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
