/** What every client promises of transactions, range options, conditional puts and compaction: part of the client suite. */
import assert from "node:assert/strict";
import { inspect } from "node:util";
import { EngineError } from "../../errors.ts";
import type { Client } from "../client.ts";
import type { Comparison, Op } from "../transaction.ts";

interface TransactionCase {
  readonly name: string;
  run(client: Client): Promise<void>;
}

const code = (expected: string) => (error: unknown) => {
  assert.ok(EngineError.is(error), `an EngineError is wanted, not ${String(error)}`);
  assert.equal(error.code, expected, error.message);
  return true;
};

export const transactionSuite: readonly TransactionCase[] = [
  {
    name: "a transaction takes one branch, at one revision, and its results have their operations' types",
    run: async (client) => {
      const { revision } = await client.put("txn/a", "1");
      const taken = await client.txn({
        compare: [
          { key: "txn/a", value: "1", modRevision: revision, version: { greaterThan: 0 }, createRevision: { lessThan: revision + 1 } },
        ],
        success: [
          { put: "txn/b", value: "2" },
          { put: "txn/a", value: "3", prevKv: true },
          { get: "txn/a" },
          { range: { prefix: "txn/" }, sortBy: "modRevision", order: "descending", limit: 1 },
          { delete: "txn/none" },
        ],
        failure: [{ get: "txn/a" }],
      });
      assert.ok(taken.succeeded);
      assert.equal(taken.revision, revision + 1);
      const [b, a, read, range, deleted] = taken.results;
      assert.deepEqual([b.revision, b.prevKv], [revision + 1, undefined]);
      assert.equal(a.prevKv?.text(), "1");
      assert.equal(read?.text(), "3");
      assert.deepEqual([range.kvs.length, range.more, range.count], [1, true, 2]);
      assert.equal(deleted.deleted, 0);
      const refused = await client.txn({
        compare: [{ key: "txn/a", exists: false }],
        success: [{ put: "txn/a", value: "never" }],
        failure: [{ get: "txn/a" }, { delete: { prefix: "txn/" }, prevKv: true }, { range: { prefix: "txn/" }, keysOnly: true }],
      });
      assert.ok(!refused.succeeded);
      assert.equal(refused.results[0]?.text(), "3");
      assert.deepEqual(
        refused.results[1].prevKvs.map((kv) => kv.key),
        ["txn/a", "txn/b"],
      );
      assert.equal(refused.results[2].count, 0);
      assert.equal(refused.revision, revision + 2);
    },
  },
  {
    name: "comparisons are of everything that a key has, of keys and of ranges",
    run: async (client) => {
      await client.put("cmp/a", "m");
      await client.put("cmp/b", "m", { ttlMs: 60_000 });
      const lease = (await client.get("cmp/b"))!.lease!;
      const holds = async (compare: Comparison): Promise<boolean> => (await client.txn({ compare: [compare] })).succeeded;
      assert.equal(await holds({ key: "cmp/a", exists: true }), true);
      assert.equal(await holds({ key: "cmp/none", exists: false }), true);
      assert.equal(await holds({ key: "cmp/none", version: 0, createRevision: 0, modRevision: 0, lease: "0" }), true);
      assert.equal(await holds({ key: "cmp/none", value: { not: "x" } }), false, "nothing can be said of the value of what is not there");
      assert.equal(await holds({ key: "cmp/a", value: { lessThan: "n" } }), true);
      assert.equal(await holds({ key: "cmp/a", value: new Uint8Array([0x6d]) }), true);
      assert.equal(await holds({ key: "cmp/b", lease }), true);
      assert.equal(await holds({ key: "cmp/a", lease: { not: lease } }), true);
      assert.equal(await holds({ range: { prefix: "cmp/" }, value: "m", exists: true }), true);
      assert.equal(await holds({ range: { prefix: "cmp/" }, lease: "0" }), false);
      assert.equal(await holds({ range: { prefix: "empty/" }, exists: false }), true);
      assert.equal(await holds({ range: { prefix: "empty/" }, exists: true }), false);
    },
  },
  {
    name: "transactions nest, and decide by the state of before",
    run: async (client) => {
      const { succeeded, results } = await client.txn({
        success: [
          { put: "nest/a", value: "1" },
          {
            txn: {
              compare: [{ key: "nest/a", exists: false }],
              success: [{ get: "nest/a" }, { put: "nest/b", value: "2" }],
              failure: [{ delete: "nest/c" }],
            },
          },
        ],
      });
      assert.ok(succeeded);
      const inner = results[1];
      assert.ok(inner.succeeded);
      assert.equal(inner.results[0]?.text(), "1", "its operations see what was written before");
      assert.equal(inner.results[1].prevKv, undefined);
    },
  },
  {
    name: "a transaction that only reads makes no revision, and reads at one",
    run: async (client) => {
      await client.put("read/a", "1");
      const { revision } = await client.put("read/b", "2");
      const read = await client.txn({
        compare: [{ key: "read/a", exists: true }],
        success: [
          { get: "read/a" },
          { range: { prefix: "read/" }, keysOnly: true },
          { range: { prefix: "read/" }, revision: revision - 1 },
        ],
      });
      assert.ok(read.succeeded);
      assert.equal(read.revision, revision);
      assert.equal(read.results[0]?.text(), "1");
      assert.deepEqual([read.results[1].count, read.results[2].count], [2, 1]);
      assert.deepEqual(await client.txn({}), { succeeded: true, revision, results: [] });
      await assert.rejects(client.txn({ success: [{ range: { all: true }, revision: revision + 1_000_000 }] }), code("FUTURE_REVISION"));
    },
  },
  {
    name: "what a transaction may not do is refused, and nothing happens",
    run: async (client) => {
      const { revision } = await client.put("bad/a", "1");
      const invalid = async (ops: readonly Op[], compare: readonly unknown[] = []): Promise<void> => {
        await assert.rejects(client.txn({ compare: compare as Comparison[], success: ops }), code("INVALID_ARGUMENT"));
      };
      await invalid([
        { put: "bad/a", value: "1" },
        { put: "bad/a", value: "2" },
      ]);
      await invalid([{ put: "bad/a", value: "1" }, { delete: { prefix: "bad/" } }]);
      await invalid(Array.from({ length: 129 }, (_, i) => ({ put: `bad/${i}`, value: "" })));
      await invalid([{ put: "", value: "" }]);
      await invalid([{ put: "bad/a" } as unknown as Op]);
      await invalid([{ put: "bad/a", value: "", ignoreValue: true } as Op]);
      await invalid([{ put: "bad/a", value: "", ttl: 5 } as unknown as Op]);
      await invalid([{ get: "bad/a", put: "bad/a" } as unknown as Op]);
      await invalid([{ delete: { prefix: undefined as unknown as string } }]);
      await invalid([{} as Op]);
      await invalid([], [{ key: "bad/a" }]);
      await invalid([], [{ key: "bad/a", value: undefined }]);
      await invalid([], [{ key: "bad/a", value: { is: "x" } }]);
      await invalid([], [{ key: "bad/a", version: "1" }]);
      await invalid([], [{ value: "x" }]);
      await invalid([], [{ key: "bad/a", lease: "xyz" }]);
      const cycle: { success: Op[] } = { success: [] };
      cycle.success.push({ txn: cycle });
      await invalid(cycle.success);
      for (const missing of [{ put: "bad/b", ignoreValue: true } as const, { put: "bad/b", value: "", ignoreLease: true } as const]) {
        await assert.rejects(client.txn({ success: [{ put: "bad/c", value: "1" }, missing] }), code("NOT_FOUND"));
      }
      await assert.rejects(client.txn({ success: [{ put: "bad/c", value: "1", lease: "abcd" }] }), code("NOT_FOUND"));
      assert.equal((await client.range({ all: true }, { limit: 1 })).revision, revision);
    },
  },
  {
    name: "transactions admit exactly one of many at a time",
    run: async (client) => {
      await client.put("transfer/a", "100");
      await client.put("transfer/b", "0");
      const move = async (): Promise<void> => {
        for (;;) {
          const [a, b] = await client.getMany(["transfer/a", "transfer/b"]);
          const { succeeded } = await client.txn({
            compare: [
              { key: "transfer/a", modRevision: a!.modRevision },
              { key: "transfer/b", modRevision: b!.modRevision },
            ],
            success: [
              { put: "transfer/a", value: String(Number(a!.text()) - 1) },
              { put: "transfer/b", value: String(Number(b!.text()) + 1) },
            ],
          });
          if (succeeded) return;
        }
      };
      await Promise.all(Array.from({ length: 20 }, move));
      const after = await client.getMany(["transfer/a", "transfer/b"]);
      assert.deepEqual(
        after.map((kv) => kv!.text()),
        ["80", "20"],
      );
      assert.equal(after[0]!.modRevision, after[1]!.modRevision);
    },
  },
  {
    name: "an update reads, changes and writes, again where somebody else did",
    run: async (client) => {
      const add = (): Promise<unknown> => client.update("update/n", (current) => String(Number(current?.text() ?? "0") + 1));
      await Promise.all(Array.from({ length: 25 }, add));
      const kv = await client.get("update/n");
      assert.deepEqual([kv?.text(), kv?.version], ["25", 25]);
      assert.equal(await client.update("update/n", () => undefined), undefined);
      const last = await client.update("update/n", async (current) => Promise.resolve(`${current!.text()}!`), {
        prevKv: true,
        ttlMs: 60_000,
      });
      assert.equal(last?.prevKv?.text(), "25");
      const leased = await client.get("update/n");
      assert.notEqual(leased?.lease, undefined);
      await client.update("update/n", () => "kept", { ignoreLease: true });
      assert.equal((await client.get("update/n"))?.lease, leased?.lease);
      await client.update("update/new", (current) => (current === undefined ? "first" : "second"), { ignoreLease: true });
      assert.equal((await client.get("update/new"))?.text(), "first");
      const broken = new Error("the change broke");
      await assert.rejects(
        client.update("update/n", () => {
          throw broken;
        }),
        broken,
      );
      await assert.rejects(client.update("update/n", "x" as unknown as () => string), code("INVALID_ARGUMENT"));
      await assert.rejects(
        client.update("update/n", () => new Promise((resolve) => void setTimeout(resolve, 30, "late")), { timeoutMs: 10 }),
        (error) => EngineError.is(error, "TIMEOUT") && !error.mayHaveApplied,
      );
    },
  },
  {
    name: "a put may keep the value or the lease that is there",
    run: async (client) => {
      await client.put("keep/a", "1", { ttlMs: 60_000 });
      const lease = (await client.get("keep/a"))?.lease;
      await client.put("keep/a", "2", { ignoreLease: true });
      const kept = await client.get("keep/a");
      assert.deepEqual([kept?.text(), kept?.lease], ["2", lease]);
      const { prevKv } = await client.put("keep/a", undefined, { ignoreValue: true, prevKv: true });
      assert.equal(prevKv?.lease, lease);
      const bare = await client.get("keep/a");
      assert.deepEqual([bare?.text(), bare?.lease, bare?.version], ["2", undefined, 3]);
      await assert.rejects(client.put("keep/none", "x", { ignoreLease: true }), (error) => {
        return EngineError.is(error, "NOT_FOUND") && error.details.what === "key" && error.details.id === "keep/none";
      });
      await assert.rejects(client.put("keep/a", "x", { ignoreLease: true, ttlMs: 5 }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("keep/a", "x" as unknown as undefined, { ignoreValue: true }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("keep/a", undefined as unknown as string), code("INVALID_ARGUMENT"));
    },
  },
  {
    name: "a range sorts by anything, either way, and filters by revisions",
    run: async (client) => {
      const { revision } = await client.put("sort/c", "1");
      await client.put("sort/a", "3");
      await client.put("sort/b", "2");
      await client.put("sort/c", "0");
      const keys = async (options: Parameters<Client["range"]>[1]): Promise<string> =>
        (await client.range({ prefix: "sort/" }, options)).kvs.map((kv) => kv.key.at(-1)).join("");
      assert.equal(await keys({ sortBy: "key", order: "descending" }), "cba");
      assert.equal(await keys({ sortBy: "version", order: "descending", limit: 1 }), "c");
      assert.equal(await keys({ sortBy: "createRevision" }), "cab");
      assert.equal(await keys({ sortBy: "modRevision" }), "abc");
      assert.equal(await keys({ sortBy: "value", keysOnly: true }), "cba");
      assert.equal(await keys({ sortBy: "value", order: "descending" }), "abc");
      assert.equal(await keys({ minModRevision: revision + 1, maxModRevision: revision + 2 }), "ab");
      assert.equal(await keys({ minCreateRevision: revision + 1, maxCreateRevision: revision + 1 }), "a");
      const filtered = await client.range({ prefix: "sort/" }, { maxModRevision: revision + 2, limit: 1 });
      assert.deepEqual([filtered.more, filtered.count], [true, 3], "what is filtered is counted");
      assert.equal(await client.count({ prefix: "sort/" }, { revision }), 1);
    },
  },
  {
    name: "many keys are read as of one past revision, and eventual reads no older than asked",
    run: async (client) => {
      const { revision } = await client.put("then/a", "old");
      const written = await client.txn({
        success: [
          { put: "then/a", value: "new" },
          { put: "then/b", value: "new" },
        ],
      });
      const then = await client.getMany(["then/a", "then/b"], { revision });
      assert.deepEqual(
        then.map((kv) => kv?.text()),
        ["old", undefined],
      );
      assert.equal((await client.get("then/a", { revision }))?.text(), "old");
      await assert.rejects(client.getMany(["then/a"], { revision: written.revision + 1_000_000 }), code("FUTURE_REVISION"));
      for (const stalenessMsMax of [0, 1_000]) {
        const options = { consistency: "eventual", stalenessMsMax, minRevision: written.revision } as const;
        assert.equal((await client.get("then/a", options))?.text(), "new");
        assert.equal((await client.range({ prefix: "then/" }, options)).count, 2);
        assert.equal((await client.getMany(["then/b"], options))[0]?.text(), "new");
      }
      await assert.rejects(client.get("then/a", { stalenessMsMax: -1 }), code("INVALID_ARGUMENT"));
    },
  },
  {
    name: "history is compacted to a revision, which itself stays",
    run: async (client) => {
      const { revision } = await client.put("old/a", "1");
      await client.put("old/a", "2");
      const last = await client.put("old/a", "3");
      await client.maintenance.compact(revision + 1);
      await assert.rejects(client.get("old/a", { revision }), (error) => {
        return EngineError.is(error, "COMPACTED") && error.details.compactRevision === revision + 1;
      });
      assert.equal((await client.get("old/a", { revision: revision + 1 }))?.text(), "2");
      await assert.rejects(client.txn({ success: [{ range: { all: true }, revision }] }), code("COMPACTED"));
      await assert.rejects(
        client.txn({
          success: [
            { put: "old/b", value: "" },
            { range: { all: true }, revision },
          ],
        }),
        code("COMPACTED"),
      );
      const gone = client.watch("old/a", { fromRevision: revision });
      await assert.rejects(gone[Symbol.asyncIterator]().next(), (error) => {
        return EngineError.is(error, "COMPACTED") && error.details.compactRevision === revision + 1;
      });
      const there = client.watch("old/a", { fromRevision: revision + 1 });
      const { value: batch } = await there[Symbol.asyncIterator]().next();
      assert.equal(batch?.revision, revision + 1);
      await there.close();
      await assert.rejects(client.maintenance.compact(revision + 1), code("COMPACTED"));
      await assert.rejects(client.maintenance.compact(last.revision + 1_000_000), (error) => {
        return EngineError.is(error, "FUTURE_REVISION") && error.details.currentRevision >= last.revision;
      });
      await assert.rejects(client.maintenance.compact(0), code("INVALID_ARGUMENT"));
    },
  },
  {
    name: "a key value shows what it is, and nothing private",
    run: async (client) => {
      const { revision } = await client.put("show", "text");
      await client.put(new Uint8Array([0xff]), new Uint8Array([0xfe]));
      const kv = (await client.get("show"))!;
      const meta = { createRevision: revision, modRevision: revision, version: 1 };
      assert.deepEqual(JSON.parse(JSON.stringify(kv)), { key: "show", value: "text", ...meta });
      assert.match(inspect(kv), /^KeyValue \{\s+key: 'show',\s+value: 'text',/);
      assert.doesNotMatch(inspect(kv), /stored/);
      const bytes = (await client.range({ start: new Uint8Array([0xff]) })).kvs[0]!;
      assert.deepEqual(JSON.parse(JSON.stringify(bytes)), {
        keyBase64: "/w==",
        valueBase64: "/g==",
        createRevision: revision + 1,
        modRevision: revision + 1,
        version: 1,
      });
      const keys = await client.range({ prefix: "show" }, { keysOnly: true });
      assert.deepEqual(JSON.parse(JSON.stringify(keys.kvs)), [{ key: "show", ...meta }]);
    },
  },
];
