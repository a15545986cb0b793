/** Watches of a node with little history, through the engine. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Engine } from "../index.ts";
import type { WatchBatch } from "./client.ts";

const HISTORY = 50;

let engine: Engine;
before(async () => {
  engine = await Engine.open({ dataDir: "memory:", thread: "inline", history: { revisionsMin: HISTORY, revisionsMax: HISTORY } });
});
after(() => engine.close());

/** Far more than a watch's credit, in more revisions than history keeps; no more at once than one that is read can take. */
async function writeMuch(prefix: string): Promise<number> {
  const beside = engine.watch({ prefix });
  const batches = beside[Symbol.asyncIterator]();
  let revision = 0;
  for (let round = 0; round < 20; round++) {
    const results = await Promise.all(Array.from({ length: HISTORY }, (_, i) => engine.put(`${prefix}${i}`, `${round} `.repeat(1_000))));
    revision = results.at(-1)!.revision;
    for (let told = 0; told < HISTORY;) if ((await batches.next()).value.kind === "events") told++;
  }
  await beside.close();
  return revision;
}

test("a reader that falls behind history is told so, after all that was on the way", async () => {
  const watch = engine.watch({ prefix: "much/" });
  const { revision } = await watch.ready();
  await writeMuch("much/");
  let last = revision;
  await assert.rejects(
    (async () => {
      for await (const batch of watch) {
        assert.ok(batch.kind === "events");
        assert.equal(batch.revision, last + 1);
        last = batch.revision;
      }
    })(),
    (error: { readonly code: string; readonly details: { readonly compactRevision: number } }) => {
      assert.equal(error.code, "COMPACTED");
      assert.ok(error.details.compactRevision > last);
      return true;
    },
  );
});

test("with onGap reset, it goes on with what is there", async () => {
  const watch = engine.watch({ prefix: "again/" }, { onGap: "reset" });
  const state = new Map<string, number>();
  await watch.ready();
  const end = await writeMuch("again/");
  const kinds = new Set<string>();
  for await (const batch of watch) {
    kinds.add(batch.kind);
    if (batch.kind === "reset") {
      assert.equal(batch.reason, "compacted");
      state.clear();
      for (const kv of batch.kvs) state.set(kv.key, kv.modRevision);
    } else if (batch.kind === "events") {
      for (const event of batch.events) if (event.kind === "put") state.set(event.kv.key, event.kv.modRevision);
    }
    if (batch.revision >= end) break;
  }
  assert.ok(kinds.has("reset"));
  const { kvs } = await engine.range({ prefix: "again/" });
  assert.deepEqual([...state].sort(), kvs.map(({ key, modRevision }) => [key, modRevision] as const).sort());
});

test("a watch from a revision that is to come waits for it", async () => {
  const { revision } = await engine.put("future", "0");
  const watch = engine.watch("future", { fromRevision: revision + 3, progressMs: 0 });
  assert.deepEqual(await watch.ready(), { revision: revision + 2 });
  for (let i = 1; i <= 4; i++) await engine.put("future", String(i));
  const seen: WatchBatch[] = [];
  for await (const batch of watch) if (seen.push(batch) === 2) break;
  assert.deepEqual(
    seen.map((batch) => batch.revision),
    [revision + 3, revision + 4],
  );
});

test("a watch that begins with what is there misses nothing behind it, though writes go on", async () => {
  const roomy = await Engine.open({ dataDir: "memory:", thread: "inline" });
  for (let i = 0; i < 1_000; i++) void roomy.put(`whole/${i}`, "x".repeat(1_000));
  const watch = roomy.watch({ prefix: "whole/" }, { initial: true });
  const writing = Promise.all(Array.from({ length: 1_000 }, (_, i) => roomy.put(`whole/${i}`, "y")));
  const state = new Map<string, number>();
  let isFirst = true;
  let end = Number.POSITIVE_INFINITY;
  void writing.then((results) => (end = results.at(-1)!.revision));
  for await (const batch of watch) {
    if (isFirst) assert.ok(batch.kind === "reset" && batch.reason === "initial");
    isFirst = false;
    if (batch.kind === "reset") for (const kv of batch.kvs) state.set(kv.key, kv.modRevision);
    if (batch.kind === "events") for (const event of batch.events) if (event.kind === "put") state.set(event.kv.key, event.kv.modRevision);
    await new Promise((resolve) => setImmediate(resolve));
    if (batch.revision >= end) break;
  }
  const { kvs } = await roomy.range({ prefix: "whole/" });
  assert.equal(kvs.length, 1_000);
  assert.deepEqual([...state].sort(), kvs.map(({ key, modRevision }) => [key, modRevision] as const).sort());
  await roomy.close();
});
