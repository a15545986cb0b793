/** What founding lists, addresses and directories that do not fit are answered with, and what a member that waits says of it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { EngineError } from "../errors.ts";
import { LocalCluster } from "../node/test/local-cluster.ts";
import type { EngineOptions, LogRecord } from "./engine-options.ts";
import { resolveOptions } from "./engine-options.ts";
import { openEngine } from "./open-engine.ts";

const directory = mkdtempSync(join(tmpdir(), "d-engine-founding-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const isInvalid = (argument: string, message: RegExp) => (error: unknown) => {
  assert.ok(EngineError.is(error, "INVALID_ARGUMENT"), String(error));
  assert.equal(error.details.argument, argument);
  assert.match(error.message, message);
  assert.equal(error.mayHaveApplied, false);
  return true;
};

const list = { n1: "10.0.0.1:2380", n2: "10.0.0.2:2380" };

function resolving(listen: string, advertise: string | undefined, own: string): () => void {
  return () =>
    resolveOptions({
      dataDir: "memory:",
      name: "n1",
      peer: { listen, insecure: true, ...(advertise === undefined ? {} : { advertise }) },
      bootstrap: { ...list, n1: own },
    });
}

test("a member that listens or is advertised elsewhere than its own entry of bootstrap says is refused, and told what to change", () => {
  assert.throws(
    resolving("10.0.0.1:2381", undefined, list.n1),
    isInvalid("peer.listen", /10\.0\.0\.1:2381 is not where .* n1 is found, 10\.0\.0\.1:2380/),
  );
  assert.throws(resolving("10.0.0.9:2380", undefined, list.n1), isInvalid("peer.listen", /peer\.advertise: "10\.0\.0\.1:2380"/));
  assert.throws(resolving("127.0.0.1:2380", undefined, list.n1), isInvalid("peer.listen", /listen there/));
  assert.throws(resolving("10.0.0.1:0", undefined, list.n1), isInvalid("peer.listen", /listen there/));
  assert.throws(resolving("0.0.0.0:2380", "10.0.0.9:2380", list.n1), isInvalid("peer.advertise", /make both the same/));
  assert.throws(resolving("0.0.0.0:2380", "other.example:2380", "db.example:2380"), isInvalid("peer.advertise", /make both the same/));
});

test("a member may listen on its own entry, on a wildcard with that entry advertised, or where a name may lead", () => {
  resolving("10.0.0.1:2380", undefined, list.n1)();
  resolving("0.0.0.0:9999", "10.0.0.1:2380", list.n1)();
  resolving("10.0.0.1:2380", undefined, "db-1.example:2380")();
  resolving("localhost:2380", undefined, "127.0.0.1:2380")();
  resolving("0.0.0.0:2380", "DB-1.example:2380", "db-1.example:2380")();
});

test("options of a wrong kind are named as what they are", () => {
  const given = (options: object) => () => resolveOptions({ dataDir: "memory:", ...options } as EngineOptions);
  assert.throws(given({ bootstrap: ["10.0.0.1:2380"] }), isInvalid("bootstrap", /\{ name: "host:port", \.\.\. \} is wanted, not an array/));
  assert.throws(given({ bootstrap: "n1" }), isInvalid("bootstrap", /not "n1"/));
  assert.throws(given({ name: "n1", bootstrap: { n1: {} } }), isInvalid("bootstrap", /is wanted for n1, not an object/));
  assert.throws(given({ name: [] }), isInvalid("name", /not an array/));
});

test("a file in the place of the data directory is refused as one", async () => {
  const file = join(directory, "file");
  writeFileSync(file, "");
  for (const dataDir of [file, pathToFileURL(file)]) {
    for (const thread of ["worker", "inline"] as const)
      await assert.rejects(openEngine({ dataDir, thread }), isInvalid("dataDir", /is a file: a directory is wanted/));
  }
  await assert.rejects(openEngine({ dataDir: join(file, "below") }), isInvalid("dataDir", /lies below a file/));
});

test("a time to live that cannot be is told with its value", async () => {
  const engine = await openEngine({ dataDir: "memory:", thread: "inline" });
  await assert.rejects(engine.put("a", "1", { ttlMs: 0 }), isInvalid("ttlMs", /an integer from 1 to \d+ is wanted, not number 0/));
  await assert.rejects(engine.put("a", "1", { ttlMs: 1.5 }), isInvalid("ttlMs", /not number 1\.5/));
  await assert.rejects(engine.compareAndSwap("a", undefined, "1", { ttlMs: -1 }), isInvalid("ttlMs", /not number -1/));
  await engine.close();
});

test("a read that waits for a revision in vain says which, and where this node is", async () => {
  const engine = await openEngine({ dataDir: "memory:", thread: "inline" });
  const { revision } = await engine.put("a", "1");
  for (const consistency of ["linearizable", "eventual"] as const) {
    await assert.rejects(engine.get("a", { minRevision: 99, consistency, timeoutMs: 50 }), (error) => {
      assert.ok(EngineError.is(error, "TIMEOUT"), String(error));
      assert.match(error.message, new RegExp(`not come to revision 99 .* it is at revision ${revision}`));
      assert.equal(error.details.waitedFor, "queue");
      return true;
    });
  }
  await engine.close();
});

/** Resolves with the first record that fits. */
function logUntil(fits: (record: LogRecord) => boolean): { readonly log: (record: LogRecord) => void; readonly found: Promise<LogRecord> } {
  let resolve!: (record: LogRecord) => void;
  const found = new Promise<LogRecord>((fulfil) => (resolve = fulfil));
  return {
    log: (record) => {
      if (fits(record)) resolve(record);
    },
    found,
  };
}

test("a member that listens for others and was told of none says that it has founded a cluster of one, once", async () => {
  const records: LogRecord[] = [];
  const dataDir = join(directory, "alone");
  const open = (): ReturnType<typeof openEngine> =>
    openEngine({ dataDir, name: "n1", peer: { listen: "127.0.0.1:0" }, thread: "inline", log: (record) => records.push(record) });
  const engine = await open();
  await engine.put("a", "1");
  const warnings = (): readonly LogRecord[] => records.filter(({ message }) => message.startsWith("a new cluster of this node alone"));
  assert.equal(warnings().length, 1);
  assert.equal(warnings()[0]?.level, "warn");
  await engine.close();
  const again = await open();
  await again.put("a", "1");
  await again.close();
  assert.equal(warnings().length, 1);
});

test("members that were given different founding lists say so, both of them, and name both lists", async () => {
  const cluster = await LocalCluster.create(["n1", "n2", "n3"]);
  const { n1, n2, n3 } = cluster.bootstrap as { n1: string; n2: string; n3: string };
  const told = (record: LogRecord): boolean => record.message === "another member was given another founding list";
  const one = logUntil((record) => told(record) && String(record.fields["otherSays"]).includes("founded as"));
  const two = logUntil((record) => told(record) && String(record.fields["otherSays"]).includes("founded as"));
  try {
    await cluster.open("n1", { bootstrap: { n1, n2 }, log: one.log });
    await cluster.open("n2", { bootstrap: { n1, n2, n3 }, log: two.log });
    const [first, second] = await Promise.all([one.found, two.found]);
    assert.equal(first.level, "warn");
    assert.deepEqual([first.fields["name"], first.fields["other"]], ["n1", "n2"]);
    assert.equal(first.fields["members"], `n1=${n1}, n2=${n2}`);
    assert.match(String(first.fields["otherSays"]), new RegExp(`founded as n1=${n1}, n2=${n2}, n3=${n3}`));
    assert.deepEqual([second.fields["name"], second.fields["other"]], ["n2", "n1"]);
    assert.match(String(second.fields["otherSays"]), new RegExp(`founded as n1=${n1}, n2=${n2};`));
  } finally {
    await cluster.end();
  }
});
