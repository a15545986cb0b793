/** The data's own part of Maintenance over the wire: sizes, and snapshots that are backups. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Engine } from "../../index.ts";
import { bytes, startServed } from "./wire.ts";

void test("A snapshot comes in parts that count down, ends with its digest, and restores", async (context) => {
  const { client } = await startServed(context);
  for (let i = 0; i < 60; i++) await client.call("etcdserverpb.KV", "Put", { key: bytes(`k${i}`), value: bytes("v".repeat(4_000)) });
  const blobs: Uint8Array[] = [];
  const left: number[] = [];
  for await (const part of client.serverStream("etcdserverpb.Maintenance", "Snapshot", {})) {
    assert.ok(part.blob.byteLength > 0 && part.blob.byteLength <= 32 << 10);
    assert.equal(part.header, undefined);
    assert.match(part.version, /^3\.\d+\.\d+$/);
    blobs.push(part.blob);
    left.push(part.remaining_bytes);
  }
  const whole = Buffer.concat(blobs);
  assert.equal(whole.byteLength % 512, 32);
  assert.deepEqual(Buffer.from(blobs.at(-1)!), createHash("sha256").update(whole.subarray(0, -32)).digest());
  assert.deepEqual(left.slice(-2), [32, 0]);
  for (const [i, more] of left.entries()) assert.ok(i === 0 || more <= left[i - 1]!);
  const directory = mkdtempSync(path.join(tmpdir(), "d-engine-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const from = (async function* () {
    yield* blobs;
  })();
  assert.deepEqual(await Engine.restore({ from, dataDir: path.join(directory, "data") }), { revision: 61, keys: 60 });
});

void test("Status tells the size of the data, and its bound", async (context) => {
  const { client } = await startServed(context);
  const before = await client.call("etcdserverpb.Maintenance", "Status", {});
  await client.call("etcdserverpb.KV", "Put", { key: bytes("k"), value: bytes("v".repeat(10_000)) });
  const after = await client.call("etcdserverpb.Maintenance", "Status", {});
  assert.ok(after.dbSize - before.dbSize >= 10_000);
  assert.equal(after.dbSizeInUse, after.dbSize);
  assert.ok(after.dbSizeQuota > 1 << 20);
});

void test("A client that leaves a snapshot lets go of it", async (context) => {
  const { client } = await startServed(context);
  for (let i = 0; i < 60; i++) await client.call("etcdserverpb.KV", "Put", { key: bytes(`k${i}`), value: new Uint8Array(20_000) });
  for (let i = 0; i < 6; i++) {
    const parts = client.serverStream("etcdserverpb.Maintenance", "Snapshot", {})[Symbol.asyncIterator]();
    assert.equal((await parts.next()).done, false);
    await parts.return?.();
  }
});
