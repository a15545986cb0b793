/** Several threads at one node: here the ports of several engines in this thread, and a real second thread. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { EngineError } from "../errors.ts";
import { attachEngine, canAttach, createEngineHandle } from "./attached-engine.ts";
import type { Watch } from "./client.ts";
import type { Engine } from "./engine.ts";
import { openEngine } from "./open-engine.ts";

const ENGINE = { electionTimeoutMs: 100, heartbeatMs: 20 } as const;

async function withEngine(run: (engine: Engine) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), "d-engine-attached-"));
  let engine: Engine | undefined;
  try {
    engine = await openEngine({ dataDir: path.join(directory, "data"), ...ENGINE });
    await engine.waitReady({ timeoutMs: 20_000 });
    await run(engine);
  } finally {
    await engine?.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function eventsOf(watch: Watch, count: number): Promise<number> {
  let seen = 0;
  for await (const batch of watch) {
    if (batch.kind === "events") seen += batch.events.length;
    if (seen >= count) break;
  }
  return seen;
}

test("an attached engine writes, reads, scans and backs up what the first one does", async () => {
  await withEngine(async (engine) => {
    const attached = await attachEngine(createEngineHandle(engine));
    assert.equal(attached.memberId, engine.memberId);
    await Promise.all(Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? engine : attached).put(`k${i}`, `v${i}`)));
    for (const each of [engine, attached]) {
      for (const consistency of ["linearizable", "lease", "eventual"] as const)
        assert.equal((await each.get("k7", { consistency }))?.text(), "v7");
      assert.equal((await each.range({ prefix: "k" })).kvs.length, 200);
      let scanned = 0;
      for await (const _ of each.scan({ prefix: "k" })) scanned++;
      assert.equal(scanned, 200);
      assert.equal((await each.members()).members.length, 1);
      assert.ok(each.isLeader());
    }
    let bytes = 0;
    for await (const piece of attached.maintenance.backup()) bytes += piece.byteLength;
    assert.ok(bytes > 200);
    await attached.close();
    await assert.rejects(attached.get("k7"), { code: "CLOSED" });
    assert.equal((await engine.get("k7"))?.text(), "v7");
  });
});

test("watches of several threads on one key each see every event, and what grows meanwhile is read by all", async () => {
  await withEngine(async (engine) => {
    const engines = [engine, await attachEngine(createEngineHandle(engine)), await attachEngine(createEngineHandle(engine))];
    const watches = engines.flatMap((each) => Array.from({ length: 30 }, () => each.watch({ prefix: "k" }, { fromRevision: 1 })));
    const seen = watches.map((watch) => eventsOf(watch, 2_000));
    const value = "x".repeat(2_000);
    await Promise.all(Array.from({ length: 2_000 }, (_, i) => engines[i % 3]!.put(`k${i}`, value)));
    assert.deepEqual(new Set(await Promise.all(seen)), new Set([2_000]));
    for (const each of engines) assert.equal((await each.get("k1999", { consistency: "eventual" }))?.value.byteLength, 2_000);
    for (const each of engines.slice(1)) await each.close();
  });
});

test("a lease that an attached engine keeps lives, and ends after it", async () => {
  await withEngine(async (engine) => {
    const attached = await attachEngine(createEngineHandle(engine));
    const lease = await attached.lease({ ttlMs: 300 });
    await attached.put("held", "1", { lease });
    const unkept = await engine.lease({ ttlMs: 900, keepAlive: false });
    await engine.put("unkept", "1", { lease: unkept });
    const gone = engine.watch("held", { only: "deletes" });
    // Three of its times to live later.
    assert.equal(await eventsOf(engine.watch("unkept", { only: "deletes" }), 1), 1);
    assert.equal((await engine.get("held"))?.text(), "1");
    await attached.close();
    assert.equal(await eventsOf(gone, 1), 1);
  });
});

test("when the engine closes, so do all that are attached, and their calls and watches end", async () => {
  const directory = mkdtempSync(path.join(tmpdir(), "d-engine-attached-"));
  try {
    const engine = await openEngine({ dataDir: path.join(directory, "data"), ...ENGINE });
    await engine.waitReady({ timeoutMs: 20_000 });
    const attached = await attachEngine(createEngineHandle(engine));
    const watch = attached.watch("k");
    const ended = assert.rejects(eventsOf(watch, 1), { code: "CLOSED" });
    await attached.put("other", "1");
    await engine.close();
    await ended;
    await assert.rejects(attached.get("k"), { code: "CLOSED" });
    assert.equal(attached.state.kind, "closed");
    await attached.close();
    assert.throws(() => createEngineHandle(engine), { code: "CLOSED" });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("at most 64 threads are attached, and one that leaves makes room", async () => {
  await withEngine(async (engine) => {
    const attached: Engine[] = [];
    for (let i = 0; i < 64; i++) attached.push(await attachEngine(createEngineHandle(engine)));
    await assert.rejects(attachEngine(createEngineHandle(engine)), { code: "OVERLOADED" });
    await attached[10]!.put("k", "1");
    await attached[10]!.close();
    const next = await attachEngine(createEngineHandle(engine));
    assert.equal((await next.get("k"))?.text(), "1");
    await next.put("k", "2");
    assert.equal((await attached[63]!.get("k"))?.text(), "2");
    await Promise.all([next, ...attached].map((each) => each.close()));
  });
});

test("an engine whose node is in the caller's thread, or that is attached itself, is not handed on", async () => {
  const inline = await openEngine({ dataDir: "memory:", thread: "inline" });
  try {
    assert.equal(canAttach(inline), false);
    assert.throws(
      () => createEngineHandle(inline),
      (error) => EngineError.is(error, "UNSUPPORTED"),
    );
  } finally {
    await inline.close();
  }
  await withEngine(async (engine) => {
    assert.equal(canAttach(engine), true);
    const attached = await attachEngine(createEngineHandle(engine));
    assert.equal(canAttach(attached), false);
    await attached.close();
  });
});

test("another thread has the engine, and what it had is let go when it is ended in the middle", async () => {
  await withEngine(async (engine) => {
    const handle = createEngineHandle(engine);
    const source = `
      import { parentPort, workerData } from "node:worker_threads";
      const { attachEngine } = await import(workerData.url);
      const engine = await attachEngine(workerData.handle);
      const lease = await engine.lease({ ttlMs: 300 });
      await engine.put("thread", "here", { lease });
      const watch = engine.watch({ prefix: "w" });
      for (let i = 0; i < 100; i++) void engine.put("x" + i, "y").catch(() => {});
      parentPort.postMessage("up");
      for await (const batch of watch) parentPort.postMessage(batch.kind);
    `;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
      workerData: { url: new URL("./attached-engine.js", import.meta.url).href, handle },
      transferList: [handle.port],
    });
    await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    assert.equal((await engine.get("thread"))?.text(), "here");
    const gone = engine.watch("thread", { only: "deletes" });
    const heard = new Promise((resolve) => worker.once("message", resolve));
    await engine.put("w", "1");
    assert.equal(await heard, "events");
    await worker.terminate();
    assert.equal(await eventsOf(gone, 1), 1);
    await engine.put("w", "2");
  });
});
