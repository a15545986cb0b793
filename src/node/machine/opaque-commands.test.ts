import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BATCH_PREFIX_BYTES } from "../../core/batch.ts";
import { ByteWriter } from "../../core/kv/bytes.ts";
import { OPAQUE_ANSWERS_BYTES_MAX, OpaqueAnswers, OpaqueBatch, OpaqueReader, writeAnswer } from "./opaque-commands.ts";

const items = fc.array(fc.uint8Array({ maxLength: 3_000 }), { maxLength: 20 });

function readAll(reader: OpaqueReader): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (let next = reader.next(); next !== undefined; next = reader.next()) all.push(next);
  return all;
}

test("commands come out as they went in, behind the room that was left for headers", () => {
  fc.assert(
    fc.property(items, fc.constantFrom(0, BATCH_PREFIX_BYTES), (commands, prefixBytes) => {
      const batch = new OpaqueBatch(prefixBytes);
      for (const command of commands) batch.add(command);
      assert.equal(batch.count, commands.length);
      const bytes = batch.finish();
      assert.equal(bytes.byteOffset, 0);
      assert.equal(bytes.byteLength, batch.bytes);
      assert.ok(bytes.buffer.byteLength <= 2 * bytes.byteLength, "the log bounds what it keeps by its length");
      assert.deepEqual(
        readAll(new OpaqueReader(bytes.subarray(prefixBytes))).map((each) => [...each]),
        commands.map((each) => [...each]),
      );
    }),
  );
});

test("hostile bytes are read as whole commands and then as nothing, and never thrown at", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const read = readAll(new OpaqueReader(bytes));
      const total = read.reduce((sum, each) => sum + each.byteLength + 4, 0);
      assert.ok(total <= bytes.byteLength);
    }),
  );
});

test("answers come out as they went in, refusals as refusals", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom("answer" as const, "refused" as const), fc.uint8Array()), { maxLength: 20 }),
      (answers) => {
        const sink = new ByteWriter();
        sink.f64(17);
        for (const [outcome, bytes] of answers) writeAnswer(sink, outcome, bytes);
        const packed = sink.take();
        assert.equal(OpaqueAnswers.indexOf(packed), 17);
        const reader = new OpaqueAnswers(packed, 8);
        for (const [outcome, bytes] of answers) {
          const answer = reader.next();
          assert.equal(answer?.outcome, outcome);
          assert.deepEqual([...(answer?.bytes ?? [])], [...bytes]);
        }
        assert.equal(reader.next(), undefined);
      },
    ),
  );
});

test("what would make the answers of a batch too large is left out, and what comes behind it is still told", () => {
  let length = 0;
  const told: number[] = [];
  const sink = {
    get length() {
      return length;
    },
    u8: (value: number) => told.push(value),
    u32: () => {},
    raw: (bytes: Uint8Array) => (length += bytes.byteLength),
  };
  const large = new Uint8Array(OPAQUE_ANSWERS_BYTES_MAX - 10);
  writeAnswer(sink, "answer", large);
  writeAnswer(sink, "answer", new Uint8Array(11));
  writeAnswer(sink, "answer", new Uint8Array(10));
  assert.deepEqual(told, [0, 2, 0]);
});
