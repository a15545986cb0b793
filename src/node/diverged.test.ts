/** Three members over real links: their hashes agree after whatever was written, until one of them has something else in its memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Table } from "../core/kv/table.ts";
import { LocalCluster } from "./test/local-cluster.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

test("the hashes of three members are equal after random writes, and tell which one has parted from the others", async () => {
  const cluster = await LocalCluster.create(["n1", "n2", "n3"]);
  const engines = await cluster.openAll();
  const lease = await engines[0]!.lease({ ttlMs: 600_000, keepAlive: false });
  let random = 42;
  const next = (count: number): number => {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
    return (random >>> 8) % count;
  };
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 20 }, async (): Promise<unknown> => {
        const engine = engines[next(3)]!;
        const key = `k/${next(40)}`;
        switch (next(5)) {
          case 0:
            return engine.delete(key);
          case 1:
            return engine.put(key, `${next(1_000)}`, { lease });
          case 2:
            return engine.put(key, `${next(1_000)}`, { ttlMs: 600_000 });
          case 3:
            return engine.delete({ prefix: `k/${next(4)}` });
          default:
            return engine.put(key, "v".repeat(next(300)));
        }
      }),
    );
  }
  await engines[0]!.put("k/last", "a value");
  const { revision } = await engines[0]!.maintenance.status();
  await engines[0]!.maintenance.compact(revision - 50);
  const hashes = (): Promise<readonly number[]> =>
    Promise.all(
      engines.map(async (engine) => {
        await engine.get("k/last", { minRevision: revision });
        return (await engine.maintenance.hash({ revision })).hash;
      }),
    );
  const [first, second, third] = await hashes();
  assert.deepEqual([second, third], [first, first]);
  // The fault: one bit of one value, on one member.
  const table: Table = cluster.inside("n2").machine!.table;
  table.value(table.find(encode("k/last")))[0]! ^= 4;
  assert.deepEqual(
    (await hashes()).map((hash) => hash === first),
    [true, false, true],
  );
  await cluster.end();
});
