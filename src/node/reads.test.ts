import assert from "node:assert/strict";
import { test } from "node:test";
import type { Raft } from "../core/raft/raft.ts";
import { Reads } from "./reads.ts";

test("reads that are held back ask for no turn of their own: whoever holds them comes by", () => {
  const asked: number[] = [];
  const raft = { leaseUntil: () => 0, requestRead: (id: number) => asked.push(id) } as unknown as Raft;
  const reads = new Reads({ applied: () => ({ index: 0, revision: 1 }), fail: () => {}, wallNow: () => 0, retryMs: 10 });
  const read = { call: 1, consistency: "linearizable", minRevision: 0, timeoutMs: 100, deadline: 200, serve: () => {} } as const;
  reads.add(read);
  reads.ask(raft, 100, true);
  assert.equal(reads.askAt, Number.POSITIVE_INFINITY, "a time in the past would be a turn after a turn");
  reads.ask(raft, 110, false);
  assert.deepEqual(asked, [1]);
});
