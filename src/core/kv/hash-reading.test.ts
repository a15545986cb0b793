import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch } from "./command.ts";
import { HashReading } from "./hash-reading.ts";
import { KvMachine } from "./machine.ts";
import { createTable, type PackedTable } from "./table/packed-table.ts";
import { bytesOf } from "./test/model.ts";

type Build = (batch: CommandBatch) => void;

function create(): { readonly machine: KvMachine; readonly table: PackedTable } {
  const table = createTable({ hashSeed: { low: 1, high: 2 } });
  return { table, machine: new KvMachine({ table }) };
}

function apply(machine: KvMachine, build: Build, clockMs = 0): void {
  const batch = new CommandBatch();
  build(batch);
  const { count } = batch;
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count }, false);
  while (!machine.step(1_000));
}

function begin(machine: KvMachine, revision?: number): HashReading {
  const reading = machine.hash(revision);
  assert.ok(reading instanceof HashReading);
  return reading;
}

function hashOf(machine: KvMachine, revision?: number, slice = 1_000): number {
  const reading = begin(machine, revision);
  while (!reading.step(slice));
  return reading.hash;
}

const changes = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("put" as const),
      key: fc.integer({ min: 0, max: 9 }),
      value: fc.string({ maxLength: 5 }),
      ttl: fc.boolean(),
    }),
    fc.record({ kind: fc.constant("delete" as const), key: fc.integer({ min: 0, max: 9 }) }),
    fc.record({ kind: fc.constant("compact" as const), by: fc.integer({ min: 1, max: 5 }) }),
  ),
  { maxLength: 40 },
);

test("members that have applied the same have the same hash at each revision, whatever the slices and whatever is compacted or comes meanwhile", () => {
  fc.assert(
    fc.property(changes, fc.integer({ min: 1, max: 7 }), (list, slice) => {
      const one = create().machine;
      const other = create().machine;
      const hashes = new Map<number, number>();
      const under: { readonly revision: number; readonly reading: HashReading }[] = [];
      for (const change of list) {
        const build: Build = (batch) => {
          if (change.kind === "put") batch.put(bytesOf(`k${change.key}`), bytesOf(change.value), change.ttl ? { ttlMs: 1e6 } : {});
          else if (change.kind === "delete") batch.deleteKey(bytesOf(`k${change.key}`));
        };
        for (const machine of [one, other]) if (change.kind !== "compact") apply(machine, build);
        if (change.kind === "compact") {
          // On one of them alone: what is kept is no part of what is hashed.
          apply(other, (batch) => batch.compact(Math.max(1, other.revision - change.by)));
          apply(one, () => undefined);
          while (!other.maintain(100));
        }
        hashes.set(one.revision, hashOf(one));
        if (under.length < 3) under.push({ revision: other.revision, reading: begin(other) });
        for (const { reading } of under) reading.step(slice);
      }
      for (const { revision, reading } of under) {
        while (!reading.step(slice));
        assert.equal(reading.hash, hashes.get(revision));
      }
      for (const [revision, hash] of hashes) {
        assert.equal(hashOf(one, revision, slice), hash);
        if (revision >= other.readableFrom) assert.equal(hashOf(other, revision, slice), hash);
        else assert.deepEqual(other.hash(revision), { refused: "compacted", revision: other.readableFrom });
      }
    }),
  );
});

test("a hash tells keys, values, revisions, versions and leases apart", () => {
  const state = (...entries: readonly Build[]): number => {
    const { machine } = create();
    for (const build of entries) apply(machine, build);
    return hashOf(machine);
  };
  const put =
    (key: string, value: string, lease?: string): Build =>
    (batch) =>
      batch.put(bytesOf(key), bytesOf(value), { lease });
  const grant: Build = (batch) => {
    batch.grantLease("a", 1_000);
    batch.grantLease("b", 1_000);
  };
  const hashes = [
    state(),
    state(put("a", "1")),
    state(put("a", "2")),
    state(put("b", "1")),
    state(put("a", "1"), put("a", "1")),
    state(put("x", "1"), put("a", "1")),
    state(put("x", "1"), (batch) => batch.deleteKey(bytesOf("x")), put("a", "1")),
    state(grant, put("a", "1", "a")),
    state(grant, put("a", "1", "b")),
    state(put("a", ""), put("b", "")),
    state(put("ab", "")),
  ];
  assert.equal(new Set(hashes).size, hashes.length);
  assert.equal(state(grant, put("a", "1")), state(put("a", "1")), "leases without keys count for nothing");
});

test("one bit of one value that has gone wrong in memory is found", () => {
  const { machine, table } = create();
  for (let i = 0; i < 100; i++) apply(machine, (batch) => batch.put(bytesOf(`k${i}`), bytesOf(`value ${i}`)));
  const hash = hashOf(machine);
  table.value(table.find(bytesOf("k50")))[3]! ^= 1;
  assert.notEqual(hashOf(machine), hash);
});

test("a hash holds its revision until it is read or given up, and no longer", () => {
  const { machine } = create();
  for (let i = 0; i < 10; i++) apply(machine, (batch) => batch.put(bytesOf("k"), bytesOf(`${i}`)));
  const given = begin(machine, 3);
  const read = begin(machine, 4);
  apply(machine, (batch) => batch.compact(machine.revision));
  while (!machine.maintain(100));
  assert.equal(machine.freedRevision, 3);
  given.cancel();
  while (!machine.maintain(100));
  assert.equal(machine.freedRevision, 4);
  while (!read.step(1));
  while (!machine.maintain(100));
  assert.equal(machine.freedRevision, machine.compactRevision);
  assert.deepEqual(machine.hash(machine.revision + 1), { refused: "future", revision: machine.revision });
});
