import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../core/batch.ts";
import { CommandBatch } from "../core/kv/command.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { EngineError } from "../errors.ts";
import type { FromNode } from "./boundary.ts";
import { BACKUP_IDLE_MS, BACKUPS_MAX, MaintenanceCalls } from "./maintenance-calls.ts";

const emptyTable = (): ReturnType<typeof createTable> => createTable({ hashSeed: { low: 1, high: 2 } });

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function put(machine: KvMachine, count: number): void {
  const batch = new CommandBatch();
  for (let i = 0; i < count; i++) batch.put(bytes(`k${i}`), new Uint8Array(1_000));
  machine.begin(
    { index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count },
    false,
  );
}

function create(): { readonly calls: MaintenanceCalls; readonly machine: KvMachine; readonly posted: FromNode[] } {
  const machine = new KvMachine({ table: emptyTable() });
  put(machine, 500);
  while (!machine.step(100));
  const posted: FromNode[] = [];
  return { machine, posted, calls: new MaintenanceCalls({ machine, now: () => 0, post: (message) => posted.push(message) }) };
}

const codes = (posted: readonly FromNode[]): unknown[] =>
  posted.map((message) =>
    message.kind === "failed" ? [message.call, message.error.code] : [(message as { readonly call: number }).call, message.kind],
  );

function run(calls: MaintenanceCalls, now = 0): void {
  while (calls.step(now));
}

test("a piece of a backup is read when it is asked for, and its revision is held in between", () => {
  const { calls, machine, posted } = create();
  calls.onBackup({ kind: "backup", call: 1, backup: 0, timeoutMs: 10 }, 0);
  run(calls);
  const { revision, compactRevision, appliedIndex: index, clockMs } = machine;
  assert.deepEqual(posted.pop(), {
    kind: "backup",
    call: 1,
    description: { revision, compactRevision, index, clockMs },
    bytes: new Uint8Array(0),
    last: false,
  });
  let taken = 0;
  for (let call = 2; ; call++) {
    calls.onBackup({ kind: "backup", call, backup: 1, timeoutMs: 10 }, 0);
    run(calls);
    const piece = posted.pop() as FromNode & { readonly kind: "backup" };
    assert.deepEqual([posted.length, piece.call, piece.kind], [0, call, "backup"]);
    assert.ok(piece.bytes.byteLength <= 130 << 10);
    taken += piece.bytes.byteLength;
    if (piece.last) break;
  }
  assert.ok(taken > 500_000);
  calls.end(1);
  assert.equal(calls.expireAt, Number.POSITIVE_INFINITY);
});

test("a backup begins between two entries, and goes on while one is applied", () => {
  const { calls, machine, posted } = create();
  calls.onBackup({ kind: "backup", call: 1, backup: 0, timeoutMs: 10 }, 0);
  run(calls);
  put(machine, 50);
  machine.step(10);
  calls.onBackup({ kind: "backup", call: 2, backup: 0, timeoutMs: 10 }, 0);
  calls.onBackup({ kind: "backup", call: 3, backup: 1, timeoutMs: 10 }, 0);
  calls.onHash({ kind: "hash", call: 4, revision: 0, timeoutMs: 10 }, 0);
  run(calls);
  assert.deepEqual(codes(posted.splice(0)), [
    [1, "backup"],
    [4, "hash"],
    [3, "backup"],
  ]);
  while (!machine.step(10));
  run(calls);
  assert.deepEqual(codes(posted), [[2, "backup"]]);
});

test("no more than so many backups are under way, and one that nobody reads is given up", () => {
  const { calls, machine, posted } = create();
  for (let call = 1; call <= BACKUPS_MAX + 1; call++) calls.onBackup({ kind: "backup", call, backup: 0, timeoutMs: 10 }, 0);
  run(calls);
  assert.deepEqual(codes(posted.splice(0)).at(-1), [BACKUPS_MAX + 1, "OVERLOADED"]);
  for (let call = 2; call <= BACKUPS_MAX; call++) calls.end(call);
  assert.equal(calls.expire(BACKUP_IDLE_MS - 1), BACKUP_IDLE_MS);
  calls.onBackup({ kind: "backup", call: 20, backup: 1, timeoutMs: 10 }, BACKUP_IDLE_MS - 1);
  run(calls, BACKUP_IDLE_MS - 1);
  assert.equal(calls.expire(2 * BACKUP_IDLE_MS - 2), 2 * BACKUP_IDLE_MS - 1);
  assert.equal(calls.expire(2 * BACKUP_IDLE_MS - 1), Number.POSITIVE_INFINITY);
  calls.onBackup({ kind: "backup", call: 21, backup: 1, timeoutMs: 10 }, 2 * BACKUP_IDLE_MS);
  run(calls);
  assert.deepEqual(codes(posted), [
    [20, "backup"],
    [21, "TIMEOUT"],
  ]);
  // Nothing holds what is behind the present revision any more.
  const batch = new CommandBatch();
  batch.compact(machine.revision);
  machine.begin(
    { index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count: 1 },
    false,
  );
  while (!machine.step(10));
  while (!machine.maintain(1_000));
  assert.equal(machine.freedRevision, machine.compactRevision);
});

test("what waits too long, is given up, or outlives its node is told once", () => {
  const { calls, posted } = create();
  calls.onHash({ kind: "hash", call: 1, revision: 0, timeoutMs: 10 }, 0);
  calls.onHash({ kind: "hash", call: 2, revision: 0, timeoutMs: 20 }, 0);
  calls.onHash({ kind: "hash", call: 3, revision: 99_999, timeoutMs: 30 }, 0);
  assert.equal(calls.expire(10), 20);
  calls.cancel(2);
  run(calls);
  calls.onHash({ kind: "hash", call: 4, revision: 0, timeoutMs: 10 }, 0);
  calls.onBackup({ kind: "backup", call: 5, backup: 0, timeoutMs: 10 }, 0);
  calls.failAll(() => new EngineError("CLOSED", "closed", {}));
  run(calls);
  assert.deepEqual(codes(posted), [
    [1, "TIMEOUT"],
    [3, "FUTURE_REVISION"],
    [4, "CLOSED"],
    [5, "CLOSED"],
  ]);
});

test("a state that takes the place of the one being read: a hash begins anew, a backup goes on with what it began with", () => {
  const { calls, posted } = create();
  calls.onBackup({ kind: "backup", call: 1, backup: 0, timeoutMs: 10 }, 0);
  calls.onHash({ kind: "hash", call: 2, revision: 0, timeoutMs: 10 }, 0);
  calls.replace(new KvMachine({ table: emptyTable() }));
  run(calls);
  assert.deepEqual(codes(posted), [
    [2, "hash"],
    [1, "backup"],
  ]);
  assert.equal((posted[0] as FromNode & { readonly kind: "hash" }).revision, 1);
});
