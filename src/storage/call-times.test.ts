import assert from "node:assert/strict";
import { test } from "node:test";
import { CALL_TIME_BUCKETS_MS, CallTimer } from "./call-times.ts";

test("calls fall into buckets by their time, several that are told of at once by their mean", () => {
  const timer = new CallTimer();
  timer.tell(1, 0.5);
  timer.tell(1, 0.5);
  timer.tell(2, 2.5);
  timer.tell(4, 2.5 + 2 * 3);
  timer.tell(5, 8.5 + 100_000);
  assert.deepEqual([timer.count, timer.sumMs], [5, 100_008.5]);
  const filled = timer.buckets.map((count, bucket) => [CALL_TIME_BUCKETS_MS[bucket], count]).filter(([, count]) => count !== 0);
  assert.deepEqual(filled, [
    [1, 1],
    [2, 1],
    [4, 2],
    [undefined, 1],
  ]);
});
