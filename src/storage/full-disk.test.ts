/** A disk that has no room: the log lives on what it kept for that, says so, and comes back by itself; and nothing acknowledged is lost. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Entry } from "../core/raft/entry.ts";
import { EngineError } from "../errors.ts";
import { SimFileSystem, type SimOperation } from "../testing/sim-file-system.ts";
import type { Storage } from "./storage.ts";
import { DIRECTORY, SEGMENT_BYTES, entry, meta, newSim, openSim, plain, readAll } from "./test/fixture.ts";

const SPARE = `${DIRECTORY}/spare`;

/** A founded log with a whole spare, on a disk that has room for `freeBytes` more. */
async function logWithSpare(freeBytes?: number): Promise<{ fileSystem: SimFileSystem; storage: Storage; entries: Entry[] }> {
  const fileSystem = newSim();
  const { storage, port } = await openSim(fileSystem);
  await storage.found(meta());
  const entries = [entry(1, 1)];
  await storage.append({ vote: { term: 1, votedFor: "00000000000000aa" }, entries });
  while (port.server.background(false));
  assert.equal(fileSystem.contents(SPARE).byteLength, SEGMENT_BYTES, "a spare is kept before anything needs it");
  if (freeBytes !== undefined) fileSystem.limit(freeBytes);
  return { fileSystem, storage, entries };
}

/** Appends one after another until one is refused, at most `count`: the error. */
async function fill(storage: Storage, entries: Entry[], count: number, payloadBytes = 400): Promise<unknown> {
  for (let i = 0; i < count; i++) {
    const next = entry(entries.length + 1, 1, payloadBytes);
    try {
      await storage.append({ vote: undefined, entries: [next] });
    } catch (error) {
      return error;
    }
    entries.push(next);
  }
  return undefined;
}

async function until(holds: () => boolean, step: () => Promise<unknown>): Promise<void> {
  for (let i = 0; i < 1_000 && !holds(); i++) await step();
  assert.ok(holds());
}

test("the first ENOSPC is a state and no failure: writes go on in the spare, and makeRoom ends it when there is room", async () => {
  const { fileSystem, storage, entries } = await logWithSpare(0);
  let changes = 0;
  storage.onFullChange(() => changes++);
  await until(
    () => storage.full,
    () => fill(storage, entries, 1),
  );
  assert.equal(changes, 1);
  const reserve = storage.reserveBytes;
  assert.ok(reserve >= SEGMENT_BYTES / 2, `${reserve} bytes are left when it is found out`);
  assert.equal(await storage.makeRoom(), false);
  assert.ok(storage.full);
  assert.equal(await fill(storage, entries, 6), undefined, "what must be written is");
  await storage.append({ vote: { term: 2, votedFor: undefined }, entries: [] });
  assert.ok(storage.reserveBytes < reserve);
  fileSystem.limit(undefined);
  await until(
    () => !storage.full,
    () => storage.makeRoom(),
  );
  assert.equal(changes, 2);
  assert.ok(storage.reserveBytes >= SEGMENT_BYTES, "a whole spare again");
  assert.equal(await fill(storage, entries, 60), undefined);
  fileSystem.crash();
  const again = await openSim(fileSystem);
  assert.deepEqual(plain(await readAll(again.storage)), plain(entries));
});

test("a reserve that is used up fails the storage with NO_SPACE; with room it opens again and has everything acknowledged", async () => {
  const { fileSystem, storage, entries } = await logWithSpare(0);
  const error = await fill(storage, entries, 200);
  assert.ok(EngineError.is(error, "NO_SPACE") && error.details.of === "disk" && error.mayHaveApplied, String(error));
  assert.equal((await storage.failed).code, "NO_SPACE");
  await assert.rejects(storage.append({ vote: undefined, entries: [entry(entries.length + 1, 1)] }), { code: "NO_SPACE" });
  await storage.close();
  fileSystem.endProcess();
  fileSystem.limit(undefined);
  const again = await openSim(fileSystem);
  const found = await readAll(again.storage);
  assert.deepEqual(plain(found.slice(0, entries.length)), plain(entries));
  assert.ok(found.length <= entries.length + 1, "at most the write that was refused with mayHaveApplied");
});

/** A full disk whose log gives room, in which a snapshot is written and named; then the log goes, and there is room again. */
async function freeByNaming(fileSystem: SimFileSystem, storage: Storage, entries: Entry[]): Promise<void> {
  assert.equal(await fill(storage, entries, 2, 60), undefined);
  await storage.giveRoom();
  const named = storage.lastIndex;
  assert.equal(await fill(storage, entries, 2, 60), undefined);
  const writer = await storage.createSnapshot(meta(named, 1));
  await writer.write(new Uint8Array(20));
  await writer.commit({ resetLog: false });
  await storage.discard(named);
  while (await storage.makeRoom());
  assert.equal(storage.full, false);
  assert.ok(storage.firstIndex > named - 5, "the log before it is gone");
  assert.equal(await fill(storage, entries, 2), undefined);
  assert.ok(fileSystem.paths().includes(SPARE), "a spare is kept again");
}

/** Of several segments, found full while it has a spare that is not whole, or none. */
async function fullLog(hasSpare: boolean): Promise<{ fileSystem: SimFileSystem; storage: Storage; entries: Entry[] }> {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { segmentBytes: hasSpare ? 1 << 20 : SEGMENT_BYTES });
  await storage.found(meta());
  const entries: Entry[] = [];
  await fill(storage, entries, 24, hasSpare ? 40_000 : 400);
  if (hasSpare) fileSystem.limit(600 << 10);
  else fileSystem.limit(0);
  await until(
    () => storage.full,
    () => fill(storage, entries, 1, hasSpare ? 40_000 : 400),
  );
  return { fileSystem, storage, entries };
}

for (const hasSpare of [true, false]) {
  const what = hasSpare ? "a spare" : "zeros alone";
  test(`a log on a full disk that has ${what} gives a quarter of its room, once, and what was in it goes when it is named`, async () => {
    const { fileSystem, storage, entries } = await fullLog(hasSpare);
    const before = storage.reserveBytes;
    await storage.giveRoom();
    const after = storage.reserveBytes;
    assert.ok(after < before && after >= before / 4, `${before} bytes, then ${after}`);
    await storage.giveRoom();
    assert.ok(storage.reserveBytes >= after - 1024, "no more is given");
    await storage.close();
    fileSystem.endProcess();
    const again = await openSim(fileSystem, { background: false });
    assert.deepEqual(plain(await readAll(again.storage)), plain(entries));
    const other = await fullLog(hasSpare);
    await freeByNaming(other.fileSystem, other.storage, other.entries);
  });

  test(`room is given and made of ${what} on a disk that loses power at any file call: what was acknowledged is there`, async () => {
    const whole = await fullLog(hasSpare);
    const began = whole.fileSystem.operations;
    await freeByNaming(whole.fileSystem, whole.storage, whole.entries);
    const operations = whole.fileSystem.operations - began;
    assert.ok(operations > 20, `${operations} calls`);
    for (let at = 0; at < operations; at++) {
      // oxlint-disable-next-line no-await-in-loop -- one disk after another
      await crashAt(at, await fullLog(hasSpare));
    }
  });
}

async function crashAt(
  at: number,
  { fileSystem, storage, entries }: { readonly fileSystem: SimFileSystem; readonly storage: Storage; readonly entries: Entry[] },
): Promise<void> {
  fileSystem.crashAfterOperations(at);
  // What it waits for then is never answered.
  void freeByNaming(fileSystem, storage, entries).catch(() => {});
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve));
  const acknowledged = plain(entries);
  fileSystem.crash();
  fileSystem.limit(undefined);
  const again = await openSim(fileSystem);
  const { firstIndex, lastIndex } = again.storage;
  const found = plain(await readAll(again.storage));
  assert.deepEqual(found.slice(0, acknowledged.length - firstIndex + 1), acknowledged.slice(firstIndex - 1), `crash at ${at}`);
  await again.storage.append({ vote: undefined, entries: [entry(lastIndex + 1, 1)] });
}

test("a node whose disk is full can be stopped and started: the spare holds what recovery writes anew", async () => {
  const { fileSystem, storage, entries } = await logWithSpare(0);
  assert.equal(await fill(storage, entries, 3), undefined);
  await storage.close();
  fileSystem.endProcess();
  fileSystem.limit(0);
  const again = await openSim(fileSystem, { background: false });
  assert.ok(again.storage.full || again.storage.reserveBytes > 0);
  assert.deepEqual(plain(await readAll(again.storage)), plain(entries));
  // What the old segment took is free now, and makes the next spare.
  while (await again.storage.makeRoom());
  assert.equal(await fill(again.storage, entries, 3), undefined);
});

test("a group that its file has whole, though its sync said ENOSPC, counts only where it was written anew", async () => {
  const { fileSystem, storage, entries } = await logWithSpare();
  fileSystem.fail({ operation: "dataSync", errno: "ENOSPC" });
  assert.equal(await fill(storage, entries, 1), undefined);
  assert.ok(storage.full);
  assert.equal(await fill(storage, entries, 2), undefined);
  await storage.close();
  // The page cache still has the first copy.
  fileSystem.endProcess();
  const again = await openSim(fileSystem);
  assert.deepEqual(plain(await readAll(again.storage)), plain(entries));
});

test("a spare that was not finished is gone on with", async () => {
  const fileSystem = newSim();
  const first = await openSim(fileSystem, { segmentBytes: 1 << 20 });
  await first.storage.found(meta());
  // The zeros ahead, and two slices of four.
  while (!fileSystem.paths().includes(SPARE) || fileSystem.contents(SPARE).byteLength < 512 << 10) first.port.server.background(false);
  await first.storage.close();
  fileSystem.crash();
  const again = await openSim(fileSystem, { segmentBytes: 1 << 20, background: false });
  assert.equal(fileSystem.contents(SPARE).byteLength, 512 << 10);
  while (again.port.server.background(false));
  assert.equal(fileSystem.contents(SPARE).byteLength, 1 << 20);
});

test("a snapshot that meets a full disk is abandoned, its file is gone, and the log is not even full", async () => {
  const { fileSystem, storage, entries } = await logWithSpare(10_000);
  const before = fileSystem.paths();
  const writer = await storage.createSnapshot(meta(1, 1));
  await assert.rejects(
    (async () => {
      await writer.write(new Uint8Array(300_000));
      await writer.commit({ resetLog: false });
    })(),
    { code: "NO_SPACE" },
  );
  await writer.abandon();
  assert.deepEqual(fileSystem.paths(), before);
  assert.equal(await fill(storage, entries, 3), undefined);
  assert.ok(!storage.full);
});

/** A life that rolls segments, makes a snapshot, discards and resets; what is acknowledged is noted. Ends at the first refusal. */
async function life(storage: Storage, acknowledged: Entry[]): Promise<void> {
  let failed = await fill(storage, acknowledged, 12, 700);
  if (failed !== undefined) return;
  try {
    const writer = await storage.createSnapshot(meta(5, 1));
    await writer.write(new Uint8Array(1_000));
    await writer.commit({ resetLog: false });
    await storage.discard(5);
  } catch (error) {
    assert.ok(EngineError.is(error), String(error));
  }
  failed = await fill(storage, acknowledged, 16, 700);
  if (failed === undefined) await fill(storage, acknowledged, 4, 6_000);
}

const OPERATIONS: readonly SimOperation[] = ["create", "write", "dataSync", "rename", "syncDirectory"];

describe("a fault at every single file call", () => {
  for (const errno of ["ENOSPC", "EIO"] as const) {
    for (const operation of OPERATIONS) {
      for (const times of [1, Infinity]) {
        test(`${errno} at each ${operation}, ${times === 1 ? "once" : "from then on"}: full or failed, and nothing acknowledged is lost`, async () => {
          for (let after = 0; after < 400; after++) {
            const { fileSystem, storage, entries } = await logWithSpare();
            const before = fileSystem.counts[operation];
            fileSystem.fail({ operation, errno, after, times });
            await life(storage, entries);
            if (fileSystem.counts[operation] - before <= after) return;
            const failure = await Promise.race([storage.failed, Promise.resolve(undefined)]);
            if (failure !== undefined) assert.equal(failure.code, errno === "EIO" ? "DISK_FAILED" : "NO_SPACE");
            else assert.ok(errno === "ENOSPC", "EIO ends it");
            await storage.close();
            if (after % 2 === 0) fileSystem.crash();
            else fileSystem.endProcess();
            fileSystem.clearFaults();
            const again = await openSim(fileSystem);
            const firstIndex = again.storage.firstIndex;
            const found = await readAll(again.storage);
            const wanted = entries.slice(firstIndex - 1);
            assert.deepEqual(plain(found.slice(0, wanted.length)), plain(wanted), `${operation} ${after}`);
            assert.equal(await fill(again.storage, [...entries.slice(0, firstIndex - 1), ...found], 2), undefined);
          }
          assert.fail("the life has fewer calls than that");
        });
      }
    }
  }

  test("whatever room a disk has: a prefix of the writes is acknowledged, and is there", async () => {
    for (let free = 0; free <= 40_960; free += 512) {
      const { fileSystem, storage, entries } = await logWithSpare(free);
      await life(storage, entries);
      await storage.close();
      if (free % 1_024 === 0) fileSystem.crash();
      else fileSystem.endProcess();
      fileSystem.limit(undefined);
      const again = await openSim(fileSystem);
      const found = await readAll(again.storage);
      const wanted = entries.slice(again.storage.firstIndex - 1);
      assert.deepEqual(plain(found.slice(0, wanted.length)), plain(wanted), `${free} bytes free`);
    }
  });
});
