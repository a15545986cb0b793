import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch, CommandError, TTL_MS_MAX } from "./command.ts";
import { RENEWED_LEASES_MAX } from "./lease-commands.ts";
import { LeaseReading, unpackLeaseKeys, type LeaseAnswer } from "./lease-reading.ts";
import { EXPIRED_KEYS_MAX, KvMachine } from "./machine.ts";
import { ResultReader } from "./result.ts";
import { SnapshotRestoring } from "./snapshot-stream.ts";
import { bytesOf, intervalOf, textOf } from "./test/model.ts";
import { createSimpleTable } from "./test/simple-table.ts";

const LEASE = "00000000000000ab";
const OTHER = "8000000000000001";

function create(): KvMachine {
  return new KvMachine({ table: createSimpleTable() });
}

function apply(machine: KvMachine, build: (batch: CommandBatch) => void, clockMs = machine.clockMs, slice = 3): ResultReader {
  const batch = new CommandBatch();
  build(batch);
  const { count } = batch;
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count }, true);
  while (!machine.step(slice));
  return new ResultReader(machine.results());
}

const refusal = (reader: ResultReader): string | undefined => (reader.next() ? reader.refusal?.code : "no result");

const attach =
  (lease: string, ...keys: readonly string[]) =>
  (batch: CommandBatch): void => {
    for (const key of keys) batch.put(bytesOf(key), bytesOf("x"), { lease });
  };

function read(machine: KvMachine, lease: string): LeaseAnswer {
  const reading = machine.lease(lease, true);
  assert(reading !== undefined);
  while (!reading.step(2));
  const answer = reading.result();
  assert(answer !== "tooLarge");
  return answer;
}

const keysOf = (machine: KvMachine, lease: string): string[] => {
  const { keys, count } = read(machine, lease);
  return unpackLeaseKeys(keys, count).map(textOf);
};

test("a lease that was granted outlives its last key, and a second grant of its id is refused", () => {
  const machine = create();
  assert.equal(refusal(apply(machine, (batch) => batch.grantLease("ab", 100))), undefined);
  assert.equal(machine.revision, 1, "a grant makes no revision");
  assert.equal(refusal(apply(machine, (batch) => batch.grantLease(LEASE, 5))), "leaseExists");
  apply(machine, attach(LEASE, "b", "a"));
  assert.deepEqual(keysOf(machine, LEASE), ["a", "b"]);
  apply(machine, (batch) => batch.deleteRange(intervalOf("", undefined)));
  assert.deepEqual(keysOf(machine, LEASE), []);
  assert.equal(machine.leases, 1);
  apply(machine, () => undefined, 99);
  assert.equal(machine.leases, 1);
  apply(machine, () => undefined, 100);
  assert.equal(machine.leases, 0);
});

test("a put again with the same lease does not attach it twice, and one without takes the key off", () => {
  const machine = create();
  apply(machine, (batch) => batch.grantLease(LEASE, 100));
  apply(machine, attach(LEASE, "a", "a"));
  assert.deepEqual(keysOf(machine, LEASE), ["a"]);
  apply(machine, (batch) => batch.put(bytesOf("a"), bytesOf("y")));
  assert.deepEqual(keysOf(machine, LEASE), []);
  const revision = machine.revision;
  apply(machine, (batch) => batch.revokeLease(LEASE));
  assert.equal(machine.revision, revision, "the key was of no lease any more");
});

test("a revocation takes all keys in the order of their bytes at one revision, whatever the slices", () => {
  const keys = ["c", "\xff", "a", "b\0", "b", "aa"];
  for (const slice of [1, 2, 5, 100]) {
    const machine = create();
    apply(machine, (batch) => batch.grantLease(LEASE, 100));
    apply(machine, attach(LEASE, ...keys));
    apply(machine, (batch) => batch.put(bytesOf("other"), bytesOf("stays")));
    const before = machine.revision;
    const results = apply(machine, (batch) => batch.revokeLease(LEASE), 5, slice);
    assert.equal(refusal(results), undefined);
    assert.equal(results.revision, before + 1);
    const { table } = machine;
    const events: string[] = [];
    for (let at = table.seekEvent(before + 1); at < table.endEvent; at++) {
      const ref = table.event(at);
      assert.equal(table.revision(ref), before + 1);
      assert.equal(table.deletionCause(ref), "revocation");
      events.push(textOf(table.key(ref)));
    }
    assert.deepEqual(events, ["a", "aa", "b", "b\0", "c", "\xff"]);
    assert.equal(table.keys, 1);
    assert.equal(refusal(apply(machine, (batch) => batch.revokeLease(LEASE))), "leaseNotFound");
  }
});

test("a revocation of a lease without keys makes no revision", () => {
  const machine = create();
  apply(machine, (batch) => batch.grantLease(LEASE, 100));
  const results = apply(machine, (batch) => batch.revokeLease(LEASE));
  assert.equal(refusal(results), undefined);
  assert.equal(results.revision, 1);
});

test("one renewal renews many leases and tells of each what it found", () => {
  const machine = create();
  apply(machine, (batch) => {
    batch.grantLease(LEASE, 100);
    batch.grantLease(OTHER, 20);
  });
  const results = apply(machine, (batch) => batch.renewLeases([OTHER, "77", LEASE]), 10, 1);
  assert.equal(refusal(results), undefined);
  assert.equal(results.renewals, 3);
  assert.deepEqual(
    [0, 1, 2, 3].map((place) => results.renewedTtlMs(place)),
    [20, 0, 100, 0],
  );
  assert.equal(machine.nextDue(), 30);
  assert.equal(machine.revision, 1);
  assert.deepEqual([read(machine, LEASE).dueMs, read(machine, LEASE).ttlMs], [110, 100]);
});

test("a renewal in the entry whose clock makes the lease due comes too late", () => {
  const machine = create();
  apply(machine, (batch) => batch.grantLease(LEASE, 10), 0);
  const results = apply(machine, (batch) => batch.renewLeases([LEASE]), 10);
  assert.equal(refusal(results), undefined);
  assert.equal(results.renewedTtlMs(0), 0);
  assert.equal(machine.leases, 0);
});

test("a lease that is due but has not gone yet is not renewed, attached to or shown, and can be revoked", () => {
  const machine = create();
  apply(machine, (batch) => batch.grantLease("1", 10), 0);
  for (let from = 0; from < EXPIRED_KEYS_MAX; from += 100)
    apply(machine, attach("1", ...Array.from({ length: 100 }, (_, at) => `first/${from + at}`)));
  apply(machine, (batch) => batch.grantLease(LEASE, 10), 0);
  apply(machine, attach(LEASE, "second"));
  const results = apply(
    machine,
    (batch) => {
      batch.renewLeases([LEASE]);
      attach(LEASE, "third")(batch);
      batch.grantLease(LEASE, 10);
    },
    10,
  );
  assert.equal(results.next(), true);
  assert.equal(results.renewedTtlMs(0), 0);
  assert.equal(refusal(results), "leaseNotFound");
  assert.equal(refusal(results), "leaseExists");
  assert.equal(machine.leases, 1, "the other entry's share of keys was used up");
  assert.equal(machine.lease(LEASE, false), undefined);
  assert.equal(machine.nextDue(), 10);
});

test("a put whose lease would get an id that a client chose is refused, and nothing is written", () => {
  const machine = create();
  apply(machine, (batch) => batch.grantLease("20001", 100));
  const results = apply(machine, (batch) => {
    batch.put(bytesOf("a"), bytesOf("1"));
    batch.put(bytesOf("b"), bytesOf("2"), { ttlMs: 50 });
  });
  assert.equal(refusal(results), undefined);
  assert.equal(refusal(results), "leaseExists");
  assert.equal(machine.table.keys, 1);
});

test("what cannot be a lease command is refused by the builder and by apply", () => {
  const refused = (build: (batch: CommandBatch) => void): string | undefined => {
    try {
      build(new CommandBatch());
      return undefined;
    } catch (error) {
      assert(error instanceof CommandError);
      return error.refusal.code;
    }
  };
  for (const id of ["", "0", "AB", "12345678123456781"]) {
    assert.equal(
      refused((batch) => batch.grantLease(id, 5)),
      "leaseId",
    );
    assert.equal(
      refused((batch) => batch.revokeLease(id)),
      "leaseId",
    );
    assert.equal(
      refused((batch) => batch.renewLeases([LEASE, id])),
      "leaseId",
    );
  }
  for (const ttlMs of [0, -1, 1.5, Number.NaN, TTL_MS_MAX + 1])
    assert.equal(
      refused((batch) => batch.grantLease(LEASE, ttlMs)),
      "ttlMs",
    );
  assert.equal(
    refused((batch) => batch.renewLeases([])),
    "malformed",
  );
  assert.equal(
    refused((batch) => batch.renewLeases(Array.from({ length: RENEWED_LEASES_MAX + 1 }, () => LEASE))),
    "malformed",
  );
  const batch = new CommandBatch();
  batch.grantLease(LEASE, 5);
  const commands = batch.finish().subarray(BATCH_PREFIX_BYTES).slice();
  commands[5] = 0;
  const machine = create();
  machine.begin({ index: 1, term: 1, clockMs: 0, commands, count: 1 }, true);
  while (!machine.step(1));
  assert.equal(refusal(new ResultReader(machine.results())), "malformed");
});

test("leases travel in a snapshot, those without keys too, and an id that was used before harms nothing", () => {
  // The put is command 1 of entry 3, so that its lease gets the id 30000; one of that id was granted and revoked before.
  const again = create();
  apply(again, (batch) => batch.grantLease("30000", 1_000));
  apply(again, (batch) => {
    attach("30000", "old", "older")(batch);
    batch.revokeLease("30000");
  });
  apply(again, (batch) => batch.put(bytesOf("new"), bytesOf("x"), { ttlMs: 500 }));
  assert.deepEqual(keysOf(again, "0000000000030000"), ["new"]);
  apply(again, (batch) => batch.grantLease(LEASE, 77), 5);
  const reading = again.snapshot();
  const restoring = new SnapshotRestoring({ table: createSimpleTable() });
  for (let slice = reading.read(50); slice !== undefined; slice = reading.read(50)) assert.equal(restoring.write(slice), undefined);
  const restored = restoring.finish({ index: again.appliedIndex, term: 1 });
  assert(restored instanceof KvMachine);
  assert.equal(restored.stateHash(), again.stateHash());
  assert.deepEqual([read(restored, LEASE).ttlMs, read(restored, LEASE).dueMs], [77, 82]);
  assert.deepEqual(keysOf(restored, "0000000000030000"), ["new"]);
  for (const member of [again, restored]) apply(member, (batch) => batch.deleteKey(bytesOf("new")));
  assert.equal(restored.leases, 1, "the lease that the put made ended with its key");
  assert.equal(restored.stateHash(), again.stateHash());
});

test("the keys of a lease are as of the moment they were asked for, and beyond a bound they are not told", () => {
  const machine = create();
  apply(machine, (batch) => batch.grantLease(LEASE, 100));
  apply(machine, attach(LEASE, "c", "a", "b"));
  const reading = machine.lease(LEASE, true);
  assert(reading !== undefined);
  assert.equal(reading.step(1), false);
  apply(machine, (batch) => batch.revokeLease(LEASE));
  for (let i = 0; i < 5; i++) apply(machine, (batch) => batch.put(bytesOf("a"), bytesOf(String(i))));
  while (!machine.maintain(10));
  while (!reading.step(1));
  const answer = reading.result();
  assert(answer !== "tooLarge");
  assert.deepEqual(unpackLeaseKeys(answer.keys, answer.count).map(textOf), ["a", "b", "c"]);

  const other = create();
  apply(other, (batch) => batch.grantLease(LEASE, 100));
  apply(other, attach(LEASE, "key/1", "key/2"));
  const pin = other.pin();
  assert(pin !== undefined);
  const { leases } = (other as unknown as { data: { leases: ConstructorParameters<typeof LeaseReading>[0]["leases"] } }).data;
  const bounded = new LeaseReading({ table: other.table, leases, id: LEASE, withKeys: true, revision: 3, pin, bytesMax: 12 });
  while (!bounded.step(10));
  assert.equal(bounded.result(), "tooLarge");
});
