import assert from "node:assert/strict";
import { test } from "node:test";
import { EngineError } from "../errors.ts";
import { entry, meta, newSim, openSim, plain, readAll } from "./test/fixture.ts";

test("a failed sync fails the storage for good, and nothing is tried again", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { background: false });
  await storage.found(meta());
  await storage.append({ vote: undefined, entries: [entry(1, 1)] });
  fileSystem.fail({ operation: "dataSync", errno: "EIO" });
  const writes = [entry(2, 1), entry(3, 1), entry(4, 1)].map((one) => storage.append({ vote: undefined, entries: [one] }));
  const settled = await Promise.allSettled(writes);
  for (const outcome of settled) assert.ok(outcome.status === "rejected" && EngineError.is(outcome.reason, "DISK_FAILED"));
  const failure = await storage.failed;
  assert.ok(EngineError.is(failure, "DISK_FAILED"));
  assert.deepEqual([failure.details.operation, failure.details.errno], ["dataSync", "EIO"]);
  const { dataSync, write } = fileSystem.counts;
  await assert.rejects(storage.append({ vote: undefined, entries: [entry(5, 1)] }), failure);
  await assert.rejects(storage.saveIdentity(new Uint8Array(3)), failure);
  await assert.rejects(storage.createSnapshot(meta(1, 1)), failure);
  assert.deepEqual([fileSystem.counts.dataSync, fileSystem.counts.write], [dataSync, write]);
  await storage.close();
});

test("what a failed sync left in the cache is on the disk before a reopened storage answers with it", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { background: false });
  await storage.found(meta());
  await storage.append({ vote: undefined, entries: [entry(1, 1)] });
  fileSystem.fail({ operation: "dataSync", errno: "EIO" });
  await assert.rejects(storage.append({ vote: undefined, entries: [entry(2, 1)] }), { code: "DISK_FAILED" });

  // Had power been lost now, the entry would be gone: it never was on the disk.
  const lost = fileSystem.durableCopy();
  assert.deepEqual(plain(await readAll((await openSim(lost, { background: false })).storage)), plain([entry(1, 1)]));

  fileSystem.endProcess();
  const reopened = await openSim(fileSystem, { background: false });
  const seen = plain(await readAll(reopened.storage));
  assert.deepEqual(seen, plain([entry(1, 1), entry(2, 1)]));
  fileSystem.crash({ sector: () => "old", entry: () => false });
  const after = await openSim(fileSystem, { background: false });
  assert.deepEqual(plain(await readAll(after.storage)), seen);
});

test("a full disk under a snapshot gives up the snapshot, and the log goes on", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { background: false });
  await storage.found(meta());
  await storage.append({ vote: undefined, entries: [entry(1, 1), entry(2, 1)] });
  fileSystem.fail({ operation: "write", errno: "ENOSPC", pathPart: ".tmp", after: 2 });
  const writer = await storage.createSnapshot(meta(1, 1));
  await writer.write(new Uint8Array(1000));
  await assert.rejects(writer.commit({ resetLog: false }), { code: "NO_SPACE" });
  assert.deepEqual(
    fileSystem.paths().filter((path) => path.includes("tmp") || path.includes("snapshot")),
    [],
  );
  await storage.append({ vote: undefined, entries: [entry(3, 1)] });
  assert.equal(storage.openSnapshot(), undefined);
  const second = await storage.createSnapshot(meta(3, 1));
  await second.commit({ resetLog: false });
  assert.equal(storage.openSnapshot()!.meta.lastIncludedIndex, 3);
});

test("an opening that meets a failing disk rejects, at whichever call", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem);
  await storage.found(meta());
  await storage.saveIdentity(new Uint8Array([1]));
  await storage.append({ vote: undefined, entries: [entry(1, 1)] });
  for (const operation of ["create", "write", "dataSync", "rename", "remove", "syncDirectory", "read"] as const) {
    const copy = fileSystem.clone();
    copy.fail({ operation, errno: "EIO" });
    await assert.rejects(openSim(copy), { code: "DISK_FAILED" }, operation);
  }
});

test("a rotten identity is CORRUPT, a missing one is none", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem);
  await storage.saveIdentity(Buffer.from("who I am"));
  const path = fileSystem.paths().find((name) => name.endsWith("/identity"))!;
  for (let offset = 0; offset < fileSystem.contents(path).byteLength; offset++) {
    const copy = fileSystem.clone();
    copy.flipBit(path, offset, offset % 8);
    await assert.rejects(openSim(copy), { code: "CORRUPT" }, `byte ${offset}`);
    const cut = fileSystem.clone();
    cut.truncate(path, offset);
    await assert.rejects(openSim(cut), { code: "CORRUPT" }, `cut at ${offset}`);
  }
});
