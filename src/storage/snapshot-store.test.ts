import assert from "node:assert/strict";
import { test } from "node:test";
import type { Storage } from "./storage.ts";
import { entry, meta, newSim, openSim, plain, readAll } from "./test/fixture.ts";
import { createMemoryStorage } from "./memory-storage.ts";

function bytesOf(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 7 + (at >> 8)) & 0xff;
  return bytes;
}

async function filled(storage: Storage, last = 10): Promise<Storage> {
  await storage.found(meta());
  for (let index = 1; index <= last; index++) await storage.append({ vote: undefined, entries: [entry(index, 1, 500)] });
  return storage;
}

async function commit(storage: Storage, options: { index: number; term: number; bytes?: Uint8Array; resetLog?: boolean }): Promise<void> {
  const writer = await storage.createSnapshot(meta(options.index, options.term));
  await writer.write(options.bytes ?? bytesOf(100));
  await writer.commit({ resetLog: options.resetLog ?? false });
}

for (const [name, open] of [
  ["on a simulated disk", async () => (await openSim(newSim())).storage],
  ["in memory", async () => createMemoryStorage()],
] as const) {
  test(`a snapshot is read back as it was written, from any offset, ${name}`, async () => {
    for (const length of [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700_001]) {
      const storage = await filled(await open());
      const bytes = bytesOf(length);
      const writer = await storage.createSnapshot(meta(4, 1));
      for (let at = 0; at < length; at += 99_991) await writer.write(bytes.subarray(at, at + 99_991));
      await writer.commit({ resetLog: false });
      const file = storage.openSnapshot()!;
      assert.equal(file.bytes, length);
      assert.deepEqual(file.meta, meta(4, 1));
      for (const offset of [0, 1, 262_143, 262_144, 300_000, length - 1, length]) {
        if (offset < 0 || offset > length) continue;
        const read = await file.read(offset, 1_000_000);
        assert.equal(read.byteLength, Math.min(256 * 1024, length - offset), `${length} at ${offset}`);
        assert.ok(Buffer.from(read).equals(bytes.subarray(offset, offset + read.byteLength)), `${length} at ${offset}`);
      }
      assert.ok(Buffer.from(await file.read(0, 10)).equals(bytes.subarray(0, 10)));
      file.release();
    }
  });

  test(`a snapshot lets the log be discarded, no further than it reaches, ${name}`, async () => {
    const storage = await filled(await open(), 40);
    await commit(storage, { index: 30, term: 1 });
    assert.equal(storage.firstIndex, 1);
    const before = storage.logBytes;
    await storage.discard(35);
    assert.ok(storage.firstIndex > 1 && storage.firstIndex <= 31, String(storage.firstIndex));
    assert.equal(storage.logBytes, before);
    assert.deepEqual(
      plain(await readAll(storage)),
      plain(Array.from({ length: 41 - storage.firstIndex }, (_, at) => entry(storage.firstIndex + at, 1, 500))),
    );
    await assert.rejects(storage.read({ from: storage.firstIndex - 1, through: 40, bytesMax: 1 }), { code: "INVALID_ARGUMENT" });
  });

  test(`a snapshot from elsewhere drops the log, ${name}`, async () => {
    const storage = await filled(await open());
    await storage.append({ vote: { term: 5, votedFor: "00000000000000cc" }, entries: [] });
    await commit(storage, { index: 100, term: 6, resetLog: true });
    assert.deepEqual([storage.firstIndex, storage.lastIndex], [101, 100]);
    await assert.rejects(storage.append({ vote: undefined, entries: [entry(100, 6)] }), { code: "INVALID_ARGUMENT" });
    await storage.append({ vote: undefined, entries: [entry(101, 6)] });
    assert.deepEqual(plain(await readAll(storage)), plain([entry(101, 6)]));
  });

  test(`a snapshot that the log does not contain is refused without a reset, ${name}`, async () => {
    const storage = await filled(await open());
    await assert.rejects(commit(storage, { index: 11, term: 1 }), { code: "INVALID_ARGUMENT" });
    await assert.rejects(commit(storage, { index: 5, term: 2 }), { code: "INVALID_ARGUMENT" });
    await commit(storage, { index: 5, term: 1 });
    await assert.rejects(commit(storage, { index: 4, term: 1 }), { code: "INVALID_ARGUMENT" });
    assert.equal(storage.openSnapshot()!.meta.lastIncludedIndex, 5);
    await storage.append({ vote: undefined, entries: [entry(11, 1)] });
  });

  test(`a new member begins with a snapshot instead of a founding, ${name}`, async () => {
    const storage = await open();
    await assert.rejects(storage.append({ vote: { term: 1, votedFor: undefined }, entries: [] }), { code: "INVALID_ARGUMENT" });
    await commit(storage, { index: 7, term: 3, resetLog: true });
    await storage.append({ vote: undefined, entries: [entry(8, 3)] });
    assert.deepEqual([storage.firstIndex, storage.lastIndex], [8, 8]);
    await assert.rejects(storage.found(meta()), { code: "INVALID_ARGUMENT" });
  });
}

test("a held snapshot outlives the next one, and goes when it is let go", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem);
  await filled(storage);
  const files = (): number => fileSystem.paths().filter((path) => path.endsWith(".snapshot")).length;
  await commit(storage, { index: 3, term: 1, bytes: bytesOf(1000) });
  const held = storage.openSnapshot()!;
  const heldAgain = storage.openSnapshot()!;
  await commit(storage, { index: 6, term: 1 });
  assert.equal(files(), 2);
  assert.ok(Buffer.from(await held.read(0, 2000)).equals(bytesOf(1000)));
  held.release();
  held.release();
  await commit(storage, { index: 8, term: 1 });
  await storage.saveIdentity(new Uint8Array(1));
  assert.equal(files(), 2);
  heldAgain.release();
  await storage.saveIdentity(new Uint8Array(1));
  assert.equal(files(), 1);
  await assert.rejects(held.read(0, 10), { code: "INVALID_ARGUMENT" });
});

test("an abandoned snapshot leaves nothing, and one that was not finished is removed at the next opening", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem);
  await filled(storage);
  const leftovers = (): readonly string[] => fileSystem.paths().filter((path) => path.endsWith(".tmp") || path.endsWith(".snapshot"));
  const first = await storage.createSnapshot(meta(3, 1));
  await first.write(bytesOf(300_000));
  await first.abandon();
  assert.deepEqual(leftovers(), []);
  await assert.rejects(first.write(bytesOf(1)), { code: "INVALID_ARGUMENT" });
  const second = await storage.createSnapshot(meta(3, 1));
  await second.write(bytesOf(300_000));
  assert.equal(leftovers().length, 1);
  fileSystem.endProcess();
  await openSim(fileSystem);
  assert.deepEqual(leftovers(), []);
});

test("rot in a snapshot is CORRUPT: at the opening in its ends, while reading in its slices", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem);
  await filled(storage);
  await commit(storage, { index: 5, term: 1, bytes: bytesOf(600_000) });
  const path = fileSystem.paths().find((name) => name.endsWith(".snapshot"))!;
  const { byteLength } = fileSystem.contents(path);
  for (let sample = 0; sample < 60; sample++) {
    const copy = fileSystem.clone();
    const offset = sample < 20 ? sample : sample < 36 ? byteLength - 1 - (sample - 20) : 1024 + sample * 9001;
    copy.flipBit(path, offset, sample % 8);
    const readWhole = async (): Promise<void> => {
      const opened = await openSim(copy);
      const file = opened.storage.openSnapshot()!;
      for (let at = 0; at < file.bytes; at += 262_144) await file.read(at, 262_144);
    };
    await assert.rejects(readWhole(), { code: "CORRUPT" }, `byte ${offset}`);
  }
  fileSystem.remove(path);
  await assert.rejects(openSim(fileSystem), { code: "CORRUPT" });
});
