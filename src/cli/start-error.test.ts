/** What serve says when it does not start, and that a mistake in its settings leaves nothing behind. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { EngineError } from "../errors.ts";
import { EXIT, ExitError } from "./exit.ts";
import { inSettings, startError } from "./start-error.ts";
import { temporaryDirectory } from "./test/processes.ts";
import { run } from "./test/world.ts";

test("what the engine calls options are settings here", () => {
  assert.equal(inSettings("a `bootstrap` list cannot change who is in it"), "a initial-cluster cannot change who is in it");
  assert.equal(
    inSettings("electionTimeoutMs: at least three times heartbeatMs"),
    "election-timeout: at least three times heartbeat-interval",
  );
});

test("a server that did not start has done nothing", () => {
  const failed = new EngineError(
    "DISK_FAILED",
    "the disk failed: x",
    { operation: "write", path: "x", errno: "EIO" },
    { mayHaveApplied: true },
  );
  const told = startError(failed);
  assert.ok(told instanceof ExitError);
  assert.deepEqual([told.code, told.message], [EXIT.refused, "the disk failed: x"]);
  const other = new Error("no engine's");
  assert.equal(startError(other), other);
});

test("a certificate that cannot be makes no cluster", async (context) => {
  const dataDir = path.join(temporaryDirectory(context), "data");
  const { code, stderr } = await run([
    ...["serve", "--data-dir", dataDir, "--listen-client-urls", "https://127.0.0.1:0"],
    ...["--cert-file", "/nowhere/cert.pem", "--key-file", "/nowhere/key.pem"],
  ]);
  assert.equal(code, EXIT.usage);
  assert.match(stderr, /cert-file: the file cannot be read/);
  assert.equal(existsSync(dataDir), false);
});

test("an etcd's data are refused, and left as they are", async (context) => {
  const dataDir = temporaryDirectory(context);
  mkdirSync(path.join(dataDir, "member", "wal"), { recursive: true });
  const { code, stderr } = await run(["serve", "--data-dir", dataDir, "--listen-client-urls", "http://127.0.0.1:0"]);
  assert.equal(code, EXIT.refused);
  assert.match(stderr, /holds an etcd's data/);
  assert.deepEqual(readdirSync(dataDir), ["member"]);
});

test("a data directory that is a file is refused by name", async (context) => {
  const file = path.join(temporaryDirectory(context), "file");
  writeFileSync(file, "");
  const { code, stderr } = await run(["serve", "--data-dir", file, "--listen-client-urls", "http://127.0.0.1:0"]);
  assert.equal(code, EXIT.usage);
  assert.ok(stderr.includes(file), stderr);
  assert.doesNotMatch(stderr, /sync-time|may have been done/);
});
