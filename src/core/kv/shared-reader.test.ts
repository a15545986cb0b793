import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import * as fc from "fast-check";
import { SharedTableReader } from "./shared-reader.ts";
import type { SharedTableGrowth } from "./shared-reader.ts";
import { createTable } from "./table/packed-table.ts";
import type { PackedTable } from "./table/packed-table.ts";
import { HISTORY_KEYS, historyKey, isDeletion, valueBytesOf } from "./test/shared-history.ts";
import type { ReaderInput, ReaderReport } from "./test/shared-history-reader.ts";

const hashSeed = { low: 1, high: 2 };

function keyOf(i: number): Uint8Array {
  return Uint8Array.of(107, i >>> 16, (i >>> 8) & 0xff, i & 0xff);
}

function put(table: PackedTable, i: number, revision: number, bytes: number, lease?: string): void {
  table.put({ key: keyOf(i), value: new Uint8Array(bytes).fill(revision), revision, lease });
}

describe("a reader of a shared table", () => {
  test("answers as the table does, in bytes that nobody else writes to", () => {
    const table = createTable({ hashSeed });
    put(table, 1, 2, 0);
    put(table, 1, 3, 5, "00000000000000ff");
    put(table, 2, 4, 1);
    table.delete({ key: keyOf(2), revision: 5, cause: "request" });
    table.publish(5);
    const reader = new SharedTableReader(structuredClone(table.share()));
    const hit = reader.get(keyOf(1));
    assert.ok(hit !== undefined && hit !== "retry");
    assert.deepEqual(
      { ...hit, value: [...hit.value] },
      { createRevision: 2, modRevision: 3, version: 2, lease: "00000000000000ff", value: [3, 3, 3, 3, 3] },
    );
    assert.ok(hit.value.buffer instanceof ArrayBuffer);
    assert.equal(reader.get(keyOf(2)), undefined);
    assert.equal(reader.get(keyOf(3)), undefined);
    assert.equal(reader.published(), 5);
  });

  test("sees nothing above the published revision, and what was there before it", () => {
    const table = createTable({ hashSeed });
    put(table, 1, 2, 1);
    put(table, 3, 3, 1);
    table.publish(3);
    const reader = new SharedTableReader(table.share());
    table.onSharedGrowth((growth) => reader.add(growth));
    put(table, 1, 4, 1);
    put(table, 2, 4, 1);
    table.delete({ key: keyOf(3), revision: 4, cause: "request" });
    const revisions = (): (number | undefined)[] =>
      [1, 2, 3].map((i) => {
        const hit = reader.get(keyOf(i));
        assert.notEqual(hit, "retry");
        return typeof hit === "object" ? hit.modRevision : undefined;
      });
    assert.deepEqual(revisions(), [2, undefined, 3]);
    table.publish(4);
    assert.deepEqual(revisions(), [4, 4, undefined]);
  });

  test("gives up on a key with very many changes that are not published", () => {
    const table = createTable({ hashSeed });
    put(table, 1, 1, 1);
    table.publish(1);
    const reader = new SharedTableReader(table.share());
    for (let revision = 2; revision < 6000; revision++) put(table, 1, revision, 1);
    assert.equal(reader.get(keyOf(1)), "retry");
  });

  test("asks for help where memory is not known to it, until it is told", () => {
    const table = createTable({ hashSeed });
    const reader = new SharedTableReader(table.share());
    const growths: SharedTableGrowth[] = [];
    const end = table.onSharedGrowth((growth) => growths.push(growth));
    for (let i = 1; i <= 100_000; i++) put(table, i, i, 32);
    table.publish(100_000);
    assert.equal(reader.get(keyOf(1)), "retry");
    assert.ok(growths.some((growth) => growth.kind === "index") && growths.some((growth) => growth.kind === "records"));
    for (const growth of growths.splice(0)) reader.add(structuredClone(growth));
    for (let i = 1; i <= 100_000; i += 97) {
      const hit = reader.get(keyOf(i));
      assert.ok(hit !== undefined && hit !== "retry" && hit.modRevision === i);
    }
    end();
    put(table, 100_001, 100_001, 300_000);
    assert.deepEqual(growths, []);
  });

  test("does not take one large value's buffer for another's under the same number", () => {
    const table = createTable({ hashSeed });
    const growths: SharedTableGrowth[] = [];
    table.onSharedGrowth((growth) => growths.push(growth));
    put(table, 1, 2, 300_000);
    table.publish(2);
    const reader = new SharedTableReader(table.share());
    const number = growths.find((growth) => growth.buffer?.byteLength !== 1_048_576)?.number;
    growths.length = 0;
    put(table, 1, 3, 1);
    table.publish(3);
    assert.equal(table.compact(3, 10), true);
    put(table, 2, 4, 400_000);
    table.publish(4);
    assert.ok(growths.some((growth) => growth.number === number && growth.buffer === undefined));
    assert.equal(growths.find((growth) => growth.buffer !== undefined && growth.buffer.byteLength !== 1_048_576)?.number, number);
    assert.equal(reader.get(keyOf(2)), "retry");
    for (const growth of growths) reader.add(growth);
    const hit = reader.get(keyOf(2));
    assert.ok(typeof hit === "object" && hit.value.length === 400_000);
  });

  test("reads the numbers that the table's owner sets", () => {
    const table = createTable({ hashSeed });
    const reader = new SharedTableReader(table.share());
    assert.equal(reader.shared(3), 0);
    table.setShared(0, 1234.5678);
    table.setShared(14, -(2 ** 52) - 1);
    table.publish(2 ** 33 + 5);
    assert.deepEqual([reader.shared(0), reader.shared(14), reader.published()], [1234.5678, -(2 ** 52) - 1, 2 ** 33 + 5]);
    assert.throws(() => table.setShared(15, 1), /broken invariant/);
  });

  test("neither throws nor loops on memory full of garbage", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(0xffffffff)), { minLength: 50, maxLength: 400, size: "max" }), (garbage) => {
        const table = createTable({ hashSeed });
        for (let i = 1; i <= 50; i++) put(table, i, i, (i % 3) * 40);
        table.publish(50);
        const handle = table.share();
        const reader = new SharedTableReader(handle);
        const index = new Uint32Array(handle.buffers.find((buffer) => buffer.kind === "index")!.buffer!);
        const used = [...index.keys()].filter((at) => index[at] !== 0);
        for (const [place, word] of garbage) {
          // What is in use of each buffer lies in front, but for the index.
          const { kind, buffer } = handle.buffers[place % handle.buffers.length]!;
          const words = new Uint32Array(buffer!);
          words[kind === "index" ? used[place % used.length]! : place % 1500] = word % 3 === 0 ? word : index[used[word % used.length]!]!;
        }
        for (let i = 1; i <= 50; i++) reader.get(keyOf(i));
      }),
      { numRuns: 60, seed: 5 },
    );
  });

  test(
    "in another thread never reads a torn, stale, unpublished or foreign record while memory is reused",
    { timeout: 60_000 },
    async () => {
      const table = createTable({ hashSeed });
      const { port1, port2 } = new MessageChannel();
      const stop = new SharedArrayBuffer(4);
      const input: ReaderInput = { handle: table.share(), growths: port2, answers: 150_000, stop };
      table.onSharedGrowth((growth) => port1.postMessage(growth));
      const worker = new Worker(new URL("./test/shared-history-reader.js", import.meta.url), { workerData: input, transferList: [port2] });
      const reported = once(worker, "message") as Promise<[ReaderReport]>;
      const stopped = new Int32Array(stop);
      let revision = 0;
      while (Atomics.load(stopped, 0) === 0) {
        for (let turns = 0; turns < 500; turns++) {
          // A few revisions become visible together, and nearly all of the past is freed at once.
          for (let i = 0; i < 1 + (turns % 7); i++) {
            const key = historyKey(++revision % HISTORY_KEYS);
            if (isDeletion(revision)) table.delete({ key, revision, cause: "expiry" });
            else table.put({ key, value: new Uint8Array(valueBytesOf(revision)).fill(revision), revision, lease: undefined });
          }
          table.publish(revision);
          if (turns % 3 === 0) table.compact(revision - (turns % 2) * 20, 1000);
        }
        // Buffers that come and go are told of between turns.
        await new Promise((resolve) => setImmediate(resolve));
      }
      const [report] = await reported;
      port1.close();
      await worker.terminate();
      assert.equal(report.failure, undefined);
      assert.ok(report.hits > 0 && report.misses > 0, JSON.stringify(report));
    },
  );
});
