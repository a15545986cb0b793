import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { clientSuite } from "../client/test/client-suite.ts";
import { Engine, EngineError, type EngineOptions } from "../index.ts";
import { ELSEWHERE_TLS, MEMBER_TLS } from "../transport/test/certificates.ts";
import { LocalCluster } from "./test/local-cluster.ts";

const names = ["n1", "n2", "n3"];

test("three members found a cluster, and each serves every call", async () => {
  const cluster = await LocalCluster.create(names);
  try {
    const engines = await cluster.openAll();
    await Promise.all(engines.map((engine) => engine.waitReady({ timeoutMs: 30_000 })));
    assert.equal(new Set(engines.map(({ clusterId }) => clusterId)).size, 1);
    assert.equal(new Set(engines.map(({ memberId }) => memberId)).size, 3);
    for (const engine of engines) {
      const { revision } = await engine.put(`from/${engine.name}`, "x");
      for (const reader of engines) {
        assert.equal(
          (await reader.get(`from/${engine.name}`))?.modRevision,
          revision,
          "a linearizable read sees what was acknowledged anywhere",
        );
      }
    }
    const { members, leader } = await engines[0]!.members();
    assert.deepEqual(members.map(({ name }) => name).sort(), names);
    assert.equal(leader, (await cluster.leader()).memberId);
  } finally {
    await cluster.end();
  }
});

test("a follower keeps every promise of a client", async () => {
  const cluster = await LocalCluster.create(names);
  try {
    const engines = await cluster.openAll();
    await Promise.all(engines.map((engine) => engine.waitReady({ timeoutMs: 30_000 })));
    const leader = await cluster.leader();
    const follower = engines.find((engine) => engine !== leader)!;
    for (const { name, run } of clientSuite) {
      await run(follower).catch((error: unknown) => {
        throw new Error(`${name}: ${String(error)}`, { cause: error });
      });
    }
  } finally {
    await cluster.end();
  }
});

test("writes go on over changes of leader, each applied once", async () => {
  const cluster = await LocalCluster.create(names);
  try {
    const engines = await cluster.openAll();
    await Promise.all(engines.map((engine) => engine.waitReady({ timeoutMs: 30_000 })));
    const writer = engines[0]!;
    let acknowledged = 0;
    let stop = false;
    const writing = Promise.all(
      Array.from({ length: 10 }, async (_, c) => {
        for (let i = 0; !stop; i++) {
          assert.equal(
            await writer.compareAndSwap(`chain/${c}`, i === 0 ? undefined : String(i - 1), String(i)),
            true,
            "no write is lost or applied twice",
          );
          acknowledged++;
        }
      }),
    );
    for (let round = 0; round < 4; round++) {
      const before = acknowledged;
      while (acknowledged < before + 200) await new Promise((resolve) => setTimeout(resolve, 5));
      const leader = await cluster.leader();
      if (leader === writer) {
        while (acknowledged < before + 300) await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      await cluster.close(leader.name);
      await cluster.open(leader.name);
    }
    stop = true;
    await writing;
  } finally {
    await cluster.end();
  }
});

test("a member that was away catches up from a snapshot, and its watches are told", async () => {
  const cluster = await LocalCluster.create(names, { snapshotLogBytesMin: 64 << 10, logSegmentBytes: 128 << 10, historyRevisionsMax: 500 });
  try {
    const engines = await cluster.openAll();
    await Promise.all(engines.map((engine) => engine.waitReady({ timeoutMs: 30_000 })));
    await engines[0]!.put("before", "x");
    const leader = await cluster.leader();
    const away = engines.find((engine) => engine !== leader)!.name;
    await cluster.close(away);
    const value = "v".repeat(1_000);
    for (let round = 0; round < 20; round++)
      await Promise.all(Array.from({ length: 100 }, (_, i) => leader.put(`bulk/${i}`, `${round} ${value}`)));
    const first = "000000000001.log";
    // The store is written behind the log, so that the log goes a little later.
    for (let i = 0; i < 20_000 && readdirSync(cluster.dataDir(leader.name)).includes(first); i++) await leader.put("bulk/0", `19 ${value}`);
    const files = readdirSync(cluster.dataDir(leader.name));
    assert.ok(
      !files.includes(first) && files.some((file) => file.startsWith("store-")),
      `the log was discarded behind the store: ${files.join(" ")}`,
    );
    const back = await cluster.open(away);
    const { revision } = await leader.put("after", "y");
    assert.equal((await back.get("after", { consistency: "eventual", minRevision: revision }))?.text(), "y");
    assert.equal((await back.get("before", { consistency: "eventual" }))?.text(), "x");
    assert.equal(await back.count({ prefix: "bulk/" }, { consistency: "eventual" }), 100);
    // What it took over lasts.
    await cluster.close(away);
    const again = await cluster.open(away);
    assert.equal((await again.get("bulk/7"))?.text(), `19 ${value}`);
  } finally {
    await cluster.end();
  }
});

test("a node made of its store and the log behind it has all that was acknowledged", async () => {
  const cluster = await LocalCluster.create(["n1"], { snapshotLogBytesMin: 32 << 10, logSegmentBytes: 64 << 10, historyRevisionsMax: 200 });
  try {
    let engine = await cluster.open("n1");
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 30; i++)
        await Promise.all(Array.from({ length: 10 }, (_, k) => engine.put(`k/${k}`, `${round}.${i} ${"z".repeat(500)}`)));
      const { revision } = await engine.put("round", String(round));
      await cluster.close("n1");
      engine = await cluster.open("n1");
      const kv = await engine.get("round");
      assert.equal(kv?.text(), String(round));
      assert.equal(kv?.modRevision, revision);
      assert.equal(await engine.count({ prefix: "k/" }), 10);
    }
    await assert.rejects(engine.range({ all: true }, { revision: 2 }), { code: "COMPACTED" });
    const watch = engine.watch({ all: true }, { fromRevision: 2 });
    await assert.rejects(
      watch[Symbol.asyncIterator]().next(),
      (error) => EngineError.is(error, "COMPACTED") && error.details.compactRevision > 2,
    );
    for await (const batch of engine.watch({ prefix: "round" }, { fromRevision: 2, onGap: "reset" })) {
      assert.equal(batch.kind === "reset" && batch.kvs[0]?.text(), "4");
      break;
    }
  } finally {
    await cluster.end();
  }
});

test("a member whose disk was wiped is refused when it returns under its old name", async () => {
  const cluster = await LocalCluster.create(names);
  try {
    const engines = await cluster.openAll();
    await Promise.all(engines.map((engine) => engine.waitReady({ timeoutMs: 30_000 })));
    await engines[0]!.put("a", "1");
    for (const wiped of ["n3", "n1"]) {
      await cluster.close(wiped);
      rmSync(cluster.dataDir(wiped), { recursive: true });
      const returned = await cluster.open(wiped);
      await assert.rejects(returned.waitReady({ timeoutMs: 30_000 }), { code: "UNAVAILABLE" });
      assert.ok(returned.state.kind === "failed" && returned.state.error.code === "INCOMPATIBLE", JSON.stringify(returned.state));
      await assert.rejects(returned.put("b", "2"), { code: "UNAVAILABLE", mayHaveApplied: false });
      await cluster.close(wiped);
      if (wiped === "n3") assert.equal((await engines[0]!.get("a"))?.text(), "1", "the other two go on");
    }
    // Two of three were wiped: the survivor must not serve what it cannot know to be whole.
    await assert.rejects(engines[1]!.put("c", "3", { timeoutMs: 1_000 }), { code: "TIMEOUT" });
  } finally {
    await cluster.end();
  }
});

test("a cluster of one that was opened without a listener gets one later", async () => {
  const cluster = await LocalCluster.create(["n1"]);
  try {
    const dataDir = cluster.dataDir("n1");
    const first = await Engine.open({ dataDir, name: "n1", thread: "inline" });
    await first.put("a", "1");
    assert.equal((await first.members()).members[0]?.peerAddress, "");
    await first.close();
    const second = await Engine.open({ dataDir, thread: "inline", peer: { listen: cluster.bootstrap["n1"]! } });
    assert.equal((await second.get("a"))?.text(), "1");
    for await (const { members } of second.watchMembers()) if (members[0]?.peerAddress === cluster.bootstrap["n1"]) break;
    await assert.rejects(Engine.open({ dataDir: "memory:", thread: "inline", peer: { listen: cluster.bootstrap["n1"]! } }), {
      code: "IN_USE",
    });
    await second.close();
  } finally {
    await cluster.end();
  }
});

test("the largest request there can be goes through every member, also where the leader allows its own callers less", async () => {
  const cluster = await LocalCluster.create(names);
  try {
    const generous = { limits: { requestBytesMax: 16 << 20 }, electionTimeoutMs: 2_000, heartbeatMs: 100 };
    const opened = await Promise.all(names.map((name) => cluster.open(name, { ...generous, ...(name === "n1" ? { limits: {} } : {}) })));
    await Promise.all(opened.map((engine) => engine.waitReady({ timeoutMs: 30_000 })));
    const largest = new Uint8Array((16 << 20) - 100).fill(7);
    for (const engine of opened.slice(1)) {
      // In one tick behind as much as a batch may hold already.
      const small = Array.from({ length: 3 }, (_, i) => engine.put(`small/${i}`, new Uint8Array(300 << 10)));
      const { revision } = await engine.put("large", largest);
      await Promise.all(small);
      for (const reader of opened) {
        const kv = await reader.get("large", { consistency: "eventual", minRevision: revision });
        assert.equal(kv?.value.byteLength, largest.byteLength);
      }
    }
    await assert.rejects(opened[0]!.put("large", largest), { code: "INVALID_ARGUMENT" });
    // Nothing waits behind it.
    for (const engine of opened) await engine.put("after", engine.name);
  } finally {
    await cluster.end();
  }
});

test("a directory that has lost its log, or its identity, is refused", async () => {
  const cluster = await LocalCluster.create(["n1"]);
  try {
    for (const missing of [/\.log$/, /^identity$/]) {
      const engine = await cluster.open("n1");
      await engine.put("a", "1");
      await cluster.close("n1");
      const directory = cluster.dataDir("n1");
      for (const file of readdirSync(directory)) if (missing.test(file)) rmSync(join(directory, file));
      await assert.rejects(cluster.open("n1"), { code: "CORRUPT" });
      await assert.rejects(cluster.open("n1"), { code: "CORRUPT" }, "it stays refused");
      rmSync(directory, { recursive: true });
    }
  } finally {
    await cluster.end();
  }
});

test("members speak TLS with certificates on both sides, and one with a certificate from elsewhere stays outside", async () => {
  const cluster = await LocalCluster.create(names);
  const peer = (name: string, { cert, key, ca, serverName }: typeof MEMBER_TLS): Partial<EngineOptions> => ({
    peer: { listen: cluster.bootstrap[name]!, tls: serverName === undefined ? { cert, key, ca } : { cert, key, ca, serverName } },
  });
  try {
    const [n1, n2] = await Promise.all(names.map((name) => cluster.open(name, peer(name, MEMBER_TLS))));
    await n1!.waitReady({ timeoutMs: 30_000 });
    const { revision } = await n1!.put("a", "over TLS");
    assert.equal((await n2!.get("a"))?.modRevision, revision);
    await cluster.close("n3");
    const stranger = await cluster.open("n3", peer("n3", ELSEWHERE_TLS));
    await assert.rejects(stranger.get("a", { timeoutMs: 1_000 }), { code: "TIMEOUT" });
    assert.equal((await n1!.put("a", "the two go on")).revision, revision + 1);
  } finally {
    await cluster.end();
  }
});
