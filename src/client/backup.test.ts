import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pipeline } from "node:stream/promises";
import { Engine, EngineError, type EngineOptions, type KeyValue, type RestoreOptions } from "../index.ts";
import { backupHeaderChecksum } from "../storage/backup-format.ts";
import { LocalCluster } from "../node/test/local-cluster.ts";

const root = mkdtempSync(join(tmpdir(), "d-engine-backup-"));
let directories = 0;
const newDirectory = (): string => join(root, String((directories += 1)));
after(() => rmSync(root, { recursive: true }));

async function* pieces(bytes: Uint8Array, length: number = bytes.byteLength): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += length) yield bytes.subarray(at, at + length);
}

async function gather(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const gathered: Uint8Array[] = [];
  for await (const part of parts) gathered.push(part);
  return Buffer.concat(gathered);
}

const shown = ({ key, modRevision, createRevision, version, lease, value }: KeyValue): unknown => [
  key,
  modRevision,
  createRevision,
  version,
  lease,
  Buffer.from(value).toString("hex"),
];

async function everything(engine: Engine): Promise<readonly unknown[]> {
  const all: unknown[] = [];
  for await (const kv of engine.scan({ all: true })) all.push(shown(kv));
  return all;
}

/** A file of a few kilobytes: keys with history, deletions, leases of both kinds, one without keys. */
async function makeBackup(
  options: Partial<EngineOptions> = {},
): Promise<{ readonly bytes: Buffer; readonly kvs: readonly unknown[]; readonly revision: number }> {
  const engine = await Engine.open({ dataDir: "memory:", thread: "inline", ...options });
  try {
    const lease = await engine.lease({ ttlMs: 60_000, keepAlive: false, id: "00000000000000ab" });
    await engine.lease({ ttlMs: 90_000, keepAlive: false, id: "cd" });
    for (let i = 0; i < 5; i++) await engine.put(`k/${i}`, `v${i}`);
    await engine.put("k/1", "again");
    await engine.put("leased", "x", { lease });
    await engine.put("timed", "y", { ttlMs: 30_000 });
    await engine.delete("k/2");
    await engine.delete({ prefix: "k/3" });
    const { revision } = await engine.maintenance.status();
    const bytes = await gather(engine.maintenance.backup());
    return { bytes, kvs: await everything(engine), revision };
  } finally {
    await engine.close();
  }
}

let small: Awaited<ReturnType<typeof makeBackup>>;
before(async () => {
  small = await makeBackup();
});

const restore = (bytes: Uint8Array, options: Partial<RestoreOptions> = {}): ReturnType<typeof Engine.restore> =>
  Engine.restore({ from: pieces(bytes), dataDir: newDirectory(), ...options });

describe("a backup", () => {
  test("holds everything at one revision, and restores to the same, whatever the pieces it comes in", async () => {
    for (const length of [1, 7, 100_000]) {
      const dataDir = newDirectory();
      const restored = await Engine.restore({ from: pieces(small.bytes, length), dataDir });
      assert.deepEqual(restored, { revision: small.revision, keys: small.kvs.length });
      const engine = await Engine.open({ dataDir, thread: "inline" });
      assert.deepEqual(await everything(engine), small.kvs);
      assert.equal((await engine.maintenance.status()).revision, small.revision);
      // With its history.
      assert.equal((await engine.get("k/2", { revision: small.revision - 2 }))?.text(), "v2");
      assert.equal((await engine.put("k/9", "new")).revision, small.revision + 1);
      await engine.close();
    }
  });

  test("has the length and the last bytes that etcd's tools look for, and its digest", () => {
    assert.equal(small.bytes.byteLength % 512, 32);
    const digest = createHash("sha256").update(small.bytes.subarray(0, -32)).digest();
    assert.deepEqual(small.bytes.subarray(-32), digest);
  });

  test("of one store restores into another, and back", async () => {
    const kvs = [];
    let { bytes } = small;
    for (const store of ["memory", "segments", "memory"] as const) {
      const dataDir = newDirectory();
      await Engine.restore({ from: pieces(bytes), dataDir, name: "one" });
      for (let opening = 0; opening < 2; opening++) {
        const engine = await Engine.open({ dataDir, store, thread: "inline" });
        assert.equal(engine.name, "one");
        kvs.push(await everything(engine));
        bytes = await gather(engine.maintenance.backup());
        await engine.close();
      }
    }
    for (const found of kvs) assert.deepEqual(found, small.kvs);
  });

  test("gives leases their whole time again, and lets them run out", async () => {
    const source = await Engine.open({ dataDir: "memory:", thread: "inline" });
    await source.put("gone", "x", { ttlMs: 400 });
    const lease = await source.lease({ ttlMs: 3_600_000, keepAlive: false });
    const bytes = await gather(source.maintenance.backup());
    await source.close();
    const dataDir = newDirectory();
    await Engine.restore({ from: pieces(bytes), dataDir });
    const engine = await Engine.open({ dataDir, thread: "inline" });
    const watch = engine.watch("gone", { fromRevision: 2 });
    const causes: unknown[] = [];
    for await (const batch of watch) {
      if (batch.kind === "events") causes.push(...batch.events.map((event) => (event.kind === "delete" ? event.cause : event.kind)));
      if (causes.length === 2) break;
    }
    assert.deepEqual(causes, ["put", "expiry"]);
    const found = await engine.leases.get(lease.id);
    assert.ok(found!.remainingMs > 3_500_000);
    // Leases that puts make are named by the log's entries: none of the backup's names may come again.
    await engine.put("t", "1", { ttlMs: 60_000 });
    await engine.close();
  });

  test("begins a new cluster each time, and none of its old one", async () => {
    const ids = new Set<string>();
    for (let i = 0; i < 2; i++) {
      const dataDir = newDirectory();
      await Engine.restore({ from: pieces(small.bytes), dataDir });
      const engine = await Engine.open({ dataDir, thread: "inline" });
      ids.add(engine.clusterId);
      await engine.close();
    }
    assert.equal(ids.size, 2);
  });

  test("with bumpRevision stands at a higher revision, with nothing of the history before it", async () => {
    const dataDir = newDirectory();
    const { revision } = await restore(small.bytes, { dataDir, bumpRevision: 1_000_000 });
    assert.equal(revision, small.revision + 1_000_000);
    const engine = await Engine.open({ dataDir });
    assert.deepEqual(await everything(engine), small.kvs);
    await assert.rejects(engine.get("k/1", { revision: small.revision }), { code: "COMPACTED" });
    const watch = engine.watch({ all: true }, { fromRevision: small.revision + 500 });
    await assert.rejects(
      async () => {
        for await (const _ of watch);
      },
      { code: "COMPACTED" },
    );
    assert.equal((await engine.put("after", "")).revision, revision + 1);
    await engine.close();
    await assert.rejects(restore(small.bytes, { bumpRevision: Number.MAX_SAFE_INTEGER }), { code: "INVALID_ARGUMENT" });
  });

  test("of an empty engine restores to an empty engine", async () => {
    const source = await Engine.open({ dataDir: "memory:", thread: "inline" });
    const bytes = await gather(source.maintenance.backup());
    await source.close();
    const dataDir = newDirectory();
    assert.deepEqual(await restore(bytes, { dataDir }), { revision: 1, keys: 0 });
    const engine = await Engine.open({ dataDir, thread: "inline" });
    assert.equal((await engine.put("a", "1")).revision, 2);
    await engine.close();
  });

  test("is a stream that pipeline() takes, from a file that pipeline() wrote", async () => {
    const file = newDirectory();
    const source = await Engine.open({ dataDir: "memory:" });
    await Promise.all(Array.from({ length: 3_000 }, (_, i) => source.put(`key/${i}`, randomBytes(300))));
    await pipeline(source.maintenance.backup(), createWriteStream(file));
    const kvs = await everything(source);
    const dataDir = newDirectory();
    assert.equal((await Engine.restore({ from: createReadStream(file), dataDir })).keys, 3_000);
    const engine = await Engine.open({ dataDir });
    assert.deepEqual(await everything(engine), kvs);
    await engine.close();
    await source.close();
  });
});

describe("a backup under way", () => {
  test("is as of its beginning, whatever is written, deleted and compacted meanwhile", async () => {
    const engine = await Engine.open({ dataDir: "memory:", history: { ms: 0, revisionsMin: 0, revisionsMax: 10 } });
    await Promise.all(Array.from({ length: 2_000 }, (_, i) => engine.put(`key/${i}`, randomBytes(200))));
    const kvs = await everything(engine);
    const parts: Uint8Array[] = [];
    let round = 0;
    for await (const part of engine.maintenance.backup()) {
      parts.push(part);
      if (round++ > 20) continue;
      await Promise.all(Array.from({ length: 200 }, (_, i) => engine.put(`key/${i * 10}`, `changed ${round}`)));
      await engine.delete({ prefix: `key/1${round % 10}` });
    }
    assert.notDeepEqual(await everything(engine), kvs);
    await engine.close();
    const dataDir = newDirectory();
    await restore(Buffer.concat(parts), { dataDir });
    const restored = await Engine.open({ dataDir, thread: "inline" });
    assert.deepEqual(await everything(restored), kvs);
    await restored.close();
  });

  test("may be left, or aborted, and four at a time may go on", { timeout: 20_000 }, async () => {
    const engine = await Engine.open({ dataDir: "memory:", thread: "inline" });
    await engine.put("a", randomBytes(100_000));
    for (let i = 0; i < 6; i++) for await (const _ of engine.maintenance.backup()) break;
    const controller = new AbortController();
    const four = Array.from({ length: 4 }, () => engine.maintenance.backup({ signal: controller.signal })[Symbol.asyncIterator]());
    for (const one of four) assert.equal((await one.next()).done, false);
    await assert.rejects(gather(engine.maintenance.backup()), { code: "OVERLOADED" });
    controller.abort();
    for (const one of four) await assert.rejects(async () => one.next(), { name: "AbortError" });
    const waiting = new AbortController();
    const piece = engine.maintenance.backup({ signal: waiting.signal })[Symbol.asyncIterator]().next();
    waiting.abort();
    await assert.rejects(async () => piece, { name: "AbortError" });
    await gather(engine.maintenance.backup());
    const iterated = engine.maintenance.backup();
    await gather(iterated);
    await assert.rejects(gather(iterated), { code: "INVALID_ARGUMENT" });
    await assert.rejects(gather(engine.maintenance.backup({ timeoutMs: 1e-6 })), { name: "TimeoutError" });
    const left = engine.maintenance.backup();
    await engine.close();
    await assert.rejects(gather(left), { code: "CLOSED" });
    assert.throws(() => engine.maintenance.backup(), { code: "CLOSED" });
  });
});

describe("a backup that is damaged", () => {
  const corrupt = (error: unknown): boolean => {
    assert.ok(EngineError.is(error, "CORRUPT"), String(error));
    assert.equal(error.details.path, "backup");
    assert.ok(error.details.offset >= 0 && error.details.offset <= small.bytes.byteLength + 1);
    return true;
  };

  test("is refused wherever it is cut, and leaves nothing behind", async () => {
    const dataDir = newDirectory();
    for (let length = 0; length < small.bytes.byteLength; length += length < 1_600 ? 1 : 13) {
      await assert.rejects(restore(small.bytes.subarray(0, length), { dataDir }), (error) => {
        assert.equal(EngineError.is(error, "CORRUPT") && error.details.offset, length);
        return corrupt(error);
      });
      assert.ok(!existsSync(dataDir));
    }
  });

  test("is refused whichever bit of it is flipped", async () => {
    const dataDir = newDirectory();
    for (let at = 0; at < small.bytes.byteLength; at++) {
      const bytes = Buffer.from(small.bytes);
      bytes[at]! ^= 1 << (at % 8);
      await assert.rejects(restore(bytes, { dataDir }), corrupt);
    }
    assert.ok(!existsSync(dataDir));
  });

  test("is refused with bytes behind its end, and where it is something else", async () => {
    await assert.rejects(restore(Buffer.concat([small.bytes, Buffer.alloc(1)])), corrupt);
    await assert.rejects(restore(Buffer.concat([small.bytes, small.bytes])), corrupt);
    await assert.rejects(restore(randomBytes(10_000)), corrupt);
    const database = Buffer.alloc(4_096);
    database.writeUInt32LE(0xed0cdaed, 16);
    await assert.rejects(restore(database), { code: "INCOMPATIBLE" });
  });

  test("of a later version is INCOMPATIBLE", async () => {
    const bytes = Buffer.from(small.bytes);
    bytes.writeUInt32LE(2, 4);
    bytes.writeUInt32LE(backupHeaderChecksum(bytes, bytes.subarray(16, 16 + bytes.readUInt32LE(8))), 12);
    await assert.rejects(restore(bytes), { code: "INCOMPATIBLE", details: { what: "backup", found: "2", supported: "1" } });
  });
});

async function* texts(): AsyncGenerator<Uint8Array> {
  yield "a piece" as unknown as Uint8Array;
}

describe("a restore", () => {
  test("overwrites nothing", async () => {
    const used = newDirectory();
    mkdirSync(used);
    writeFileSync(join(used, "file"), "mine");
    await assert.rejects(restore(small.bytes, { dataDir: used }), { code: "INVALID_ARGUMENT" });
    assert.deepEqual(readdirSync(used), ["file"]);
    await assert.rejects(restore(small.bytes, { dataDir: join(used, "file") }), { code: "INVALID_ARGUMENT" });
    assert.equal(readFileSync(join(used, "file"), "utf8"), "mine");
    const dataDir = newDirectory();
    mkdirSync(dataDir);
    await restore(small.bytes, { dataDir });
    await assert.rejects(restore(small.bytes, { dataDir }), { code: "INVALID_ARGUMENT" });
  });

  test("that is aborted, or whose bytes fail to come, leaves nothing behind", async () => {
    const dataDir = newDirectory();
    const controller = new AbortController();
    const hangs = (async function* () {
      yield small.bytes.subarray(0, 100);
      await new Promise(() => {});
    })();
    const restoring = Engine.restore({ from: hangs, dataDir, signal: controller.signal });
    controller.abort();
    await assert.rejects(restoring, { name: "AbortError" });
    await assert.rejects(Engine.restore({ from: createReadStream(join(root, "none")), dataDir }), { code: "ENOENT" });
    assert.ok(!existsSync(dataDir));
  });

  test("refuses what makes no sense", async () => {
    const bootstrap = { n1: "127.0.0.1:1", n2: "127.0.0.1:2" };
    for (const wrong of [
      { dataDir: "memory:" },
      { dataDir: "" },
      { name: "" },
      { bootstrap },
      { bootstrap, name: "n3" },
      { bootstrap: {} },
      { bumpRevision: -1 },
      { bumpRevision: 0.5 },
      { from: [small.bytes] },
      { from: texts() },
      { unknown: 1 },
    ]) {
      await assert.rejects(
        restore(small.bytes, wrong as Partial<RestoreOptions>),
        { code: "INVALID_ARGUMENT" },
        JSON.stringify(Object.keys(wrong)),
      );
    }
    await assert.rejects(Engine.restore(undefined as never), { code: "INVALID_ARGUMENT" });
  });

  test("that a crash cut short is refused, not opened as an empty engine", async () => {
    const dataDir = newDirectory();
    await restore(small.bytes, { dataDir });
    for (const name of readdirSync(dataDir)) if (name !== "identity") rmSync(join(dataDir, name), { recursive: true });
    await assert.rejects(Engine.open({ dataDir, thread: "inline" }), { code: "CORRUPT" });
  });
});

describe("a cluster of three", () => {
  test("begins with a backup that each member has restored, and goes on from there", async () => {
    const cluster = await LocalCluster.create(["n1", "n2", "n3"]);
    const { bootstrap } = cluster;
    for (const name of Object.keys(bootstrap)) await restore(small.bytes, { dataDir: cluster.dataDir(name), name, bootstrap });
    const engines = await cluster.openAll();
    assert.equal(new Set(engines.map(({ clusterId }) => clusterId)).size, 1);
    for (const engine of engines) {
      await engine.waitReady();
      assert.deepEqual(await everything(engine), small.kvs);
    }
    const { revision } = await engines[0]!.put("more", "1");
    assert.equal(revision, small.revision + 1);
    const hashes = await Promise.all(
      engines.map(async (engine) => {
        await engine.get("more", { minRevision: revision });
        return (await engine.maintenance.hash({ revision })).hash;
      }),
    );
    assert.equal(new Set(hashes).size, 1);
    // Reopened, from what each has kept.
    await Promise.all([...cluster.engines.keys()].map((name) => cluster.close(name)));
    const again = await cluster.openAll();
    assert.equal((await again[1]!.get("more"))?.text(), "1");
    assert.deepEqual((await everything(again[2]!)).length, small.kvs.length + 1);
    await cluster.end();
  });

  test("is not founded by members of which one has restored another backup, or none", async () => {
    const cluster = await LocalCluster.create(["n1", "n2"]);
    const { bootstrap } = cluster;
    const warned = new Promise<string>((resolve) => {
      void (async () => {
        await restore(small.bytes, { dataDir: cluster.dataDir("n1"), name: "n1", bootstrap });
        await cluster.open("n1", { log: ({ level, message }) => level === "warn" && resolve(message) });
        await cluster.open("n2");
      })();
    });
    assert.match(await warned, /another member/);
    for (const engine of cluster.engines.values()) assert.equal(engine.state.kind, "starting");
    await cluster.end();
  });
});

describe("status and hash", () => {
  test("status says how the node stands", async () => {
    const dataDir = newDirectory();
    const engine = await Engine.open({ dataDir, limits: { dataBytesMax: 1 << 20 } });
    await engine.put("a", "1");
    const { revision } = await engine.put("b", "2");
    const {
      version,
      clusterId,
      memberId,
      role,
      leader,
      commitIndex,
      lastApplied,
      keys,
      dataBytes,
      dataBytesMax,
      diskBytes,
      durable,
      alarms,
      ...rest
    } = await engine.maintenance.status();
    assert.equal(
      version,
      (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }).version,
    );
    assert.deepEqual([clusterId, memberId, leader], [engine.clusterId, engine.memberId, engine.memberId]);
    assert.deepEqual([role, keys, dataBytesMax, durable, alarms], ["leader", 2, 1 << 20, true, []]);
    assert.deepEqual([rest.revision, rest.compactRevision], [revision, 1]);
    assert.ok(commitIndex > 1 && lastApplied === commitIndex && rest.term > 1 && dataBytes > 0);
    assert.ok(diskBytes > 0);
    await engine.maintenance.disarm("NOSPACE");
    await assert.rejects(engine.maintenance.disarm("CORRUPT"), { code: "INVALID_ARGUMENT" });
    const signal = AbortSignal.abort();
    await assert.rejects(engine.maintenance.status({ signal }), { name: "AbortError" });
    await assert.rejects(engine.maintenance.hash({ signal }), { name: "AbortError" });
    await assert.rejects(engine.maintenance.hash({ revision: 0 }), { code: "INVALID_ARGUMENT" });
    const value = randomBytes(200_000);
    await assert.rejects(
      async () => {
        for (let i = 0; ; i++) await engine.put(`fill/${i}`, value);
      },
      { code: "NO_SPACE" },
    );
    assert.deepEqual((await engine.maintenance.status()).alarms, ["NOSPACE"]);
    await assert.rejects(engine.maintenance.disarm("NOSPACE"), { code: "REFUSED" });
    await engine.close();
  });

  test("a hash is of one revision, whatever came later and was compacted since", async () => {
    const one = await Engine.open({ dataDir: "memory:", thread: "inline" });
    const other = await Engine.open({ dataDir: "memory:", thread: "inline", history: { revisionsMax: 3, revisionsMin: 0 } });
    for (let i = 0; i < 50; i++) for (const engine of [one, other]) await engine.put(`k/${i % 7}`, `v${i}`);
    const { revision } = await other.maintenance.status();
    const hash = await other.maintenance.hash();
    assert.equal(hash.revision, revision);
    assert.ok(hash.compactRevision > 40);
    await one.put("later", "x");
    await one.delete("k/1");
    const past = await one.maintenance.hash({ revision });
    assert.equal(past.hash, hash.hash);
    assert.equal(past.compactRevision, 1);
    assert.notEqual((await one.maintenance.hash()).hash, hash.hash);
    await assert.rejects(other.maintenance.hash({ revision: 5 }), { code: "COMPACTED" });
    await assert.rejects(other.maintenance.hash({ revision: revision + 1 }), {
      code: "FUTURE_REVISION",
      details: { currentRevision: revision },
    });
    await one.close();
    await other.close();
  });
});
