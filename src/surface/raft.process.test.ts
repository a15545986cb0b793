/** Three real processes that run a user's own state machine, a bank, whose leader is killed while money moves: none is made, and none is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OrderFailure } from "./orders.ts";
import { ProcessCluster, type NodeProcess } from "./process-cluster.ts";

const ACCOUNTS = 10;
const KILLS = 3;

interface Moved {
  /** Acknowledged, and of an outcome that nobody knows: into each account, beyond what went out. */
  readonly certain: number[];
  readonly perhapsIn: number[];
  readonly perhapsOut: number[];
}

const account = (at: number): string => `account ${at}`;

/** Transfers through one node until told to stop. Each is of one unit, so that what must be there can be counted. */
async function move(node: NodeProcess, moved: Moved, clock: { readonly stopped: boolean }, seed: number): Promise<number> {
  let done = 0;
  for (let i = seed; !clock.stopped; i++) {
    const from = i % ACCOUNTS;
    const to = (i * 7 + 3) % ACCOUNTS;
    try {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const receipt = await node.ask<{ readonly done: boolean }>({
        kind: "propose",
        command: { kind: "transfer", from: account(from), to: account(to), amount: 1 },
      });
      if (!receipt.done) continue;
      moved.certain[from]!--;
      moved.certain[to]!++;
      done++;
    } catch (error) {
      assert.ok(error instanceof OrderFailure, String(error));
      if (error.mayHaveApplied) {
        moved.perhapsOut[from]!++;
        moved.perhapsIn[to]!++;
      }
      // The node is dead, or has no leader yet.
      // oxlint-disable-next-line no-await-in-loop -- as above
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  return done;
}

test(
  "a bank on three processes whose leader is killed again and again: each acknowledged transfer counts once",
  { timeout: 120_000 },
  async (t) => {
    await ProcessCluster.with({ nodes: 3, program: "raft-process.js" }, async (cluster) => {
      const [first] = cluster.nodes as [NodeProcess];
      for (let at = 0; at < ACCOUNTS; at++) {
        // oxlint-disable-next-line no-await-in-loop -- a few
        await first.ask({ kind: "propose", command: { kind: "deposit", to: account(at), amount: 1_000 } });
      }
      const zeros = (): number[] => Array.from({ length: ACCOUNTS }, () => 0);
      const moved: Moved = { certain: zeros(), perhapsIn: zeros(), perhapsOut: zeros() };
      const clock = { stopped: false };
      const movers = cluster.nodes.flatMap((node, at) => [move(node, moved, clock, at), move(node, moved, clock, at + 5)]);
      for (let kill = 0; kill < KILLS; kill++) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const leader = await cluster.leader();
        // oxlint-disable-next-line no-await-in-loop -- as above
        await leader.kill();
        // Somebody else leads before it comes back.
        // oxlint-disable-next-line no-await-in-loop -- as above
        await cluster.leader();
        // oxlint-disable-next-line no-await-in-loop -- as above
        await leader.start();
        // oxlint-disable-next-line no-await-in-loop -- as above
        await leader.ask({ kind: "waitReady", timeoutMs: 30_000 });
      }
      clock.stopped = true;
      const done = (await Promise.all(movers)).reduce((sum, each) => sum + each, 0);
      const balances = await Promise.all(
        cluster.nodes.map((node) => Promise.all(zeros().map((_, at) => node.ask<number>({ kind: "query", query: account(at) })))),
      );
      for (const one of balances) {
        assert.deepEqual(one, balances[0], "every member says the same");
        assert.equal(
          one.reduce((sum, balance) => sum + balance, 0),
          ACCOUNTS * 1_000,
          "no money was made or lost",
        );
        for (const [at, balance] of one.entries()) {
          const certain = 1_000 + moved.certain[at]!;
          assert.ok(balance >= certain - moved.perhapsOut[at]!, `${account(at)} holds ${balance}, of at least ${certain} acknowledged`);
          assert.ok(balance <= certain + moved.perhapsIn[at]!, `${account(at)} holds ${balance}, of at most ${certain} acknowledged`);
        }
      }
      const unknown = moved.perhapsIn.reduce((sum, each) => sum + each, 0);
      t.diagnostic(`${done} transfers acknowledged, ${unknown} of unknown outcome`);
      assert.ok(done > 100);
    });
  },
);
