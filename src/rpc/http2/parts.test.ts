/** The parts of a connection that need no peer: limits, budgets, queues, the memory of closed streams, message heads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AbuseBudget } from "./abuse-budget.ts";
import { ClosedStreams } from "./closed-streams.ts";
import { HTTP2_LIMITS, resolveLimits, sweepIntervalMs } from "./limits.ts";
import { errorCodeName } from "./protocol.ts";
import { SendQueue } from "./send-queue.ts";

test("Limits are the defaults unless given, and must be whole numbers in range", () => {
  assert.equal(resolveLimits(undefined), HTTP2_LIMITS);
  assert.equal(resolveLimits({ concurrentStreamsMax: 5 }).concurrentStreamsMax, 5);
  for (const bad of [
    { frameBytesMax: 100 },
    { frameBytesMax: 1 << 24 },
    { streamWindowBytes: 2 ** 31 },
    { connectionWindowBytes: 1 },
    { resetsBurst: 1.5 },
    { resetsBurst: -1 },
    { resetsBurst: Number.NaN },
  ]) {
    assert.throws(() => resolveLimits(bad), RangeError, JSON.stringify(bad));
  }
});

test("Timeouts are looked at four times in the shortest of them, at least once a second", () => {
  assert.equal(sweepIntervalMs(HTTP2_LIMITS), 1000);
  assert.equal(sweepIntervalMs({ ...HTTP2_LIMITS, idleTimeoutMs: 100 }), 25);
  assert.equal(sweepIntervalMs(HTTP2_LIMITS, 40), 10);
});

test("A budget lets its burst pass, then what time and work allow", () => {
  const budget = new AbuseBudget(3, 0);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => budget.spend()),
    [true, true, true, false],
  );
  budget.earn();
  assert.deepEqual(
    [1, 2].map(() => budget.spend()),
    [true, false],
  );
  for (let i = 0; i < 10; i++) budget.earn();
  assert.deepEqual(
    [1, 2, 3, 4].map(() => budget.spend()),
    [true, true, true, false],
  );
  const quick = new AbuseBudget(1, 1e9);
  for (let i = 0; i < 100; i++) assert.equal(quick.spend(), true);
});

test("Closed streams are known while they are recent", () => {
  const closed = new ClosedStreams();
  assert.equal(closed.lookUp(1), "skipped");
  closed.add(1, false);
  closed.add(5, true);
  assert.deepEqual(
    [1, 3, 5].map((id) => closed.lookUp(id)),
    ["ended", "skipped", "reset"],
  );
  closed.add(1 + 512, false);
  assert.equal(closed.lookUp(1), "forgotten");
  closed.add(2_147_483_647, true);
  assert.equal(closed.lookUp(2_147_483_647), "reset");
});

test("A send queue gives back the bytes in order, however they are put in and taken out", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.nat(6000), fc.constantFrom(0, 4096, 4097, 20_000)), { maxLength: 20 }),
      fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 9000 })), { minLength: 1, maxLength: 20 }),
      (writes, takes) => {
        const queue = new SendQueue();
        const expected: number[] = [];
        const got: number[] = [];
        let next = 0;
        for (const [i, length] of writes.entries()) {
          const bytes = Uint8Array.from({ length }, () => next++ & 0xff);
          expected.push(...bytes);
          queue.push(bytes);
          // Small writes were copied: the caller may use its memory again. Large ones it must leave alone.
          if (length <= 4096) bytes.fill(0);
          const [copy, count] = takes[i % takes.length]!;
          const take = Math.min(count, queue.bytes);
          if (take === 0) continue;
          if (copy) {
            const target = Buffer.alloc(take);
            queue.copyTo(target, 0, take);
            got.push(...target);
          } else {
            got.push(...queue.take(take));
          }
        }
        while (queue.bytes > 0) got.push(...queue.take(queue.bytes));
        assert.deepEqual(got, expected);
      },
    ),
    { numRuns: 50 },
  );
});

test("Error codes have names", () => {
  assert.equal(errorCodeName(11), "ENHANCE_YOUR_CALM");
  assert.equal(errorCodeName(99), "code 99");
});
