import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import {
  COMMAND_HEADER_BYTES,
  CommandBatch,
  CommandError,
  CommandReader,
  KEY_BYTES_MAX,
  OP_PUT,
  REQUEST_BYTES_MAX,
  TTL_MS_MAX,
  type RefusalCode,
} from "./command.ts";
import { KvMachine } from "./machine.ts";
import { ResultReader } from "./result.ts";
import { bytesOf, textOf } from "./test/model.ts";
import { createSimpleTable } from "./test/simple-table.ts";

const a = bytesOf("a");

function commandsOf(batch: CommandBatch): Uint8Array {
  return batch.finish().subarray(BATCH_PREFIX_BYTES);
}

function refused(build: (batch: CommandBatch) => void): RefusalCode | undefined {
  const batch = new CommandBatch();
  try {
    build(batch);
  } catch (error) {
    assert(error instanceof CommandError);
    assert.equal(batch.count, 0, "nothing was added");
    assert.equal(batch.bytes, 0);
    return error.refusal.code;
  }
  return undefined;
}

function applyBytes(machine: KvMachine, commands: Uint8Array, count: number): (RefusalCode | undefined)[] {
  machine.begin({ index: machine.appliedIndex + 1, term: 1, clockMs: 0, commands, count }, true);
  for (let steps = 0; !machine.step(10); steps++) assert(steps < 10_000, "an entry ends");
  const reader = new ResultReader(machine.results());
  const refusals: (RefusalCode | undefined)[] = [];
  while (reader.next()) refusals.push(reader.refusal?.code);
  return refusals;
}

test("a batch leaves its prefix free and counts what is in it", () => {
  const batch = new CommandBatch(1);
  batch.put(a, bytesOf("value"));
  batch.deleteKey(a);
  assert.equal(batch.count, 2);
  assert.equal(batch.bytes, 2 * COMMAND_HEADER_BYTES + 7);
  const record = batch.finish();
  assert.equal(record.byteOffset, 0);
  assert.equal(record.length, BATCH_PREFIX_BYTES + 2 * COMMAND_HEADER_BYTES + 7);
  assert.deepEqual([...record.subarray(0, BATCH_PREFIX_BYTES)], Array(BATCH_PREFIX_BYTES).fill(0));
  assert.equal(batch.count, 0);
  assert.equal(batch.finish().length, BATCH_PREFIX_BYTES, "an empty batch");
});

test("a batch that is handed over keeps no more memory than twice its bytes", () => {
  const batch = new CommandBatch(4_096);
  for (const valueBytes of [0, 100, 2_000, 5_000, 70_000]) {
    batch.put(a, new Uint8Array(valueBytes));
    const record = batch.finish();
    assert(record.buffer.byteLength <= 2 * record.length, `${record.buffer.byteLength} for ${record.length}`);
  }
});

test("the reader finds what the builder wrote", () => {
  const batch = new CommandBatch();
  batch.put(a, bytesOf("v"), { ttlMs: 5 });
  batch.put(a, bytesOf("w"), { lease: "ff" });
  batch.compareAndSwap(a, bytesOf("old"), bytesOf("new"));
  const reader = new CommandReader();
  reader.open(commandsOf(batch));
  assert.equal(reader.next(), undefined);
  assert.deepEqual([reader.op, textOf(reader.key()), textOf(reader.value()), reader.ttlMs], [OP_PUT, "a", "v", 5]);
  assert.equal(reader.next(), undefined);
  assert.deepEqual([textOf(reader.value()), reader.lease], ["w", "00000000000000ff"]);
  assert.equal(reader.next(), undefined);
  assert.deepEqual([textOf(reader.expected()), textOf(reader.value())], ["old", "new"]);
  assert.equal(reader.next(), "end");
});

test("a command that no member would apply is refused while it is built", () => {
  const nothing = new Uint8Array(0);
  const long = new Uint8Array(KEY_BYTES_MAX + 1);
  assert.equal(
    refused((batch) => batch.put(nothing, a)),
    "keyBytes",
  );
  assert.equal(
    refused((batch) => batch.put(long, a)),
    "keyBytes",
  );
  assert.equal(
    refused((batch) => batch.put(long.subarray(1), nothing)),
    undefined,
  );
  assert.equal(
    refused((batch) => batch.deleteKey(nothing)),
    "keyBytes",
  );
  assert.equal(
    refused((batch) => batch.deleteRange({ start: nothing, end: undefined })),
    undefined,
  );
  assert.equal(
    refused((batch) => batch.deleteRange({ start: long, end: long })),
    undefined,
    "a bound may be one longer",
  );
  assert.equal(
    refused((batch) => batch.deleteRange({ start: a, end: new Uint8Array(KEY_BYTES_MAX + 2) })),
    "keyBytes",
  );
  const most = REQUEST_BYTES_MAX - COMMAND_HEADER_BYTES - 1;
  assert.equal(
    refused((batch) => batch.put(a, new Uint8Array(most))),
    undefined,
  );
  assert.equal(
    refused((batch) => batch.put(a, new Uint8Array(most + 1))),
    "requestBytes",
  );
  for (const ttlMs of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, TTL_MS_MAX + 1]) {
    assert.equal(
      refused((batch) => batch.put(a, a, { ttlMs })),
      "ttlMs",
      String(ttlMs),
    );
  }
  assert.equal(
    refused((batch) => batch.put(a, a, { ttlMs: TTL_MS_MAX })),
    undefined,
  );
  assert.equal(
    refused((batch) => batch.put(a, a, { ttlMs: 1, lease: "1" })),
    "leaseAndTtl",
  );
  for (const lease of ["", "0", "xyz", "A", "12345678123456781"]) {
    assert.equal(
      refused((batch) => batch.put(a, a, { lease })),
      "leaseId",
      lease,
    );
  }
});

test("what a builder would refuse is refused when it is applied, and the commands behind it are applied", () => {
  const fields: { readonly at: number; readonly value: number; readonly code: RefusalCode }[] = [
    { at: 4, value: 0, code: "unsupported" },
    { at: 4, value: 9, code: "malformed" },
    { at: 4, value: 200, code: "unsupported" },
    { at: 5, value: 128, code: "malformed" },
    { at: 5, value: 16, code: "unsupported" },
    { at: 6, value: 1, code: "unsupported" },
    { at: 8, value: 0, code: "malformed" },
    { at: 12, value: 200, code: "malformed" },
    { at: 16, value: 1, code: "malformed" },
  ];
  for (const { at, value, code } of fields) {
    const batch = new CommandBatch();
    batch.put(a, bytesOf("first"));
    batch.put(a, bytesOf("second"));
    const commands = commandsOf(batch).slice();
    commands[at] = value;
    const machine = new KvMachine({ table: createSimpleTable() });
    assert.deepEqual(applyBytes(machine, commands, 2), [code, undefined], `byte ${at}`);
    assert.equal(machine.revision, 2);
  }
});

test("a batch whose commands cannot be told apart ends there, and a count is not believed", () => {
  const batch = new CommandBatch();
  batch.put(a, a);
  const commands = commandsOf(batch).slice();
  assert.deepEqual(applyBytes(new KvMachine({ table: createSimpleTable() }), commands, 4_000_000_000), [undefined]);
  commands[0] = 3;
  assert.deepEqual(applyBytes(new KvMachine({ table: createSimpleTable() }), commands, 1), []);
});

test("a lease that is not there is refused by name, and nothing is written", () => {
  const batch = new CommandBatch();
  batch.put(a, a, { lease: "abc" });
  const machine = new KvMachine({ table: createSimpleTable() });
  machine.begin({ index: 1, term: 1, clockMs: 0, commands: commandsOf(batch), count: 1 }, true);
  assert.equal(machine.step(1) || machine.step(1), true);
  const reader = new ResultReader(machine.results());
  assert.equal(reader.next(), true);
  assert.deepEqual(reader.refusal, { code: "leaseNotFound", max: 0, lease: "0000000000000abc" });
  assert.equal(machine.revision, 1);
});

test("random bytes are applied without harm, alike on all members", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 8 }), fc.nat(100), (batches, count) => {
      const members = [new KvMachine({ table: createSimpleTable() }), new KvMachine({ table: createSimpleTable() })];
      for (const bytes of batches) {
        for (const machine of members) applyBytes(machine, bytes, count);
      }
      assert.equal(members[0]!.stateHash(), members[1]!.stateHash());
    }),
  );
});

test("a valid batch with some bytes changed is applied without harm", () => {
  const key = fc.constantFrom(bytesOf("a"), bytesOf("b"), bytesOf("abc"));
  const command = fc.oneof(
    fc.record({ kind: fc.constant("put"), key, ttlMs: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }) }),
    fc.record({ kind: fc.constant("delete"), key }),
    fc.record({ kind: fc.constant("swap"), key }),
    fc.record({ kind: fc.constantFrom("grant", "renew", "revoke", "attach"), key }),
  );
  const change = fc.record({
    at: fc.nat(10_000),
    to: fc.oneof(fc.constantFrom(0, 1, 4, 8, 16, 20, 255), fc.integer({ min: 0, max: 255 })),
  });
  fc.assert(
    fc.property(
      fc.array(command, { minLength: 1, maxLength: 8 }),
      fc.array(change, { minLength: 1, maxLength: 6 }),
      (commands, changes) => {
        const batch = new CommandBatch();
        for (const each of commands) {
          if (each.kind === "put") batch.put(each.key, bytesOf("value"), "ttlMs" in each ? { ttlMs: each.ttlMs } : {});
          else if (each.kind === "grant") batch.grantLease("7", 5);
          else if (each.kind === "renew") batch.renewLeases(["7", "10000"]);
          else if (each.kind === "revoke") batch.revokeLease("7");
          else if (each.kind === "attach") batch.put(each.key, bytesOf("value"), { lease: "7" });
          else if (each.kind === "delete") batch.deleteRange({ start: each.key, end: undefined }, { prevKv: true });
          else batch.compareAndSwap(each.key, bytesOf("value"), bytesOf("other"));
        }
        const bytes = commandsOf(batch).slice();
        for (const { at, to } of changes) bytes[at % bytes.length] = to;
        const machine = new KvMachine({ table: createSimpleTable() });
        assert(applyBytes(machine, bytes, commands.length).length <= commands.length);
        machine.stateHash();
      },
    ),
    { numRuns: 500 },
  );
});
