import assert from "node:assert/strict";
import { test } from "node:test";
import { createTestCluster } from "../testing/test-cluster.ts";

test("an eventual read is no older than asked: a member that is cut off answers for that long, and then not", async () => {
  const cluster = await createTestCluster({ seed: 5 });
  const leader = await cluster.leader();
  const follower = cluster.engines.find((engine) => engine !== leader)!;
  const others = cluster.engines.filter((engine) => engine !== follower).map(({ name }) => name);
  const { revision } = await leader.put("k", "before");
  const read = (stalenessMsMax: number | undefined, timeoutMs = 300): Promise<string | undefined> =>
    follower
      .get("k", { consistency: "eventual", timeoutMs, ...(stalenessMsMax === undefined ? {} : { stalenessMsMax }) })
      .then((kv) => kv?.text());
  await follower.get("k", { consistency: "eventual", minRevision: revision });
  // What was heard by this read serves the next for so long.
  assert.equal(await read(2_000), "before");
  cluster.partition([follower.name], others);
  await leader.put("k", "after");
  assert.equal(await read(2_000), "before", "acknowledged less than two seconds before");
  await assert.rejects(read(0), { code: "TIMEOUT", mayHaveApplied: false });
  await cluster.clock.advance(2_000);
  assert.equal(await read(undefined), "before", "however old");
  await assert.rejects(read(2_000), { code: "TIMEOUT" });
  cluster.heal();
  assert.equal(await read(2_000, 20_000), "after");
  await cluster.close();
});

test("a leader answers from its lease, and many reads of a follower ask once", async () => {
  const cluster = await createTestCluster({ seed: 6 });
  const leader = await cluster.leader();
  const follower = cluster.engines.find((engine) => engine !== leader)!;
  const { revision } = await leader.put("k", "1");
  for (const engine of [leader, follower]) {
    for (let i = 0; i < 50; i++) {
      const options = { consistency: "eventual", stalenessMsMax: 1_000, minRevision: revision } as const;
      assert.equal((await engine.get("k", options))?.text(), "1");
      const read = await engine.range({ all: true }, options);
      assert.equal(read.count, 1);
    }
  }
  await cluster.close();
});
