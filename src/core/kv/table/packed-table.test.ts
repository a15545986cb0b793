import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { KeyInterval, RecordRef, Table } from "../table.ts";
import { createSimpleTable, SimpleTable } from "../test/simple-table.ts";
import { createTable } from "./packed-table.ts";
import type { PackedTable } from "./packed-table.ts";
import { awkwardKeys, bytesOf, checkAgreement } from "./test/table-agreement.ts";

const ALL: KeyInterval = { start: new Uint8Array(0), end: undefined };
const seed = { low: 0x12345678, high: 0x9abcdef0 };

function create(): PackedTable {
  return createTable({ hashSeed: seed });
}

/** Eight bytes that do not come in the order of `i`. */
function keyOf(i: number): Uint8Array {
  const key = new Uint8Array(8);
  const view = new DataView(key.buffer);
  view.setUint32(0, Math.imul(i, 0x9e3779b1) >>> 0);
  view.setUint32(4, i);
  return key;
}

const manyKeys = Array.from({ length: 400 }, (_, i) => keyOf(i));

describe("the packed table agrees with the simple one", () => {
  test("on keys that are awkward to compare", () => {
    checkAgreement({ create, keys: awkwardKeys(), valueBytes: (value) => value % 40, steps: 250, runs: 70, seed: 1 });
  });

  test("on few keys with long chains", () => {
    checkAgreement({ create, keys: awkwardKeys().slice(0, 3), valueBytes: (value) => (value % 8) * 50, steps: 250, runs: 100, seed: 2 });
  });

  test("on enough keys for a tree of several nodes", () => {
    checkAgreement({ create, keys: manyKeys, valueBytes: () => 1, steps: 1200, runs: 12, seed: 3 });
  });

  test("on values that are empty, or larger than a slab's largest place, or than a slab", () => {
    const sizes = [0, 1, 262_000, 262_200, 2_097_152];
    checkAgreement({ create, keys: awkwardKeys().slice(0, 4), valueBytes: (value) => sizes[value % 5]!, steps: 12, runs: 15, seed: 4 });
  });
});

describe("canaries: the agreement rejects", () => {
  const rejects = (canary: new () => Table): void => {
    const options = {
      create: () => new canary(),
      keys: awkwardKeys(),
      valueBytes: (value: number) => value % 40,
      steps: 250,
      runs: 150,
      seed: 1,
      shrinks: false,
    };
    assert.throws(() => checkAgreement(options), /Property failed/);
  };

  test("nothing that is right", () => {
    checkAgreement({ create: createSimpleTable, keys: awkwardKeys(), valueBytes: (value) => value % 40, steps: 60, runs: 20, seed: 1 });
  });

  test("a table that forgets a deletion", () => {
    rejects(
      class extends SimpleTable {
        override cursor(interval: KeyInterval, order: "ascending" | "descending") {
          const cursor = super.cursor(interval, order);
          return {
            next: (): RecordRef => {
              let ref = cursor.next();
              while (ref !== 0 && this.deletionCause(ref) !== undefined) ref = cursor.next();
              return ref;
            },
          };
        }
      },
    );
  });

  test("a table that counts a deleted key", () => {
    rejects(
      class extends SimpleTable {
        override count(interval: KeyInterval): number {
          const cursor = this.cursor(interval, "ascending");
          let count = 0;
          while (cursor.next() !== 0) count++;
          return count;
        }
      },
    );
  });

  test("a table whose version goes on after a deletion", () => {
    rejects(
      class extends SimpleTable {
        override version(ref: RecordRef): number {
          let version = 0;
          for (let at = ref; at !== 0; at = this.previous(at)) version++;
          return this.deletionCause(ref) === undefined ? version : 0;
        }
      },
    );
  });

  test("a table that keeps a deletion below the put that followed it", () => {
    rejects(
      class extends SimpleTable {
        protected override drop(record: Parameters<SimpleTable["drop"]>[0]): void {
          const isHead = record !== undefined && this.find(record.key) === record.ref;
          if (record?.cause === undefined || isHead) super.drop(record);
        }
      },
    );
  });

  test("a table that compacts one event too many", () => {
    rejects(
      class extends SimpleTable {
        override compact(revision: number, recordsMax: number): boolean {
          return super.compact(revision, recordsMax + 1);
        }
      },
    );
  });
});

describe("the packed table", () => {
  test("holds forty thousand keys through growth, mass deletion and growth again", () => {
    const table = create();
    const count = 40_000;
    let revision = 1;
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < count; i++) table.put({ key: keyOf(i), value: bytesOf(8, i), revision: ++revision, lease: undefined });
      assert.equal(table.keys, count);
      assert.equal(table.count({ start: Uint8Array.of(0x80), end: undefined }), countAbove(count));
      let seen = 0;
      let last = -1;
      const cursor = table.cursor(ALL, "ascending");
      for (let ref = cursor.next(); ref !== 0; ref = cursor.next()) {
        const key = table.key(ref);
        const first = new DataView(key.buffer, key.byteOffset).getUint32(0);
        assert.ok(first > last);
        last = first;
        seen++;
      }
      assert.equal(seen, count);
      for (let i = 0; i < count; i += 7) assert.equal(table.value(table.find(keyOf(i)))[0], i & 0xff);
      for (let i = 0; i < count; i++) table.delete({ key: keyOf(i), revision: ++revision, cause: "request" });
      assert.equal(table.keys, 0);
      assert.equal(table.count(ALL), 0);
      table.publish(revision);
      while (!table.compact(revision, 1000));
      assert.equal(table.dataBytes, 0);
      assert.equal(table.historyBytes, 0);
      assert.equal(table.cursor(ALL, "descending").next(), 0);
    }
    // An eighth of the slabs or eight of them stay in the pool, and one open for each of the two sizes.
    assert.ok(table.memoryBytes < 24 * 1_048_576, `${table.memoryBytes} bytes are kept for nothing`);
  });

  test("takes no more memory for a key that is overwritten and compacted for ever", () => {
    const table = create();
    const value = bytesOf(1000, 1);
    let bytes = 0;
    for (let revision = 1; revision <= 50_000; revision++) {
      table.put({ key: keyOf(1), value, revision, lease: undefined });
      table.publish(revision);
      table.compact(revision - 1000, 10);
      if (revision === 5000) bytes = table.memoryBytes;
    }
    // The queue of events may hold a chunk more or less.
    assert.ok(table.memoryBytes <= bytes + 65_536);
    assert.equal(table.version(table.find(keyOf(1))), 50_000);
  });

  test("keeps revisions and versions above 32 bits", () => {
    const table = create();
    const high = 2 ** 53 - 10;
    const ref = table.restore({
      key: keyOf(1),
      value: bytesOf(3, 3),
      revision: high,
      createRevision: high - 1,
      version: high - 2,
      lease: "00000000ffffffff",
    });
    assert.deepEqual(
      [table.revision(ref), table.createRevision(ref), table.version(ref), table.lease(ref)],
      [high, high - 1, high - 2, "00000000ffffffff"],
    );
    const next = table.put({ key: keyOf(1), value: bytesOf(0, 0), revision: high + 1, lease: "ffffffff00000001" });
    assert.deepEqual([table.revision(next), table.createRevision(next), table.version(next)], [high + 1, high - 1, high - 1]);
    assert.equal(table.lease(next), "ffffffff00000001");
  });

  test("says beforehand when its address space is used up", () => {
    const table = createTable({ hashSeed: seed, slabsMax: 6 });
    let revision = 1;
    while (table.fits(300_000)) table.put({ key: keyOf(revision), value: bytesOf(300_000, 1), revision: ++revision, lease: undefined });
    assert.ok(table.keys >= 2 && table.keys < 6);
    for (let i = 1; i <= table.keys; i++) assert.equal(table.value(table.find(keyOf(i))).length, 300_000);
    assert.equal(create().fits(2 ** 29), false);
  });

  test("keeps data and events apart: a restored key has no event, and its deletion has one", () => {
    const table = create();
    table.restore({ key: keyOf(1), value: bytesOf(1, 1), revision: 5, createRevision: 2, version: 3, lease: undefined });
    assert.equal(table.endEvent, 0);
    assert.equal(table.historyBytes, 0);
    table.delete({ key: keyOf(1), revision: 6, cause: "expiry" });
    assert.equal(table.endEvent, 1);
    table.publish(6);
    assert.equal(table.compact(5, 10), true);
    assert.equal(table.previous(table.find(keyOf(1))) === 0, false);
    assert.equal(table.compact(6, 10), true);
    assert.equal(table.find(keyOf(1)), 0);
    assert.equal(table.dataBytes, 0);
  });

  test("stops where it is misused", () => {
    const table = create();
    const broken = /broken invariant/;
    assert.throws(() => table.put({ key: bytesOf(0, 0), value: bytesOf(1, 1), revision: 2, lease: undefined }), broken);
    assert.throws(() => table.delete({ key: keyOf(1), revision: 2, cause: "request" }), broken);
    table.put({ key: keyOf(1), value: bytesOf(1, 1), revision: 3, lease: undefined });
    assert.throws(() => table.put({ key: keyOf(1), value: bytesOf(1, 1), revision: 2, lease: undefined }), broken);
    assert.throws(() => table.put({ key: keyOf(1), value: bytesOf(1, 1), revision: 3, lease: "xyz" }), broken);
    assert.throws(
      () => table.restore({ key: keyOf(1), value: bytesOf(1, 1), revision: 3, createRevision: 3, version: 1, lease: undefined }),
      broken,
    );
    assert.throws(() => table.compact(3, 1), broken, "not published");
    assert.throws(() => table.event(7), broken);
    table.publish(3);
    assert.throws(() => table.publish(2), broken);
  });
});

function countAbove(count: number): number {
  let above = 0;
  for (let i = 0; i < count; i++) above += keyOf(i)[0]! >= 0x80 ? 1 : 0;
  return above;
}
