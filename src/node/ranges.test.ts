import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../core/batch.ts";
import { CommandBatch } from "../core/kv/command.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { EngineError } from "../errors.ts";
import type { FromNode, ToNode } from "./boundary.ts";
import { Ranges } from "./ranges.ts";

const RECORDS = 5_000;

function filled(records = RECORDS): KvMachine {
  const machine = new KvMachine({
    table: createTable({ hashSeed: { low: 1, high: 2 } }),
    history: { revisionsMax: 10, bytesMax: 1 << 20 },
  });
  write(machine, records);
  return machine;
}

function write(machine: KvMachine, records: number): void {
  const batch = new CommandBatch();
  for (let i = 0; i < records; i++) batch.put(Buffer.from(`k${i}`), Buffer.from("v"));
  machine.begin(
    { index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count: records },
    false,
  );
  while (!machine.step(10_000));
}

function call(id: number, more: Partial<ToNode & { readonly kind: "range" }> = {}): ToNode & { readonly kind: "range" } {
  return {
    kind: "range",
    call: id,
    request: {
      interval: { start: new Uint8Array(0), end: undefined },
      limit: 0,
      order: "ascending",
      sortBy: "key",
      keysOnly: true,
      countOnly: false,
      revision: undefined,
    },
    bytesMax: 0,
    consistency: "eventual",
    minRevision: 0,
    pin: false,
    pinned: 0,
    timeoutMs: 1_000,
    ...more,
  };
}

test("a turn reads a bounded share of however many ranges, and all of them come to their end", () => {
  const posted: FromNode[] = [];
  const machine = filled();
  const ranges = new Ranges(machine, (message) => posted.push(message));
  const count = 20;
  for (let id = 1; id <= count; id++) ranges.add(call(id), 0);
  let turns = 0;
  while (ranges.step(() => 0)) assert.ok(++turns <= 1_000);
  // 20 ranges of 5,000 records at 10,000 records a turn.
  assert.ok(turns >= 9, `${turns} turns`);
  assert.equal(posted.length, count);
  for (const message of posted) assert.ok(message.kind === "range" && message.returned === RECORDS && message.count === RECORDS);
});

test("a turn ends when its time is over", () => {
  const ranges = new Ranges(filled(), () => {});
  for (let id = 1; id <= 20; id++) ranges.add(call(id), 0);
  let now = 0;
  let looks = 0;
  ranges.step(() => {
    looks++;
    return (now += 3);
  });
  assert.ok(looks <= 3, `${looks} looks at the clock`);
});

test("a range under way is told when the node ends, when its time is over, and not at all when it is cancelled", () => {
  const posted: FromNode[] = [];
  const machine = filled();
  const ranges = new Ranges(machine, (message) => posted.push(message));
  for (let id = 1; id <= 3; id++) ranges.add(call(id, { timeoutMs: id === 2 ? 50 : 1_000 }), 0);
  assert.equal(
    ranges.step(() => 0),
    true,
  );
  ranges.cancel(1);
  assert.equal(ranges.expire(49), 50);
  assert.equal(ranges.expire(50), 1_000);
  ranges.failAll(() => new EngineError("CLOSED", "the engine is closed", {}));
  assert.deepEqual(
    posted.map((message) => message.kind === "failed" && `${message.call} ${message.error.code}`),
    ["2 TIMEOUT", "3 CLOSED"],
  );
  assert.equal(
    ranges.step(() => 0),
    false,
  );
  // Nothing holds history back any more.
  write(machine, 100);
  while (!machine.maintain(10_000));
  assert.equal(machine.freedRevision, machine.compactRevision);
});

test("a pin goes with its caller's cancellation, and after a minute without use", () => {
  const posted: FromNode[] = [];
  const machine = filled(10);
  const ranges = new Ranges(machine, (message) => posted.push(message));
  ranges.add(call(1, { pin: true }), 0);
  ranges.add(call(2, { pin: true }), 0);
  assert.equal(
    ranges.step(() => 0),
    false,
  );
  assert.equal(ranges.pinned, 2);
  ranges.cancel(1);
  assert.equal(ranges.pinned, 1);
  // The first look is at the deadline of the calls.
  assert.equal(ranges.expire(1_000), 60_000);
  ranges.add(call(3, { pinned: 2 }), 30_000);
  assert.equal(
    ranges.step(() => 30_000),
    false,
  );
  ranges.expire(60_000);
  assert.equal(ranges.pinned, 1, "it was used in between");
  assert.equal(ranges.expireAt, 90_000);
  ranges.expire(90_000);
  assert.equal(ranges.pinned, 0);
  write(machine, 100);
  while (!machine.maintain(10_000));
  assert.equal(machine.freedRevision, machine.compactRevision);
});
