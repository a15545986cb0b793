/**
 * Programs that bring nothing but our .proto files and @grpc/grpc-js: what its own codecs make of them is what the server reads and writes, field by field,
 * numbers of 64 bits and absent messages among them.
 */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { credentials, loadPackageDefinition, Metadata, type ClientDuplexStream, type ServiceError } from "@grpc/grpc-js";
import { startServed, type Ending } from "./wire.ts";

const PROTOS = fileURLToPath(new URL("../../../src/api/proto/", import.meta.url));

type Reply = Readonly<Record<string, any>>;
type Unary = (request: object, metadata: Metadata, callback: (error: ServiceError | null, reply: Reply) => void) => void;
type Stream = ClientDuplexStream<object, Reply>;
type Client = Readonly<Record<string, Unary & ((request?: object) => Stream)>> & { close(): void };

/** Loads all files as any program would: longs as text, defaults filled in, oneofs named. */
function load(): Reply {
  const require = createRequire(createRequire(import.meta.url).resolve("@grpc/grpc-js"));
  const loader = require("@grpc/proto-loader") as { loadSync(files: readonly string[], options: object): object };
  const files = ["rpc.proto", "v3lock.proto", "v3election.proto", "health.proto", "d_engine_client.proto", "d_engine_cluster.proto"];
  const options = { includeDirs: [PROTOS], keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
  return loadPackageDefinition(loader.loadSync(files, options) as Parameters<typeof loadPackageDefinition>[0]) as unknown as Reply;
}

const packages = load();

async function connect(context: Ending): Promise<(service: string) => Client> {
  const { address } = await startServed(context);
  return (service) => {
    const Made = service.split(".").reduce<Reply>((from, name) => from[name] as Reply, packages) as unknown as new (
      ...args: unknown[]
    ) => Client;
    const client = new Made(address, credentials.createInsecure());
    context.after(() => client.close());
    return client;
  };
}

function call(client: Client, method: string, request: object = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    client[method]!(request, new Metadata(), (error, reply) => (error === null ? resolve(reply) : reject(error)));
  });
}

async function next(from: AsyncIterator<Reply>): Promise<Reply> {
  const { value, done } = await from.next();
  assert.ok(done !== true, "the stream goes on");
  return value;
}

void test("grpc-js with our .proto files puts, ranges, deletes and compares", async (context) => {
  const kv = (await connect(context))("etcdserverpb.KV");
  const first = await call(kv, "Put", { key: Buffer.from([0, 0xff]), value: Buffer.from("v") });
  assert.equal(first["header"].revision, "2");
  assert.equal(first["prev_kv"], null);
  assert.ok(BigInt(first["header"].cluster_id) > 0n && BigInt(first["header"].member_id) > 0n && BigInt(first["header"].raft_term) > 0n);
  const second = await call(kv, "Put", { key: Buffer.from([0, 0xff]), value: Buffer.from("w"), prev_kv: true });
  assert.deepEqual(second["prev_kv"], {
    key: Buffer.from([0, 0xff]),
    create_revision: "2",
    mod_revision: "2",
    version: "1",
    value: Buffer.from("v"),
    lease: "0",
  });
  const range = await call(kv, "Range", { key: Buffer.from([0]), range_end: Buffer.from([0]), sort_target: "MOD", sort_order: "DESCEND" });
  assert.deepEqual([range["count"], range["more"], range["kvs"].length, range["kvs"][0].version], ["1", false, 1, "2"]);
  const txn = await call(kv, "Txn", {
    compare: [{ target: "VALUE", result: "EQUAL", key: Buffer.from([0, 0xff]), value: Buffer.from("w") }],
    success: [
      { request_put: { key: Buffer.from("k"), value: Buffer.from("1") } },
      { request_txn: { success: [{ request_range: { key: Buffer.from("k") } }] } },
      { request_delete_range: { key: Buffer.from("none") } },
    ],
  });
  assert.deepEqual(
    [txn["succeeded"], txn["responses"].map((one: Reply) => one["response"])],
    [true, ["response_put", "response_txn", "response_delete_range"]],
  );
  assert.equal(txn["responses"][1].response_txn.responses[0].response_range.kvs[0].mod_revision, "4");
  const deleted = await call(kv, "DeleteRange", { key: Buffer.from("k"), prev_kv: true });
  assert.deepEqual([deleted["deleted"], deleted["prev_kvs"][0].value.toString()], ["1", "1"]);
  await assert.rejects(call(kv, "Range", { key: Buffer.from("k"), revision: "1000" }), {
    code: 11,
    details: "etcdserver: mvcc: required revision is a future revision",
  });
  await assert.rejects(call(kv, "Put", { value: Buffer.from("no key") }), { code: 3, details: "etcdserver: key is not provided" });
  const parts: Reply[] = [];
  for await (const part of kv["RangeStream"]!({ key: Buffer.from([0]), range_end: Buffer.from([0]) })) parts.push(part as Reply);
  assert.equal(parts.at(-1)!["range_response"].count, "1");
});

void test("grpc-js with our .proto files keeps leases with ids of 64 bits, watches, locks and elects", async (context) => {
  const service = await connect(context);
  const [kv, lease] = [service("etcdserverpb.KV"), service("etcdserverpb.Lease")];
  for (const ID of ["9223372036854775807", "-5", "9007199254740993"]) {
    const granted = await call(lease, "LeaseGrant", { ID, TTL: "600" });
    assert.deepEqual([granted["ID"], granted["TTL"], granted["error"]], [ID, "600", ""]);
    await call(kv, "Put", { key: Buffer.from(`of ${ID}`), lease: ID });
    const left = await call(lease, "LeaseTimeToLive", { ID, keys: true });
    assert.deepEqual([left["grantedTTL"], left["keys"].map(String)], ["600", [`of ${ID}`]]);
    const { kvs } = await call(kv, "Range", { key: Buffer.from(`of ${ID}`) });
    assert.equal(kvs[0].lease, ID);
  }
  const alive = lease["LeaseKeepAlive"]!();
  alive.write({ ID: "-5" });
  const renewals = alive[Symbol.asyncIterator]() as AsyncIterator<Reply>;
  const renewed = await next(renewals);
  assert.deepEqual([renewed["ID"], renewed["TTL"]], ["-5", "600"]);
  alive.end();
  assert.equal((await renewals.next()).done, true);

  const watch = service("etcdserverpb.Watch")["Watch"]!();
  watch.on("error", () => {});
  const told = watch[Symbol.asyncIterator]() as AsyncIterator<Reply>;
  watch.write({ create_request: { key: Buffer.from("of "), range_end: Buffer.from("of!"), prev_kv: true, watch_id: "-7" } });
  const created = await next(told);
  assert.deepEqual([created["created"], created["watch_id"], created["events"]], [true, "-7", []]);
  await call(lease, "LeaseRevoke", { ID: "9223372036854775807" });
  const gone = await next(told);
  assert.deepEqual(
    gone["events"].map(({ type, kv: deleted, prev_kv }: Reply) => [type, String(deleted.key), deleted.version, prev_kv.lease]),
    [["DELETE", "of 9223372036854775807", "0", "9223372036854775807"]],
  );
  watch.write({ cancel_request: { watch_id: "-7" } });
  const cancelled = await next(told);
  assert.deepEqual([cancelled["canceled"], cancelled["compact_revision"]], [true, "0"]);
  watch.cancel();

  const held = await call(service("v3lockpb.Lock"), "Lock", { name: Buffer.from("l"), lease: "-5" });
  assert.equal(String(held["key"]), "l/-5");
  const elected = await call(service("v3electionpb.Election"), "Campaign", {
    name: Buffer.from("e"),
    lease: "-5",
    value: Buffer.from("me"),
  });
  assert.deepEqual([String(elected["leader"].key), elected["leader"].lease], ["e/-5", "-5"]);
  assert.equal((await call(service("grpc.health.v1.Health"), "Check"))["status"], "SERVING");
});

void test("grpc-js with our .proto files speaks d-engine's own protocol", async (context) => {
  const service = await connect(context);
  const client = service("d_engine.client.RaftClientService");
  const written = await call(client, "HandleClientWrite", {
    client_id: 1,
    command: { insert: { key: Buffer.from("/k"), value: Buffer.from("v") } },
  });
  assert.equal(written["write_result"].succeeded, true);
  const read = await call(client, "HandleClientRead", { client_id: 1, keys: [Buffer.from("/k")] });
  assert.deepEqual(
    read["read_data"].results.map(({ value }: Reply) => String(value)),
    ["v"],
  );
  const cluster = await call(service("d_engine.server.cluster.ClusterManagementService"), "GetClusterMetadata");
  assert.equal(cluster["nodes"].length, 1);
});
