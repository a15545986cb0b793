/** What members tell each other of where their clients are, and moves of leadership, over virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Engine } from "../client/engine.ts";
import { internalsOf } from "../client/engine-internals.ts";
import { EngineError, type AnyEngineError } from "../errors.ts";
import { SimCluster, type SimNode } from "./sim-cluster.ts";

type Three = readonly [SimNode, SimNode, SimNode];

async function threeMembers(seed: number): Promise<{ readonly cluster: SimCluster; readonly nodes: Three }> {
  const cluster = new SimCluster({ seed, nodes: 3, engine: { electionTimeoutMs: 300, heartbeatMs: 30 } });
  for (const node of cluster.nodes) cluster.start(node);
  await until(cluster, () => cluster.nodes.every(({ engine }) => engine?.state.kind === "ready"));
  return { cluster, nodes: cluster.nodes as unknown as Three };
}

async function until(cluster: SimCluster, holds: () => boolean): Promise<void> {
  const deadline = cluster.scheduler.now + 60_000;
  while (!holds()) {
    assert.ok(cluster.scheduler.now < deadline, "within a minute");
    await cluster.scheduler.advance(10);
  }
}

/** What a promise comes to while virtual time goes on. */
async function outcomeOf(cluster: SimCluster, promise: Promise<void>): Promise<AnyEngineError | "done"> {
  let outcome: AnyEngineError | "done" | undefined;
  promise.then(
    () => (outcome = "done"),
    (error: AnyEngineError) => (outcome = error),
  );
  await until(cluster, () => outcome !== undefined);
  return outcome!;
}

function announce(node: SimNode, urls: readonly string[]): void {
  node.process!.deliver(() => internalsOf(node.engine!)!.addresses.add(urls));
}

function leaderOf(nodes: Three): SimNode {
  const leader = nodes.find(({ engine }) => engine?.isLeader() === true);
  assert.ok(leader !== undefined);
  return leader;
}

/** Of each member, by name, as one engine knows it. */
function known(engine: Engine): Readonly<Record<string, readonly string[]>> {
  const { members } = internalsOf(engine)!.status.members.value;
  return Object.fromEntries(members.map(({ name, clientAddresses }) => [name, clientAddresses]));
}

test("every member tells where clients reach every other; what was told outlives restarts, and costs no entry when it is told again", async () => {
  const { cluster, nodes } = await threeMembers(1);
  for (const node of nodes) announce(node, [`http://${node.name}:2379`]);
  const all = { n1: ["http://n1:2379"], n2: ["http://n2:2379"], n3: ["http://n3:2379"] };
  await until(cluster, () => nodes.every(({ engine }) => Object.values(known(engine!)).every((urls) => urls.length === 1)));
  for (const { engine } of nodes) assert.deepEqual(Object.fromEntries(Object.entries(known(engine!)).toSorted()), all);
  for (const { engine } of nodes) assert.deepEqual(engine!.leader()?.clientAddresses, [`http://${leaderOf(nodes).name}:2379`]);

  const index = (): number => cluster.inside(leaderOf(nodes))!.raft!.configurationIndex;
  const before = index();
  for (const node of nodes) cluster.crash(node);
  for (const node of nodes) cluster.start(node);
  await until(cluster, () => nodes.every(({ engine }) => engine?.state.kind === "ready"));
  for (const { engine } of nodes) assert.deepEqual(Object.fromEntries(Object.entries(known(engine!)).toSorted()), all);
  for (const node of nodes) announce(node, [`http://${node.name}:2379`]);
  await cluster.scheduler.advance(5_000);
  assert.equal(index(), before);
});

test("an announcement is not lost with the leader that it was made to", async () => {
  for (let seed = 1; seed <= 5; seed++) {
    const { cluster, nodes } = await threeMembers(seed);
    const leader = leaderOf(nodes);
    const others = nodes.filter((node) => node !== leader);
    const voters = cluster.inside(leader)!.raft!.configuration.incoming;
    for (const node of others) announce(node, [`http://${node.name}:1`]);
    await cluster.scheduler.advance(seed / 5);
    cluster.crash(leader);
    await until(cluster, () => others.every(({ engine, name }) => known(engine!)[name]?.[0] === `http://${name}:1`));
    cluster.start(leader);
    await until(
      cluster,
      () => leader.engine?.state.kind === "ready" && others.every(({ name }) => known(leader.engine!)[name]?.length === 1),
    );
    for (const node of nodes) assert.deepEqual(cluster.inside(node)!.raft!.configuration.incoming, voters);
  }
});

test("the leader is told anew to who follows it when it is reached elsewhere", async () => {
  const { cluster, nodes } = await threeMembers(2);
  const leader = leaderOf(nodes);
  const follower = nodes.find((node) => node !== leader)!;
  const heard: (readonly string[] | undefined)[] = [];
  const members: number[] = [];
  const changes = follower.engine!.leaderChanges()[Symbol.asyncIterator]();
  const memberChanges = follower.engine!.watchMembers()[Symbol.asyncIterator]();
  const follow = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await changes.next();
      if (done === true) return;
      heard.push(value?.clientAddresses);
    }
  };
  const followMembers = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await memberChanges.next();
      if (done === true) return;
      members.push(value.index);
    }
  };
  void follow();
  void followMembers();
  announce(leader, ["http://here:1"]);
  await until(cluster, () => heard.at(-1)?.[0] === "http://here:1");
  assert.equal(members.length, 2);
  assert.ok(members[1]! > members[0]!, "the index rises with each change");
});

test("any member moves leadership to any voter, and writes go on", async () => {
  const { cluster, nodes } = await threeMembers(3);
  for (const from of nodes) {
    for (const to of nodes) {
      assert.equal(await outcomeOf(cluster, from.engine!.cluster.moveLeader(to.memberId)), "done");
      assert.equal(from.engine!.leader()?.id, to.memberId);
      let isWritten = false;
      void nodes[0].engine!.put("k", from.name + to.name).then(() => (isWritten = true));
      await until(cluster, () => isWritten);
    }
  }
  const before = leaderOf(nodes);
  assert.equal(await outcomeOf(cluster, nodes[0].engine!.cluster.moveLeader()), "done");
  await until(cluster, () => nodes.some(({ engine, memberId }) => engine!.isLeader() && memberId !== before.memberId));
});

test("a move to nobody, to a learner, to a member that does not answer or is far behind is refused, from any member", async () => {
  const { cluster, nodes } = await threeMembers(4);
  const leader = leaderOf(nodes);
  const [away, asking] = nodes.filter((node) => node !== leader) as [SimNode, SimNode];
  const refusals = async (to: string | undefined): Promise<readonly string[]> => {
    const said: string[] = [];
    for (const { engine } of [leader, asking]) {
      const outcome = await outcomeOf(cluster, engine!.cluster.moveLeader(to));
      assert.ok(EngineError.is(outcome, "REFUSED"), String(outcome));
      assert.equal(outcome.mayHaveApplied, false);
      said.push(outcome.details.reason);
    }
    assert.equal(leaderOf(nodes), leader);
    return said;
  };
  const unknown = "00000000000000ff";
  assert.deepEqual(
    await refusals(unknown),
    Array.from({ length: 2 }, () => `member ${unknown} is not a member of this cluster`),
  );
  cluster.crash(away);
  await cluster.scheduler.advance(2_000);
  assert.deepEqual(
    await refusals(away.memberId),
    Array.from({ length: 2 }, () => `member ${away.memberId} does not answer`),
  );

  // What it lacks is sent to it as it comes back, and is long on the way to its disk.
  let written = 0;
  for (let i = 0; i < 1_500; i++) {
    void leader.engine!.put(`k${i}`, "v".repeat(100)).then(() => written++);
    await cluster.scheduler.advance(1);
  }
  await until(cluster, () => written === 1_500);
  away.disk.hangAt("append");
  cluster.start(away);
  const isActive = (): boolean =>
    cluster
      .inside(leader)!
      .raft!.progress()
      .find(({ id }) => id === away.memberId)!.active;
  await until(cluster, isActive);
  const outcome = await outcomeOf(cluster, leader.engine!.cluster.moveLeader(away.memberId));
  assert.ok(EngineError.is(outcome, "REFUSED") && outcome.details.reason === `member ${away.memberId} has not caught up`, String(outcome));

  const raft = cluster.inside(leader)!.raft!;
  const { members, incoming } = raft.configuration;
  leader.process!.deliver(() => {
    assert.equal(
      raft.proposeConfiguration({ voters: incoming.filter((id) => id !== away.memberId), learners: [away.memberId], members }),
      undefined,
    );
  });
  await until(cluster, () => asking.engine!.leader() !== undefined && cluster.inside(asking)!.raft!.configuration.learners.length === 1);
  assert.deepEqual(
    await refusals(away.memberId),
    Array.from({ length: 2 }, () => `member ${away.memberId} is a learner`),
  );
});

test("a move without a leader waits for one, until its time is over, and an aborted one is over at once", async () => {
  const { cluster, nodes } = await threeMembers(5);
  const leader = leaderOf(nodes);
  const [one, other] = nodes.filter((node) => node !== leader) as [SimNode, SimNode];
  cluster.crash(leader);
  cluster.crash(other);
  await until(cluster, () => one.engine!.leader() === undefined);
  const outcome = await outcomeOf(cluster, one.engine!.cluster.moveLeader(one.memberId, { timeoutMs: 2_000 }));
  assert.ok(EngineError.is(outcome, "TIMEOUT"), String(outcome));
  assert.deepEqual([outcome.details.waitedFor, outcome.mayHaveApplied], ["leader", false]);
  const stop = new AbortController();
  const aborted = one.engine!.cluster.moveLeader(one.memberId, { signal: stop.signal });
  stop.abort();
  assert.ok(EngineError.is(await outcomeOf(cluster, aborted), "ABORTED"));
  const waiting = outcomeOf(cluster, one.engine!.cluster.moveLeader(one.memberId, { timeoutMs: 50_000 }));
  cluster.start(other);
  assert.equal(await waiting, "done");
  await assert.rejects(one.engine!.cluster.moveLeader("n1"), { code: "INVALID_ARGUMENT" });
});

test("a cluster of one has nobody to move leadership to", async () => {
  const cluster = new SimCluster({ seed: 1, nodes: 1 });
  const node = cluster.nodes[0]!;
  cluster.start(node);
  await until(cluster, () => node.engine?.state.kind === "ready");
  const outcome = await outcomeOf(cluster, node.engine!.cluster.moveLeader());
  assert.ok(EngineError.is(outcome, "REFUSED") && outcome.details.reason === "there is no other voter", String(outcome));
  assert.equal(await outcomeOf(cluster, node.engine!.cluster.moveLeader(node.memberId)), "done");
});
