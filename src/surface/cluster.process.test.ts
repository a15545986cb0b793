/** Three real processes on real disks and sockets, killed and stopped under load. What was acknowledged is there; what was told can be put in order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ProcessCluster, type NodeProcess } from "./process-cluster.ts";
import { RecordedClients } from "./recorded-clients.ts";

const ELECTION_TIMEOUT_MS = 1000;
const TRIALS = 20;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Writes through any of the nodes until one succeeds; how long that took. */
async function untilService(clients: RecordedClients, nodes: readonly NodeProcess[], sinceMs: number): Promise<number> {
  const first = async (node: NodeProcess): Promise<void> => {
    for (;;) {
      const { outcome } = await clients.call(
        "service",
        node,
        { kind: "put", key: "key/service", value: `s${performance.now()}.${node.pid}`, ttlMs: undefined },
        "linearizable",
      );
      if (outcome === "ok") return;
    }
  };
  await Promise.any(nodes.map(first));
  return performance.now() - sinceMs;
}

function judge(what: string, times: readonly number[], report: (line: string) => void): void {
  const sorted = times.toSorted((a, b) => a - b);
  const median = sorted[sorted.length >> 1] ?? 0;
  report(
    `${what}: median ${median.toFixed(0)} ms, worst ${sorted.at(-1)?.toFixed(0)} ms of ${sorted.length} (${times.map((time) => time.toFixed(0)).join(" ")})`,
  );
  const late = times.filter((time) => time > 3 * ELECTION_TIMEOUT_MS);
  assert.ok(late.length <= Math.ceil(times.length / 20), `${late.length} of ${times.length} took longer than three election timeouts`);
  assert.ok((sorted.at(-1) ?? 0) <= 10 * ELECTION_TIMEOUT_MS, "one took longer than ten election timeouts");
}

test(
  "the leader is killed under load, twenty times: nothing acknowledged is lost, and service is back soon",
  { timeout: 300_000 },
  async (t) => {
    await ProcessCluster.with({ nodes: 3 }, async (cluster) => {
      const clients = new RecordedClients();
      clients.start(cluster.nodes, 2);
      const times: number[] = [];
      for (let trial = 0; trial < TRIALS; trial += 1) {
        const leader = await cluster.leader();
        const others = cluster.nodes.filter((node) => node !== leader);
        const killedAt = performance.now();
        await leader.kill();
        times.push(await untilService(clients, others, killedAt));
        await leader.start();
        // The next one is killed when this one can replace it.
        await leader.ask({ kind: "waitReady", timeoutMs: 30_000 });
      }
      await clients.stop();
      const { operations, unknown, revision } = await clients.check(cluster.nodes);
      t.diagnostic(
        `${operations} operations, ${unknown} of unknown outcome, ${clients.acknowledgedWrites} acknowledged writes, revision ${revision}`,
      );
      judge("service after kill -9 of the leader", times, (line) => t.diagnostic(line));
      for (const node of cluster.nodes) await node.close();
    });
  },
);

test(
  "the leader is stopped and continued: another leads meanwhile, and the one that comes back tells nothing old",
  { timeout: 120_000 },
  async (t) => {
    await ProcessCluster.with({ nodes: 3 }, async (cluster) => {
      const clients = new RecordedClients();
      clients.start(cluster.nodes, 2);
      const probes: Promise<unknown>[] = [];
      for (let round = 0; round < 4; round += 1) {
        await sleep(300);
        const leader = await cluster.leader();
        const others = cluster.nodes.filter((node) => node !== leader);
        const stoppedAt = performance.now();
        leader.signal("SIGSTOP");
        t.diagnostic(`service after SIGSTOP of the leader: ${(await untilService(clients, others, stoppedAt)).toFixed(0)} ms`);
        // Reads that wait in front of the stopped process, asked after the others have written: whoever answers them from a lease that ran out is wrong.
        for (let i = 0; i < 20; i += 1) {
          probes.push(clients.call(`probe ${i}`, leader, { kind: "get", keys: [`key/${i % 8}`] }, i % 2 === 0 ? "lease" : "linearizable"));
          await sleep(20);
        }
        leader.signal("SIGCONT");
        await leader.ask({ kind: "waitReady", timeoutMs: 30_000 });
      }
      await Promise.all(probes);
      await clients.stop();
      const { operations, unknown } = await clients.check(cluster.nodes);
      t.diagnostic(`${operations} operations, ${unknown} of unknown outcome`);
    });
  },
);

test("all three are killed at once and started again, under load: nothing acknowledged is lost", { timeout: 180_000 }, async (t) => {
  await ProcessCluster.with({ nodes: 3 }, async (cluster) => {
    const clients = new RecordedClients();
    clients.start(cluster.nodes, 2);
    const times: number[] = [];
    for (let trial = 0; trial < 5; trial += 1) {
      await sleep(500);
      await Promise.all(cluster.nodes.map((node) => node.kill()));
      let up = 0;
      let majorityAt = 0;
      await Promise.all(
        cluster.nodes.map(async (node) => {
          await node.start();
          up += 1;
          if (up === 2) majorityAt = performance.now();
        }),
      );
      times.push(await untilService(clients, cluster.nodes, majorityAt));
    }
    await clients.stop();
    const { operations, unknown } = await clients.check(cluster.nodes);
    t.diagnostic(`${operations} operations, ${unknown} of unknown outcome, ${clients.acknowledgedWrites} acknowledged writes`);
    judge("service after all three were killed, from a majority being up", times, (line) => t.diagnostic(line));
  });
});
