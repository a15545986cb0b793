/** What applications do that nobody should: wrong types, bytes that are none, functions where values belong, calls at every moment. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { createNodeClock } from "../host/node-clock.ts";
import { Engine, EngineError, type EngineOptions } from "../index.ts";
import { openInlineNode } from "../node/inline-port.ts";
import { createEnvironment } from "../node/real-environment.ts";
import { openLocalEngine, type LocalEngine } from "./local-engine.ts";
import { resolveOptions } from "./engine-options.ts";

const refused = { code: "INVALID_ARGUMENT" };

async function withEngine(run: (engine: Engine) => Promise<void>, options: Partial<EngineOptions> = {}): Promise<void> {
  const engine = await Engine.open({ dataDir: "memory:", thread: "inline", ...options });
  try {
    await run(engine);
  } finally {
    await engine.close();
  }
}

test("bytes count as they are, whatever their object says of itself", async () => {
  await withEngine(async (engine) => {
    class Liar extends Uint8Array {
      override get length(): number {
        return 2;
      }
      override get byteLength(): number {
        throw new Error("asked");
      }
    }
    const long = new Liar(100).fill(65);
    const own = new Uint8Array(50).fill(66);
    Object.defineProperty(own, "length", { value: 3 });
    // In one tick, hence in one batch: what one call brings must not shift what others do.
    await Promise.all([engine.put("a", "1"), engine.put(long, long), engine.put("b", "2"), engine.put(own, own), engine.put("c", "3")]);
    const [a, b, c, liar, other] = await Promise.all([
      engine.get("a"),
      engine.get("b"),
      engine.get("c"),
      engine.get(long),
      engine.get("B".repeat(50)),
    ]);
    assert.deepEqual([a?.text(), b?.text(), c?.text()], ["1", "2", "3"]);
    assert.equal(liar?.text(), "A".repeat(100));
    assert.equal(other?.text(), "B".repeat(50));
    assert.equal((await engine.get("A".repeat(100), { consistency: "eventual" }))?.key, "A".repeat(100));
  });
});

test("bytes of another realm and of shared memory are bytes; what only looks like bytes is none", async () => {
  await withEngine(async (engine) => {
    const foreign = runInNewContext("new Uint8Array([97, 98])") as Uint8Array;
    await engine.put(foreign, foreign);
    assert.equal((await engine.get("ab"))?.text(), "ab");
    assert.equal((await engine.delete(foreign)).deleted, 1);
    const shared = new Uint8Array(new SharedArrayBuffer(4)).fill(99);
    await engine.put(shared, shared);
    assert.equal((await engine.get("cccc"))?.text(), "cccc");
    for (const value of [
      Object.create(Uint8Array.prototype),
      new DataView(new ArrayBuffer(2)),
      new Uint16Array(2),
      [1, 2],
      null,
      undefined,
      7,
      7n,
      Symbol("x"),
      () => "x",
    ]) {
      await assert.rejects(engine.put("k", value as string), refused);
      await assert.rejects(engine.put(value as string, "v"), refused);
      await assert.rejects(engine.get(value as string), refused);
      await assert.rejects(engine.get(value as string, { consistency: "eventual" }), refused);
      await assert.rejects(engine.delete(value as string), refused);
    }
    assert.equal(await engine.get("k"), undefined);
  });
});

test("a value whose buffer was transferred away is refused, not stored as nothing", async () => {
  await withEngine(async (engine) => {
    const gone = new Uint8Array(10);
    structuredClone(gone, { transfer: [gone.buffer] });
    await assert.rejects(engine.put("a", gone), refused);
    await assert.rejects(engine.compareAndSwap("a", gone, "x"), refused);
    await assert.rejects(engine.put(gone, "x"), refused);
    await engine.put("a", new Uint8Array(0));
    assert.equal((await engine.get("a"))?.value.byteLength, 0);
  });
});

test("what a caller does to its bytes after the call changes nothing", async () => {
  await withEngine(async (engine) => {
    const key = Buffer.from("key");
    const value = Buffer.from("value");
    const watch = engine.watch({ prefix: key });
    const named = Buffer.from(key);
    const put = engine.put(key, value);
    key.fill(0);
    value.fill(0);
    await put;
    const calls = [engine.get(named), engine.range({ prefix: named }), engine.getMany([named])] as const;
    named.fill(0);
    const [got, range, many] = await Promise.all(calls);
    assert.equal(got?.text(), "value");
    assert.equal(range.kvs[0]?.text(), "value");
    assert.equal(many[0]?.text(), "value");
    for await (const batch of watch) {
      assert.ok(batch.kind === "events" && batch.events[0]?.kind === "put" && batch.events[0].kv.text() === "value");
      break;
    }
  });
});

test("options whose properties are functions that call the engine mix nothing up; what they throw is the caller's", async () => {
  await withEngine(async (engine) => {
    const options = {
      get ttlMs(): number {
        void engine.put("inner", "i");
        return 60_000;
      },
    };
    await engine.put("outer", "o", options);
    assert.equal((await engine.get("outer"))?.text(), "o");
    assert.equal((await engine.get("inner"))?.text(), "i");
    const throwing = {
      get prevKv(): boolean {
        throw new RangeError("mine");
      },
    };
    const results = await Promise.allSettled([engine.put("x", "1"), engine.put("y", "2", throwing), engine.put("z", "3")]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    assert.equal(await engine.get("y"), undefined);
    assert.equal((await engine.get("z"))?.text(), "3");
  });
});

test("a signal that is none is refused before anything is sent", async () => {
  await withEngine(async (engine) => {
    for (const signal of [{}, null, "abort", 7, { aborted: false }] as unknown as AbortSignal[]) {
      await assert.rejects(engine.put("a", "1", { signal }), refused);
      await assert.rejects(engine.get("a", { signal }), refused);
      await assert.rejects(engine.range({ all: true }, { signal }), refused);
      await assert.rejects(engine.members({ signal }), refused);
      assert.throws(() => engine.watch({ all: true }, { signal }), refused);
      assert.throws(() => engine.scan({ all: true }, { signal }), refused);
    }
    assert.equal((await engine.range({ all: true })).count, 0);
  });
});

test("one signal for a thousand calls warns nobody, and leaves nothing behind on it", async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on("warning", onWarning);
  await withEngine(async (engine) => {
    const { signal } = new AbortController();
    const watches = Array.from({ length: 20 }, () => engine.watch({ all: true }, { signal }));
    await Promise.all(Array.from({ length: 20 }, () => engine.stateChanges({ signal })[Symbol.asyncIterator]().next()));
    await Promise.all(
      Array.from({ length: 1_000 }, (_, i) =>
        i % 2 === 0 ? engine.put(`k${i}`, "x", { signal }) : engine.range({ prefix: "k" }, { signal, limit: 1 }),
      ),
    );
    await Promise.all(watches.map((watch) => watch.close()));
  });
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", onWarning);
  assert.deepEqual(warnings, []);
});

test("keys that cannot be are refused by reads as by writes", async () => {
  await withEngine(async (engine) => {
    for (const key of ["", "x".repeat(40_000), "é".repeat(20_000), new Uint8Array(40_000)]) {
      await assert.rejects(engine.get(key), refused);
      await assert.rejects(engine.get(key, { consistency: "eventual" }), refused);
      await assert.rejects(engine.getMany(["a", key]), refused);
      await assert.rejects(engine.put(key, "x"), refused);
      await assert.rejects(engine.delete(key), refused);
    }
    const longest = "x".repeat(32_768);
    await engine.put(longest, "1");
    assert.equal((await engine.get(longest, { consistency: "eventual" }))?.text(), "1");
    assert.equal((await engine.delete(longest)).deleted, 1);
    // eslint-disable-next-line no-sparse-arrays
    await assert.rejects(engine.getMany(["a", , "b"] as unknown as string[]), refused);
    await assert.rejects(engine.getMany("ab" as unknown as string[]), refused);
  });
});

test("a thousand calls of next() at once each get a batch, in order", async () => {
  await withEngine(async (engine) => {
    const watch = engine.watch({ prefix: "k" });
    const batches = watch[Symbol.asyncIterator]();
    const nexts = Array.from({ length: 1_000 }, () => batches.next());
    const last = batches.next();
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => engine.put(`k${i}`, "x")));
    let before = 0;
    for (const { value } of await Promise.all(nexts)) {
      assert.ok(value.revision > before);
      before = value.revision;
    }
    await watch.close();
    assert.equal((await last).done, true);
  });
});

test("thousands of watches and scans at once, some never read, all end with the engine", async () => {
  const engine = await Engine.open({ dataDir: "memory:", thread: "inline", limits: { watchersMax: 3_000 } });
  await Promise.all(Array.from({ length: 100 }, (_, i) => engine.put(`k${i}`, "x")));
  const watches = Array.from({ length: 3_001 }, (_, i) => engine.watch(`k${i % 100}`, { progressMs: 20, initial: i % 2 === 0 }));
  const readies = await Promise.allSettled(watches.map((watch) => watch.ready()));
  assert.equal(readies.filter(({ status }) => status === "fulfilled").length, 3_000);
  const over = readies.find((result) => result.status === "rejected");
  assert.ok(over?.status === "rejected" && EngineError.is(over.reason, "OVERLOADED") && over.reason.details.limit === "watchersMax");
  const scans = Array.from({ length: 1_000 }, () => engine.scan({ all: true }));
  await Promise.all(scans.map((scan) => scan.ready()));
  await Promise.all(Array.from({ length: 100 }, (_, i) => engine.put(`k${i}`, "y")));
  for await (const batch of watches[1]!) {
    if (batch.kind === "events") break;
  }
  const states = engine.stateChanges()[Symbol.asyncIterator]();
  await states.next();
  const pending = watches[2]![Symbol.asyncIterator]();
  await engine.close();
  await assert.rejects(
    async () => {
      for (;;) await pending.next();
    },
    { code: "CLOSED" },
  );
});

test("calls between close() and its end are refused as such: nothing was done for them", async () => {
  for (const thread of ["inline", "worker"] as const) {
    const engine = await Engine.open({ dataDir: "memory:", thread });
    const closing = engine.close();
    for (let i = 0; i < 5; i++) {
      await assert.rejects(engine.put("a", "1"), { code: "CLOSED", mayHaveApplied: false });
      await assert.rejects(engine.get("a", { consistency: "eventual" }), { code: "CLOSED" });
      await assert.rejects(engine.watch({ all: true }).ready(), { code: "CLOSED" });
    }
    await closing;
  }
});

test("close at every moment settles, with every call and stream told", async () => {
  for (let turns = 0; turns < 12; turns++) {
    const engine = await Engine.open({
      dataDir: "memory:",
      thread: turns % 2 === 0 ? "inline" : "worker",
      closeTimeoutMs: turns % 3 === 0 ? 0 : 2_000,
    });
    const calls: Promise<unknown>[] = [
      engine.put("a", "1"),
      engine.get("a"),
      engine.range({ all: true }),
      engine.scan({ all: true }).ready(),
      engine.watch({ all: true }).ready(),
      engine.members(),
      engine.waitReady(),
    ];
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
    const settled = Promise.allSettled(calls);
    await Promise.all([engine.close(), engine.close()]);
    for (const result of await settled)
      assert.ok(result.status === "fulfilled" || EngineError.is(result.reason, "CLOSED"), String((result as PromiseRejectedResult).reason));
  }
});

test("timeouts of nothing, next to nothing and for ever", async () => {
  await withEngine(async (engine) => {
    for (const timeoutMs of [0, 0.001, Number.MIN_VALUE]) {
      const results = await Promise.allSettled([
        engine.put("a", "1", { timeoutMs }),
        engine.get("a", { timeoutMs }),
        engine.range({ all: true }, { timeoutMs }),
      ]);
      for (const result of results) assert.ok(result.status === "fulfilled" || EngineError.is(result.reason, "TIMEOUT"));
    }
    await engine.put("a", "1", { timeoutMs: Number.POSITIVE_INFINITY });
    assert.equal((await engine.get("a", { timeoutMs: Number.POSITIVE_INFINITY }))?.text(), "1");
    for (const timeoutMs of [-1, Number.NaN, "5", 5n]) await assert.rejects(engine.get("a", { timeoutMs: timeoutMs as number }), refused);
    const forever = engine.get("a", { minRevision: Number.MAX_SAFE_INTEGER, timeoutMs: Number.POSITIVE_INFINITY });
    const ended = assert.rejects(forever, { code: "CLOSED" });
    await engine.close();
    await ended;
  });
});

test("revisions at the edge of what a number holds are answered, not confused", async () => {
  await withEngine(async (engine) => {
    await engine.put("a", "1");
    const revision = Number.MAX_SAFE_INTEGER;
    await assert.rejects(engine.get("a", { revision }), { code: "FUTURE_REVISION" });
    await assert.rejects(engine.range({ all: true }, { revision }), { code: "FUTURE_REVISION" });
    await assert.rejects(engine.get("a", { revision: 2 ** 53 }), refused);
    await assert.rejects(engine.get("a", { minRevision: revision, timeoutMs: 20 }), { code: "TIMEOUT" });
    assert.equal((await engine.range({ all: true }, { minModRevision: revision })).kvs.length, 0);
    const watch = engine.watch({ all: true }, { fromRevision: revision });
    await watch.ready();
    await watch.close();
    await assert.rejects(engine.put("a", "1", { ttlMs: revision }), refused);
  });
});

test("options of the wrong type are refused as such, and nothing is opened", async () => {
  const open = (options: object): Promise<Engine> => Engine.open({ dataDir: "memory:", ...options } as EngineOptions);
  for (const options of [
    { dataDir: "a\0b" },
    { dataDir: new URL("file://host/data") },
    { dataDir: 7 },
    { unsafeNoFsync: "false" },
    { allowConsistencyOverride: 0 },
    { workerUrl: "" },
    { workerUrl: 7 },
    { workerUrl: new URL("https://example.org/worker.js") },
    { peer: { listen: 7 } },
    { peer: { listen: "127.0.0.1:0", advertise: 7 } },
    { peer: { listen: "127.0.0.1:0", insecure: "yes" } },
    { peer: null },
    { bootstrap: null },
    { bootstrap: "n1" },
    { limits: null },
    { limits: { watchersMax: "many" } },
    { log: "console" },
    { thread: "process" },
    { timeoutMs: -1 },
    { closeTimeoutMs: Number.POSITIVE_INFINITY },
  ]) {
    await assert.rejects(
      open(options),
      (error) => EngineError.is(error, "INVALID_ARGUMENT") || assert.fail(`${JSON.stringify(options)}: ${String(error)}`),
    );
  }
  await assert.rejects(Engine.open(undefined as unknown as EngineOptions), refused);
});

test("options are read once and copied: a proxy crosses into the thread as what it holds", async () => {
  const bootstrap = new Proxy({ n1: "127.0.0.1:1" }, {});
  const engine = await Engine.open(new Proxy({ dataDir: "memory:", name: "n1", bootstrap, [Symbol("x")]: () => {} }, {}) as EngineOptions);
  assert.equal(engine.name, "n1");
  await engine.close();
});

test("a log function that fails later harms nobody", async () => {
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", onUnhandled);
  await withEngine(async (engine) => void (await engine.put("a", "1")), {
    log: (async () => Promise.reject(new Error("no disk for logs"))) as () => void,
  });
  await new Promise((resolve) => setImmediate(resolve));
  process.off("unhandledRejection", onUnhandled);
  assert.deepEqual(unhandled, []);
});

test("a node whose thread is gone answers nothing more, from shared memory neither, and is closed at once", async () => {
  const { node, settings } = resolveOptions({ dataDir: "memory:", thread: "inline" });
  const port = await openInlineNode(createEnvironment(node, { thread: "inline", diskWorkerUrl: undefined }), node);
  let gone!: (reason: string | undefined) => void;
  const engine: LocalEngine = await openLocalEngine({ ...port, onGone: (callback) => (gone = callback) }, createNodeClock(), settings);
  await engine.put("a", "1");
  assert.equal((await engine.get("a", { consistency: "eventual" }))?.text(), "1");
  const watch = engine.watch({ all: true });
  await watch.ready();
  const next = watch[Symbol.asyncIterator]().next();
  const writing = engine.put("b", "1", { timeoutMs: Number.POSITIVE_INFINITY });
  gone("it crashed");
  await assert.rejects(writing, { code: "UNAVAILABLE", mayHaveApplied: true });
  await assert.rejects(next, { code: "CLOSED" });
  await assert.rejects(engine.get("a", { consistency: "eventual" }), { code: "UNAVAILABLE" });
  await assert.rejects(engine.get("a", { consistency: "lease" }), { code: "UNAVAILABLE" });
  await assert.rejects(engine.put("b", "1"), { code: "UNAVAILABLE", mayHaveApplied: false });
  await assert.rejects(engine.watch({ all: true }).ready(), { code: "CLOSED" });
  assert.equal(engine.health().live, false);
  const began = performance.now();
  await engine.close();
  assert.ok(performance.now() - began < 5_000, "there is nobody to wait for");
});

test("a thread that blocks for longer than every deadline finds its answers, not timeouts", async () => {
  const engine = await Engine.open({ dataDir: "memory:", timeoutMs: 100 });
  await engine.waitReady({ timeoutMs: 10_000 });
  const [put, get] = [engine.put("a", "1"), engine.get("a")];
  // The calls leave with this turn of the event loop; the answers come while the thread is blocked.
  await new Promise((resolve) => setImmediate(resolve));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_000);
  assert.ok((await put).revision > 1);
  await get;
  await engine.close();
});

test("an abort at any moment is told as such, and what is sent with it goes on", async () => {
  await withEngine(async (engine) => {
    for (let turns = 0; turns < 6; turns++) {
      const controller = new AbortController();
      const { signal } = controller;
      const calls = [
        engine.put("a", "1", { signal }),
        engine.compareAndSwap("b", undefined, "1", { signal }),
        engine.get("a", { signal }),
        engine.range({ all: true }, { signal }),
        engine.getMany(["a"], { signal }),
        engine.scan({ all: true }, { signal }).ready(),
        engine.waitReady({ signal }),
      ];
      const other = engine.put("other", String(turns));
      const settled = Promise.allSettled(calls);
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      controller.abort(new Error("enough"));
      for (const [i, result] of (await settled).entries()) {
        if (result.status === "fulfilled") continue;
        assert.ok(EngineError.is(result.reason, "ABORTED"), String(result.reason));
        assert.equal(result.reason.name, "AbortError");
        assert.equal(result.reason.mayHaveApplied, i < 2);
        assert.equal((result.reason.cause as Error).message, "enough");
      }
      await other;
    }
    const timed = AbortSignal.timeout(5);
    await once(timed, "abort");
    await assert.rejects(engine.put("a", "1", { signal: timed }), { code: "ABORTED", mayHaveApplied: false });
  });
});

test("flags that are neither true nor false are refused, not taken for one of them", async () => {
  await withEngine(async (engine) => {
    for (const flag of [1, 0, "true", null, {}] as unknown as boolean[]) {
      await assert.rejects(engine.put("a", "b", { prevKv: flag }), refused);
      await assert.rejects(engine.delete("a", { prevKv: flag }), refused);
      await assert.rejects(engine.range({ all: true }, { keysOnly: flag as true }), refused);
      await assert.rejects(async () => {
        for await (const kv of engine.scan({ all: true }, { keysOnly: flag as true })) assert.fail(kv.key);
      }, refused);
    }
  });
});

test("what is followed knows its options", async () => {
  await withEngine(async (engine) => {
    const wrong = { nobody: 1 } as object;
    assert.throws(() => engine.stateChanges(wrong), refused);
    assert.throws(() => engine.leaderChanges(wrong), refused);
    assert.throws(() => engine.watchMembers(wrong), refused);
    assert.throws(() => engine.stateChanges({ signal: {} as AbortSignal }), refused);
  });
});

test("an update whose change never answers ends with its time, its signal, or what it threw", async () => {
  await withEngine(async (engine) => {
    const never = new Promise<string>(() => {});
    await assert.rejects(
      engine.update("a", () => never, { timeoutMs: 20 }),
      { code: "TIMEOUT", mayHaveApplied: false },
    );
    const stop = new AbortController();
    await assert.rejects(
      engine.update(
        "a",
        () => {
          stop.abort();
          return never;
        },
        { signal: stop.signal },
      ),
      { code: "ABORTED", mayHaveApplied: false },
    );
    await assert.rejects(
      engine.update("a", () => Promise.reject(new Error("mine"))),
      /mine/,
    );
    assert.equal((await engine.update("a", () => Promise.resolve("1"), { timeoutMs: Number.POSITIVE_INFINITY }))?.revision, 2);
  });
});
