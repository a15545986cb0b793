/**
 * A follower gets the leader's state, and loses power at each file call of putting it in its own one's place: whatever was lost with it, the follower opens
 * again with the old state or the new one, gets the rest, and is then the leader's equal. What it shows meanwhile is one state or the other: each
 * revision that its data go through is held against the model after every event (invariants/replicas-equal.ts), and so is here each answer and each event of a watch.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EngineError } from "../errors.ts";
import { SimCluster, type SimNode } from "./sim-cluster.ts";

const SEED = 5;
const ROUNDS = 12;
/** Calls that one installation is expected not to exceed by far. */
const OPERATIONS_MAX = 400;

class Installation {
  readonly cluster: SimCluster;
  readonly #store: "segments" | "memory";
  #behind: SimNode | undefined;
  #written = 0;
  #failure: Error | undefined;
  answers = 0;

  constructor(store: "segments" | "memory") {
    this.#store = store;
    this.cluster = new SimCluster({
      seed: SEED,
      nodes: 3,
      segmentBytes: 4 << 10,
      engine: { electionTimeoutMs: 300, heartbeatMs: 30 },
      node: { store, snapshotLogBytesMin: 4 << 10, historyRevisionsMax: 60, historyRevisionsMin: 10 },
    });
  }

  get behind(): SimNode {
    return this.#behind!;
  }

  get #leader(): SimNode {
    return this.cluster.nodes.find(({ engine }) => engine?.isLeader() === true)!;
  }

  async until(holds: () => boolean): Promise<void> {
    const { scheduler } = this.cluster;
    const deadline = scheduler.now + 60_000;
    while (!holds()) {
      if (this.#failure !== undefined) throw this.#failure;
      assert.ok(scheduler.now < deadline, `within a minute with ${this.#store}`);
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await scheduler.advance(1);
    }
  }

  write(): void {
    const leader = this.#leader;
    const round = this.#written++;
    leader.process!.deliver(() => {
      for (let i = 0; i < 10; i++)
        leader.engine!.put(`k/${(round * 3 + i) % 15}`, `${round}.${i} ${"x".repeat(200)}`).catch((error: Error) => this.#fail(error));
      leader.engine!.delete(`k/${round % 15}`).catch((error: Error) => this.#fail(error));
    });
  }

  #fail(error: Error): void {
    // An answer that was lost with its process says nothing.
    if (!EngineError.is(error, "CLOSED")) this.#failure ??= error;
  }

  /** A follower that lacks more than the log holds, with a watch on it, and readers. */
  async prepare(): Promise<void> {
    const { cluster } = this;
    for (const node of cluster.nodes) cluster.start(node);
    await this.until(() => cluster.nodes.every(({ engine }) => engine?.state.kind === "ready"));
    this.write();
    await cluster.scheduler.advance(200);
    const behind = cluster.nodes.find((node) => node !== this.#leader)!;
    this.#behind = behind;
    const names = cluster.nodes.map(({ name }) => name);
    behind.process!.deliver(() => this.#watch(behind));
    cluster.network.partition(names, [names.filter((name) => name !== behind.name), [behind.name]]);
    for (let round = 0; round < ROUNDS; round++) {
      this.write();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await cluster.scheduler.advance(50);
    }
    await this.until(() => cluster.inside(this.#leader)!.raft!.firstIndex > cluster.inside(behind)!.raft!.lastIndex + 1);
    cluster.network.heal();
  }

  /** Each revision's events are whole and come once, in order; one is missing only where history was said to be compacted. */
  #watch(node: SimNode): void {
    const { model } = this.cluster.observer!;
    const run = async (): Promise<void> => {
      let last = 0;
      for await (const batch of node.engine!.watch({ all: true }, { fromRevision: 2, onGap: "reset" })) {
        if (batch.kind === "reset") last = batch.revision;
        if (batch.kind !== "events") continue;
        assert.ok(last === 0 ? batch.revision === 2 : batch.revision === last + 1, `revision ${batch.revision} follows ${last}`);
        last = batch.revision;
        assert.equal(batch.events.length, model.change(last)!.events.length);
        this.answers++;
      }
    };
    run().catch((error: Error) => this.#fail(error));
  }

  /** What this node holds is what the model says of its revision. */
  read(): void {
    const { process, engine } = this.behind;
    const { model } = this.cluster.observer!;
    process?.deliver(() => {
      engine
        ?.range({ prefix: "k/" }, { consistency: "eventual" })
        .then(({ kvs, revision }) => {
          this.answers++;
          assert.deepEqual(
            kvs.map((kv) => [Buffer.from(kv.key).toString(), kv.text(), kv.modRevision]),
            model.range("k/", revision).map(({ key, value, modRevision }) => [key, value, modRevision]),
          );
        })
        .catch((error: Error) => this.#fail(error));
    });
  }

  get isEqual(): boolean {
    const [mine, theirs] = [this.cluster.inside(this.behind), this.cluster.inside(this.#leader)];
    return this.behind.engine?.state.kind === "ready" && mine!.appliedIndex === theirs!.appliedIndex;
  }

  async finish(): Promise<void> {
    await this.until(() => this.isEqual);
    this.write();
    await this.cluster.scheduler.advance(300);
    await this.until(() => this.isEqual);
    this.read();
    await this.cluster.scheduler.advance(100);
    assert.equal(this.cluster.observer!.compareStates(this.cluster.inside(this.behind)!.appliedIndex), 3);
    if (this.#failure !== undefined) throw this.#failure;
  }
}

async function crashAt(store: "segments" | "memory", operations: number): Promise<"old" | "new" | "whole"> {
  const installation = new Installation(store);
  await installation.prepare();
  const { cluster, behind } = installation;
  const before = cluster.inside(behind)!.appliedIndex;
  let isLost = false;
  behind.disk.losePowerAfter(operations, () => {
    isLost = true;
    cluster.crash(behind);
  });
  let turns = 0;
  let equalAt = Number.POSITIVE_INFINITY;
  await installation.until(() => {
    if (turns++ % 5 === 0) installation.read();
    if (installation.isEqual) equalAt = Math.min(equalAt, cluster.scheduler.now);
    else if (turns % 40 === 0) installation.write();
    // What is left of the old state goes when the new one is in its place.
    return isLost || cluster.scheduler.now > equalAt + 200;
  });
  assert.ok(installation.answers > 0);
  if (!isLost) {
    behind.disk.fileSystem.clearFaults();
    await installation.finish();
    return "whole";
  }
  cluster.start(behind);
  // As it was opened, before the leader is heard.
  await installation.until(() => cluster.inside(behind)?.machine !== undefined);
  const opened = cluster.inside(behind)!.appliedIndex > before ? "new" : "old";
  await installation.finish();
  return opened;
}

for (const store of ["segments", "memory"] as const) {
  test(`a follower that loses power at any file call of an installation, with the store ${store}, ends as the leader's equal`, async (context) => {
    const opened: string[] = [];
    // oxlint-disable-next-line no-await-in-loop -- one crash after the other
    for (let at = 0; at < OPERATIONS_MAX && opened.at(-1) !== "whole"; at++) opened.push(await crashAt(store, at));
    const count = (what: string): number => opened.filter((found) => found === what).length;
    context.diagnostic(`${opened.length - 1} file calls: ${count("old")} opened with the old state, ${count("new")} with the new one`);
    assert.equal(opened.at(-1), "whole");
    assert.ok(count("old") > 5 && count("new") > 0);
    // Once the new one was named there is no way back.
    assert.ok(opened.lastIndexOf("old") - opened.indexOf("new") < 5, opened.join(" "));
  });
}
