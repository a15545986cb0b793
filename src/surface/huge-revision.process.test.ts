/** One revision of very many events: what it takes to tell it does not grow with it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { REVISION_PART_EVENTS } from "../core/kv/watch-hub.ts";

/** A million grow it as little: see docs/performance.md. */
const KEYS = 100_000;
const GROWN_MB_MAX = 64;
const HEAP_MB = 100;

test("a watched deletion of very many keys is read in parts, in bounded memory, with turns of the event loop between", async (t) => {
  const file = fileURLToPath(new URL("huge-revision-process.js", import.meta.url));
  const flags = [`--max-old-space-size=${HEAP_MB}`, "--expose-gc"];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, file, String(KEYS)], { timeout: 120_000 });
  const told = JSON.parse(stdout) as Record<string, number>;
  t.diagnostic(stdout.trim());
  assert.equal(told["deleted"], KEYS);
  assert.equal(told["events"], KEYS, "all of it, and nothing twice");
  assert.equal(told["isOrdered"], true);
  assert.equal(told["largest"], REVISION_PART_EVENTS);
  assert.equal(told["batches"], Math.ceil(KEYS / REVISION_PART_EVENTS));
  assert.ok(told["togetherMax"]! <= 2 * REVISION_PART_EVENTS, `${told["togetherMax"]} events in one turn`);
  assert.ok(told["grownMb"]! < GROWN_MB_MAX, `${told["grownMb"]} MB`);
});
