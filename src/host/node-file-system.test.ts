import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, test } from "node:test";
import { FileError } from "./file-system.ts";
import { createNodeFileSystem } from "./node-file-system.ts";

const root = mkdtempSync(`${tmpdir()}/d-engine-files-`);
after(() => rmSync(root, { recursive: true, force: true }));
const files = createNodeFileSystem();

test("a file is written, synced, read in part, and read short at its end", () => {
  const file = files.open(`${root}/a`, "create");
  file.write(Buffer.from("0123456789"), 0);
  file.write(Buffer.from("xyz"), 8);
  file.dataSync();
  const into = new Uint8Array(6);
  assert.equal(file.read(into, 2), 6);
  assert.equal(Buffer.from(into).toString(), "234567");
  assert.equal(file.read(into, 8), 3);
  assert.equal(file.read(into, 100), 0);
  assert.equal(file.size(), 11);
  file.close();
  file.close();
});

test("directories are made with those above, listed in order, renamed in and removed from", () => {
  const directory = `${root}/x/y/z`;
  files.makeDirectory(directory);
  files.makeDirectory(directory);
  for (const name of ["b", "a", "c"]) files.open(`${directory}/${name}`, "create").close();
  files.rename(`${directory}/a`, `${directory}/c`);
  files.remove(`${directory}/nothing`);
  files.syncDirectory(directory);
  assert.deepEqual(files.list(directory), ["b", "c"]);
  assert.equal(files.exists(`${directory}/a`), false);
  assert.equal(files.exists(`${directory}/b`), true);
});

test("every failure is a FileError that says what the system said", () => {
  const failures: readonly [errno: string, run: () => void][] = [
    ["ENOENT", () => files.open(`${root}/none`, "read")],
    ["ENOENT", () => files.open(`${root}/none`, "write")],
    ["EEXIST", () => files.open(`${root}/a`, "create")],
    ["ENOENT", () => files.list(`${root}/none`)],
    ["ENOENT", () => files.rename(`${root}/none`, `${root}/other`)],
    ["ENOENT", () => files.syncDirectory(`${root}/none`)],
    ["ENOTDIR", () => files.makeDirectory(`${root}/a/b`)],
    ["EEXIST", () => files.makeDirectory(`${root}/a`)],
    ["EBADF", () => files.open(`${root}/a`, "read").write(new Uint8Array(1), 0)],
  ];
  for (const [errno, run] of failures) assert.throws(run, (error) => error instanceof FileError && error.errno === errno, errno);
});

test("a directory where the system makes none is refused, not tried for ever", { skip: process.platform !== "linux" }, () => {
  assert.throws(
    () => files.makeDirectory("/proc/none/below"),
    (error) => error instanceof FileError && error.errno === "ENOENT",
  );
});

test("without syncing the calls are the same", () => {
  const relaxed = createNodeFileSystem({ sync: false });
  const file = relaxed.open(`${root}/relaxed`, "create");
  file.write(new Uint8Array(3), 0);
  file.dataSync();
  relaxed.syncDirectory(`${root}/none`);
  assert.equal(file.size(), 3);
  file.close();
});
