/** What members that wait for their cluster tell their applications, over virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogRecord } from "../client/engine-options.ts";
import { SimCluster, type SimNode } from "./sim-cluster.ts";

test("a member that waits for its cluster says for whom, every five seconds, and no longer once the cluster is founded", async () => {
  const records: LogRecord[] = [];
  const cluster = new SimCluster({ seed: 1, nodes: 3, engine: { log: (record) => records.push(record) } });
  const waits = (): readonly string[] =>
    records.filter(({ message }) => message.startsWith("waits for its cluster")).map(({ fields }) => String(fields["waitsFor"]));
  const [n1, n2, n3] = cluster.nodes as [SimNode, SimNode, SimNode];
  cluster.start(n2);
  await cluster.scheduler.advance(11_000);
  assert.deepEqual(waits(), ["n1 at n1:7000, n3 at n3:7000", "n1 at n1:7000, n3 at n3:7000"]);
  assert.equal(records.find(({ message }) => message.startsWith("waits"))?.level, "info");
  cluster.start(n1);
  await cluster.scheduler.advance(6_000);
  // Each says what it sees: the founder is n1.
  assert.deepEqual(new Set(waits().slice(2)), new Set(["n3 at n3:7000"]));
  cluster.start(n3);
  await cluster.scheduler.advance(6_000);
  for (const { engine } of cluster.nodes) assert.equal(engine?.state.kind, "ready");
  const before = waits().length;
  await cluster.scheduler.advance(20_000);
  assert.equal(waits().length, before);
});
