import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, test } from "node:test";
import { EngineError } from "../errors.ts";
import { openDiskStorage } from "./disk-storage.ts";
import type { DiskStorageOptions } from "./disk-storage.ts";
import { entry, meta, plain, readAll } from "./test/fixture.ts";

const root = mkdtempSync(`${tmpdir()}/d-engine-thread-`);
after(() => rmSync(root, { recursive: true, force: true }));
let directories = 0;
const newDirectory = (): string => `${root}/d${directories++}/made`;

for (const thread of ["worker", "inline"] as const) {
  const options = (directory: string): DiskStorageOptions => ({ directory, unsafeNoFsync: false, thread, segmentBytes: 128 * 1024 });

  test(`what was written is there after closing and opening again, ${thread}`, async () => {
    const directory = newDirectory();
    const storage = await openDiskStorage(options(directory));
    assert.deepEqual(storage.recovered, { identity: undefined, log: undefined });
    await storage.saveIdentity(Buffer.from("me"));
    await storage.found(meta());
    const entries = Array.from({ length: 200 }, (_, at) => entry(at + 1, 1, 1000));
    await Promise.all(entries.map((one) => storage.append({ vote: undefined, entries: [one] })));
    await storage.append({ vote: { term: 4, votedFor: "00000000000000aa" }, entries: [] });
    const writer = await storage.createSnapshot(meta(120, 1));
    await writer.write(new Uint8Array(400_000).fill(7));
    await writer.commit({ resetLog: false });
    await storage.discard(120);
    assert.ok(storage.syncMs > 0 && storage.logBytes > 0 && storage.diskBytes > 400_000);
    await storage.close();

    const progress: number[] = [];
    const reopened = await openDiskStorage({ ...options(directory), onProgress: ({ bytes, bytesMax }) => progress.push(bytes / bytesMax) });
    assert.equal(Buffer.from(reopened.recovered.identity!).toString(), "me");
    assert.deepEqual(reopened.recovered.log!.vote, { term: 4, votedFor: "00000000000000aa" });
    assert.deepEqual(plain(await readAll(reopened)), plain(entries.slice(reopened.firstIndex - 1)));
    const file = reopened.openSnapshot()!;
    assert.ok(Buffer.from(await file.read(262_144, 1000)).equals(Buffer.alloc(1000, 7)));
    assert.equal(progress.at(-1), 1);
    await reopened.close();
  });

  test(`a directory in use is refused, and its holder goes on, ${thread}`, async () => {
    const directory = newDirectory();
    const storage = await openDiskStorage(options(directory));
    for (const other of ["worker", "inline"] as const) {
      const error = await openDiskStorage({ ...options(directory), thread: other }).catch((thrown: unknown) => thrown);
      assert.ok(EngineError.is(error, "IN_USE"), String(error));
    }
    await storage.found(meta());
    await storage.append({ vote: undefined, entries: [entry(1, 1)] });
    await storage.close();
  });

  test(`a corrupt file keeps it from opening, and the lock is let go, ${thread}`, async () => {
    const directory = newDirectory();
    const storage = await openDiskStorage(options(directory));
    await storage.close();
    writeFileSync(`${directory}/identity`, "no identity at all");
    for (let attempt = 0; attempt < 2; attempt++) {
      await assert.rejects(openDiskStorage(options(directory)), { code: "CORRUPT" });
    }
    rmSync(`${directory}/identity`);
    await (await openDiskStorage(options(directory))).close();
  });

  test(`a directory that cannot be made is DISK_FAILED, ${thread}`, async () => {
    writeFileSync(`${root}/file-${thread}`, "");
    await assert.rejects(openDiskStorage(options(`${root}/file-${thread}/data`)), { code: "DISK_FAILED" });
  });
}

test("a thread that ends by itself fails the storage, and closing still settles", async () => {
  const ending = new URL(
    `data:text/javascript,${encodeURIComponent(`
      import { parentPort } from "node:worker_threads";
      parentPort.on("message", ({ id, kind }) => {
        if (kind === "open") parentPort.postMessage({ id, value: { identity: undefined, log: undefined, snapshot: undefined } });
        else process.exit(3);
      });
      parentPort.postMessage({ kind: "ready" });`)}`,
  );
  const storage = await openDiskStorage({ directory: newDirectory(), unsafeNoFsync: false, thread: "worker", workerUrl: ending });
  await assert.rejects(storage.found(meta()), { code: "DISK_FAILED" });
  assert.equal((await storage.failed).code, "DISK_FAILED");
  await storage.close();
});

test("a thread that cannot start is DISK_FAILED", async () => {
  const broken = new URL("data:text/javascript,throw new Error('broken')");
  await assert.rejects(openDiskStorage({ directory: newDirectory(), unsafeNoFsync: false, thread: "worker", workerUrl: broken }), {
    code: "DISK_FAILED",
  });
});
