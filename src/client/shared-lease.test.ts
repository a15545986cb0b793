/** Lease reads in the caller's thread, against every moment at which the node may change what it shares. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KvMachine } from "../core/kv/machine.ts";
import { SharedTableReader } from "../core/kv/shared-reader.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import type { Clock } from "../host/clock.ts";
import {
  SHARED_APPLIED_INDEX,
  SHARED_COMMIT_INDEX,
  SHARED_LEASE_UNTIL,
  SHARED_OPEN,
  SHARED_WALL_OFFSET,
  type FromNode,
  type NodeStatus,
  type ToNode,
} from "../node/boundary.ts";
import { openLocalEngine } from "./local-engine.ts";
import { resolveOptions } from "./engine-options.ts";

const status: NodeStatus = {
  state: { kind: "ready" },
  name: "n1",
  memberId: "00000000000000aa",
  clusterId: "00000000000000cc",
  role: "leader",
  term: 1,
  leader: "00000000000000aa",
  ready: true,
  members: { members: [], leader: "00000000000000aa", index: 1 },
  durable: true,
  listening: undefined,
  peerAddress: undefined,
};

const WALL = 1_700_000_000_000;

/** An engine whose node is a table that the test writes; `asked` tells whether a read went to the node. */
async function open(clock: { now: number; wall: number }): Promise<{
  readonly set: (slot: number, value: number) => void;
  readonly isAsked: () => Promise<boolean>;
}> {
  const table = createTable({ hashSeed: { low: 1, high: 2 } });
  void new KvMachine({ table });
  const posted: ToNode[] = [];
  const source: Clock = {
    now: () => clock.now,
    wallNow: () => clock.wall,
    setTimer: () => ({ cancel: () => {} }),
    defer: (run) => void setImmediate(run),
  };
  const { settings } = resolveOptions({ dataDir: "memory:" });
  let receive!: (messages: readonly FromNode[]) => void;
  const opening = openLocalEngine(
    {
      post: (messages) => void posted.push(...messages),
      onMessages: (callback) => (receive = callback),
      onGone: () => {},
      ref: () => {},
      unref: () => {},
      terminate: () => Promise.resolve(),
    },
    source,
    settings,
  );
  receive([{ kind: "opened", status, shared: table.share() }]);
  const engine = await opening;
  return {
    set: (slot, value) => table.setShared(slot, value),
    isAsked: async () => {
      posted.length = 0;
      void engine.get("k", { consistency: "lease" }).catch(() => {});
      await new Promise((resolve) => setImmediate(resolve));
      return posted.length > 0;
    },
  };
}

test("a lease read is answered here only while the lease holds, all that is committed is applied and the clocks agree", async () => {
  const clock = { now: 1_000, wall: WALL + 1_000 };
  const { set, isAsked } = await open(clock);
  assert.equal(await isAsked(), true, "nothing is known yet");
  set(SHARED_COMMIT_INDEX, 7);
  set(SHARED_APPLIED_INDEX, 7);
  set(SHARED_LEASE_UNTIL, 1_500);
  set(SHARED_WALL_OFFSET, WALL);
  set(SHARED_OPEN, 1);
  assert.equal(await isAsked(), false);
  set(SHARED_COMMIT_INDEX, 8);
  assert.equal(await isAsked(), true, "committed, and not applied");
  set(SHARED_APPLIED_INDEX, 8);
  assert.equal(await isAsked(), false);
  clock.wall += 5_000;
  assert.equal(await isAsked(), true, "the machine was suspended");
  clock.wall -= 5_000;
  clock.now = 1_500;
  clock.wall = WALL + 1_500;
  assert.equal(await isAsked(), true, "the lease is over");
});

/**
 *   1. The machine sleeps for five seconds; another member leads and acknowledges a write. 2. It wakes. The node's thread notices, and
 *   shares that its lease is gone and how far the clocks are apart now. 3. Meanwhile this thread reads the one as it was before and the
 *   other as it is after: both look right.
 */
test("whatever the reader has seen when the node learns of a suspension, it does not answer", async () => {
  const shared = SharedTableReader.prototype.shared;
  try {
    for (let first = 0; first <= 5; first++) {
      for (let second = first; second <= 5; second++) {
        const clock = { now: 1_000, wall: WALL + 1_000 };
        const { set, isAsked } = await open(clock);
        set(SHARED_COMMIT_INDEX, 7);
        set(SHARED_APPLIED_INDEX, 7);
        set(SHARED_LEASE_UNTIL, 1_500);
        set(SHARED_WALL_OFFSET, WALL);
        set(SHARED_OPEN, 1);
        clock.wall += 5_000;
        let reads = 0;
        SharedTableReader.prototype.shared = function (this: SharedTableReader, slot: number): number {
          // The order in which the node writes them.
          if (reads === first) set(SHARED_LEASE_UNTIL, 0);
          if (reads === second) set(SHARED_WALL_OFFSET, WALL + 5_000);
          reads++;
          return shared.call(this, slot);
        };
        assert.equal(await isAsked(), true, `the lease is given up before read ${first}, the distance told before read ${second}`);
      }
    }
  } finally {
    SharedTableReader.prototype.shared = shared;
  }
});
