/** What backups and scans hold of compacted history is bounded, and who passes the bound is told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../core/batch.ts";
import { CommandBatch } from "../core/kv/command.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import type { FromNode } from "./boundary.ts";
import { HeldHistory } from "./held-history.ts";
import { MaintenanceCalls } from "./maintenance-calls.ts";

const KEY = new TextEncoder().encode("k");
const VALUE_BYTES = 10_000;
const LOOK_MS = 1_000;

function apply(machine: KvMachine, fill: (batch: CommandBatch) => void, count: number): void {
  const batch = new CommandBatch();
  fill(batch);
  machine.begin(
    { index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count },
    false,
  );
  while (!machine.step(100));
}

/** One key, overwritten; all but the last of it is compacted. */
function overwrite(machine: KvMachine, times: number): void {
  for (let i = 0; i < times; i++) apply(machine, (batch) => batch.put(KEY, new Uint8Array(VALUE_BYTES)), 1);
  apply(machine, (batch) => batch.compact(machine.revision), 1);
  while (!machine.maintain(1_000));
}

test("a backup that holds too much is given up, what it held is freed, and its reader is told why", () => {
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const posted: FromNode[] = [];
  const calls = new MaintenanceCalls({ machine, now: () => 0, post: (message) => posted.push(message) });
  const held = new HeldHistory([calls], 50 * VALUE_BYTES);
  overwrite(machine, 2);
  for (const call of [1, 2]) {
    calls.onBackup({ kind: "backup", call, backup: 0, timeoutMs: 10 }, 0);
    while (calls.step(0));
  }
  overwrite(machine, 40);
  held.poll(machine, LOOK_MS);
  assert.equal(calls.backups, 2, "so much it may hold");
  overwrite(machine, 20);
  assert.ok(machine.heldBytes > 50 * VALUE_BYTES);
  calls.onBackup({ kind: "backup", call: 3, backup: 1, timeoutMs: 10 }, 0);
  held.poll(machine, 2 * LOOK_MS - 1);
  assert.equal(calls.backups, 2, "it looks now and then");
  held.poll(machine, 2 * LOOK_MS);
  assert.equal(calls.backups, 1);
  held.poll(machine, 3 * LOOK_MS);
  assert.equal(calls.backups, 0, "the other one holds as much");
  while (!machine.maintain(1_000));
  assert.ok(machine.heldBytes < 3 * VALUE_BYTES);
  calls.onBackup({ kind: "backup", call: 4, backup: 2, timeoutMs: 10 }, 0);
  while (calls.step(0));
  const told = posted.filter((message) => message.kind === "failed");
  assert.deepEqual(
    told.map(({ call, error }) => [call, error.code, (error.details as { readonly limit: string }).limit]),
    [
      [3, "OVERLOADED", "heldBytes"],
      [4, "OVERLOADED", "heldBytes"],
    ],
  );
});

test("while it falls, nobody else has to go", () => {
  let given = 0;
  const readers = { giveUpOldest: (): boolean => (given += 1) > 0 };
  const held = new HeldHistory([readers], 10);
  const poll = (heldBytes: number, now: number): void => held.poll({ heldBytes, usedBytes: 0 }, now);
  poll(100, 0);
  poll(90, LOOK_MS);
  poll(80, 2 * LOOK_MS);
  assert.equal(given, 1);
  poll(85, 3 * LOOK_MS);
  assert.equal(given, 2);
  held.poll({ heldBytes: 1_000, usedBytes: 1_000 }, 4 * LOOK_MS);
  assert.equal(given, 2, "as much as there is otherwise");
});
