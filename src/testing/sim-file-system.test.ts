import assert from "node:assert/strict";
import { test } from "node:test";
import { FileError } from "../host/file-system.ts";
import { SimFileSystem, SimulatedCrash } from "./sim-file-system.ts";

function newDisk(seed = 1): SimFileSystem {
  let state = seed;
  const random = { uint32: (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 4 };
  const disk = new SimFileSystem({ random });
  disk.makeDirectory("/d");
  return disk;
}

const text = (disk: SimFileSystem, path: string): string => Buffer.from(disk.contents(path)).toString();

test("what was synced survives, with its synced name", () => {
  const disk = newDisk();
  const file = disk.open("/d/a", "create");
  file.write(Buffer.from("hello"), 0);
  file.dataSync();
  disk.syncDirectory("/d");
  disk.crash({ sector: () => "garbage", entry: () => false });
  assert.equal(text(disk, "/d/a"), "hello");
});

test("a synced file whose name was not synced may be gone", () => {
  for (const kept of [true, false]) {
    const disk = newDisk();
    const file = disk.open("/d/a", "create");
    file.write(Buffer.from("hello"), 0);
    file.dataSync();
    disk.crash({ entry: () => kept });
    assert.deepEqual(disk.paths(), kept ? ["/d/a"] : []);
  }
});

test("each unsynced sector is old, new or garbage by itself", () => {
  const disk = newDisk();
  const file = disk.open("/d/a", "create");
  file.write(new Uint8Array(2048).fill(1), 0);
  file.dataSync();
  disk.syncDirectory("/d");
  file.write(new Uint8Array(2048).fill(2), 0);
  assert.equal(disk.unsyncedSectors, 4);
  disk.crash({ sector: (_path, sector) => (["old", "new", "garbage", "new"] as const)[sector]! });
  const bytes = disk.contents("/d/a");
  assert.ok(bytes.subarray(0, 512).every((byte) => byte === 1));
  assert.ok(bytes.subarray(512, 1024).every((byte) => byte === 2));
  assert.ok(!bytes.subarray(1024, 1536).every((byte) => byte === 1 || byte === 2));
  assert.ok(bytes.subarray(1536).every((byte) => byte === 2));
});

test("a write within a sector keeps its neighbours", () => {
  const disk = newDisk();
  const file = disk.open("/d/a", "create");
  file.write(Buffer.from("aaaaaaaaaa"), 508);
  file.write(Buffer.from("bb"), 511);
  const into = new Uint8Array(20);
  assert.equal(file.read(into, 506), 12);
  assert.equal(Buffer.from(into.subarray(0, 12)).toString(), "\0\0aaabbaaaaa");
  assert.equal(file.size(), 518);
});

test("a rename is done or not, and never half", () => {
  const outcomes = new Set<string>();
  for (let seed = 0; seed < 40; seed++) {
    const disk = newDisk(seed);
    for (const [name, content] of [
      ["/d/a", "old"],
      ["/d/b", "new"],
    ] as const) {
      const file = disk.open(name, "create");
      file.write(Buffer.from(content), 0);
      file.dataSync();
    }
    disk.syncDirectory("/d");
    disk.rename("/d/b", "/d/a");
    disk.crash();
    outcomes.add(
      disk
        .paths()
        .map((path) => `${path}=${text(disk, path)}`)
        .join(),
    );
  }
  assert.deepEqual([...outcomes].sort(), ["/d/a=new", "/d/a=old,/d/b=new"]);
});

test("after a failed sync the bytes read new until power is lost, then old, whatever is synced after", () => {
  const disk = newDisk();
  const file = disk.open("/d/a", "create");
  file.write(Buffer.from("old!"), 0);
  file.dataSync();
  disk.syncDirectory("/d");
  file.write(Buffer.from("new!"), 0);
  disk.fail({ operation: "dataSync", errno: "EIO" });
  assert.throws(
    () => file.dataSync(),
    (error) => error instanceof FileError && error.errno === "EIO",
  );
  assert.equal(text(disk, "/d/a"), "new!");
  file.dataSync();
  disk.endProcess();
  assert.equal(text(disk, "/d/a"), "new!");
  disk.crash({ sector: () => "new" });
  assert.equal(text(disk, "/d/a"), "old!");
});

test("a planned fault meets the call it describes", () => {
  const disk = newDisk();
  disk.fail({ operation: "write", errno: "ENOSPC", after: 1, times: 2, pathPart: "b" });
  const a = disk.open("/d/a", "create");
  const b = disk.open("/d/b", "create");
  a.write(new Uint8Array(1), 0);
  b.write(new Uint8Array(1), 0);
  assert.throws(() => b.write(new Uint8Array(1), 0), { errno: "ENOSPC" });
  a.write(new Uint8Array(1), 0);
  assert.throws(() => b.write(new Uint8Array(1), 0), { errno: "ENOSPC" });
  b.write(new Uint8Array(1), 0);
});

test("a planned crash falls between two operations, and nothing works until power is back", () => {
  const disk = newDisk();
  disk.crashAfterOperations(2);
  const file = disk.open("/d/a", "create");
  file.write(Buffer.from("x"), 0);
  assert.equal(disk.operations, 2);
  assert.throws(() => file.dataSync(), SimulatedCrash);
  assert.throws(() => disk.exists("/d/a"), SimulatedCrash);
  disk.crash({ entry: () => true, sector: () => "new" });
  assert.equal(text(disk, "/d/a"), "x");
  assert.throws(() => file.write(Buffer.from("y"), 0), SimulatedCrash);
});

test("the same seed decides the same", () => {
  const outcome = (seed: number): string => {
    const disk = newDisk(seed);
    const file = disk.open("/d/a", "create");
    disk.syncDirectory("/d");
    file.write(new Uint8Array(20_000).fill(9), 0);
    disk.crash();
    return Buffer.from(disk.contents("/d/a")).toString("hex");
  };
  assert.equal(outcome(5), outcome(5));
  assert.notEqual(outcome(5), outcome(6));
});

test("a copy is another disk, and a durable copy has nothing unsynced", () => {
  const disk = newDisk();
  const file = disk.open("/d/a", "create");
  file.write(Buffer.from("one"), 0);
  file.dataSync();
  disk.syncDirectory("/d");
  file.write(Buffer.from("two"), 0);
  const copy = disk.clone();
  assert.equal(text(disk.durableCopy(), "/d/a"), "one");
  copy.flipBit("/d/a", 0, 0);
  assert.equal(text(disk, "/d/a"), "two");
  assert.equal(text(copy, "/d/a"), "uwo");
  disk.wipe();
  assert.deepEqual(disk.paths(), []);
  assert.equal(text(copy, "/d/a"), "uwo");
});
