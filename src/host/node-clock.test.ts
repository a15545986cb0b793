import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { createNodeClock } from "./node-clock.ts";

test("the monotonic clock never goes back and resolves fractions of a millisecond", () => {
  const clock = createNodeClock();
  let last = clock.now();
  let fractions = 0;
  for (let i = 0; i < 10_000; i += 1) {
    const now = clock.now();
    assert.ok(now >= last);
    if (!Number.isInteger(now)) fractions += 1;
    last = now;
  }
  assert.ok(fractions > 0);
});

test("all threads of the process share the origin of the monotonic clock", async () => {
  const clock = createNodeClock();
  const before = clock.now();
  const module = new URL("./node-clock.js", import.meta.url).href;
  const source = `import(${JSON.stringify(module)}).then(({ createNodeClock }) =>
    require("node:worker_threads").parentPort.postMessage(createNodeClock().now()))`;
  const worker = new Worker(source, { eval: true });
  const there = await new Promise<number>((resolve, reject) => worker.once("message", resolve).once("error", reject));
  const after = clock.now();
  assert.ok(before <= there && there <= after, `${before} <= ${there} <= ${after}`);
  await worker.terminate();
});

test("a timer runs once and never before its time", async () => {
  const clock = createNodeClock();
  for (const delayMs of [0, 0.3, 1, 2.7, 5]) {
    const start = clock.now();
    let runs = 0;
    await new Promise<void>((resolve) => {
      clock.setTimer(delayMs, () => {
        runs += 1;
        resolve();
      });
    });
    assert.ok(clock.now() - start >= delayMs);
    assert.equal(runs, 1);
  }
});

test("a cancelled timer does not run, and cancelling again or afterwards does nothing", async () => {
  const clock = createNodeClock();
  let cancelledRan = false;
  const cancelled = clock.setTimer(1, () => {
    cancelledRan = true;
  });
  cancelled.cancel();
  cancelled.cancel();
  await new Promise<void>((resolve) => {
    const later = clock.setTimer(5, () => {
      later.cancel();
      resolve();
    });
  });
  assert.equal(cancelledRan, false);
});

test("a wait beyond what the event loop's timers take does not run at once", async () => {
  const clock = createNodeClock();
  let ran = false;
  const timer = clock.setTimer(2 ** 40, () => {
    ran = true;
  });
  await new Promise<void>((resolve) => clock.setTimer(5, resolve));
  assert.equal(ran, false);
  timer.cancel();
});

test("what is deferred runs after the microtasks and next ticks of this turn", async () => {
  const clock = createNodeClock();
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    clock.defer(() => {
      order.push("deferred");
      resolve();
    });
    process.nextTick(() => order.push("tick"));
    queueMicrotask(() => order.push("microtask"));
    order.push("now");
  });
  assert.equal(order.at(-1), "deferred");
  assert.equal(order.length, 4);
});
