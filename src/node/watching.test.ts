import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../core/batch.ts";
import { CommandBatch } from "../core/kv/command.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import type { FromNode } from "./boundary.ts";
import { Watching } from "./watching.ts";

const everything = { start: new Uint8Array(0), end: undefined };

const order = (watch: number, progressMs: number, creditBytes = 100_000): Parameters<Watching["add"]>[0] => ({
  kind: "watch",
  watch,
  interval: everything,
  fromRevision: undefined,
  initial: false,
  prevKv: false,
  only: undefined,
  onGap: "throw",
  progressMs,
  creditBytes,
});

function put(machine: KvMachine): void {
  const batch = new CommandBatch();
  batch.put(Uint8Array.of(1), Uint8Array.of(2));
  const commands = batch.finish().subarray(BATCH_PREFIX_BYTES);
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands, count: 1 }, false);
  while (!machine.step(10));
}

test("what a thousand watches are told is one message", () => {
  const posted: FromNode[] = [];
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const watching = new Watching(machine, (message) => posted.push(message));
  for (let id = 1; id <= 1_000; id++) watching.add(order(id, 10_000), 0);
  posted.length = 0;
  put(machine);
  watching.pump(1);
  assert.equal(posted.length, 1);
  const [message] = posted;
  assert.ok(message?.kind === "watched" && message.watches.length === 1_000);
  watching.pump(10_002);
  assert.equal(posted.length, 2);
  assert.ok(posted[1]?.kind === "watched" && posted[1].what === "progress" && posted[1].watches.length === 1_000);
});

test("progress comes when nothing was told for its interval, and not before", () => {
  const posted: FromNode[] = [];
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const watching = new Watching(machine, (message) => posted.push(message));
  watching.add(order(1, 1_000), 0);
  watching.add(order(2, 300), 0);
  watching.remove(2);
  const progressAt: number[] = [];
  for (let now = 10; now <= 4_000; now += 10) {
    if (now === 700 || now === 1_500) put(machine);
    const before = posted.length;
    watching.pump(now);
    if (posted.slice(before).some((message) => message.kind === "watched" && message.what === "progress")) progressAt.push(now);
  }
  assert.deepEqual(progressAt, [2_500, 3_500]);
  assert.equal(watching.deadline, 4_500);
});

test("progress that nobody reads is not told without end", () => {
  const posted: FromNode[] = [];
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const watching = new Watching(machine, (message) => posted.push(message));
  watching.add(order(1, 10, 640), 0);
  const progress = (): number => posted.filter((message) => message.kind === "watched" && message.what === "progress").length;
  for (let now = 0; now < 10_000; now += 10) watching.pump(now);
  assert.equal(progress(), 10, "640 bytes of credit, at 64 each");
  watching.credit([1], [640]);
  for (let now = 10_000; now < 20_000; now += 10) watching.pump(now);
  assert.equal(progress(), 20);
});

test("a watch without progress sets no deadline", () => {
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const watching = new Watching(machine, () => {});
  watching.add(order(1, 0), 5);
  assert.equal(watching.deadline, Number.POSITIVE_INFINITY);
});
