/** The npm client `etcd3` against our server, and, where one is installed, against a real etcd, so that what is expected is what etcd does: what its users do with it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Etcd3, EtcdLeaseInvalidError, EtcdRoleNotFoundError } from "etcd3";
import { isInstalled, startEtcd, startServed, type Ending } from "./wire.ts";

const SERVERS: readonly (readonly [name: string, start: (context: Ending) => Promise<string>, skip: string | false])[] = [
  ["us", async (context) => (await startServed(context)).address, false],
  ["etcd", startEtcd, isInstalled("etcd") ? false : "there is no etcd on this machine"],
];

// The client leaves timers of its leases behind, which would keep this process alive when everything is closed.
const { setInterval: every, setTimeout: once } = globalThis;
Object.assign(globalThis, {
  setInterval: (run: () => void, ms?: number) => every(run, ms).unref(),
  setTimeout: (run: () => void, ms?: number) => once(run, ms).unref(),
});

for (const [name, start, skip] of SERVERS) {
  void test(
    `The client etcd3 puts, gets, ranges, compares, watches, leases, locks and elects: ${name}`,
    { timeout: 60_000, skip },
    async (context) => {
      const address = await start(context);
      const etcd = new Etcd3({ hosts: `http://${address}` });
      context.after(() => etcd.close());

      await etcd.put("foo").value("bar");
      assert.equal(await etcd.get("foo").string(), "bar");
      assert.equal(await etcd.get("none").string(), null);
      await etcd.put("foo2").value(2);
      assert.deepEqual(await etcd.getAll().prefix("foo").strings(), { foo: "bar", foo2: "2" });
      assert.deepEqual(await etcd.getAll().prefix("foo").sort("Key", "Descend").limit(1).keys(), ["foo2"]);
      assert.equal(await etcd.getAll().prefix("foo").count(), 2);

      const swapped = await etcd.if("foo", "Value", "==", "bar").then(etcd.put("foo").value("baz")).else(etcd.get("foo")).commit();
      assert.equal(swapped.succeeded, true);
      const refused = await etcd.if("foo", "Version", "==", 1).then(etcd.put("foo").value("no")).else(etcd.get("foo")).commit();
      assert.equal(refused.succeeded, false);
      assert.equal(refused.responses[0]!.response_range.kvs[0]!.value.toString(), "baz");

      const watcher = await etcd.watch().prefix("w/").create();
      const events: string[] = [];
      const all = new Promise<void>((resolve) => {
        const add = (event: string): void => {
          events.push(event);
          if (events.length === 3) resolve();
        };
        watcher.on("put", (kv) => add(`put ${kv.key.toString()} ${kv.value.toString()}`));
        watcher.on("delete", (kv) => add(`delete ${kv.key.toString()}`));
      });
      await etcd.put("w/1").value("a");
      await etcd.put("w/2").value("b");
      assert.equal((await etcd.delete().key("w/1")).deleted, "1");
      await all;
      assert.deepEqual(events, ["put w/1 a", "put w/2 b", "delete w/1"]);
      await watcher.cancel();

      const lease = etcd.lease(10);
      await lease.put("leased").value("x");
      assert.match(await lease.grant(), /^\d+$/);
      await lease.keepaliveOnce();
      await lease.revoke();
      assert.equal(await etcd.get("leased").string(), null);

      const lock = await etcd.lock("resource").ttl(10).acquire();
      await assert.rejects(etcd.lock("resource").acquire());
      await lock.release();
      await (await etcd.lock("resource").acquire()).release();

      const election = etcd.election("leaders");
      const campaign = election.campaign("me");
      await new Promise((resolve, reject) => campaign.on("elected", () => resolve(undefined)).on("error", reject));
      assert.equal(await election.leader(), "me");
      await campaign.resign();

      const namespaced = etcd.namespace("ns/");
      await namespaced.put("k").value("v");
      assert.equal(await etcd.get("ns/k").string(), "v");
      assert.equal((await etcd.delete().all()).deleted, "4");
    },
  );

  void test(`The client etcd3 learns of errors by their names: ${name}`, { skip }, async (context) => {
    const address = await start(context);
    const etcd = new Etcd3({ hosts: `http://${address}` });
    context.after(() => etcd.close());
    await assert.rejects(Promise.resolve(etcd.put("k").value("v").lease(12345)), EtcdLeaseInvalidError);
    await assert.rejects(etcd.role("none").permissions(), EtcdRoleNotFoundError);
    const watcher = etcd.watch().key("k");
    await etcd.put("k").value("1");
    await etcd.put("k").value("2");
    await etcd.kv.compact({ revision: 3 });
    const cancelled = await watcher.startRevision("1").create();
    await new Promise<void>((resolve) => {
      cancelled.on("error", () => resolve());
      cancelled.on("end", () => resolve());
    });
  });

  void test(
    `The client etcd3 keeps leases, watches from the past, and repeats transactions that lose: ${name}`,
    { timeout: 60_000, skip },
    async (context) => {
      const etcd = new Etcd3({ hosts: `http://${await start(context)}` });
      context.after(() => etcd.close());
      // A counter that four count up at once.
      await etcd.put("counter").value(0);
      const increments = Array.from({ length: 4 }, () =>
        etcd.stm({ retries: 100 }).transact(async (tx) => {
          const now = await tx.get("counter").number();
          await tx.put("counter").value((now ?? 0) + 1);
        }),
      );
      await Promise.all(increments);
      assert.equal(await etcd.get("counter").number(), 4);
      // A key in another's lease, seen by a watch that begins before it all.
      const lease = etcd.lease(2, { autoKeepAlive: true });
      await lease.put("kept").value("1");
      const watcher = await etcd.watch().key("kept").withPreviousKV().startRevision("1").create();
      const gone = new Promise<string>((resolve) => watcher.on("delete", (_kv, before) => resolve(before!.value.toString())));
      await new Promise<void>((resolve) => lease.once("keepaliveSucceeded", () => resolve()));
      await lease.put("kept").value("2");
      const lost = new Promise<void>((resolve) => lease.once("lost", () => resolve()));
      // Revoked by somebody else: its holder learns of it.
      await etcd.leaseClient.leaseRevoke({ ID: await lease.grant() });
      assert.equal(await gone, "2");
      await lost;
      await watcher.cancel();
      // Many watches on the one stream of the client.
      const watchers = await Promise.all(Array.from({ length: 20 }, (_, i) => etcd.watch().key(`many/${i}`).create()));
      const all = Promise.all(watchers.map((one) => new Promise<string>((resolve) => one.once("put", (kv) => resolve(kv.key.toString())))));
      for (let i = 19; i >= 0; i--) await etcd.put(`many/${i}`).value("x");
      assert.deepEqual(
        await all,
        Array.from({ length: 20 }, (_, i) => `many/${i}`),
      );
      await Promise.all(watchers.map((one) => one.cancel()));
      const found = await etcd.getAll().prefix("many/").sort("Mod", "Ascend").limit(2).keys();
      assert.deepEqual(found, ["many/19", "many/18"]);
      assert.equal((await etcd.maintenance.status()).leader !== "0", true);
      assert.equal((await etcd.cluster.memberList({})).members.length, 1);
      // A second process that elects, and takes over.
      const election = etcd.election("takeover", 5);
      const first = election.campaign("first");
      await new Promise((resolve, reject) => first.on("elected", () => resolve(undefined)).on("error", reject));
      const observer = await election.observe();
      const second = etcd.election("takeover", 5).campaign("second");
      const elected = new Promise((resolve, reject) => second.on("elected", () => resolve(undefined)).on("error", reject));
      await first.resign();
      await elected;
      while (observer.leader() !== "second") await new Promise((resolve) => observer.once("change", resolve));
      await observer.cancel();
      await second.resign();
    },
  );
}
