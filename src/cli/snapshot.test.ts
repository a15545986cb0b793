/** Backups as files, on the command line: shown, restored, refused. */
import assert from "node:assert/strict";
import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { Engine } from "../index.ts";
import { EXIT } from "./exit.ts";
import { run } from "./test/world.ts";

test("a backup's file is shown, restored and served from again", async (context) => {
  const directory = mkdtempSync(path.join(tmpdir(), "d-engine-cli-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "backup");
  const source = await Engine.open({ dataDir: "memory:", thread: "inline" });
  await source.put("a", "1");
  await source.put("b", "2");
  await pipeline(source.maintenance.backup(), createWriteStream(file));
  const { clusterId } = source;
  await source.close();

  const shown = await run(["snapshot", "status", file, "-o", "json"]);
  const { digest, ...found } = JSON.parse(shown.stdout) as Readonly<Record<string, unknown>>;
  assert.deepEqual(found, { revision: 3, keys: 2, bytes: readFileSync(file).byteLength, clusterId, verified: true });
  assert.match(String(digest), /^[0-9a-f]{64}$/);
  assert.match(
    (await run(["snapshot", "status", file])).stdout,
    /^revision +3\nkeys +2\nsize +.*\ncluster +[0-9a-f]{16}\nverified +yes\n$/,
  );

  const dataDir = path.join(directory, "data");
  assert.equal((await run(["snapshot", "restore", file])).code, EXIT.usage);
  const restored = await run(["snapshot", "restore", file, "--data-dir", dataDir, "--name", "n1", "--bump-revision", "10"]);
  assert.deepEqual([restored.code, restored.stdout], [EXIT.done, `2 keys at revision 13 restored in ${dataDir}\n`]);
  const engine = await Engine.open({ dataDir, name: "n1", thread: "inline" });
  assert.equal((await engine.get("b"))?.text(), "2");
  await engine.close();

  const again = await run(["snapshot", "restore", file, "--data-dir", dataDir]);
  assert.deepEqual([again.code, again.stdout], [EXIT.usage, ""]);
  assert.match(again.stderr, /not empty/);
  const list = "n1=http://127.0.0.1:1,n2=http://127.0.0.1:2";
  const other = path.join(directory, "other");
  assert.equal((await run(["snapshot", "restore", file, "--data-dir", other, "--name", "n3", "--initial-cluster", list])).code, EXIT.usage);
  assert.equal((await run(["snapshot", "restore", file, "--data-dir", other, "--name", "n2", "--initial-cluster", list])).code, EXIT.done);

  assert.equal((await run(["snapshot", "status", path.join(directory, "none")])).code, EXIT.usage);
  assert.equal((await run(["snapshot", "status", directory])).code, EXIT.usage);
  const bytes = readFileSync(file);
  bytes[200]! ^= 1;
  writeFileSync(file, bytes);
  for (const args of [
    ["snapshot", "status", file],
    ["snapshot", "restore", file, "--data-dir", path.join(directory, "third")],
  ]) {
    const refused = await run(args);
    assert.deepEqual([refused.code, refused.stdout], [EXIT.refused, ""]);
    assert.match(refused.stderr, /corrupt at byte \d+/);
  }
  assert.ok(!existsSync(path.join(directory, "third")));
});
