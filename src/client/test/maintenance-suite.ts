/** What every client promises of the operator's calls. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine } from "../../index.ts";
import type { ClientCase } from "./client-suite.ts";

export const maintenanceSuite: readonly ClientCase[] = [
  {
    name: "status tells the revision, the keys and the room of whoever answers, and no alarm",
    run: async (client) => {
      const before = await client.maintenance.status();
      const { revision } = await client.put("status/a", "1");
      await client.get("status/a", { minRevision: revision });
      const status = await client.maintenance.status();
      assert.ok(status.revision >= revision && status.lastApplied > before.lastApplied && status.commitIndex >= status.lastApplied);
      assert.ok(status.keys >= 1 && status.dataBytes > before.dataBytes && status.dataBytesMax > status.dataBytes);
      assert.ok(status.compactRevision >= 1 && status.compactRevision <= status.revision);
      assert.match(`${status.clusterId} ${status.memberId} ${status.leader}`, /^[0-9a-f]{16} [0-9a-f]{16} [0-9a-f]{16}$/);
      assert.match(status.version, /^\d+\.\d+\.\d+/);
      assert.deepEqual(status.alarms, []);
      await client.maintenance.disarm("NOSPACE");
    },
  },
  {
    name: "a hash of a revision stays the same while others are written, and a revision that is not there has none",
    run: async (client) => {
      const { revision } = await client.put("hash/a", "1");
      await client.get("hash/a", { minRevision: revision });
      const first = await client.maintenance.hash({ revision });
      await client.put("hash/a", "2");
      const again = await client.maintenance.hash({ revision });
      assert.deepEqual([again.hash, again.revision], [first.hash, revision]);
      const now = await client.maintenance.hash();
      assert.ok(now.revision >= revision);
      await assert.rejects(client.maintenance.hash({ revision: 1e12 }), { code: "FUTURE_REVISION" });
      const { revision: compacted } = await client.put("hash/a", "3");
      await client.maintenance.compact(compacted);
      await client.get("hash/a", { minRevision: compacted });
      await assert.rejects(client.maintenance.hash({ revision }), { code: "COMPACTED" });
    },
  },
  {
    name: "a backup is everything at one revision, and becomes an engine with the same data",
    run: async (client) => {
      const value = "v".repeat(2_000);
      const puts = await Promise.all(Array.from({ length: 200 }, (_, i) => client.put(`backup/${i}`, value)));
      await client.get("backup/0", { minRevision: Math.max(...puts.map(({ revision }) => revision)) });
      const parts: Uint8Array[] = [];
      for await (const part of client.maintenance.backup()) {
        parts.push(part);
        await client.put("backup/later", "x");
      }
      const bytes = Buffer.concat(parts);
      assert.equal(bytes.byteLength % 512, 32);
      assert.deepEqual(createHash("sha256").update(bytes.subarray(0, -32)).digest(), bytes.subarray(-32));
      const directory = mkdtempSync(join(tmpdir(), "d-engine-"));
      try {
        const dataDir = join(directory, "data");
        const from = (async function* () {
          yield* parts;
        })();
        const { revision } = await Engine.restore({ from, dataDir });
        const restored = await Engine.open({ dataDir, thread: "inline" });
        try {
          assert.equal(await restored.count({ prefix: "backup/" }), 200);
          assert.equal((await restored.get("backup/199"))?.text(), value);
          const { hash } = await client.maintenance.hash({ revision });
          assert.equal((await restored.maintenance.hash({ revision })).hash, hash);
        } finally {
          await restored.close();
        }
      } finally {
        rmSync(directory, { recursive: true });
      }
    },
  },
];
