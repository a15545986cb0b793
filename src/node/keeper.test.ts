import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../core/batch.ts";
import { CommandReader } from "../core/kv/command.ts";
import { LEASE_ID_BYTES, leaseIdAt } from "../core/kv/lease-commands.ts";
import { ResultWriter } from "../core/kv/result.ts";
import { EngineError } from "../errors.ts";
import { ManualClock } from "../transport/test/manual-clock.ts";
import { AppPulse } from "./app-pulse.ts";
import type { FromNode } from "./boundary.ts";
import { HeldSlot, heldMarginMs, momentOf } from "./held-slot.ts";
import { Keeper } from "./keeper.ts";
import type { OwnWrite } from "./own-writes.ts";

const idOf = (number: number): string => number.toString(16).padStart(16, "0");

/** Its machine may sleep: then the wall clock goes on alone. */
class SleepingClock extends ManualClock {
  sleptMs = 0;

  override wallNow(): number {
    return super.wallNow() + this.sleptMs;
  }
}

class Bench {
  readonly clock = new SleepingClock();
  readonly writes: OwnWrite[] = [];
  readonly posted: FromNode[] = [];
  readonly pulse = new AppPulse();
  readonly keeper: Keeper = new Keeper({
    clock: this.clock,
    write: (write) => this.writes.push(write),
    post: (message) => this.posted.push(message),
  });

  keep(keep: number, ttlMs = 900, appLagMsMax = 30_000): HeldSlot {
    const slot = new HeldSlot();
    const sent = momentOf(this.clock);
    slot.raise(sent, ttlMs);
    this.pulse.stamp(sent.now);
    this.keeper.keep({
      kind: "keep",
      keep,
      lease: idOf(keep),
      ttlMs,
      sentAt: sent.now,
      appLagMsMax,
      slot: slot.buffer,
      pulse: this.pulse.buffer,
    });
    return slot;
  }

  /** Time goes on by turns of a millisecond, in which the keeper has its share. */
  pass(ms: number): void {
    for (let i = 0; i < ms; i++) {
      this.clock.advance(1);
      this.keeper.pump(this.clock.now());
    }
  }

  /** What a renewal asked for. */
  ids(write: OwnWrite): (string | undefined)[] {
    const reader = new CommandReader();
    reader.open(write.record.subarray(BATCH_PREFIX_BYTES));
    assert.equal(reader.next(), undefined);
    return Array.from({ length: reader.valueBytes / LEASE_ID_BYTES }, (_, at) => leaseIdAt(reader.value(), at)).toSorted();
  }

  answer(write: OwnWrite, ...ttlMs: readonly number[]): void {
    const writer = new ResultWriter();
    writer.beginRenewal(ttlMs.length);
    for (const each of ttlMs) writer.addRenewed(each);
    writer.endRenewal(1);
    write.done(writer.take());
  }

  left(slot: HeldSlot): number {
    return Math.round(slot.remainingMs(momentOf(this.clock)));
  }
}

test("a lease is renewed when a third of its time has passed, and holds from when the renewal left", () => {
  const bench = new Bench();
  const slot = bench.keep(1);
  assert.equal(bench.left(slot), 900 - heldMarginMs(900));
  bench.pass(299);
  assert.equal(bench.writes.length, 0);
  bench.pass(1);
  assert.equal(bench.writes.length, 1);
  assert.deepEqual(bench.ids(bench.writes[0]!), [idOf(1)]);
  bench.pass(200);
  assert.equal(bench.left(slot), 310);
  bench.answer(bench.writes[0]!, 900);
  assert.equal(bench.left(slot), 610, "200 ms have passed since it left");
  bench.pass(100);
  assert.equal(bench.writes.length, 2);
});

test("leases that are about to be due go along in one command", () => {
  const bench = new Bench();
  bench.keep(1);
  bench.pass(100);
  bench.keep(2);
  bench.pass(100);
  bench.keep(3);
  bench.pass(100);
  assert.deepEqual(bench.ids(bench.writes[0]!), [idOf(1), idOf(2)], "the third has not passed a sixth of its time");
  bench.answer(bench.writes[0]!, 900, 900);
  bench.pass(200);
  assert.deepEqual(bench.ids(bench.writes[1]!), [idOf(1), idOf(2), idOf(3)]);
});

test("one renewal is under way for a lease, and one that fails is tried again until the deadline", () => {
  const bench = new Bench();
  const slot = bench.keep(1);
  bench.pass(310);
  assert.equal(bench.writes.length, 1);
  const [first] = bench.writes;
  assert.ok(first!.timeoutMs <= 810 - 300);
  bench.pass(200);
  assert.equal(bench.writes.length, 1);
  first!.failed(new EngineError("UNAVAILABLE", "no leader", { reason: "noLeader" }));
  bench.pass(74);
  assert.equal(bench.writes.length, 1);
  bench.pass(5);
  assert.equal(bench.writes.length, 2);
  bench.pass(250);
  assert.equal(bench.left(slot), 0);
  assert.deepEqual(bench.posted, [{ kind: "lost", keep: 1 }]);
  bench.answer(bench.writes[1]!, 900);
  assert.equal(bench.left(slot), 0, "what was lost is not brought back");
  bench.pass(1_000);
  assert.equal(bench.writes.length, 2);
});

test("a lease that the members no longer have is lost at once", () => {
  const bench = new Bench();
  const slot = bench.keep(1);
  const other = bench.keep(2);
  bench.pass(300);
  bench.answer(bench.writes[0]!, 0, 900);
  assert.equal(bench.left(slot), 0);
  assert.equal(bench.left(other), 810);
  assert.deepEqual(bench.posted, [{ kind: "lost", keep: 1 }]);
});

test("nothing is renewed while the application's thread has not run for too long, and again once it runs", () => {
  const bench = new Bench();
  const slot = bench.keep(1, 900, 200);
  const other = bench.keep(2, 900, 30_000);
  bench.pass(300);
  assert.deepEqual(bench.ids(bench.writes[0]!), [idOf(2)]);
  bench.answer(bench.writes[0]!, 900);
  bench.pass(100);
  bench.pulse.stamp(bench.clock.now());
  bench.pass(80);
  assert.deepEqual(bench.ids(bench.writes[1]!), [idOf(1), idOf(2)]);
  bench.answer(bench.writes[1]!, 900, 900);
  for (let i = 0; i < 6; i++) {
    bench.pass(300);
    const write = bench.writes.at(-1)!;
    bench.answer(write, ...bench.ids(write).map(() => 900));
  }
  assert.equal(bench.left(slot), 0);
  assert.ok(bench.left(other) > 0);
  assert.deepEqual(bench.posted, [{ kind: "lost", keep: 1 }]);
});

test("what is let go of is not renewed, and a keeper that was stopped renews nothing", () => {
  const bench = new Bench();
  bench.keep(1);
  const slot = bench.keep(2);
  bench.keeper.release(1);
  bench.pass(300);
  assert.deepEqual(bench.ids(bench.writes[0]!), [idOf(2)]);
  bench.keeper.stop();
  bench.writes[0]!.failed(new EngineError("CLOSED", "closed", {}));
  bench.keep(3);
  bench.pass(1_000);
  assert.equal(bench.writes.length, 1);
  assert.equal(bench.keeper.nextAt, Number.POSITIVE_INFINITY);
  assert.equal(bench.left(slot), 0);
  assert.deepEqual(bench.posted, []);
});

test("however the times of many leases fall, they come to be renewed by a few commands", () => {
  const bench = new Bench();
  for (let keep = 1; keep <= 1_000; keep++) {
    if (keep % 3 === 0) bench.clock.advance(1);
    bench.keep(keep);
  }
  const answerAll = (from: number): void => {
    for (const write of bench.writes.slice(from)) bench.answer(write, ...bench.ids(write).map(() => 900));
  };
  for (let i = 0; i < 900; i++) {
    const before = bench.writes.length;
    bench.pass(1);
    answerAll(before);
  }
  const before = bench.writes.length;
  bench.pulse.stamp(bench.clock.now());
  for (let i = 0; i < 900; i++) {
    const sent = bench.writes.length;
    bench.pass(1);
    answerAll(sent);
  }
  const commands = bench.writes.length - before;
  assert.ok(commands <= 8, `${commands} commands in three intervals`);
  assert.equal(bench.keeper.count, 1_000);
});

test("very many leases cost nothing while none of them is due", () => {
  const bench = new Bench();
  for (let keep = 1; keep <= 10_000; keep++) bench.keep(keep, 600_000 + keep);
  bench.keep(10_001, 900);
  const { remainingMs } = HeldSlot.prototype;
  let looks = 0;
  HeldSlot.prototype.remainingMs = function (this: HeldSlot, moment) {
    looks++;
    return remainingMs.call(this, moment);
  };
  try {
    for (let i = 0; i < 20; i++) {
      bench.pass(300);
      bench.answer(bench.writes.at(-1)!, 900);
    }
  } finally {
    HeldSlot.prototype.remainingMs = remainingMs;
  }
  assert.equal(bench.writes.length, 20);
  assert.ok(looks < 100, `${looks} looks at slots`);
});

test("when the machine was suspended, all are looked at with the next that is due", () => {
  const bench = new Bench();
  const slot = bench.keep(1, 60_000);
  bench.keep(2, 900);
  bench.clock.sleptMs = 60_000;
  bench.pass(300);
  assert.deepEqual(bench.posted.map((message) => message.kind === "lost" && message.keep).sort(), [1, 2]);
  assert.equal(bench.left(slot), 0);
});

test("a suspension of the machine is taken off, whichever clock tells of it", () => {
  const slot = new HeldSlot();
  slot.raise({ now: 1_000, wallNow: 5_000_000 }, 10_000);
  assert.equal(slot.remainingMs({ now: 2_000, wallNow: 5_001_000 }), 8_000);
  assert.equal(Math.round(slot.remainingMs({ now: 2_000, wallNow: 5_007_000 })), 2_001);
  assert.equal(slot.remainingMs({ now: 2_000, wallNow: 5_100_000 }), 0);
  assert.equal(slot.remainingMs({ now: 2_000, wallNow: 4_000_000 }), 8_000, "a wall clock that was set back gives nothing");
  // Another holder of the same memory sees the same, and a later renewal counts from its own send.
  const other = new HeldSlot(slot.buffer);
  other.raise({ now: 3_000, wallNow: 5_100_000 }, 10_000);
  assert.equal(slot.remainingMs({ now: 4_000, wallNow: 5_101_000 }), 8_000);
  other.raise({ now: 1_000, wallNow: 5_000_000 }, 10_000);
  assert.equal(slot.remainingMs({ now: 4_000, wallNow: 5_101_000 }), 8_000, "an answer that comes late moves nothing back");
  slot.lose();
  other.raise({ now: 9_000, wallNow: 5_106_000 }, 10_000);
  assert.equal(other.remainingMs({ now: 9_000, wallNow: 5_106_000 }), 0);
});

test("the margin is a tenth of the time to live, at least 50 ms, at most nine tenths", () => {
  assert.deepEqual([10, 100, 400, 5_000, 60_000].map(heldMarginMs), [9, 50, 50, 500, 6_000]);
});
