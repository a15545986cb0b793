/**
 * A backup is made of a cluster while it is being hurt; new members restore it, and found a cluster while they are hurt. It begins with what the model of the first held at the
 * backup's revision, its history included, which is held against that model revision by revision.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadBackup } from "../node/restored-member.ts";
import { EngineError } from "../errors.ts";
import { Nemesis } from "./nemesis.ts";
import { ELECTIONS } from "./profiles.ts";
import { SimCluster, type SimNode } from "./sim-cluster.ts";
import { drawPlan } from "./swarm.ts";
import { simulate, type Restored } from "./test/founding-simulation.ts";

/** A backup that was begun while faults came and went, and the model of its cluster. */
async function backupOf(seed: number, store: "segments" | "memory"): Promise<Restored> {
  const plan = drawPlan(new SimCluster({ seed, nodes: 0 }).random.split("plan"), { ...ELECTIONS, store, faultEveryMs: 100 });
  const { electionTimeoutMs, heartbeatMs } = plan;
  const cluster = new SimCluster({
    seed,
    nodes: 3,
    segmentBytes: 8 << 10,
    engine: { electionTimeoutMs, heartbeatMs, timeoutMs: 1_000 },
    node: { store, snapshotLogBytesMin: 8 << 10, historyRevisionsMax: 120 + (seed % 3) * 500, historyRevisionsMin: 10 },
  });
  const { scheduler, nodes, random } = cluster;
  const draw = random.split("writers");
  for (const node of nodes) cluster.start(node);
  while (!nodes.every(({ engine }) => engine?.state.kind === "ready")) await scheduler.advance(10);
  let failure: Error | undefined;
  const ignored = (error: Error): void => {
    // What faults do to a call is of no interest here.
    if (!EngineError.is(error)) failure ??= error;
  };
  let writes = 0;
  const write = (node: SimNode): void => {
    const { engine } = node;
    if (engine === undefined) return;
    const key = `k/${draw.below(30)}`;
    const value = `v${++writes}`;
    const kind = draw.below(10);
    if (kind === 0) engine.delete(key).catch(ignored);
    else if (kind === 1) engine.put(key, value, { ttlMs: draw.pick([500, 60_000]) }).catch(ignored);
    else if (kind === 2)
      engine
        .lease({ ttlMs: draw.pick([600, 3_600_000]), keepAlive: false })
        .then((lease) => engine.put(key, value, { lease }), ignored)
        .catch(ignored);
    else engine.put(key, value).catch(ignored);
  };
  const backups: Uint8Array[] = [];
  const backUp = async (node: SimNode): Promise<void> => {
    const pieces: Uint8Array[] = [];
    for await (const piece of node.engine!.maintenance.backup()) pieces.push(piece);
    backups.push(Buffer.concat(pieces));
  };
  const nemesis = new Nemesis(cluster, plan);
  nemesis.begin();
  for (let passed = 0; passed < 3_000 || (backups.length === 0 && passed < 20_000); passed += 10) {
    const node = draw.pick(nodes);
    if (node.process?.isRunning === true) {
      node.process.deliver(() => write(node));
      if (passed > 1_000 && passed % 100 === 0 && node.engine !== undefined) node.process.deliver(() => void backUp(node).catch(ignored));
    }
    // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
    await scheduler.advance(10);
  }
  nemesis.end();
  if (failure !== undefined) throw failure;
  assert.ok(backups.length > 0, "a backup was made");
  const backup = await loadBackup(pieces(draw.pick(backups)), {
    random: random.split("loading"),
    pause: () => Promise.resolve(),
    stop: new Promise<never>(() => {}),
  });
  return { backup, model: cluster.observer!.model };
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += 10_000) yield bytes.subarray(at, at + 10_000);
}

for (const store of ["segments", "memory"] as const) {
  test(`a cluster begins with a backup, whatever its members lose meanwhile: backups of the store ${store}`, async (context) => {
    for (let seed = 1; seed <= 3; seed++) {
      // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
      const restored = await backupOf(seed, store);
      const { revision, compactRevision } = restored.backup.description;
      assert.ok(restored.backup.keys > 3 && revision > 20);
      for (let founding = 1; founding <= 3; founding++) {
        // oxlint-disable-next-line no-await-in-loop -- the same
        const { wipes, refused, rounds } = await simulate({ seed: seed * 10 + founding, restored });
        context.diagnostic(
          `backup of revisions ${compactRevision + 1} to ${revision}: ${wipes} disks lost, ${refused} refused, ${rounds} rounds`,
        );
      }
    }
  });
}
