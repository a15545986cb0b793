import assert from "node:assert/strict";
import { test } from "node:test";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import type { FromNode } from "./boundary.ts";
import { Watching } from "./watching.ts";

const everything = { start: new Uint8Array(0), end: undefined };

test("progress that nobody reads is not told without end", () => {
  const posted: FromNode[] = [];
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const watching = new Watching(machine, (message) => posted.push(message));
  watching.add(
    {
      kind: "watch",
      watch: 1,
      interval: everything,
      fromRevision: undefined,
      initial: false,
      prevKv: false,
      only: undefined,
      onGap: "throw",
      progressMs: 10,
      creditBytes: 640,
    },
    0,
  );
  const progress = (): number => posted.filter((message) => message.kind === "watched" && message.what === "progress").length;
  for (let now = 0; now < 10_000; now += 10) watching.pump(now);
  assert.equal(progress(), 10, "640 bytes of credit, at 64 each");
  watching.credit(1, 640);
  for (let now = 10_000; now < 20_000; now += 10) watching.pump(now);
  assert.equal(progress(), 20);
});

test("a watch without progress sets no deadline", () => {
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const watching = new Watching(machine, () => {});
  watching.add(
    {
      kind: "watch",
      watch: 1,
      interval: everything,
      fromRevision: undefined,
      initial: false,
      prevKv: false,
      only: undefined,
      onGap: "throw",
      progressMs: 0,
      creditBytes: 640,
    },
    5,
  );
  assert.equal(watching.deadline, Number.POSITIVE_INFINITY);
});
