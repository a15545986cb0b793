import assert from "node:assert/strict";
import { test } from "node:test";
import { Inflight, Progress } from "./progress.ts";

test("the ring is full at its bound in messages or in bytes, and frees what is acknowledged", () => {
  const inflight = new Inflight({ messagesMax: 3, bytesMax: 100 });
  for (let round = 0; round < 5; round++) {
    inflight.add(10 * round + 1, 10);
    inflight.add(10 * round + 2, 10);
    assert.equal(inflight.full, false);
    inflight.add(10 * round + 3, 10);
    assert.equal(inflight.full, true);
    inflight.acknowledge(10 * round + 2);
    assert.deepEqual([inflight.messages, inflight.bytes], [1, 10]);
    inflight.acknowledge(10 * round + 9);
    assert.deepEqual([inflight.messages, inflight.bytes], [0, 0]);
  }
  inflight.add(1, 500);
  assert.equal(inflight.full, true, "one message may be larger than the bound");
});

test("a probe never looks below what is known to match", () => {
  const inflight = new Inflight({ messagesMax: 3, bytesMax: 100 });
  const progress = new Progress({ id: "a", nextIndex: 9, now: 0, inflight });
  progress.matchIndex = 5;
  progress.becomeProbe(2);
  assert.deepEqual([progress.state, progress.nextIndex], ["probe", 6]);
  progress.becomeReplicate();
  assert.deepEqual([progress.state, progress.nextIndex], ["replicate", 6]);
});
