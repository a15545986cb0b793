/** Several front ends before one engine, each in a thread of its own. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { Engine } from "../../index.ts";
import { RpcClient } from "../../rpc/index.ts";
import { CERTIFICATE, KEY } from "../../rpc/test/certificate.ts";
import { CallCounts, createCallCounts } from "../call-counts.ts";
import { FrontEnd } from "../front-end.ts";
import { FrontThreads, type FrontThreadsOptions } from "../front-threads.ts";
import { canSharePort, findSharedPort } from "../listeners.ts";
import type { Place } from "../places.ts";
import { resolveServeOptions, type ServeOptions } from "../serve-options.ts";
import { serve } from "../serve.ts";
import { bytes, WireClient } from "./wire.ts";

const skip = canSharePort() ? false : "several front ends take Linux and Node 22.12 or later";

async function openEngine(context: TestContext): Promise<Engine> {
  const engine = await Engine.open({ dataDir: "memory:", name: "n1" });
  context.after(() => engine.close());
  await engine.waitReady();
  return engine;
}

/** Front ends in threads alone: the first one, which would be in this thread, listens nowhere. */
async function openThreads(
  context: TestContext,
  engine: Engine,
  options: ServeOptions = {},
  more: Partial<FrontThreadsOptions> = {},
): Promise<{ readonly address: string; readonly threads: FrontThreads; readonly first: FrontEnd }> {
  const resolved = resolveServeOptions({ listen: "127.0.0.1:0", ...options });
  const place = await findSharedPort(resolved.listen[0] as Place & { readonly kind: "tcp" });
  const frontEnds = 3;
  const clientUrls = [`http://127.0.0.1:${place.port}`];
  const first = new FrontEnd(engine, resolved, { frontEnd: 0, frontEnds, counts: undefined }, () => clientUrls);
  const { counts } = first;
  const threads = new FrontThreads({
    engine,
    options: resolved,
    places: [place],
    clientUrls,
    frontEnds,
    counts,
    onLost: () => {},
    ...more,
  });
  context.after(async () => {
    await threads.close(0);
    await first.close(0);
  });
  await threads.open();
  return { address: `127.0.0.1:${place.port}`, threads, first };
}

async function exercise(clients: readonly WireClient[]): Promise<void> {
  const [first] = clients as readonly [WireClient];
  const watches = clients.map((client) => {
    const watch = client.stream("etcdserverpb.Watch", "Watch");
    void watch.send({ create_request: { key: bytes("k"), range_end: bytes("l") } });
    return watch[Symbol.asyncIterator]();
  });
  for (const watch of watches) assert.equal((await watch.next()).value?.created, true);
  await Promise.all(clients.map((client, i) => client.call("etcdserverpb.KV", "Put", { key: bytes(`k${i}`), value: bytes("v") })));
  for (const client of clients) {
    for (const serializable of [false, true]) {
      const { count } = await client.call("etcdserverpb.KV", "Range", { key: bytes("k"), range_end: bytes("l"), serializable });
      assert.equal(count, clients.length);
    }
  }
  for (const watch of watches) {
    let seen = 0;
    while (seen < clients.length) seen += (await watch.next()).value!.events.length;
  }
  const { ID } = await first.call("etcdserverpb.Lease", "LeaseGrant", { TTL: 60 });
  for (const client of clients) assert.ok((await client.call("etcdserverpb.Lease", "LeaseTimeToLive", { ID })).TTL > 50);
  await first.call("v3lockpb.Lock", "Lock", { name: bytes("L"), lease: ID });
  const waiting = clients.at(-1)!.call("v3lockpb.Lock", "Lock", { name: bytes("L") });
  await first.call("etcdserverpb.Lease", "LeaseRevoke", { ID });
  assert.ok((await waiting).key.length > 0);
}

void test("Front ends in threads of their own serve everything, and their calls are counted together", { skip }, async (context) => {
  const engine = await openEngine(context);
  const { address, first } = await openThreads(context, engine);
  const clients = Array.from({ length: 12 }, () => new WireClient(context, address));
  await exercise(clients);
  assert.equal((await engine.get("k3"))?.text(), "v");
  const [member] = (await clients[0]!.call("etcdserverpb.Cluster", "MemberList", {})).members;
  assert.deepEqual(member?.clientURLs, [`http://${address}`]);
  const here = await first.metrics.text();
  const there = await (await fetch(`http://${address}/metrics`, { headers: { connection: "close" } })).text();
  for (const text of [here, there]) {
    assert.match(text, /grpc_server_handled_total\{[^}]*grpc_method="Put",grpc_code="OK"\} 12\n/);
    assert.match(text, /grpc_server_started_total\{[^}]*grpc_service="etcdserverpb.Watch",grpc_method="Watch"\} 12\n/);
  }
  assert.equal((await fetch(`http://${address}/readyz`, { headers: { connection: "close" } })).status, 200);
  const started = (text: string): string => /process_start_time_seconds (\d+)/.exec(text)![1]!;
  assert.ok(Math.abs(Number(started(here)) - Number(started(there))) <= 1, "a thread is as old as its process");
});

void test("A server with several front ends closes all of them, and leaves the engine", { skip }, async (context) => {
  const engine = await openEngine(context);
  const server = await serve(engine, { listen: "127.0.0.1:0", frontEnds: 3 });
  context.after(() => server.close({ timeoutMs: 0 }));
  assert.equal(server.frontEnds, 3);
  const clients = Array.from({ length: 12 }, () => new WireClient(context, server.addresses[0]!));
  await exercise(clients);
  await assert.rejects(serve(engine, { listen: server.addresses[0]!, frontEnds: 2 }), { code: "IN_USE" });
  await assert.rejects(serve(engine, { listen: server.addresses[0]!, frontEnds: 1 }), { code: "IN_USE" });
  const ended = clients.map((client) => {
    const watch = client.stream("etcdserverpb.Watch", "Watch");
    void watch.send({ create_request: { key: bytes("a") } });
    const responses = watch[Symbol.asyncIterator]();
    return responses.next().then(() => assert.rejects(responses.next(), { code: 14, message: "etcdserver: server stopped" }));
  });
  await clients.at(-1)!.call("etcdserverpb.KV", "Range", { key: bytes("a") });
  await Promise.all(clients.map((client) => client.call("grpc.health.v1.Health", "Check", {})));
  await server.close({ timeoutMs: 60_000 });
  await Promise.all(ended);
  await assert.rejects(fetch(`http://${server.addresses[0]}/livez`));
  assert.equal((await engine.get("k3"))?.text(), "v");
  // Its threads have let go: there is room for as many again.
  const next = await serve(engine, { listen: server.addresses[0]!, frontEnds: 2 });
  await next.close({ timeoutMs: 0 });
});

void test("Front ends in threads show certificates, and renewed ones", { skip }, async (context) => {
  const engine = await openEngine(context);
  const tls = { cert: CERTIFICATE, key: KEY };
  const { address, threads } = await openThreads(context, engine, { tls });
  const check = async (): Promise<number> => {
    const rpc = new RpcClient({ endpoints: [`https://${address}`], tls: { ca: CERTIFICATE } });
    try {
      const secure = Object.assign(Object.create(WireClient.prototype) as WireClient, { rpc });
      return (await secure.call("grpc.health.v1.Health", "Check", {})).status;
    } finally {
      await rpc.close();
    }
  };
  assert.equal(await check(), 1);
  threads.renew({ cert: "no certificate" });
  assert.equal(await check(), 1);
  threads.renew(tls);
  assert.equal(await check(), 1);
});

void test("A front end whose thread ends is started again, and what it had under way is let go", { skip }, async (context) => {
  const engine = await openEngine(context);
  let lost = 0;
  let onLost = (): void => {};
  const ending = new Promise<void>((resolve) => {
    onLost = resolve;
  });
  // Ends its thread at the first renewal.
  const entry = new URL(
    `data:text/javascript,${encodeURIComponent(`
      import { parentPort } from "node:worker_threads";
      parentPort.on("message", ({ kind }) => kind === "renew" && process.exit(1));
      await import(${JSON.stringify(new URL("../front-worker.js", import.meta.url).href)});
    `)}`,
  );
  const { address, threads } = await openThreads(
    context,
    engine,
    {},
    {
      entry,
      onLost: () => {
        lost++;
        onLost();
      },
    },
  );
  const client = new WireClient(context, address);
  await client.call("etcdserverpb.KV", "Put", { key: bytes("a"), value: bytes("1") });
  threads.renew({});
  await ending;
  await engine.put("a", "2");
  // As soon as one of them listens again.
  for (;;) {
    const again = new WireClient(context, address);
    const answer = await again.call("etcdserverpb.KV", "Range", { key: bytes("a") }, { waitForReady: true }).catch(() => undefined);
    if (answer === undefined) continue;
    assert.equal(answer.count, 1);
    break;
  }
  assert.equal(lost, 2);
});

void test("Where several front ends cannot be there is one, and it says so", async (context) => {
  const inline = await Engine.open({ dataDir: "memory:", name: "n1", thread: "inline" });
  context.after(() => inline.close());
  const server = await serve(inline, { listen: "127.0.0.1:0", frontEnds: 4 });
  assert.equal(server.frontEnds, 1);
  await server.close({ timeoutMs: 0 });
  for (const frontEnds of [0, 33, 1.5])
    await assert.rejects(serve(inline, { listen: "127.0.0.1:0", frontEnds }), { code: "INVALID_ARGUMENT" });
});

void test("Each front end counts into a part of its own, and all tell the sum", () => {
  const buffer = createCallCounts(2, 3);
  const all = [0, 1, 2].map((frontEnd) => new CallCounts(buffer, { frontEnd, frontEnds: 3 }));
  for (const [i, counts] of all.entries()) {
    for (let n = 0; n <= i; n++) counts.started(1);
    counts.handled(1, 16);
    counts.handled(0, 0);
    counts.received(10 ** i);
    counts.sent(2 * 10 ** i);
  }
  for (const counts of all) {
    assert.deepEqual([counts.startedOf(0), counts.startedOf(1)], [0, 6]);
    assert.deepEqual([counts.handledOf(1, 16), counts.handledOf(0, 0), counts.handledOf(1, 15)], [3, 3, 0]);
    assert.deepEqual([counts.receivedBytes, counts.sentBytes], [111, 222]);
  }
});
