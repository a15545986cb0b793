import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Engine, EngineError, type EngineOptions } from "../index.ts";
import { clientSuite } from "./test/client-suite.ts";

function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), "d-engine-"));
}

const modes: readonly { readonly name: string; options(directory: string): EngineOptions }[] = [
  { name: "memory, inline", options: () => ({ dataDir: "memory:", thread: "inline" }) },
  { name: "disk, inline", options: (dataDir) => ({ dataDir, thread: "inline" }) },
  { name: "disk, in threads of its own", options: (dataDir) => ({ dataDir }) },
];

for (const mode of modes) {
  describe(`the embedded engine: ${mode.name}`, () => {
    for (const { name, run } of clientSuite) {
      test(name, async () => {
        const directory = temporaryDirectory();
        const engine = await Engine.open(mode.options(join(directory, "data")));
        try {
          await run(engine);
        } finally {
          await engine.close();
          rmSync(directory, { recursive: true });
        }
      });
    }
  });
}

describe("the life of an engine", () => {
  test("what was acknowledged is there after reopening, under the same identity", async () => {
    const dataDir = temporaryDirectory();
    const first = await Engine.open({ dataDir, name: "one" });
    await first.put("a", "1");
    const { revision } = await first.put("a", "2");
    await first.put("b", "x", { ttlMs: 60_000 });
    const { memberId, clusterId } = first;
    await first.close();
    const second = await Engine.open({ dataDir });
    assert.equal(second.name, "one");
    assert.equal(second.memberId, memberId);
    assert.equal(second.clusterId, clusterId);
    const kv = await second.get("a");
    assert.equal(kv?.text(), "2");
    assert.equal(kv?.modRevision, revision);
    assert.equal(kv?.version, 2);
    assert.equal((await second.get("b"))?.text(), "x");
    await second.close();
    await assert.rejects(Engine.open({ dataDir, name: "two" }), { code: "INCOMPATIBLE" });
    rmSync(dataDir, { recursive: true });
  });

  test("a watch made at once after reopening begins with what is new", async () => {
    const dataDir = temporaryDirectory();
    const first = await Engine.open({ dataDir });
    for (const key of ["a", "b", "c"]) await first.put(key, "old");
    await first.close();
    const second = await Engine.open({ dataDir });
    const plain = second.watch({ all: true })[Symbol.asyncIterator]();
    const initial = second.watch({ all: true }, { initial: true })[Symbol.asyncIterator]();
    await second.put("d", "new");
    const { value: event } = await plain.next();
    assert.ok(event?.kind === "events" && event.events[0]?.kind === "put" && event.events[0].kv.key === "d");
    const { value: reset } = await initial.next();
    assert.ok(reset?.kind === "reset");
    assert.deepEqual(
      reset.kvs.map(({ key }: { readonly key: string }) => key),
      ["a", "b", "c"],
    );
    await second.close();
    rmSync(dataDir, { recursive: true });
  });

  test("a directory in use by a live engine is refused, and says by whom", async () => {
    const dataDir = temporaryDirectory();
    const engine = await Engine.open({ dataDir });
    await assert.rejects(
      Engine.open({ dataDir }),
      (error) => EngineError.is(error, "IN_USE") && error.details.what === "dataDir" && error.details.pid === process.pid,
    );
    assert.equal((await engine.put("a", "1")).revision, 2);
    await engine.close();
    const again = await Engine.open({ dataDir });
    assert.equal((await again.get("a"))?.text(), "1");
    await again.close();
    rmSync(dataDir, { recursive: true });
  });

  test("close is idempotent, and calls in flight and later ones are told", async () => {
    const engine = await Engine.open({ dataDir: "memory:" });
    await engine.waitReady();
    const watch = engine.watch("never written");
    await watch.ready();
    const ended = assert.rejects(watch[Symbol.asyncIterator]().next(), { code: "CLOSED" });
    const inFlight = engine.put("a", "1").then(
      () => "applied",
      (error: unknown) => (EngineError.is(error, "CLOSED") ? "closed" : String(error)),
    );
    const closing = engine.close();
    assert.equal(engine.close(), closing);
    await closing;
    assert.ok(["applied", "closed"].includes(await inFlight));
    await ended;
    await assert.rejects(engine.put("a", "1"), { code: "CLOSED", mayHaveApplied: false });
    await assert.rejects(engine.get("a"), { code: "CLOSED" });
    await assert.rejects(engine.waitReady(), { code: "CLOSED" });
    assert.equal(engine.state.kind, "closed");
    assert.equal(engine.health().live, false);
  });

  test("readiness, leadership and state are told", async () => {
    const engine = await Engine.open({ dataDir: "memory:" });
    const leader = await engine.waitReady();
    assert.equal(leader.id, engine.memberId);
    assert.equal(engine.isLeader(), true);
    assert.deepEqual(engine.leader(), leader);
    assert.deepEqual(engine.health(), { live: true, ready: true, reasons: [] });
    for await (const state of engine.stateChanges()) {
      assert.equal(state.kind, "ready");
      break;
    }
    const states: string[] = [];
    const following = (async () => {
      for await (const state of engine.stateChanges()) states.push(state.kind);
    })();
    await engine.close();
    await following;
    assert.deepEqual(states, ["ready", "closed"]);
  });

  test("beyond pendingCallsMax a call is refused at once", async () => {
    const engine = await Engine.open({ dataDir: "memory:", limits: { pendingCallsMax: 10 } });
    const results = await Promise.allSettled(Array.from({ length: 30 }, (_, i) => engine.put(`k${i}`, "x")));
    const refused = results.filter((result) => result.status === "rejected");
    assert.equal(refused.length, 20);
    for (const { reason } of refused) assert.ok(EngineError.is(reason, "OVERLOADED") && !reason.mayHaveApplied);
    await engine.put("later", "x");
    await engine.close();
  });

  test("a consistency that callers may not choose is refused", async () => {
    const engine = await Engine.open({ dataDir: "memory:", consistency: "eventual", allowConsistencyOverride: false });
    await engine.put("a", "1");
    await assert.rejects(engine.get("a", { consistency: "linearizable" }), { code: "INVALID_ARGUMENT" });
    await engine.get("a");
    await engine.close();
  });

  test("options that cannot be are refused before anything is touched", async () => {
    const refused = { code: "INVALID_ARGUMENT" };
    await assert.rejects(Engine.open({} as EngineOptions), refused);
    await assert.rejects(Engine.open({ dataDir: "memory:", datadir: "x" } as EngineOptions), refused);
    await assert.rejects(Engine.open({ dataDir: "memory:", heartbeatMs: 500 }), refused);
    await assert.rejects(Engine.open({ dataDir: "memory:", peer: { listen: "0.0.0.0:0" } }), refused);
    await assert.rejects(Engine.open({ dataDir: "memory:", peer: { listen: "192.0.2.1:2380" } }), refused);
    await assert.rejects(
      Engine.open({ dataDir: "memory:", bootstrap: { a: "127.0.0.1:1", b: "127.0.0.1:2" }, name: "c", peer: { listen: "127.0.0.1:1" } }),
      refused,
    );
    await assert.rejects(
      Engine.open({ dataDir: "memory:", bootstrap: { a: "127.0.0.1:1", b: "127.0.0.1:1" }, name: "a", peer: { listen: "127.0.0.1:1" } }),
      refused,
    );
  });

  test("what the log function throws is ignored", async () => {
    const engine = await Engine.open({
      dataDir: "memory:",
      log: () => {
        throw new Error("the logger is broken");
      },
    });
    await engine.put("a", "1");
    await engine.close();
  });
});
