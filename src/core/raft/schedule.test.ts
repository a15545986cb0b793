/**
 * The properties of Raft figure 3, linearizable read indexes and leader leases under random schedules. RAFT_SCHEDULES sets how many
 * are tried, RAFT_SEED where to begin; a failing one is printed and made shorter.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { runSchedule } from "./test/schedule.ts";

const RUNS = Number(process.env["RAFT_SCHEDULES"] ?? 150);

test("whatever is lost, repeated, delayed or forgotten, the properties of figure 3 hold and the healed cluster goes on", () => {
  const total = { committed: 0, changes: 0, reads: 0, leases: 0 };
  const schedules = fc.record({
    voters: fc.constantFrom("ABC", "AB", "A", "ABCDE", "ABCD"),
    seed: fc.nat({ max: 2 ** 31 - 1 }),
    operations: fc.integer({ min: 1, max: 3_000 }),
  });
  const property = fc.property(schedules, (schedule) => {
    const { committed, changes, reads, leases } = runSchedule(schedule);
    total.committed += committed;
    total.changes += changes;
    total.reads += reads;
    total.leases += leases;
  });
  const seed = Number(process.env["RAFT_SEED"] ?? 1);
  fc.assert(property, { numRuns: RUNS, seed, interruptAfterTimeLimit: 120_000, includeErrorInReport: true });
  // Schedules in which nothing happens would prove nothing.
  assert.ok(total.committed > RUNS * 5, `entries committed: ${total.committed}`);
  assert.ok(total.changes > RUNS / 10, `memberships changed: ${total.changes}`);
  assert.ok(total.reads > RUNS, `reads answered: ${total.reads}`);
  assert.ok(total.leases > RUNS * 10, `turns with a leader lease: ${total.leases}`);
});
