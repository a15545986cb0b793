import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../core/batch.ts";
import { CommandBatch } from "../core/kv/command.ts";
import { unpackLeaseKeys } from "../core/kv/lease-reading.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { EngineError } from "../errors.ts";
import type { FromNode } from "./boundary.ts";
import { LeaseReads, type LeaseCall } from "./lease-reads.ts";

const text = new TextEncoder();
const LEASE = "00000000000000ab";

function begin(machine: KvMachine, build: (batch: CommandBatch) => void): void {
  const batch = new CommandBatch();
  build(batch);
  const { count } = batch;
  const commands = batch.finish().subarray(BATCH_PREFIX_BYTES);
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs: 1_000, commands, count }, false);
}

function machineWith(keys: number): KvMachine {
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  begin(machine, (batch) => {
    batch.grantLease(LEASE, 5_000);
    for (let i = 0; i < keys; i++)
      batch.put(text.encode(`k${String((i * 7) % keys).padStart(6, "0")}`), text.encode("v"), { lease: LEASE });
  });
  while (!machine.step(1_000));
  return machine;
}

function setUp(machine: KvMachine): { readonly reads: LeaseReads; readonly posted: FromNode[]; readonly time: { now: number } } {
  const posted: FromNode[] = [];
  const time = { now: 0 };
  const reads = new LeaseReads({ machine, now: () => time.now, clockMs: () => 2_500, post: (message) => posted.push(message) });
  return { reads, posted, time };
}

const get = (call: number, keys = true, lease = LEASE): LeaseCall => ({
  kind: "lease",
  call,
  lease,
  keys,
  consistency: "linearizable",
  minRevision: 0,
  timeoutMs: 100,
});

test("a lease with many keys is read in slices, and what it has left is told by the lease clock", () => {
  const { reads, posted } = setUp(machineWith(3_000));
  reads.add(get(1), 0);
  let turns = 0;
  while (reads.step()) turns++;
  assert.ok(turns > 10, "no turn reads it all");
  const [answer] = posted;
  assert.ok(answer?.kind === "lease" && answer.found !== undefined);
  assert.deepEqual([answer.found.ttlMs, answer.found.remainingMs, answer.found.count], [5_000, 3_500, 3_000]);
  const keys = unpackLeaseKeys(answer.found.keys, answer.found.count).map((key) => new TextDecoder().decode(key));
  assert.deepEqual(keys, keys.toSorted());
});

test("nothing is read inside an entry, and a lease that is not there is answered so", () => {
  const machine = machineWith(10);
  const { reads, posted } = setUp(machine);
  begin(machine, (batch) => batch.revokeLease(LEASE));
  machine.step(2);
  reads.add(get(1), 0);
  reads.add({ ...get(2), kind: "leases" } as LeaseCall, 0);
  assert.equal(reads.step(), false, "it is not asked for turns of its own");
  assert.equal(posted.length, 0);
  while (!machine.step(2));
  reads.step();
  assert.deepEqual(posted[0], { kind: "lease", call: 1, found: undefined });
  assert.ok(posted[1]?.kind === "leases" && posted[1].count === 0);
});

test("what takes too long, is cancelled or loses its node is told so, once", () => {
  const machine = machineWith(3_000);
  const { reads, posted, time } = setUp(machine);
  reads.add(get(1), 0);
  reads.step();
  reads.cancel(1);
  assert.equal(reads.step(), false);
  reads.add(get(2), 0);
  reads.step();
  time.now = 100;
  reads.step();
  assert.ok(posted[0]?.kind === "failed" && posted[0].call === 2 && posted[0].error.code === "TIMEOUT");
  reads.add(get(3), 100);
  reads.step();
  reads.failAll(() => new EngineError("CLOSED", "closed", {}));
  assert.ok(posted[1]?.kind === "failed" && posted[1].error.code === "CLOSED");
  assert.equal(reads.step(), false);
  assert.equal(posted.length, 2);
});

test("a snapshot that takes the state's place is read from its beginning", () => {
  const machine = machineWith(3_000);
  const { reads, posted } = setUp(machine);
  reads.add(get(1), 0);
  reads.step();
  reads.replace(machineWith(5));
  while (reads.step());
  assert.ok(posted[0]?.kind === "lease" && posted[0].found?.count === 5);
});
