/** Disks that take seconds over one call, in virtual time: what goes on meanwhile, on the member itself and elsewhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Engine } from "../client/engine.ts";
import type { NodeOptions } from "../node/node-options.ts";
import { SimCluster, type SimNode } from "./sim-cluster.ts";

const TIMING = { electionTimeoutMs: 300, heartbeatMs: 30 };
const STALL_MS = 5_000;

class Stall {
  readonly cluster: SimCluster;
  /** How long each call took, by what it was and where. */
  readonly took = new Map<string, number[]>();

  constructor(seed: number, node: Partial<NodeOptions> = {}) {
    this.cluster = new SimCluster({ seed, nodes: 3, engine: { ...TIMING, timeoutMs: 30_000 }, node, segmentBytes: 8 << 10 });
    for (const each of this.cluster.nodes) this.cluster.start(each);
  }

  async until(holds: () => boolean): Promise<void> {
    const { scheduler } = this.cluster;
    const deadline = scheduler.now + 60_000;
    while (!holds()) {
      assert.ok(scheduler.now < deadline, "within a minute");
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await scheduler.advance(5);
    }
  }

  async ready(): Promise<void> {
    await this.until(() => this.cluster.nodes.every(({ engine }) => engine?.state.kind === "ready"));
  }

  get leader(): SimNode {
    return this.cluster.nodes.find(({ engine }) => engine?.isLeader() === true)!;
  }

  get terms(): readonly (number | undefined)[] {
    return this.cluster.nodes.map((node) => this.cluster.inside(node)?.raft?.term);
  }

  call(what: string, node: SimNode, run: (engine: Engine) => Promise<unknown>): void {
    const { scheduler } = this.cluster;
    const begun = scheduler.now;
    const took = this.took.get(what) ?? [];
    this.took.set(what, took);
    // Not over yet.
    const at = took.push(Number.POSITIVE_INFINITY) - 1;
    node.process!.deliver(() => {
      run(node.engine!).then(
        () => (took[at] = scheduler.now - begun),
        () => {},
      );
    });
  }

  /** Of all calls so far. */
  assertUnder(ms: number): void {
    for (const [what, took] of this.took) assert.ok(Math.max(...took) < ms, `${what}: ${Math.max(...took)} ms`);
  }

  readEverywhere(): void {
    for (const node of this.cluster.nodes) {
      if (node.engine === undefined) continue;
      for (const consistency of ["linearizable", "lease", "eventual"] as const)
        this.call(`${consistency} at ${node.name}`, node, (engine) => engine.get("k/1", { consistency }));
    }
  }

  /** A follower that has missed this much. */
  async leaveBehind(writes: number): Promise<SimNode> {
    const { cluster, leader } = this;
    const behind = cluster.nodes.find((node) => node !== leader)!;
    const names = cluster.nodes.map(({ name }) => name);
    cluster.network.partition(names, [names.filter((name) => name !== behind.name), [behind.name]]);
    let done = 0;
    for (let i = 0; i < writes; i++)
      leader.process!.deliver(() => void leader.engine!.put(`k/${i % 50}`, "x".repeat(500)).then(() => done++));
    await this.until(() => done === writes);
    await cluster.scheduler.advance(500);
    return behind;
  }
}

// What is read of a disk while a cluster runs are entries that have left memory: the state itself, of now and of the past, is in memory.

test("a leader whose disk takes five seconds to read entries for a lagging follower goes on leading, and is read from", async () => {
  const stall = new Stall(1, { logMemoryBytesMax: 1_000 });
  await stall.ready();
  const behind = await stall.leaveBehind(100);
  const { cluster, leader, terms } = stall;
  leader.disk.hangAt("read");
  cluster.network.heal();
  await stall.until(() => leader.disk.isHung);
  for (let passed = 0; passed < STALL_MS; passed += 50) {
    for (const each of cluster.nodes.filter((other) => other !== behind)) {
      stall.call(`a read at ${each.name}`, each, (engine) => engine.get("k/1"));
      stall.call(`a read of the past at ${each.name}`, each, (engine) => engine.get("k/1", { revision: 20 }));
    }
    stall.call("a stale read at the one behind", behind, (engine) => engine.get("k/1", { consistency: "eventual" }));
    // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
    await cluster.scheduler.advance(50);
  }
  assert.ok(leader.disk.isHung);
  stall.assertUnder(20);
  assert.deepEqual([stall.leader.name, stall.terms], [leader.name, terms]);
  leader.disk.release();
  await stall.until(() => cluster.inside(behind)?.appliedIndex === cluster.inside(leader)?.appliedIndex);
  assert.deepEqual([stall.leader.name, stall.terms], [leader.name, terms]);
});

test("a follower that lacks more than the log holds gets the state though the leader's disk stalls", async () => {
  const stall = new Stall(3, { snapshotLogBytesMin: 16 << 10 });
  await stall.ready();
  const behind = await stall.leaveBehind(300);
  const { cluster, leader, terms } = stall;
  assert.ok(cluster.inside(leader)!.raft!.firstIndex > cluster.inside(behind)!.raft!.lastIndex);
  leader.disk.hang();
  cluster.network.heal();
  await stall.until(() => cluster.inside(behind)?.appliedIndex === cluster.inside(leader)?.appliedIndex);
  assert.deepEqual([leader.disk.isHung, stall.leader.name, stall.terms], [true, leader.name, terms]);
});

test("a member whose disk takes five seconds over its opening costs the others nothing, and campaigns no sooner than it is open", async () => {
  const stall = new Stall(2);
  await stall.ready();
  const { cluster, leader } = stall;
  const opening = cluster.nodes.find((node) => node !== leader)!;
  cluster.kill(opening);
  await cluster.scheduler.advance(10);
  const { terms } = stall;
  opening.disk.hangAt("open");
  cluster.start(opening);
  for (let passed = 0; passed < STALL_MS; passed += 50) {
    stall.readEverywhere();
    for (const node of [leader, ...cluster.nodes.filter(({ engine }) => engine !== undefined)])
      stall.call(`put at ${node.name}`, node, (engine) => engine.put("k/1", "1"));
    // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
    await cluster.scheduler.advance(50);
  }
  assert.ok(opening.disk.isHung);
  stall.assertUnder(20);
  opening.disk.release();
  await stall.ready();
  assert.equal(stall.leader, leader);
  assert.deepEqual(new Set(stall.terms), new Set(terms.filter((term) => term !== undefined)));
});

test("a member whose disk stalls learns from the leader after it what is committed, and answers its callers", async () => {
  for (let seed = 1; seed <= 5; seed++) {
    const stall = new Stall(seed);
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await stall.ready();
    const { cluster, leader } = stall;
    leader.disk.hang();
    // Until it owes a write for an election timeout nothing says that it should not lead.
    stall.call("the first write", leader, (engine) => engine.put("k/0", "0"));
    // oxlint-disable-next-line no-await-in-loop -- the same
    await stall.until(() => stall.leader !== undefined && stall.leader !== leader);
    // oxlint-disable-next-line no-await-in-loop -- the same
    await cluster.scheduler.advance(TIMING.heartbeatMs);
    for (let passed = 0; passed < STALL_MS; passed += 47) {
      for (const node of cluster.nodes) stall.call(`put at ${node.name}`, node, (engine) => engine.put("k/1", String(passed)));
      stall.readEverywhere();
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await cluster.scheduler.advance(47);
    }
    assert.ok(leader.disk.isHung);
    // It hears of what is committed with every heartbeat.
    stall.assertUnder(TIMING.heartbeatMs + 20);
    assert.equal(cluster.inside(leader)?.raft?.role, "follower");
    leader.disk.release();
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await cluster.scheduler.advance(2_000);
    for (const node of cluster.nodes) assert.equal(cluster.inside(node)?.appliedIndex, cluster.inside(leader)?.appliedIndex);
  }
});
