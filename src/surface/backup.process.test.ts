/** A backup of an engine in threads of its own, on a real disk, while it is written to: what is restored is what a model says of that revision. */
import assert from "node:assert/strict";
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { Engine } from "d-engine";
import { inspectBackup } from "../client/restore.ts";

const WRITERS = 16;
const KEYS = 3_000;

/** A write that was acknowledged. */
interface Written {
  readonly revision: number;
  readonly key: string;
  /** undefined: deleted. */
  readonly value: string | undefined;
}

test("a backup under write load restores to the state of its revision", { timeout: 120_000 }, async (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), "d-engine-backup-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "backup");
  const source = await Engine.open({ dataDir: path.join(directory, "source"), history: { ms: 0, revisionsMin: 0, revisionsMax: 2_000 } });
  const written: Written[] = [];
  let stopped = false;
  const writer = async (seed: number): Promise<void> => {
    let random = seed * 7_919 + 1;
    while (!stopped) {
      random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
      const key = `key/${(random >>> 8) % KEYS}`;
      if ((random >>> 4) % 8 === 0) {
        const { deleted, revision } = await source.delete(key);
        if (deleted > 0) written.push({ revision, key, value: undefined });
      } else {
        const value = `${random} `.repeat(1 + ((random >>> 6) % 40));
        written.push({ revision: (await source.put(key, value)).revision, key, value });
      }
    }
  };
  const writers = Array.from({ length: WRITERS }, (_, i) => writer(i));
  while (written.length < 10_000) await source.put("waiting", "");
  await source.delete("waiting");
  const before = written.length;
  await pipeline(source.maintenance.backup(), createWriteStream(file));
  const during = written.length;
  stopped = true;
  await Promise.all(writers);
  assert.ok(during > before, "writes went on meanwhile");

  const { description, keys } = await inspectBackup(createReadStream(file));
  const { revision } = description;
  const model = new Map<string, Written>();
  for (const each of written.toSorted((a, b) => a.revision - b.revision)) if (each.revision <= revision) model.set(each.key, each);
  for (const [key, { value }] of model) if (value === undefined) model.delete(key);
  assert.equal(keys, model.size);

  const dataDir = path.join(directory, "restored");
  assert.deepEqual(await Engine.restore({ from: createReadStream(file), dataDir }), { revision, keys });
  const restored = await Engine.open({ dataDir });
  for await (const kv of restored.scan({ all: true })) {
    const expected = model.get(kv.key);
    assert.deepEqual([kv.modRevision, kv.text()], [expected?.revision, expected?.value]);
    model.delete(kv.key);
  }
  assert.equal(model.size, 0);
  const { hash } = await restored.maintenance.hash({ revision });
  await restored.put("after", "x");
  assert.equal((await restored.maintenance.hash({ revision })).hash, hash);
  await restored.close();
  await source.close();
});
