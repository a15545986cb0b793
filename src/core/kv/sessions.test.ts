import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import { COMMAND_BYTES_MAX, CommandBatch, OP_DELETE_KEY, OP_PUT, type RefusalCode } from "./command.ts";
import { withoutGrowth } from "./growth.ts";
import { KvMachine } from "./machine.ts";
import { AnswerReader, ReadBatch } from "./read.ts";
import { ResultReader } from "./result.ts";
import { ANSWER_BYTES_KEPT_MAX } from "./session-bounds.ts";
import { stampSession } from "./session-stamp.ts";
import { SnapshotFault, SnapshotRestoring } from "./snapshot-stream.ts";
import { bytesOf, textOf } from "./test/model.ts";
import { createSimpleTable } from "./test/simple-table.ts";
import { packTxn } from "./txn-codec.ts";

interface Id {
  readonly high: number;
  readonly low: number;
}

/** Two members that apply the same: one whose callers wait for the results, and one that nobody asks. */
class Pair {
  asked: KvMachine = new KvMachine({ table: createSimpleTable() });
  silent: KvMachine = new KvMachine({ table: createSimpleTable() });

  apply(record: Uint8Array, count: number, clockMs = 0): ResultReader {
    const entry = { index: this.asked.appliedIndex + 1, term: 1, clockMs, commands: record.subarray(BATCH_PREFIX_BYTES), count };
    for (const machine of [this.asked, this.silent]) {
      machine.begin(entry, machine === this.asked);
      while (!machine.step(1));
    }
    const results = new ResultReader(this.asked.results());
    assert.equal(this.asked.stateHash(), this.silent.stateHash(), "members remember the same");
    return results;
  }

  run(fill: (batch: CommandBatch) => void, clockMs = 0): ResultReader {
    const batch = new CommandBatch();
    fill(batch);
    const { count } = batch;
    const results = this.apply(batch.finish(), count, clockMs);
    assert(results.next());
    return results;
  }

  open(window = 16, lifeMs = 10_000): Id {
    const { session } = this.run((batch) => batch.openSession({ window, lifeMs }));
    assert(session !== undefined);
    return session;
  }

  /** One command with these numbers. */
  once(id: Id, sequence: number, fill: (batch: CommandBatch) => void, { acked = 0, clockMs = 0 } = {}): ResultReader {
    const { record, count } = stamped(id, sequence, fill, acked);
    const results = this.apply(record, count, clockMs);
    assert(results.next());
    return results;
  }

  /** The silent one is restored from a snapshot of the other. */
  restore(): void {
    this.silent = restored(streamOf(this.asked), this.asked.appliedIndex) as KvMachine;
    assert(this.silent instanceof KvMachine);
    assert.equal(this.silent.stateHash(), this.asked.stateHash());
  }

  swap(): void {
    [this.asked, this.silent] = [this.silent, this.asked];
  }

  value(key: string): string | undefined {
    const batch = new ReadBatch();
    batch.get(bytesOf(key));
    const answer = new AnswerReader(this.asked.read(batch.finish(), 1)).next();
    assert(answer !== "leftOut");
    return answer === undefined ? undefined : textOf(answer.value);
  }
}

function stamped(id: Id, sequence: number, fill: (batch: CommandBatch) => void, acked = 0): { record: Uint8Array; count: number } {
  const batch = new CommandBatch(4_096, undefined, true);
  fill(batch);
  const { count } = batch;
  const record = batch.finish();
  assert.equal(stampSession(record, count, { ...id, sequence, acked }), count);
  return { record, count };
}

function streamOf(machine: KvMachine): Uint8Array {
  const parts: number[] = [];
  const reading = machine.snapshot();
  for (let slice = reading.read(1_000); slice !== undefined; slice = reading.read(1_000)) parts.push(...slice);
  return Uint8Array.from(parts);
}

function restored(stream: Uint8Array, index: number): KvMachine | SnapshotFault {
  const restoring = new SnapshotRestoring({ table: createSimpleTable() });
  restoring.write(stream);
  return restoring.finish({ index, term: 1 });
}

const put = (batch: CommandBatch): void => batch.put(bytesOf("a"), bytesOf("1"));
const prefix = { start: bytesOf("a"), end: bytesOf("b") };

function increment(batch: CommandBatch, by: string): void {
  batch.put(bytesOf("a"), bytesOf(by), { prevKv: true });
}

test("a put that comes again is answered with its first revision, and changes nothing", () => {
  const pair = new Pair();
  const id = pair.open();
  assert.equal(pair.once(id, 1, put).revision, 2);
  assert.equal(pair.once(id, 2, (batch) => batch.put(bytesOf("a"), bytesOf("2"))).revision, 3);
  const again = pair.once(id, 1, put);
  assert.deepEqual([again.op, again.refusal, again.revision], [OP_PUT, undefined, 2]);
  assert.equal(pair.value("a"), "2");
  assert.equal(pair.asked.revision, 3);
});

test("every kind of command is answered as it was, on every member, across a snapshot", () => {
  const txn = packTxn({
    compare: [],
    success: [
      {
        kind: "put",
        key: bytesOf("t"),
        value: bytesOf("1"),
        lease: undefined,
        ttlMs: undefined,
        ignoreValue: false,
        ignoreLease: false,
        prevKv: true,
      },
    ],
    failure: [],
  }).slice();
  const commands: ((batch: CommandBatch) => void)[] = [
    put,
    (batch) => increment(batch, "2"),
    (batch) => batch.compareAndSwap(bytesOf("a"), bytesOf("2"), bytesOf("3")),
    (batch) => batch.compareAndSwap(bytesOf("a"), bytesOf("2"), bytesOf("4")),
    (batch) => batch.put(bytesOf("b"), bytesOf("1"), { ttlMs: 50_000 }),
    (batch) => batch.put(bytesOf("b"), bytesOf("1"), { lease: "77" }),
    (batch) => batch.grantLease("7", 50_000),
    (batch) => batch.renewLeases(["7", "8"]),
    (batch) => batch.put(bytesOf("c"), bytesOf("1"), { lease: "7" }),
    (batch) => batch.revokeLease("7"),
    (batch) => batch.revokeLease("7"),
    (batch) => batch.deleteKey(bytesOf("a"), { prevKv: true }),
    (batch) => batch.txn(txn),
    (batch) => batch.deleteRange({ start: bytesOf(""), end: undefined }, { prevKv: true }),
    (batch) => batch.compact(3),
    (batch) => batch.compact(3),
    (batch) => batch.put(bytesOf("a"), bytesOf(""), { ignoreValue: true }),
  ];
  const pair = new Pair();
  const id = pair.open(64);
  const first = commands.map((fill, at) => bodyOf(pair.once(id, at + 1, fill)));
  const { revision } = pair.asked;
  for (const way of ["the same members", "restored from a snapshot"]) {
    for (const [at, fill] of commands.entries())
      assert.deepEqual(bodyOf(pair.once(id, at + 1, fill)), first[at], `${way}, command ${at + 1}`);
    assert.equal(pair.asked.revision, revision);
    pair.restore();
    pair.swap();
  }
});

/** All that a result says. */
function bodyOf(reader: ResultReader): unknown {
  const { op, refusal, revision, succeeded, deleted, cut, renewals } = reader;
  const renewed = Array.from({ length: renewals }, (_, at) => reader.renewedTtlMs(at));
  const kvs = reader.prevKvs().map(({ key, value, modRevision }) => [textOf(key), textOf(value), modRevision]);
  return { op, refusal, revision, succeeded, deleted, cut, renewed, kvs };
}

test("commands of one batch come again one by one, in any order and beside new ones", () => {
  const pair = new Pair();
  const id = pair.open();
  const fill = (batch: CommandBatch): void => {
    for (let i = 0; i < 4; i++) batch.put(bytesOf(`k${i}`), bytesOf("1"));
  };
  const { record, count } = stamped(id, 3, fill);
  pair.apply(record, count);
  assert.equal(pair.asked.revision, 5);
  const again = stamped(id, 1, fill);
  const results = pair.apply(again.record, again.count);
  const revisions = Array.from({ length: 4 }, () => (results.next(), results.revision));
  assert.deepEqual(revisions, [6, 7, 2, 3], "1 and 2 are new, 3 and 4 were there");
});

function refusalOf(reader: ResultReader): RefusalCode | undefined {
  return reader.refusal?.code;
}

test("outside of the window a command is refused and never applied", () => {
  const pair = new Pair();
  const id = pair.open(4);
  assert.equal(refusalOf(pair.once(id, 5, put)), "sessionWindow");
  assert.equal(refusalOf(pair.once(id, 4, put)), undefined);
  assert.equal(refusalOf(pair.once(id, 5, put, { acked: 4 })), undefined);
  assert.equal(refusalOf(pair.once(id, 4, put)), "sessionWindow");
  assert.equal(refusalOf(pair.once(id, 6, put, { acked: 6 })), "malformed");
  assert.equal(pair.asked.revision, 3);
});

test("a session that has ended is gone for good, also behind a snapshot", () => {
  const pair = new Pair();
  const id = pair.open(4, 1_000);
  assert.equal(refusalOf(pair.once(id, 1, put, { clockMs: 999 })), undefined);
  assert.equal(refusalOf(pair.once(id, 2, put, { clockMs: 1_998 })), undefined, "each command renews it");
  pair.restore();
  assert.equal(refusalOf(pair.once(id, 2, put, { clockMs: 2_998 })), "sessionGone");
  assert.equal(refusalOf(pair.once(id, 3, put, { clockMs: 2_998 })), "sessionGone");
  pair.restore();
  assert.equal(refusalOf(pair.once(id, 3, put, { clockMs: 2_998 })), "sessionGone");
  const next = pair.open(4, 1_000);
  assert.notDeepEqual(next, id);
  assert.equal(pair.asked.revision, 3);
  assert.equal(pair.run((batch) => batch.closeSession(next), 2_998).refusal, undefined);
  assert.equal(refusalOf(pair.once(next, 1, put, { clockMs: 2_998 })), "sessionGone");
  assert.equal(refusalOf(pair.run((batch) => batch.closeSession(next), 2_998)), "sessionGone");
});

test("a state that a new cluster begins with has no sessions", () => {
  const pair = new Pair();
  const id = pair.open();
  pair.once(id, 1, put);
  const reading = pair.asked.foundingSnapshot(0);
  const parts: number[] = [];
  for (let slice = reading.read(1_000); slice !== undefined; slice = reading.read(1_000)) parts.push(...slice);
  pair.asked = restored(Uint8Array.from(parts), pair.asked.appliedIndex) as KvMachine;
  pair.silent = restored(Uint8Array.from(parts), pair.silent.appliedIndex) as KvMachine;
  assert.equal(refusalOf(pair.once(id, 2, put)), "sessionGone");
});

test("a batch says for its commands what session they are of, but for those that say it themselves and those about sessions", () => {
  const pair = new Pair();
  const id = pair.open();
  const own = pair.open();
  const fill = (batch: CommandBatch): void => {
    put(batch);
    batch.openSession({ window: 1, lifeMs: 1_000 });
    put(batch);
  };
  const batch = new CommandBatch();
  fill(batch);
  const record = batch.finish();
  const entry = { term: 1, clockMs: 0, commands: record.subarray(BATCH_PREFIX_BYTES), count: 3, session: { ...id, sequence: 4, acked: 2 } };
  for (const time of ["first", "second"]) {
    pair.asked.begin({ index: pair.asked.appliedIndex + 1, ...entry }, true);
    while (!pair.asked.step(1));
    const results = new ResultReader(pair.asked.results());
    assert.deepEqual([results.next(), results.revision], [true, 2], time);
    assert.deepEqual([results.next(), results.session !== undefined], [true, true], "it is opened each time");
    assert.deepEqual([results.next(), results.revision], [true, 3], time);
    assert.equal(pair.asked.revision, 3);
  }
  pair.silent = pair.asked;
  const { record: mixed, count } = stamped(own, 1, put);
  const commands = mixed.subarray(BATCH_PREFIX_BYTES);
  pair.asked.begin({ index: pair.asked.appliedIndex + 1, ...entry, commands, count }, true);
  while (!pair.asked.step(1));
  assert.equal(pair.asked.revision, 4, "it is number 1 of its own session, not number 4 of the batch's");
});

test("an answer that is too long is remembered as revision alone", () => {
  const pair = new Pair();
  const id = pair.open();
  const longest = "x".repeat(ANSWER_BYTES_KEPT_MAX);
  pair.once(id, 1, (batch) => batch.put(bytesOf("a"), bytesOf(longest)));
  assert.equal(textOf(pair.once(id, 2, (batch) => increment(batch, "2")).prevKv()!.value), longest);
  const again = pair.once(id, 2, (batch) => increment(batch, "2"));
  assert.deepEqual(again.refusal, { code: "answerNotKept", max: 3, lease: undefined });
  assert.equal(again.revision, 3);
  pair.restore();
  pair.swap();
  assert.equal(refusalOf(pair.once(id, 2, (batch) => increment(batch, "2"))), "answerNotKept");
});

test("what is kept is the same on a member whose results have no more room", () => {
  const pair = new Pair();
  const id = pair.open(1_024);
  const large = new CommandBatch(64, COMMAND_BYTES_MAX);
  large.put(bytesOf("large"), new Uint8Array(COMMAND_BYTES_MAX - 1_000));
  pair.apply(large.finish(), 1);
  pair.run((batch) => batch.put(bytesOf("small"), new Uint8Array(4_000)));
  const get = { kind: "get", key: bytesOf("large"), revision: undefined } as const;
  const reading = packTxn({ compare: [], success: [get, get, get, get], failure: [] }).slice();
  const { record, count } = stamped(id, 1, (batch) => {
    batch.txn(reading);
    batch.put(bytesOf("small"), bytesOf("1"), { prevKv: true });
  });
  const results = pair.apply(record, count);
  assert(results.next() && !results.cut, "the first takes nearly all the room there is");
  assert(results.next() && results.prevKv()!.value.length === 4_000);
  assert.equal(refusalOf(pair.once(id, 1, (batch) => batch.txn(reading))), "answerNotKept");
  assert.equal(pair.once(id, 2, (batch) => increment(batch, "2")).prevKv()!.value.length, 4_000);
});

test("a command that found no room stays refused when it comes again", () => {
  const pair = new Pair();
  const id = pair.open();
  const { record, count } = stamped(id, 1, (batch) => {
    put(batch);
    batch.deleteKey(bytesOf("a"));
  });
  const refused = withoutGrowth(record, count, { of: "quota", used: 5, max: 4 });
  const first = pair.apply(refused, count);
  assert(first.next());
  assert.deepEqual(first.refusal, { code: "quotaFull", max: 4, lease: undefined, used: 5 });
  assert(first.next());
  assert.equal(first.op, OP_DELETE_KEY);
  const again = pair.apply(record, count);
  assert(again.next());
  assert.deepEqual(again.refusal, { code: "quotaFull", max: 4, lease: undefined, used: 5 });
  assert.equal(pair.asked.revision, 1);
});

test("room for a session that nobody filled in is none", () => {
  const pair = new Pair();
  const batch = new CommandBatch(64, undefined, true);
  put(batch);
  const record = batch.finish();
  pair.apply(record, 1);
  pair.apply(record, 1);
  assert.equal(pair.asked.revision, 3);
  const numbers = { high: 0, low: 9, sequence: 4, acked: 3 };
  assert.equal(stampSession(record, 1, numbers), 1);
  assert.equal(stampSession(record, 1, { ...numbers, low: 10 }), 0, "it has one already");
  assert.equal(pair.apply(record, 1).next(), true);
  assert.equal(pair.asked.revision, 3, "there is no such session");
});

test("whatever the bytes of a session's command are, applying answers and members agree", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }),
      fc.array(fc.tuple(fc.double(), fc.double()), { maxLength: 4 }),
      (changes, numbers) => {
        const pair = new Pair();
        const id = pair.open(4);
        for (const [sequence, acked] of numbers) {
          const { record, count } = stamped(id, sequence, put, acked);
          assert(pair.apply(record, count).next());
        }
        const { record } = stamped(id, 1, (batch) => {
          put(batch);
          batch.deleteRange(prefix);
          batch.put(bytesOf("b"), bytesOf("1"), { ttlMs: 5 });
        });
        for (const [at, byte] of changes) record[BATCH_PREFIX_BYTES + (at % (record.length - BATCH_PREFIX_BYTES))] = byte;
        pair.apply(record, 3);
        pair.restore();
      },
    ),
    { numRuns: 500 },
  );
});

test("a stream whose sessions were tampered with is refused, or is as good as whole", () => {
  const pair = new Pair();
  const id = pair.open(16);
  for (let sequence = 1; sequence < 6; sequence++) pair.once(id, sequence, (batch) => increment(batch, `${sequence}`));
  const stream = streamOf(pair.asked);
  for (let cut = 0; cut < stream.length; cut += 3) assert(restored(stream.subarray(0, cut), 9) instanceof SnapshotFault);
  for (let at = 64; at < stream.length; at++) {
    const damaged = stream.slice();
    damaged[at]! ^= 0x41;
    assert(restored(damaged, 9) instanceof SnapshotFault, `byte ${at}`);
  }
});

test("bytes of sessions that no checksum vouches for are refused, or are a state that can be read and applied to", () => {
  const pair = new Pair();
  const id = pair.open(16);
  pair.open(4);
  for (let sequence = 1; sequence < 6; sequence++) pair.once(id, sequence, (batch) => increment(batch, `${sequence}`));
  const reading = pair.asked.snapshot().onlyPreamble();
  const parts: number[] = [];
  for (let slice = reading.read(1_000); slice !== undefined; slice = reading.read(1_000)) parts.push(...slice);
  reading.cancel();
  // Without its records, the state is as of the revision at which there are none.
  const preamble = Uint8Array.from(parts);
  new DataView(preamble.buffer).setFloat64(8, 1, true);
  new DataView(preamble.buffer).setFloat64(16, 0, true);
  const change = fc.tuple(fc.nat(preamble.length - 65), fc.oneof(fc.nat(255), fc.constantFrom(0, 255, 0x7f, 0x40)));
  let restoredAnyway = 0;
  fc.assert(
    fc.property(fc.array(change, { maxLength: 3 }), (changes) => {
      const damaged = preamble.slice();
      for (const [at, byte] of changes) damaged[64 + at] = byte;
      const restoring = new SnapshotRestoring({ table: createSimpleTable(), isStored: true });
      restoring.write(damaged);
      const machine = restoring.finish({ index: 9, term: 1 });
      if (machine instanceof SnapshotFault) return;
      restoredAnyway++;
      machine.stateHash();
      const { record, count } = stamped(id, 3, put);
      machine.begin({ index: 10, term: 1, clockMs: 0, commands: record.subarray(BATCH_PREFIX_BYTES), count }, true);
      while (!machine.step(1));
      assert.equal(new ResultReader(machine.results()).next(), true);
    }),
    { numRuns: 2_000 },
  );
  assert(restoredAnyway > 0);
});
