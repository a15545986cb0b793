/** Three members, each with a front end: any of them takes any request, and without a majority they say so. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Engine } from "../../index.ts";
import { serve } from "../serve.ts";
import { bytes, freePort, text, WireClient } from "./wire.ts";

void test(
  "Any member takes any request; without a majority it is alive, not ready, and answers serializable reads",
  { timeout: 60_000 },
  async (context) => {
    const names = ["n1", "n2", "n3"];
    const ports = await Promise.all(names.map(freePort));
    const bootstrap = Object.fromEntries(names.map((name, i) => [name, `127.0.0.1:${ports[i]!}`]));
    const engines = await Promise.all(
      names.map((name) =>
        Engine.open({ dataDir: "memory:", name, bootstrap, peer: { listen: bootstrap[name]! }, electionTimeoutMs: 400, heartbeatMs: 40 }),
      ),
    );
    context.after(() => Promise.all(engines.map((engine) => engine.close())));
    const servers = await Promise.all(engines.map((engine) => serve(engine, { listen: "127.0.0.1:0" })));
    context.after(() => Promise.all(servers.map((server) => server.close({ timeoutMs: 0 }))));
    const addresses = servers.map(({ addresses: [address] }) => address!);
    const clients = addresses.map((address) => new WireClient(context, address));
    await Promise.all(engines.map((engine) => engine.waitReady({ timeoutMs: 20_000 })));

    const watch = clients[2]!.stream("etcdserverpb.Watch", "Watch");
    void watch.send({ create_request: { key: bytes("k") } });
    const responses = watch[Symbol.asyncIterator]();
    await responses.next();
    const { ID } = await clients[1]!.call("etcdserverpb.Lease", "LeaseGrant", { TTL: 60 });
    for (const [i, client] of clients.entries()) {
      const put = await client.call("etcdserverpb.KV", "Put", { key: bytes("k"), value: bytes(String(i)), lease: ID });
      for (const other of clients) {
        const range = await other.call("etcdserverpb.KV", "Range", { key: bytes("k") });
        assert.equal(text(range.kvs[0]!.value), String(i));
        assert.equal(range.header!.revision, put.header!.revision);
        assert.equal(range.header!.cluster_id, put.header!.cluster_id);
      }
      const { value } = await responses.next();
      assert.equal(text(value!.events[0]!.kv!.value), String(i));
    }
    const [{ members }, status] = await Promise.all([
      clients[0]!.call("etcdserverpb.Cluster", "MemberList", { linearizable: true }),
      clients[2]!.call("etcdserverpb.Maintenance", "Status", {}),
    ]);
    assert.deepEqual(members.map(({ name }) => name).toSorted(), names);
    assert.ok(members.some(({ ID: id }) => id === status.leader));
    const leader = engines.findIndex((engine) => engine.isLeader());
    const follower = clients[(leader + 1) % 3]!;
    await assert.rejects(follower.call("etcdserverpb.Maintenance", "MoveLeader", { targetID: status.leader }), {
      code: 9,
      message: "etcdserver: not leader",
    });

    const [last, ...gone] = [leader, (leader + 1) % 3, (leader + 2) % 3];
    for (const i of gone) await engines[i]!.close();
    const client = clients[last]!;
    const probe = async (path: string): Promise<number> => (await fetch(`http://${addresses[last]!}${path}`)).status;
    const waits = client.call("etcdserverpb.KV", "Put", { key: bytes("k"), value: bytes("lost?") });
    const refused = assert.rejects(waits, { code: 14, message: /^etcdserver: (request timed out|no leader)$/ });
    for await (const state of engines[last]!.stateChanges()) if (state.kind === "noQuorum") break;
    assert.deepEqual([await probe("/livez"), await probe("/health?serializable=true"), await probe("/health")], [200, 200, 503]);
    assert.equal(await probe("/readyz"), 503);
    const local = await client.call("etcdserverpb.KV", "Range", { key: bytes("k"), serializable: true });
    assert.equal(local.count, 1);
    const impatient = client.call("etcdserverpb.KV", "Range", { key: bytes("k") }, { metadata: { hasleader: "true" } });
    await assert.rejects(impatient, { code: 14, message: "etcdserver: no leader" });
    await refused;
  },
);
