import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { CommandBatch } from "./command.ts";
import { EXPIRED_KEYS_MAX, KvMachine } from "./machine.ts";
import { PINS_MAX } from "./pins.ts";
import { AnswerReader, ReadBatch, type RangeAnswer, type RangeRequest, type ReadRefused } from "./read.ts";
import { ResultReader, ResultWriter } from "./result.ts";
import { bytesOf, intervalOf, textOf } from "./test/model.ts";
import { createSimpleTable } from "./test/simple-table.ts";

function create(history?: { revisionsMax: number; bytesMax: number }): KvMachine {
  return new KvMachine({ table: createSimpleTable(), history });
}

function apply(machine: KvMachine, build: (batch: CommandBatch) => void, clockMs = machine.clockMs): ResultReader {
  begin(machine, build, clockMs);
  while (!machine.step(100));
  return new ResultReader(machine.results());
}

function begin(machine: KvMachine, build: (batch: CommandBatch) => void, clockMs = machine.clockMs): void {
  const batch = new CommandBatch();
  build(batch);
  const { count } = batch;
  const commands = batch.finish().subarray(BATCH_PREFIX_BYTES);
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs, commands, count }, true);
}

function range(machine: KvMachine, request: Partial<RangeRequest>, options = {}): RangeAnswer | ReadRefused {
  const all: RangeRequest = {
    interval: intervalOf("", undefined),
    limit: 0,
    order: "ascending",
    sortBy: "key",
    keysOnly: false,
    countOnly: false,
    revision: undefined,
  };
  const reading = machine.range({ ...all, ...request }, options);
  while (!reading.step(10));
  return reading.result();
}

const put =
  (key: string, value = "", options = {}) =>
  (batch: CommandBatch): void =>
    batch.put(bytesOf(key), bytesOf(value), options);

test("an empty store is at revision 1, and the first write makes 2", () => {
  const machine = create();
  assert.equal(machine.revision, 1);
  assert.equal(machine.compactRevision, 0);
  const results = apply(machine, put("a"));
  assert.equal(results.next(), true);
  assert.equal(results.revision, 2);
});

test("each command of a batch has a revision of its own; one that changes nothing makes none", () => {
  const machine = create();
  const results = apply(machine, (batch) => {
    put("a")(batch);
    put("b")(batch);
    batch.deleteKey(bytesOf("missing"));
    batch.deleteRange(intervalOf("x", "z"));
    batch.compareAndSwap(bytesOf("a"), bytesOf("wrong"), bytesOf("new"));
    batch.deleteRange(intervalOf("", undefined));
  });
  const revisions = [];
  while (results.next()) revisions.push(results.revision);
  assert.deepEqual(revisions, [2, 3, 3, 3, 3, 4]);
  assert.equal(results.deleted, 2);
});

test("a deletion in slices is seen as a whole or not at all", () => {
  const machine = create();
  apply(machine, (batch) => {
    for (let i = 0; i < 20; i++) put(`k${String(i).padStart(2, "0")}`)(batch);
  });
  const before = machine.revision;
  begin(machine, (batch) => batch.deleteRange(intervalOf("k", "l")));
  let steps = 0;
  while (!machine.step(3)) {
    steps++;
    if (machine.revision > before) break;
    const answer = range(machine, {});
    assert("kvs" in answer);
    assert.equal(answer.returned, 20);
    assert.equal(answer.count, 20);
    assert.equal(range(machine, { countOnly: true }).revision, before);
  }
  assert(steps > 3);
  while (machine.applying) machine.step(3);
  const answer = range(machine, {});
  assert("kvs" in answer && answer.count === 0);
  assert.equal(machine.revision, before + 1);
});

test("at most so many keys fall due in one entry, by whole leases; the rest follow at the next", () => {
  const machine = create();
  const keys = EXPIRED_KEYS_MAX + 500;
  // One lease with many keys, and behind it one of one key.
  apply(machine, put("first", "", { ttlMs: 10 }), 0);
  const lease = "0000000000010000";
  for (let from = 0; from < keys; from += 250) {
    apply(machine, (batch) => {
      for (let i = from; i < from + 250; i++) put(`k${i}`, "", { lease })(batch);
    });
  }
  apply(machine, put("second", "", { ttlMs: 10 }));
  assert.equal(machine.leases, 2);
  assert.equal(machine.nextDue(), 10);
  const before = machine.revision;
  apply(machine, () => undefined, 10);
  assert.equal(machine.revision, before + 1, "all keys of a lease go at one revision");
  assert.equal(machine.table.keys, 1);
  assert.equal(machine.nextDue(), 10, "what is still due");
  apply(machine, () => undefined, 10);
  assert.equal(machine.table.keys, 0);
  assert.equal(machine.nextDue(), undefined);
});

test("what is due goes before the commands of the entry that makes it due", () => {
  const machine = create();
  apply(machine, put("a", "old", { ttlMs: 10 }), 0);
  const results = apply(machine, (batch) => batch.compareAndSwap(bytesOf("a"), undefined, bytesOf("new")), 10);
  assert.equal(results.next() && results.succeeded, true);
  assert.equal(machine.revision, 4);
});

test("the lease clock never goes back", () => {
  const machine = create();
  apply(machine, () => undefined, 100);
  apply(machine, put("a", "", { ttlMs: 10 }), 50);
  assert.equal(machine.clockMs, 100);
  assert.equal(machine.nextDue(), 110);
});

test("a lease's id tells its place in the log", () => {
  const machine = create();
  const results = apply(machine, (batch) => {
    put("a")(batch);
    put("b", "", { ttlMs: 9 })(batch);
    put("b", "", { prevKv: true })(batch);
  });
  for (let i = 0; i < 3; i++) results.next();
  assert.equal(results.prevKv()?.lease, "0000000000010001");
  assert.equal(machine.leases, 0, "overwriting without a time to live clears it");
});

test("a revision that is compacted is refused, but to who pins it", () => {
  const machine = create({ revisionsMax: 2, bytesMax: 1_000_000 });
  apply(machine, put("a", "1"));
  const pin = machine.pin();
  assert.equal(pin?.revision, 2);
  for (let i = 0; i < 5; i++) apply(machine, put("a", String(i)));
  assert.equal(machine.compactRevision, 5);
  while (!machine.maintain(1));
  assert.deepEqual(range(machine, { revision: 3 }), { refused: "compacted", revision: 6 });
  assert.deepEqual(range(machine, { revision: 99 }), { refused: "future", revision: 7 });
  assert.deepEqual(range(machine, { revision: 2 }), { refused: "compacted", revision: 6 });
  const pinned = range(machine, { revision: 2 }, { pinned: true });
  assert("kvs" in pinned && pinned.returned === 1);
  pin?.release();
  pin?.release();
  assert.deepEqual(range(machine, { revision: 2 }, { pinned: true }), { refused: "compacted", revision: 6 });
  while (!machine.maintain(1));
  assert.equal(machine.pin(2), undefined);
  assert.equal(machine.pin(5)?.revision, 5);
});

test("history keeps what the last entry did, however large it was", () => {
  const machine = create({ revisionsMax: 1, bytesMax: 0 });
  apply(machine, put("a"));
  apply(machine, (batch) => {
    for (let i = 0; i < 10; i++) put("a")(batch);
  });
  assert.equal(machine.compactRevision, 2);
  apply(machine, () => undefined);
  assert.equal(machine.compactRevision, machine.revision - 1);
});

test("pins are bounded, and a range that finds none is refused", () => {
  const machine = create();
  const pins = Array.from({ length: PINS_MAX }, () => machine.pin());
  assert(pins.every((pin) => pin !== undefined));
  assert.equal(machine.pin(), undefined);
  assert.deepEqual(range(machine, {}), { refused: "pins", revision: 1 });
  machine.stateHash();
  for (const pin of pins) pin?.release();
  assert("kvs" in range(machine, {}));
});

test("an answer beyond its bound is refused, a page is cut", () => {
  const machine = create();
  apply(machine, (batch) => {
    for (let i = 0; i < 9; i++) put(`k${i}`, "x".repeat(60))(batch);
  });
  for (const sortBy of ["key", "value"] as const) {
    assert.deepEqual(range(machine, { sortBy }, { answerBytesMax: 300 }), { refused: "tooLarge", revision: 10 });
    const page = range(machine, { sortBy }, { bytesMax: 300 });
    assert("kvs" in page);
    assert.deepEqual([page.returned, page.more], [3, true]);
  }
  const limited = range(machine, { limit: 2 }, { answerBytesMax: 300 });
  assert("kvs" in limited && limited.more && limited.count === 9);
  const one = range(machine, {}, { bytesMax: 1 });
  assert("kvs" in one && one.returned === 1, "a page is never empty while there is more");
});

test("a range that is given up releases its pin", () => {
  const machine = create({ revisionsMax: 1, bytesMax: 1_000_000 });
  apply(machine, put("a"));
  const reading = machine.range({
    interval: intervalOf("", undefined),
    limit: 0,
    order: "ascending",
    sortBy: "key",
    keysOnly: false,
    countOnly: false,
    revision: 2,
  });
  for (let i = 0; i < 4; i++) apply(machine, put("a"));
  while (!machine.maintain(10));
  assert.equal(machine.freedRevision, 2);
  reading.cancel();
  while (!machine.maintain(10));
  assert.equal(machine.freedRevision, machine.compactRevision);
});

test("point reads answer in order as of one revision, also bytes that make no sense", () => {
  const machine = create();
  apply(machine, put("a", "1"));
  const batch = new ReadBatch();
  for (const key of ["b", "a", ""]) batch.get(bytesOf(key));
  assert.equal(batch.count, 3);
  const answers = new AnswerReader(machine.read(batch.finish(), 3));
  assert.equal(answers.revision, 2);
  assert.equal(answers.next(), undefined);
  const found = answers.next();
  assert(typeof found === "object" && textOf(found.value) === "1");
  assert.equal(answers.next(), undefined);
  const odd = new AnswerReader(machine.read(Uint8Array.of(255, 255, 255, 255, 1), 4_000_000_000));
  assert.equal(odd.next(), undefined);
  const past = machine.readAt(batch.finish(), 0, 1);
  assert(past instanceof Uint8Array);
  assert.deepEqual(machine.readAt(batch.finish(), 0, 9), { refused: "future", revision: 2 });
});

test("previous kvs beyond the bound of a result are left out, and it says so", () => {
  const table = createSimpleTable();
  const ref = table.put({ key: bytesOf("a"), value: new Uint8Array(100), revision: 2, lease: undefined });
  const writer = new ResultWriter(150);
  writer.beginDelete(3);
  writer.addPrevious(table, ref);
  writer.addPrevious(table, ref);
  writer.endDelete(5, 2);
  writer.compareAndSwap(4, 6, true);
  const reader = new ResultReader(writer.take());
  assert.equal(reader.next(), true);
  assert.deepEqual([reader.deleted, reader.cut, reader.prevKvs().length, reader.revision], [2, true, 1, 5]);
  assert.equal(reader.next(), true);
  assert.deepEqual([reader.succeeded, reader.cut, reader.revision], [true, false, 6]);
  assert.equal(reader.next(), false);
});

test("entries out of order and a snapshot inside an entry are bugs of the caller, told as such", () => {
  const machine = create();
  apply(machine, put("a"));
  assert.throws(() => machine.begin({ index: 1, term: 1, clockMs: 0, commands: undefined, count: 0 }, false), /broken invariant/);
  begin(machine, put("b"));
  assert.throws(() => machine.snapshot(), /broken invariant/);
});

test("an empty machine may stand for a later point of the log", () => {
  const machine = new KvMachine({ table: createSimpleTable(), applied: { index: 7, term: 2, clockMs: 5 } });
  assert.deepEqual([machine.appliedIndex, machine.appliedTerm, machine.clockMs, machine.revision], [7, 2, 5, 1]);
});
