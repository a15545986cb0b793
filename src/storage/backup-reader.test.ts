import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EngineError } from "../errors.ts";
import type { BackupDescription } from "./backup-format.ts";
import { readBackup } from "./backup-reader.ts";
import { BackupWriter } from "./backup-writer.ts";

const description: BackupDescription = { clusterId: "0a0b0c0d0e0f1011", revision: 5, compactRevision: 3, index: 11, clockMs: 1003.5 };

function write(slices: readonly Uint8Array[]): Uint8Array {
  const writer = new BackupWriter();
  const parts = [writer.begin(description), ...slices.map((slice) => writer.slice(slice)), writer.end()];
  const bytes = Buffer.concat(parts);
  assert.equal(writer.bytes, bytes.byteLength);
  assert.equal(bytes.byteLength % 512, 32);
  return bytes;
}

async function* pieces(bytes: Uint8Array, lengths: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.byteLength; i++) {
    const length = lengths.length === 0 ? bytes.byteLength : lengths[i % lengths.length]!;
    yield bytes.subarray(at, at + length);
    at += length;
    if (length === 0) await Promise.resolve();
  }
}

async function read(bytes: Uint8Array, lengths: readonly number[] = []): Promise<readonly Uint8Array[]> {
  const slices: Uint8Array[] = [];
  const found = await readBackup(pieces(bytes, lengths), {
    begin: (begun) => assert.deepEqual(begun, description),
    slice: (slice, offset) => {
      assert.deepEqual(Uint8Array.from(slice), Uint8Array.from(bytes.subarray(offset, offset + slice.byteLength)));
      slices.push(Uint8Array.from(slice));
    },
  });
  assert.deepEqual([found.description, found.bytes], [description, bytes.byteLength]);
  assert.equal(found.digest, Buffer.from(bytes.subarray(-32)).toString("hex"));
  return slices;
}

const anySlices = fc.array(fc.uint8Array({ minLength: 1, maxLength: 700 }), { maxLength: 6 });

test("slices come back as they went in, whatever the pieces", async () => {
  await fc.assert(
    fc.asyncProperty(anySlices, fc.array(fc.integer({ min: 0, max: 900 }), { maxLength: 5 }), async (slices, lengths) => {
      const read_ = await read(write(slices), lengths.some((length) => length > 0) ? lengths : []);
      assert.deepEqual(
        read_,
        slices.map((slice) => Uint8Array.from(slice)),
      );
    }),
  );
  const full = new Uint8Array(256 << 10).fill(7);
  assert.deepEqual(await read(write([full, full])), [full, full]);
});

test("whatever is done to the bytes, they are refused with an offset in them, or are the same", async () => {
  const change = fc.record({ at: fc.nat(), by: fc.integer({ min: 0, max: 255 }), cut: fc.nat(), insert: fc.uint8Array({ maxLength: 20 }) });
  await fc.assert(
    fc.asyncProperty(anySlices, change, async (slices, { at, by, cut, insert }) => {
      const whole = write(slices);
      const place = at % whole.byteLength;
      const changed = Buffer.concat([whole.subarray(0, place), insert, whole.subarray(place + (cut % 3))]);
      if (changed.byteLength > 0) changed[place % changed.byteLength]! ^= by;
      if (changed.equals(whole)) return;
      await assert.rejects(readBackup(pieces(changed, [97]), { begin: () => {}, slice: () => {} }), (error) => {
        assert.ok(EngineError.is(error, "CORRUPT"), String(error));
        assert.ok(error.details.offset >= 0 && error.details.offset <= changed.byteLength);
        return true;
      });
    }),
  );
});

test("what reads it may throw, and then the rest is let go of", async () => {
  let isOver = false;
  const whole = write([Uint8Array.of(1), Uint8Array.of(2)]);
  const from = (async function* () {
    try {
      for (const byte of whole) yield Uint8Array.of(byte);
    } finally {
      isOver = true;
    }
  })();
  const wrong = new Error("no");
  await assert.rejects(
    readBackup(from, {
      begin: () => {},
      slice: () => {
        throw wrong;
      },
    }),
    wrong,
  );
  await from.return();
  assert.ok(isOver);
});
