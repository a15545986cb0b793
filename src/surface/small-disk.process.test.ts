/** A node on a real file system of 64 MB that fills up: mounted for the test, which is skipped where that is not permitted. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Engine, EngineError } from "d-engine";

const DISK_MB = 64;
const BALLAST_MB = 40;
const VALUE = "v".repeat(100_000);

function mount(directory: string): boolean {
  if (process.platform !== "linux") return false;
  return spawnSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_MB}m`, "tmpfs", directory], { stdio: "ignore" }).status === 0;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test(
  "a file system that is full: growth is refused, deletions go on, and with room again so does all else; nothing was lost",
  { timeout: 120_000 },
  async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), "d-engine-small-disk-"));
    if (!mount(directory)) {
      rmSync(directory, { recursive: true, force: true });
      t.skip("a file system cannot be mounted here");
      return;
    }
    try {
      const ballast = path.join(directory, "ballast");
      writeFileSync(ballast, new Uint8Array(BALLAST_MB << 20));
      const dataDir = path.join(directory, "data");
      const engine = await Engine.open({ dataDir });
      const acknowledged = new Set<string>();
      await engine.put("first", "1");
      await until("a spare is kept", () => readdirSync(dataDir).includes("spare"));
      let refusal: EngineError | undefined;
      for (let i = 0; i < 1_000 && refusal === undefined; i++) {
        try {
          await engine.put(`k${i}`, VALUE);
          acknowledged.add(`k${i}`);
        } catch (error) {
          assert.ok(EngineError.is(error, "NO_SPACE"), String(error));
          assert.equal(error.details.of, "disk");
          refusal = error;
        }
      }
      assert.equal(refusal?.mayHaveApplied, false);
      t.diagnostic(`${acknowledged.size} writes of ${VALUE.length} bytes found room`);
      assert.equal(engine.state.kind, "full");
      for (let i = 0; i < 20; i++) {
        await engine.delete(`k${i}`);
        acknowledged.delete(`k${i}`);
      }
      assert.equal((await engine.get("first"))?.text(), "1");
      await assert.rejects(engine.put("x", "1"), { code: "NO_SPACE" });
      rmSync(ballast);
      await until("there is room again", () => engine.state.kind === "ready");
      await engine.put("after", VALUE);
      acknowledged.add("after");
      await engine.close();
      const again = await Engine.open({ dataDir });
      const { kvs } = await again.range({ all: true }, { keysOnly: true });
      assert.deepEqual(new Set(kvs.map(({ key }) => key)), new Set([...acknowledged, "first"]));
      await again.close();
    } finally {
      spawnSync("umount", [directory], { stdio: "ignore" });
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

test(
  "a file system that a node has filled by itself has room again once all is deleted, again and again",
  { timeout: 120_000 },
  async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), "d-engine-small-disk-"));
    if (!mount(directory)) {
      rmSync(directory, { recursive: true, force: true });
      t.skip("a file system cannot be mounted here");
      return;
    }
    try {
      const dataDir = path.join(directory, "data");
      let engine = await Engine.open({ dataDir });
      await engine.put("other", "1");
      const large = new Uint8Array(1_000_000);
      for (let round = 0; round < 3; round++) {
        let taken = 0;
        const fill = async (): Promise<void> => {
          for (; taken < 200; taken++) await engine.put(`k${taken}`, large);
        };
        await assert.rejects(fill(), { code: "NO_SPACE" });
        t.diagnostic(`${taken} values of a megabyte found room`);
        const { revision } = await engine.delete({ prefix: "k" });
        await engine.maintenance.compact(revision).catch((error: unknown) => assert.ok(EngineError.is(error, "COMPACTED")));
        await until("there is room again", () => engine.state.kind === "ready");
        await engine.put("k", large);
        await engine.close();
        engine = await Engine.open({ dataDir });
        const { kvs } = await engine.range({ all: true }, { keysOnly: true });
        assert.deepEqual(
          kvs.map(({ key }) => key),
          ["k", "other"],
        );
      }
      await engine.close();
    } finally {
      spawnSync("umount", [directory], { stdio: "ignore" });
      rmSync(directory, { recursive: true, force: true });
    }
  },
);
