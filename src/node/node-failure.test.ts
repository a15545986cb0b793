/** What a node does when its disk fails or hangs, or its own code does: it says so, tells its callers the truth, and harms nobody. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openLocalEngine, type LocalEngine } from "../client/local-engine.ts";
import { resolveOptions } from "../client/engine-options.ts";
import { createNodeClock } from "../host/node-clock.ts";
import { Engine, EngineError } from "../index.ts";
import { openDiskStorage } from "../storage/disk-storage.ts";
import type { Environment } from "./environment.ts";
import { openInlineNode } from "./inline-port.ts";
import type { NodeOptions } from "./node-options.ts";
import { createEnvironment } from "./real-environment.ts";
import { FailingFileSystem, type FileOperation } from "./test/failing-file-system.ts";

function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), "d-engine-failure-"));
}

async function open(
  directory: string,
  change: { readonly fileSystem?: FailingFileSystem; readonly node?: Partial<NodeOptions>; readonly environment?: Partial<Environment> },
): Promise<LocalEngine> {
  const resolved = resolveOptions({ dataDir: join(directory, "data"), thread: "inline", electionTimeoutMs: 200, heartbeatMs: 20 });
  const options: NodeOptions = { ...resolved.node, logSegmentBytes: 64 << 10, snapshotLogBytesMin: 32 << 10, ...change.node };
  const environment: Environment = {
    ...createEnvironment(options, { thread: "inline", diskWorkerUrl: undefined }),
    openStorage: () =>
      openDiskStorage({
        directory: options.directory!,
        unsafeNoFsync: false,
        thread: "inline",
        segmentBytes: options.logSegmentBytes,
        ...(change.fileSystem === undefined ? {} : { fileSystem: change.fileSystem }),
      }),
    ...change.environment,
  };
  return openLocalEngine(await openInlineNode(environment, options), createNodeClock(), resolved.settings);
}

const faults: readonly (readonly [FileOperation, string])[] = [
  ["write", "EIO"],
  ["write", "ENOSPC"],
  ["dataSync", "EIO"],
  ["open", "EMFILE"],
  ["open", "ENOSPC"],
  ["rename", "EIO"],
  ["remove", "EACCES"],
  ["syncDirectory", "EIO"],
  ["read", "EIO"],
];

for (const [operation, errno] of faults) {
  test(`a disk on which ${operation} fails with ${errno}: what was acknowledged lasts, what was refused says what is known`, async () => {
    const directory = temporaryDirectory();
    const fileSystem = new FailingFileSystem();
    try {
      const engine = await open(directory, { fileSystem });
      await engine.put("before", "x");
      fileSystem.fail(operation, errno);
      const acknowledged = new Set<number>();
      const never = new Set<number>();
      let failed = false;
      for (let round = 0; round < 60 && !failed; round++) {
        const results = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => engine.put(`k${round * 20 + i}`, "v".repeat(500))));
        for (const [i, result] of results.entries()) {
          if (result.status === "fulfilled") acknowledged.add(round * 20 + i);
          else {
            failed = true;
            assert.ok(EngineError.is(result.reason), String(result.reason));
            if (!result.reason.mayHaveApplied) never.add(round * 20 + i);
          }
        }
      }
      if (failed) {
        assert.ok(engine.state.kind === "failed" || engine.state.kind === "full", engine.state.kind);
        assert.equal(engine.health().ready, false);
        if (engine.state.kind === "failed") {
          await assert.rejects(engine.put("after", "x"), { code: "UNAVAILABLE", mayHaveApplied: false });
          await assert.rejects(engine.get("before", { consistency: "eventual" }), { code: "UNAVAILABLE" });
          await assert.rejects(engine.range({ all: true }), { code: "UNAVAILABLE" });
          await assert.rejects(engine.waitReady(), { code: "UNAVAILABLE" });
          await assert.rejects(engine.watch({ all: true }).ready(), { code: "UNAVAILABLE" });
          await assert.rejects(engine.scan({ all: true }).ready(), { code: "UNAVAILABLE" });
        }
      } else
        assert.ok(
          operation === "read" || operation === "remove" || operation === "rename" || operation === "open" || operation === "syncDirectory",
        );
      await engine.close();
      const again = await open(directory, {});
      assert.equal((await again.get("before"))?.text(), "x");
      const { kvs } = await again.range({ prefix: "k" }, { keysOnly: true });
      const found = new Set(kvs.map(({ key }) => Number(key.slice(1))));
      for (const i of acknowledged) assert.ok(found.has(i), `k${i} was acknowledged`);
      for (const i of never) assert.ok(!found.has(i), `k${i} was said to be never applied`);
      await again.close();
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
}

test("a bug in a turn stops the node, and every call is told, also those that the turn had not come to", async () => {
  const directory = temporaryDirectory();
  try {
    let broken = false;
    const clock = createNodeClock();
    const engine = await open(directory, {
      environment: {
        clock: {
          ...clock,
          wallNow: () => {
            if (!broken) return clock.wallNow();
            broken = false;
            throw new TypeError("the clock is broken");
          },
        },
      },
    });
    await engine.put("a", "1");
    broken = true;
    const calls = [
      engine.get("a"),
      engine.put("b", "1"),
      engine.range({ all: true }),
      engine.members(),
      engine.watch({ all: true }).ready(),
      engine.scan({ all: true }).ready(),
    ];
    for (const result of await Promise.allSettled(calls)) {
      assert.ok(result.status === "rejected" && EngineError.is(result.reason, "UNAVAILABLE"), "told at once, not by its deadline");
      assert.equal(result.reason.mayHaveApplied, false);
    }
    assert.ok(engine.state.kind === "failed" && engine.state.error.code === "INTERNAL");
    await engine.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("a range that is under way when its node fails is told", async () => {
  const directory = temporaryDirectory();
  const fileSystem = new FailingFileSystem();
  try {
    const engine = await open(directory, { fileSystem, node: { logSegmentBytes: 4 << 20, snapshotLogBytesMin: 64 << 20 } });
    for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: 10_000 }, (_, i) => engine.put(`k${round}/${i}`, "")));
    const ranges = Array.from({ length: 50 }, () =>
      engine.range({ all: true }, { keysOnly: true, sortBy: "modRevision", timeoutMs: Number.POSITIVE_INFINITY }),
    );
    fileSystem.fail("write", "EIO");
    await assert.rejects(engine.put("x", "1"), (error) => EngineError.is(error));
    const results = await Promise.allSettled(ranges);
    assert.ok(
      results.some((result) => result.status === "rejected" && EngineError.is(result.reason, "UNAVAILABLE")),
      "else the test is none",
    );
    await engine.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("close settles in its time on a disk that hangs where no thread can be ended", { skip: process.platform === "win32" }, async () => {
  const directory = temporaryDirectory();
  const dataDir = join(directory, "data");
  const pipe = `${dataDir}.hang`;
  const engine = await Engine.open({ dataDir, workerUrl: new URL("./test/hanging/worker.js", import.meta.url), closeTimeoutMs: 700 });
  await engine.put("a", "1");
  execFileSync("mkfifo", [pipe]);
  const writing = engine.put("b", "1").then(
    () => assert.fail("it cannot be on the disk"),
    (error: unknown) => assert.ok(EngineError.is(error, "CLOSED") && error.mayHaveApplied, String(error)),
  );
  const began = performance.now();
  await engine.close();
  const tookMs = performance.now() - began;
  await writing;
  assert.ok(tookMs < 1_500, `${tookMs} ms`);
  assert.equal(engine.state.kind, "closed");
  // The disk comes back, and the threads end.
  closeSync(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK));
  rmSync(directory, { recursive: true, force: true });
});
