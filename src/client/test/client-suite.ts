/** What every client promises, whatever it talks to: run over the embedded engine in each of its modes. */
import assert from "node:assert/strict";
import { EngineError } from "../../errors.ts";
import type { Client, WatchBatch } from "../client.ts";
import { maintenanceSuite } from "./maintenance-suite.ts";
import { transactionSuite } from "./transaction-suite.ts";

export interface ClientCase {
  readonly name: string;
  run(client: Client): Promise<void>;
}

const code = (expected: string) => (error: unknown) => {
  assert.ok(EngineError.is(error), `an EngineError is wanted, not ${String(error)}`);
  assert.equal(error.code, expected, error.message);
  return true;
};

async function take(batches: AsyncIterator<WatchBatch>): Promise<WatchBatch> {
  for (;;) {
    const { done, value } = await batches.next();
    assert.ok(done !== true, "the watch goes on");
    if (value.kind !== "progress") return value;
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

const words = (batch: WatchBatch): string[] => {
  if (batch.kind === "progress") return [];
  if (batch.kind === "reset") return batch.kvs.map((kv) => `${kv.key}=${kv.text()}`);
  return batch.events.map((event) =>
    event.kind === "put" ? `put ${event.kv.key}=${event.kv.text()}` : `delete ${event.key} ${event.cause}`,
  );
};

export const clientSuite: readonly ClientCase[] = [
  ...transactionSuite,
  ...maintenanceSuite,
  {
    name: "a key that was put is read back at every consistency, with its place in history",
    run: async (client) => {
      const first = await client.put("basic/a", "one");
      const second = await client.put("basic/a", "two", { prevKv: true });
      assert.equal(second.revision, first.revision + 1);
      assert.equal(second.prevKv?.text(), "one");
      for (const consistency of ["linearizable", "lease", "eventual"] as const) {
        const kv = await client.get("basic/a", { consistency, minRevision: second.revision });
        assert.equal(kv?.text(), "two");
        assert.equal(kv?.key, "basic/a");
        assert.equal(kv?.createRevision, first.revision);
        assert.equal(kv?.modRevision, second.revision);
        assert.equal(kv?.version, 2);
        assert.equal(kv?.lease, undefined);
      }
      assert.equal(await client.get("basic/none"), undefined);
      assert.equal(await client.get("basic/none", { consistency: "eventual" }), undefined);
    },
  },
  {
    name: "bytes come back as they went in, in a buffer of the caller's own",
    run: async (client) => {
      const key = new Uint8Array([0, 255, 128, 7]);
      const value = new Uint8Array(300).map((_, i) => i);
      await client.put(key, value);
      for (const consistency of ["linearizable", "eventual"] as const) {
        const kv = await client.get(key, { consistency });
        assert.deepEqual(new Uint8Array(kv!.value), value);
        assert.equal(kv!.value.buffer.byteLength, value.byteLength);
        assert.deepEqual(new Uint8Array(kv!.keyBytes), key);
        assert.throws(() => kv!.key, code("INVALID_ARGUMENT"));
        assert.throws(() => kv!.text(), code("INVALID_ARGUMENT"));
        assert.throws(() => kv!.json(), code("INVALID_ARGUMENT"));
        structuredClone(kv!.value, { transfer: [kv!.value.buffer] });
      }
      await client.put("json", JSON.stringify({ port: 8080 }));
      assert.deepEqual((await client.get("json"))?.json(), { port: 8080 });
    },
  },
  {
    name: "an empty value is a value, and text keeps its byte order mark",
    run: async (client) => {
      await client.put("empty", "");
      assert.equal((await client.get("empty"))?.text(), "");
      await client.put("bom", "\uFEFFx");
      assert.equal((await client.get("bom"))?.text(), "\uFEFFx");
    },
  },
  {
    name: "many keys are read as of one revision, in the order asked",
    run: async (client) => {
      await client.put("many/1", "a");
      await client.put("many/2", "b");
      const kvs = await client.getMany(["many/2", "many/none", "many/1"]);
      assert.deepEqual(
        kvs.map((kv) => kv?.text()),
        ["b", undefined, "a"],
      );
      assert.deepEqual(await client.getMany([]), []);
    },
  },
  {
    name: "a range has limit, order, count and more, and is read at a past revision",
    run: async (client) => {
      for (const letter of "abcde") await client.put(`range/${letter}`, letter);
      const before = await client.range({ prefix: "range/" });
      assert.deepEqual(
        before.kvs.map((kv) => kv.text()),
        [..."abcde"],
      );
      assert.equal(before.count, 5);
      assert.equal(before.more, false);
      const page = await client.range({ prefix: "range/" }, { limit: 2, order: "descending" });
      assert.deepEqual(
        page.kvs.map((kv) => kv.text()),
        ["e", "d"],
      );
      assert.equal(page.more, true);
      assert.equal(page.count, 5);
      const part = await client.range({ start: "range/b", end: "range/d" }, { keysOnly: true });
      assert.deepEqual(
        part.kvs.map((kv) => kv.key),
        ["range/b", "range/c"],
      );
      assert.equal(await client.count({ prefix: "range/" }), 5);
      const { deleted, prevKvs } = await client.delete({ prefix: "range/" }, { prevKv: true });
      assert.equal(deleted, 5);
      assert.equal(prevKvs.length, 5);
      assert.equal(await client.count({ prefix: "range/" }), 0);
      const then = await client.range({ prefix: "range/" }, { revision: before.revision });
      assert.equal(then.kvs.length, 5);
      assert.equal((await client.get("range/a", { revision: before.revision }))?.text(), "a");
      await assert.rejects(client.range({ all: true }, { revision: before.revision + 1_000_000 }), code("FUTURE_REVISION"));
    },
  },
  {
    name: "a scan goes through everything at one revision while writes go on",
    run: async (client) => {
      await Promise.all(Array.from({ length: 3_000 }, (_, i) => client.put(`scan/${String(i).padStart(5, "0")}`, "x".repeat(300))));
      const scan = client.scan({ prefix: "scan/" });
      const { revision } = await scan.ready();
      let seen = 0;
      let last = "";
      for await (const kv of scan) {
        assert.ok(kv.key > last);
        assert.ok(kv.modRevision <= revision);
        assert.equal(kv.text().length, 300);
        last = kv.key;
        if (seen++ % 500 === 0) await client.delete(`scan/${String(2_999 - seen).padStart(5, "0")}`);
      }
      assert.equal(seen, 3_000);
      const backwards: string[] = [];
      for await (const kv of client.scan({ prefix: "scan/" }, { order: "descending", limit: 3, keysOnly: true })) backwards.push(kv.key);
      assert.equal(backwards.length, 3);
      assert.ok(backwards[0]! > backwards[2]!);
      await client.delete({ prefix: "scan/" });
    },
  },
  {
    name: "a delete says how many went, and a delete of nothing changes nothing",
    run: async (client) => {
      const { revision } = await client.put("delete/a", "x");
      const nothing = await client.delete("delete/none");
      assert.equal(nothing.deleted, 0);
      assert.equal(nothing.revision, revision);
      const one = await client.delete("delete/a", { prevKv: true });
      assert.equal(one.deleted, 1);
      assert.equal(one.revision, revision + 1);
      assert.equal(one.prevKvs[0]?.text(), "x");
    },
  },
  {
    name: "compare-and-swap takes an expected value, or absence",
    run: async (client) => {
      assert.equal(await client.compareAndSwap("cas", undefined, "1"), true);
      assert.equal(await client.compareAndSwap("cas", undefined, "2"), false);
      assert.equal(await client.compareAndSwap("cas", "1", "2"), true);
      assert.equal(await client.compareAndSwap("cas", "1", "3"), false);
      assert.equal((await client.get("cas"))?.text(), "2");
    },
  },
  {
    name: "compare-and-swap admits exactly one of many at a time",
    run: async (client) => {
      await client.put("counter", "0");
      const add = async (): Promise<void> => {
        for (;;) {
          const now = (await client.get("counter"))!.text();
          if (await client.compareAndSwap("counter", now, String(Number(now) + 1))) return;
        }
      };
      await Promise.all(Array.from({ length: 25 }, add));
      assert.equal((await client.get("counter"))?.text(), "25");
    },
  },
  {
    name: "a key with a time to live goes by itself, an overwrite clears it, and a watch sees the expiry",
    run: async (client) => {
      const watch = client.watch({ prefix: "ttl/" }, { prevKv: true });
      const batches = watch[Symbol.asyncIterator]();
      await client.put("ttl/kept", "a", { ttlMs: 60_000 });
      assert.notEqual((await client.get("ttl/kept"))?.lease, undefined);
      await client.put("ttl/kept", "b");
      assert.equal((await client.get("ttl/kept"))?.lease, undefined);
      await client.put("ttl/gone", "c", { ttlMs: 50 });
      assert.deepEqual(words(await take(batches)), ["put ttl/kept=a"]);
      assert.deepEqual(words(await take(batches)), ["put ttl/kept=b"]);
      const going = await take(batches);
      assert.deepEqual(words(going), ["put ttl/gone=c"]);
      assert.ok(going.kind === "events" && going.events[0]?.kind === "put" && going.events[0].kv.lease !== undefined);
      const expiry = await take(batches);
      assert.deepEqual(words(expiry), ["delete ttl/gone expiry"]);
      assert.equal(expiry.kind === "events" && expiry.events[0]?.prevKv?.text(), "c");
      assert.equal(await client.get("ttl/gone"), undefined);
      assert.equal((await client.get("ttl/kept"))?.text(), "b");
      await watch.close();
    },
  },
  {
    name: "a lease has an id, chosen or drawn, and takes its keys with it when it is revoked, at one revision",
    run: async (client) => {
      const watch = client.watch({ prefix: "lease/" });
      const batches = watch[Symbol.asyncIterator]();
      const lease = await client.lease({ ttlMs: 60_000, id: "abc" });
      assert.equal(lease.id, "0000000000000abc");
      assert.equal(lease.ttlMs, 60_000);
      await assert.rejects(client.lease({ ttlMs: 60_000, id: "0abc" }), code("ALREADY_EXISTS"));
      await client.put("lease/b", "2", { lease });
      await client.put("lease/a", "1", { lease: "abc" });
      assert.equal(await client.compareAndSwap("lease/c", undefined, "3", { lease }), true);
      assert.equal((await client.get("lease/a"))?.lease, lease.id);
      const other = await client.lease({ ttlMs: 50_000 });
      assert.match(other.id, /^[0-7][0-9a-f]{15}$/);
      const info = await client.leases.get(lease.id, { keys: true });
      assert.ok(info !== undefined && info.remainingMs > 30_000 && info.remainingMs <= 60_000);
      assert.equal(info.ttlMs, 60_000);
      assert.deepEqual(
        info.keys.map((key) => new TextDecoder().decode(key)),
        ["lease/a", "lease/b", "lease/c"],
      );
      assert.deepEqual((await client.leases.get("abc"))?.keys, []);
      const ids = await client.leases.list();
      assert.ok(ids.indexOf(other.id) >= 0 && ids.indexOf(other.id) < ids.indexOf(lease.id), "what is due first comes first");
      await lease.revoke();
      for (let i = 0; i < 3; i++) await take(batches);
      const gone = await take(batches);
      assert.deepEqual(words(gone), ["delete lease/a revocation", "delete lease/b revocation", "delete lease/c revocation"]);
      assert.equal(await client.leases.get(lease.id), undefined);
      await assert.rejects(client.leases.revoke(lease.id), code("NOT_FOUND"));
      await assert.rejects(client.leases.renew(lease.id), code("NOT_FOUND"));
      await assert.rejects(client.put("lease/d", "x", { lease }), code("NOT_FOUND"));
      await lease.close();
      await other[Symbol.asyncDispose]();
      await other.close();
      assert.equal(await client.leases.get(other.id), undefined);
      await watch.close();
    },
  },
  {
    name: "a lease that its holder gives up is lost from then on, and says so at once",
    run: async (client) => {
      const lease = await client.lease({ ttlMs: 10_000 });
      assert.ok(lease.remainingMs() > 5_000 && lease.remainingMs() <= 9_000, "a tenth is kept for clocks that differ");
      lease.throwIfLost();
      assert.equal(lease.signal.aborted, false);
      assert.deepEqual(await lease.renew(), { ttlMs: 10_000 });
      const revoking = lease.revoke();
      assert.equal(lease.signal.aborted, true);
      assert.equal(lease.remainingMs(), 0);
      code("LOST")(lease.signal.reason);
      assert.throws(() => lease.throwIfLost(), code("LOST"));
      await revoking;
      await assert.rejects(lease.renew(), code("LOST"));
      await lease.revoke();
    },
  },
  {
    name: "a lease that is kept alive outlives its time to live, and one that is not dies with its keys",
    run: async (client) => {
      const kept = await client.lease({ ttlMs: 700 });
      const left = await client.lease({ ttlMs: 700, keepAlive: false });
      const abandoned = await client.lease({ ttlMs: 700 });
      abandoned.abandon();
      await client.put("kept", "x", { lease: kept });
      const watch = client.watch("left");
      const batches = watch[Symbol.asyncIterator]();
      await client.put("left", "x", { lease: left });
      await Promise.all([aborted(left.signal), aborted(abandoned.signal)]);
      assert.equal((await client.get("left"))?.lease, left.id, "the holder hears of it before the key goes");
      code("LOST")(left.signal.reason);
      assert.throws(() => left.throwIfLost(), code("LOST"));
      await take(batches);
      assert.deepEqual(words(await take(batches)), ["delete left expiry"]);
      await watch.close();
      kept.throwIfLost();
      assert.equal(kept.signal.aborted, false);
      assert.equal((await client.get("kept"))?.lease, kept.id);
      assert.equal(await client.leases.get(left.id), undefined);
      await client.leases.revoke(kept.id);
      await aborted(kept.signal);
      assert.equal(await client.get("kept"), undefined);
      await kept.close();
    },
  },
  {
    name: "a key with a time to live has a lease of its own, which ends with it",
    run: async (client) => {
      await client.put("own", "x", { ttlMs: 60_000 });
      const id = (await client.get("own"))?.lease ?? "";
      const info = await client.leases.get(id, { keys: true });
      assert.equal(info?.ttlMs, 60_000);
      assert.equal(info.keys.length, 1);
      assert.ok((await client.leases.list()).includes(id));
      assert.deepEqual(await client.leases.renew(id), { ttlMs: 60_000 });
      await client.put("own", "y");
      assert.equal(await client.leases.get(id), undefined);
    },
  },
  {
    name: "what cannot be a lease is refused, and nothing is granted",
    run: async (client) => {
      const before = await client.leases.list();
      for (const ttlMs of [0, -5, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 1e13, "5" as unknown as number])
        await assert.rejects(client.lease({ ttlMs, keepAlive: false }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.lease({ ttlMs: 1 }), code("INVALID_ARGUMENT"), "too short to be kept");
      await assert.rejects(client.lease({} as { ttlMs: number }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.lease({ ttlMs: 5_000, id: "xyz" }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.lease({ ttlMs: 5_000, appLagMsMax: 1 }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.lease({ ttlMs: 5_000, keepalive: true } as { ttlMs: number }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.leases.get("0"), code("INVALID_ARGUMENT"));
      await assert.rejects(client.leases.revoke(7 as unknown as string), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("a", "x", { lease: "7", ttlMs: 5 }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("a", "x", { lease: {} as string }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.lease({ ttlMs: 5_000, signal: AbortSignal.abort() }), code("ABORTED"));
      assert.deepEqual(await client.leases.list(), before);
    },
  },
  {
    name: "a watch is registered when it is made, and delivers each revision once, in order",
    run: async (client) => {
      const watch = client.watch({ prefix: "watch/" });
      await client.put("watch/a", "1");
      await client.put("other", "x");
      await client.put("watch/b", "2");
      await client.delete({ prefix: "watch/" });
      const batches = watch[Symbol.asyncIterator]();
      assert.deepEqual(words(await take(batches)), ["put watch/a=1"]);
      assert.deepEqual(words(await take(batches)), ["put watch/b=2"]);
      assert.deepEqual(words(await take(batches)), ["delete watch/a request", "delete watch/b request"]);
      await watch.close();
      assert.deepEqual(await batches.next(), { done: true, value: undefined });
    },
  },
  {
    name: "a revision of very many events arrives in batches that say so, and resuming in the middle of it misses nothing",
    run: async (client) => {
      const keys = 10_000;
      await Promise.all(Array.from({ length: keys }, (_, i) => client.put(`huge/${String(i).padStart(5, "0")}`, "")));
      const { revision } = await client.delete({ prefix: "huge/" }, { timeoutMs: 30_000 });
      for (const until of [1, Number.POSITIVE_INFINITY]) {
        const watch = client.watch({ prefix: "huge/" }, { fromRevision: revision });
        const batches = watch[Symbol.asyncIterator]();
        const told: string[] = [];
        let count = 0;
        let hasMore = true;
        for (; hasMore && count < until; count++) {
          const batch = await take(batches);
          assert.ok(batch.kind === "events" && batch.revision === revision);
          told.push(...words(batch));
          hasMore = batch.more === true;
        }
        assert.equal(told[0], "delete huge/00000 request", "from its first event");
        assert.equal(hasMore, until === 1, "the last one does not say that there is more");
        if (until > 1) {
          assert.deepEqual([count, told.length, new Set(told).size], [2, keys, keys]);
          await client.put("huge/after", "");
          assert.deepEqual(words(await take(batches)), ["put huge/after="]);
        }
        await watch.close();
      }
      await client.delete({ prefix: "huge/" });
    },
  },
  {
    name: "a watch starts in the past, with previous values, or with what is there",
    run: async (client) => {
      const { revision } = await client.put("past/a", "1");
      await client.put("past/a", "2");
      await client.put("past/b", "3");
      const past = client.watch("past/a", { fromRevision: revision, prevKv: true });
      const batches = past[Symbol.asyncIterator]();
      assert.deepEqual(words(await take(batches)), ["put past/a=1"]);
      const second = await take(batches);
      assert.equal(second.kind === "events" && second.events[0]?.prevKv?.text(), "1");
      await past.close();
      const initial = client.watch({ prefix: "past/" }, { initial: true, only: "deletes" });
      const follow = initial[Symbol.asyncIterator]();
      const reset = await take(follow);
      assert.equal(reset.kind, "reset");
      assert.deepEqual(words(reset), ["past/a=2", "past/b=3"]);
      await client.put("past/c", "4");
      await client.delete("past/a");
      assert.deepEqual(words(await take(follow)), ["delete past/a request"]);
      await initial.close();
    },
  },
  {
    name: "a watch tells its progress when asked, and when nothing happens",
    run: async (client) => {
      const { revision } = await client.put("progress", "x");
      const watch = client.watch("nothing-here", { progressMs: 30 });
      const batches = watch[Symbol.asyncIterator]();
      await watch.requestProgress();
      for (let i = 0; i < 3; i++) {
        const { value } = await batches.next();
        assert.equal(value.kind, "progress");
        assert.ok(value.revision >= revision);
      }
      await watch.close();
    },
  },
  {
    name: "a watch that nobody reads holds bounded memory, and delivers everything once it is read",
    run: async (client) => {
      const watch = client.watch({ prefix: "slow/" });
      await watch.ready();
      const count = 2_000;
      await Promise.all(Array.from({ length: count }, (_, i) => client.put(`slow/${i}`, "y".repeat(2_000))));
      const seen = new Set<string>();
      let last = 0;
      for await (const batch of watch) {
        if (batch.kind !== "events") continue;
        assert.ok(batch.revision > last);
        last = batch.revision;
        for (const event of batch.events) if (event.kind === "put") seen.add(event.kv.key);
        if (seen.size === count) break;
      }
      assert.equal(seen.size, count);
      await client.delete({ prefix: "slow/" });
    },
  },
  {
    name: "an aborted watch ends with AbortError",
    run: async (client) => {
      const controller = new AbortController();
      const watch = client.watch({ all: true }, { signal: controller.signal });
      await watch.ready();
      const next = watch[Symbol.asyncIterator]().next();
      controller.abort(new Error("enough"));
      await assert.rejects(next, { name: "AbortError", code: "ABORTED" });
      await assert.rejects(client.get("x", { signal: controller.signal }), { name: "AbortError" });
      await assert.rejects(client.put("x", "1", { signal: controller.signal }), { name: "AbortError", mayHaveApplied: false });
    },
  },
  {
    name: "bad arguments are refused with what is wrong, and nothing happens",
    run: async (client) => {
      const before = (await client.range({ all: true }, { limit: 1 })).revision;
      const prefix: string | undefined = undefined;
      await assert.rejects(client.put("", "x"), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("\ud800", "x"), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("a", "\udc00"), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("a", 7 as unknown as string), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("a", "x".repeat(2 << 20)), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("k".repeat(100_000), "x"), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("a", "x", { ttlMs: 0 }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.put("a", "x", { ttl: 5 } as object), code("INVALID_ARGUMENT"));
      await assert.rejects(client.delete({ prefix: prefix as unknown as string }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.delete({ prefix: "" }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.delete({} as { all: true }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.range({ all: true, prefix: "x" } as { all: true }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.range({ start: "a", end: undefined as unknown as string }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.get("a", { consistency: "strong" as "lease" }), code("INVALID_ARGUMENT"));
      await assert.rejects(client.range({ all: true }, { limit: -1 }), code("INVALID_ARGUMENT"));
      assert.throws(() => client.watch({ prefix: "" }), code("INVALID_ARGUMENT"));
      assert.equal((await client.range({ all: true }, { limit: 1 })).revision, before);
    },
  },
  {
    name: "a call that cannot be answered in time is told so",
    run: async (client) => {
      await assert.rejects(client.get("a", { consistency: "eventual", minRevision: 1e12, timeoutMs: 30 }), {
        name: "TimeoutError",
        code: "TIMEOUT",
        mayHaveApplied: false,
      });
    },
  },
  {
    name: "the members are told, at once and as they change",
    run: async (client) => {
      const { members, leader } = await client.members();
      assert.ok(members.length >= 1);
      assert.ok(members.some(({ id }) => id === leader));
      for await (const now of client.watchMembers()) {
        assert.deepEqual(
          now.members.map(({ id }) => id),
          members.map(({ id }) => id),
        );
        break;
      }
    },
  },
];
