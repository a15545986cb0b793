import assert from "node:assert/strict";
import { test } from "node:test";
import { SimMachine, SimProcess, WALL_EPOCH_MS } from "./sim-process.ts";
import { SimRandom } from "./sim-random.ts";
import { SimScheduler } from "./sim-scheduler.ts";

const never = (): boolean => false;

test("events run in the order of time, those of one time in the order in which they were asked for", async () => {
  const scheduler = new SimScheduler();
  const random = new SimRandom(7);
  const times = Array.from({ length: 500 }, () => random.below(40));
  const ran: { readonly time: number; readonly asked: number }[] = [];
  for (const [asked, time] of times.entries()) scheduler.at(time, () => ran.push({ time: scheduler.now, asked }));
  await scheduler.run(never);
  const sorted = [...times.entries()].map(([asked, time]) => ({ time, asked })).sort((a, b) => a.time - b.time || a.asked - b.asked);
  assert.deepEqual(ran, sorted);
});

test("whatever an event set going by promises has run out before the next event begins", async () => {
  const scheduler = new SimScheduler();
  const order: string[] = [];
  const chain = async (): Promise<void> => {
    for (let hop = 0; hop < 100; hop++) await null;
    order.push("chain ran out");
  };
  scheduler.at(1, () => void chain());
  scheduler.at(1, () => order.push("second event"));
  scheduler.afterEvent = () => order.push("after");
  await scheduler.run(never);
  assert.deepEqual(order, ["chain ran out", "after", "second event", "after"]);
});

test("a cancelled event does not run, and what an event throws ends the run", async () => {
  const scheduler = new SimScheduler();
  scheduler.at(1, () => assert.fail("it was cancelled")).cancel();
  scheduler.at(2, () => {
    throw new Error("as planned");
  });
  await assert.rejects(scheduler.run(never), /as planned/);
  await scheduler.advance(5);
  assert.equal(scheduler.now, 7);
});

test("equal runs have equal traces, and another order of events has another", async () => {
  const trace = async (delays: readonly number[]): Promise<number> => {
    const scheduler = new SimScheduler();
    for (const [label, delay] of delays.entries()) scheduler.after(delay, () => {}, label);
    await scheduler.run(never);
    return scheduler.traceHash;
  };
  assert.equal(await trace([1, 2, 3]), await trace([1, 2, 3]));
  assert.notEqual(await trace([1, 2, 3]), await trace([2, 1, 3]));
});

test("a timer keeps to its machine's clock: drift, and standing still while the machine sleeps", async () => {
  const scheduler = new SimScheduler();
  const machine = new SimMachine({ name: "m", scheduler, rate: 2 });
  const process = new SimProcess(machine);
  const fired: number[] = [];
  process.clock.setTimer(10, () => fired.push(scheduler.now));
  process.clock.setTimer(30, () => fired.push(scheduler.now));
  await scheduler.advance(6);
  assert.equal(Math.round(fired[0] as number), 5);
  machine.suspend();
  await scheduler.advance(100);
  assert.equal(process.clock.now(), 12);
  assert.equal(process.clock.wallNow(), WALL_EPOCH_MS + 106);
  machine.wake();
  process.wake();
  await scheduler.advance(100);
  assert.equal(Math.round(fired[1] as number), 115);
});

test("a paused process finds its timers and inputs when it goes on, and a killed one hears nothing", async () => {
  const scheduler = new SimScheduler();
  const process = new SimProcess(new SimMachine({ name: "m", scheduler }));
  const ran: string[] = [];
  process.clock.setTimer(1, () => ran.push("timer"));
  scheduler.at(2, () => process.deliver(() => ran.push("input")));
  process.pause();
  await scheduler.advance(10);
  assert.equal(ran.length, 0);
  process.resume();
  process.deliver(() => ran.push("late"));
  await scheduler.advance(0);
  assert.deepEqual(ran, ["timer", "input", "late"]);
  process.clock.setTimer(1, () => ran.push("never"));
  process.kill();
  process.deliver(() => ran.push("never"));
  await scheduler.advance(10);
  assert.equal(ran.length, 3);
});

test("what runs early because a clock's arithmetic is rounded does not spin: timers are never early", async () => {
  const scheduler = new SimScheduler();
  const process = new SimProcess(new SimMachine({ name: "m", scheduler, rate: 1.0000003, originMs: 12345.678 }));
  let rounds = 0;
  const again = (deadline: number): void => {
    rounds++;
    const now = process.clock.now();
    if (now < deadline) process.clock.setTimer(deadline - now, () => again(deadline));
    else if (now < 100_000) process.clock.setTimer(7.3, () => again(now + 7.3));
  };
  again(0);
  await scheduler.advance(10_000);
  assert.ok(rounds < 1_500, `${rounds} rounds`);
});
