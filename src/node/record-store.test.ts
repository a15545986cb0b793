/** A node and its record store on real files: the store harmed under it, a store of a module, and one kind of store after another. */
import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, truncateSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { resolveOptions } from "../client/engine-options.ts";
import { openLocalEngine, type LocalEngine } from "../client/local-engine.ts";
import { createNodeClock } from "../host/node-clock.ts";
import { Engine, EngineError } from "../index.ts";
import { openDiskStorage } from "../storage/disk-storage.ts";
import type { Environment } from "./environment.ts";
import { openInlineNode } from "./inline-port.ts";
import type { NodeOptions } from "./node-options.ts";
import { createEnvironment } from "./real-environment.ts";
import { FailingFileSystem } from "./test/failing-file-system.ts";

const JSON_STORE = new URL("./test/stores/json-store.js", import.meta.url);

async function within(run: (dataDir: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "d-engine-store-"));
  try {
    await run(join(directory, "data"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** In small: batches every few kilobytes, segments of 64 KiB, little history. */
async function openSmall(
  dataDir: string,
  change: { readonly store?: NodeOptions["store"]; readonly fileSystem?: FailingFileSystem } = {},
): Promise<LocalEngine> {
  const resolved = resolveOptions({ dataDir, thread: "inline", electionTimeoutMs: 200, heartbeatMs: 20 });
  const { store = "segments", fileSystem } = change;
  const options: NodeOptions = {
    ...resolved.node,
    logSegmentBytes: 64 << 10,
    snapshotLogBytesMin: 64 << 10,
    historyRevisionsMax: 50,
    store,
  };
  const environment: Environment = {
    ...createEnvironment(options, { thread: "inline", diskWorkerUrl: undefined }),
    openStorage: () =>
      openDiskStorage({
        directory: dataDir,
        unsafeNoFsync: true,
        thread: "inline",
        segmentBytes: options.logSegmentBytes,
        ...(typeof store === "object" ? { store } : {}),
        ...(fileSystem === undefined ? {} : { fileSystem }),
      }),
  };
  return openLocalEngine(await openInlineNode(environment, options), createNodeClock(), resolved.settings);
}

function storeFiles(dataDir: string): string[] {
  const [store] = readdirSync(dataDir).filter((name) => name.startsWith("store-"));
  return store === undefined
    ? []
    : readdirSync(join(dataDir, store))
        .map((name) => join(dataDir, store, name))
        .sort();
}

async function writeSome(engine: LocalEngine, round: number): Promise<void> {
  await Promise.all(Array.from({ length: 40 }, (_, i) => engine.put(`k${i}`, `${round} ${"v".repeat(900)}`)));
  await engine.put(`cold ${round}`, "written once");
}

const HARMS: readonly { readonly name: string; harm(path: string, fileSystem: FailingFileSystem): void; readonly code: string }[] = [
  { name: "is cut", harm: (path) => truncateSync(path, 20_000), code: "CORRUPT" },
  {
    name: "is overwritten",
    harm: (path) => {
      const file = openSync(path, "r+");
      for (let at = 5_000; at < statSync(path).size; at += 500) writeSync(file, Buffer.from("harm"), 0, 4, at);
      closeSync(file);
    },
    code: "CORRUPT",
  },
  { name: "cannot be read", harm: (_path, fileSystem) => fileSystem.fail("read", "EIO"), code: "DISK_FAILED" },
];

for (const { name, harm, code } of HARMS) {
  test(`a store's file that ${name} under a running node: the node says so with the file, and the process goes on`, async () => {
    await within(async (dataDir) => {
      const fileSystem = new FailingFileSystem();
      const engine = await openSmall(dataDir, { fileSystem });
      let harmed: string | undefined;
      for (let round = 0; round < 400 && engine.state.kind !== "failed"; round++) {
        await writeSome(engine, round).catch((error: unknown) =>
          assert.ok(EngineError.is(error) && error.code === "UNAVAILABLE", String(error)),
        );
        // The segment before the one in use: it is read again when its turn comes to be rewritten.
        if (harmed === undefined && storeFiles(dataDir).length > 2) {
          harmed = storeFiles(dataDir).at(-2)!;
          harm(harmed, fileSystem);
        }
      }
      const { state } = engine;
      assert.ok(state.kind === "failed", `it is ${state.kind}`);
      assert.equal(state.error.code, code);
      if (EngineError.is(state.error, "CORRUPT")) {
        assert.equal(state.error.details.path, harmed);
        assert.ok(state.error.details.offset > 0);
      } else if (EngineError.is(state.error, "DISK_FAILED")) assert.match(state.error.details.path, /\.records$/);
      await assert.rejects(engine.put("after", "x"), { code: "UNAVAILABLE", mayHaveApplied: false });
      await engine.close();
    });
  });
}

test("a store whose header, or whose synced end, is gone is refused at the next opening", async () => {
  await within(async (dataDir) => {
    const engine = await openSmall(dataDir);
    for (let round = 0; round < 10; round++) await writeSome(engine, round);
    await engine.close();
    const last = storeFiles(dataDir).at(-1)!;
    truncateSync(last, 512);
    await assert.rejects(openSmall(dataDir), (error) => EngineError.is(error, "CORRUPT") && error.details.path !== "");
  });
});

test("one kind of store takes over from another, in either direction, with nothing lost", async () => {
  await within(async (dataDir) => {
    const module = { module: JSON_STORE.href, options: { file: "records.json" } };
    const kinds = ["memory", "segments", module, "segments", "memory", module, module, "memory", "segments", "segments"] as const;
    for (const [at, store] of kinds.entries()) {
      // What a module's store holds only the module can read.
      const isUnreadable = readdirSyncOrNone(dataDir).some((name) => name.startsWith("module-")) && typeof store !== "object";
      if (isUnreadable) {
        await assert.rejects(openSmall(dataDir, { store }), { code: "INCOMPATIBLE" });
        rmSync(dataDir, { recursive: true });
        continue;
      }
      const engine = await openSmall(dataDir, { store });
      const before = await engine.get("last");
      if (before !== undefined) assert.equal(await engine.count({ prefix: "k" }), 40);
      for (let round = 0; round < 8; round++) await writeSome(engine, at * 100 + round);
      await engine.put("last", String(at));
      await engine.close();
      const again = await openSmall(dataDir, { store });
      assert.equal((await again.get("last"))?.text(), String(at));
      assert.match((await again.get("k7"))!.text(), new RegExp(`^${at * 100 + 7} `));
      await again.close();
    }
  });
});

function readdirSyncOrNone(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

test("a store of a module's own runs in the disk thread; what it throws is the node's failure, not the process's", async () => {
  await within(async (dataDir) => {
    const store = { module: JSON_STORE, options: { file: "mine.json" } };
    const engine = await Engine.open({ dataDir, store });
    const value = "v".repeat(1_000);
    for (let round = 0; round < 20; round++)
      await Promise.all(Array.from({ length: 1_000 }, (_, i) => engine.put(`k${i}`, `${round}${value}`)));
    await engine.close();
    const [name] = readdirSync(dataDir).filter((entry) => entry.startsWith("module-"));
    assert.ok(statSync(join(dataDir, name!, "mine.json")).size > 1_000_000, "it holds what was written");
    const again = await Engine.open({ dataDir, store });
    assert.equal((await again.get("k999"))?.text(), `19${value}`);
    await again.close();
    const broken = await Engine.open({ dataDir, store: { module: JSON_STORE, options: { file: "mine.json", failsAt: "write" } } });
    for (let round = 0; round < 40 && broken.state.kind !== "failed"; round++) {
      await Promise.allSettled(Array.from({ length: 1_000 }, (_, i) => broken.put(`k${i}`, `${round}${value}`)));
    }
    assert.ok(broken.state.kind === "failed" && EngineError.is(broken.state.error, "DISK_FAILED"), JSON.stringify(broken.state));
    assert.equal(broken.state.error.details.errno, "EBROKEN");
    await broken.close();
    await assert.rejects(Engine.open({ dataDir, store: { module: new URL("./none.js", JSON_STORE) } }), { code: "INVALID_ARGUMENT" });
    for (const wrong of ["lmdb", { module: "./relative.js" }, { modul: "x" }, 5]) {
      await assert.rejects(Engine.open({ dataDir, store: wrong as unknown as "memory" }), { code: "INVALID_ARGUMENT" });
    }
  });
});
