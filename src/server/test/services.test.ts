/** The services over the wire, where a comparison with etcd does not reach: order, waiting, cancellation, what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message, MessageInit } from "../../api/schema/messages.ts";
import { decodeMessage } from "../../api/message-codec.ts";
import { PROTO_FILES } from "../../api/schema/files.ts";
import type { ClientCall } from "../../rpc/index.ts";
import { bytes, startServed, text, type WireClient } from "./wire.ts";

type WatchResponse = Message<"etcdserverpb.WatchResponse">;
type WatchCall = ClientCall<MessageInit<"etcdserverpb.WatchRequest">, WatchResponse>;

const NO_WATCH = "ffffffffffffffff";
const id = (n: number): string => n.toString(16).padStart(16, "0");

function put(client: WireClient, key: string, value: string): Promise<Message<"etcdserverpb.PutResponse">> {
  return client.call("etcdserverpb.KV", "Put", { key: bytes(key), value: bytes(value) });
}

/** Reads so many responses. */
async function take<T>(from: AsyncIterator<T>, count: number): Promise<T[]> {
  const found: T[] = [];
  while (found.length < count) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const { value, done } = await from.next();
    if (done === true) throw new Error("the stream has ended");
    found.push(value);
  }
  return found;
}

function openWatch(client: WireClient): { readonly call: WatchCall; readonly responses: AsyncIterator<WatchResponse> } {
  const call = client.stream("etcdserverpb.Watch", "Watch");
  return { call, responses: call[Symbol.asyncIterator]() };
}

void test("Watches of a stream are answered in the order in which they were asked for, those that are refused among them", async (context) => {
  const { client } = await startServed(context);
  const { call, responses } = openWatch(client);
  for (const create_request of [
    { key: bytes("a") },
    { key: bytes("b"), range_end: bytes("a") },
    { key: bytes("c"), watch_id: id(7) },
    { key: bytes("d"), watch_id: id(7) },
    { key: bytes("e") },
    { key: bytes("f"), start_revision: -1 },
  ]) {
    void call.send({ create_request });
  }
  const created = await take(responses, 6);
  assert.ok(created.every((response) => response.created));
  assert.deepEqual(
    created.map((response) => response.watch_id),
    [id(0), NO_WATCH, id(7), NO_WATCH, id(1), NO_WATCH],
  );
  assert.deepEqual(
    created.map((response) => response.cancel_reason),
    [
      "",
      "mvcc: watcher range is empty",
      "",
      "mvcc: duplicate watch ID provided on the WatchStream",
      "",
      "etcdserver: mvcc: required revision has been compacted",
    ],
  );
  call.cancel();
});

void test("A cancelled watch is told so once and then nothing, its id can be used again, and an unknown one is not answered", async (context) => {
  const { client } = await startServed(context);
  const { call, responses } = openWatch(client);
  void call.send({ create_request: { key: bytes("a") } });
  void call.send({ cancel_request: { watch_id: id(5) } });
  void call.send({ cancel_request: { watch_id: id(0) } });
  void call.send({ cancel_request: { watch_id: id(0) } });
  void call.send({ create_request: { key: bytes("a"), watch_id: id(0) } });
  const [created, cancelled, again] = await take(responses, 3);
  assert.deepEqual([created!.created, created!.canceled], [true, false]);
  assert.deepEqual([cancelled!.created, cancelled!.canceled, cancelled!.watch_id], [false, true, id(0)]);
  assert.equal(again!.created, true);
  await put(client, "a", "1");
  const [event] = await take(responses, 1);
  assert.equal(event!.watch_id, again!.watch_id);
  call.cancel();
});

void test("A watch whose history is gone is created, then cancelled with the first revision that can be read", async (context) => {
  const { client } = await startServed(context);
  for (const value of ["1", "2", "3"]) await put(client, "a", value);
  await client.call("etcdserverpb.KV", "Compact", { revision: 3 });
  const { call, responses } = openWatch(client);
  void call.send({ create_request: { key: bytes("a"), start_revision: 2 } });
  const [created, cancelled] = await take(responses, 2);
  assert.equal(created!.created, true);
  assert.deepEqual([cancelled!.canceled, cancelled!.compact_revision, cancelled!.cancel_reason], [true, 3, ""]);
  assert.equal(cancelled!.header!.revision, 0);
  // Clients cancel it themselves, and are answered.
  void call.send({ cancel_request: { watch_id: id(0) } });
  const [answer] = await take(responses, 1);
  assert.equal(answer!.canceled, true);
  void call.send({ create_request: { key: bytes("a"), start_revision: 3 } });
  const [, first] = await take(responses, 2);
  assert.equal(first!.events[0]!.kv!.mod_revision, 3);
  call.cancel();
});

void test("Progress is told behind all events up to its revision, and not where nobody watches", async (context) => {
  const { client } = await startServed(context);
  const { call, responses } = openWatch(client);
  void call.send({ progress_request: {} });
  void call.send({ create_request: { key: bytes("a") } });
  void call.send({ create_request: { key: bytes("b") } });
  assert.ok((await take(responses, 2)).every((response) => response.created));
  for (let i = 0; i < 20; i++) void put(client, "a", String(i));
  const { header } = await put(client, "b", "last");
  void call.send({ progress_request: {} });
  let seen = 0;
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const [response] = await take(responses, 1);
    if (response!.watch_id === NO_WATCH) {
      assert.ok(response!.header!.revision >= header!.revision);
      break;
    }
    seen += response!.events.length;
  }
  assert.equal(seen, 21);
  call.cancel();
});

void test("Progress that was asked for before a watch of the past was made is not told before what that watch has to tell", async (context) => {
  const { client } = await startServed(context);
  for (let i = 0; i < 50; i++) await put(client, "k", String(i));
  const { call, responses } = openWatch(client);
  void call.send({ create_request: { key: bytes("other") } });
  await take(responses, 1);
  void call.send({ progress_request: {} });
  void call.send({ create_request: { key: bytes("k"), start_revision: 2 } });
  const seen: number[] = [];
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const [response] = await take(responses, 1);
    if (response!.watch_id === NO_WATCH) {
      assert.equal(response!.header!.revision, 51);
      break;
    }
    seen.push(...response!.events.map((event) => event.kv!.mod_revision));
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 50 }, (_, i) => i + 2),
  );
  call.cancel();
});

void test("A watch too many is refused, and the others of its stream go on", async (context) => {
  const { client } = await startServed(context, {}, { limits: { watchersMax: 2 } });
  const { call, responses } = openWatch(client);
  for (const key of ["a", "b", "c", "d"]) void call.send({ create_request: { key: bytes(key) } });
  const created = await take(responses, 4);
  assert.deepEqual(
    created.map(({ canceled, watch_id }) => [canceled, watch_id]),
    [
      [false, id(0)],
      [false, id(1)],
      [true, NO_WATCH],
      [true, NO_WATCH],
    ],
  );
  await put(client, "b", "1");
  assert.equal((await take(responses, 1))[0]!.watch_id, id(1));
  call.cancel();
});

void test("Of a watch that is cancelled at once the creation is told first, and in its place", async (context) => {
  const { client } = await startServed(context);
  const { call, responses } = openWatch(client);
  void call.send({ create_request: { key: bytes("a"), watch_id: id(1) } });
  void call.send({ create_request: { key: bytes("b"), watch_id: id(2) } });
  void call.send({ cancel_request: { watch_id: id(2) } });
  void call.send({ create_request: { key: bytes("c"), watch_id: id(3) } });
  const told = await take(responses, 4);
  assert.deepEqual(
    told.map(({ watch_id, created, canceled }) => [watch_id, created, canceled]),
    [
      [id(1), true, false],
      [id(2), true, false],
      [id(2), false, true],
      [id(3), true, false],
    ],
  );
  call.cancel();
});

void test("Thousands of watches on one stream are made, told of their own keys, and cancelled", { timeout: 30_000 }, async (context) => {
  const { client } = await startServed(context);
  const { call, responses } = openWatch(client);
  const count = 3_000;
  for (let i = 0; i < count; i++) void call.send({ create_request: { key: bytes(`k${i}`) } });
  const created = await take(responses, count);
  assert.deepEqual(
    created.map(({ watch_id }) => watch_id),
    Array.from({ length: count }, (_, i) => id(i)),
  );
  for (const i of [2_999, 7, 1_500]) await put(client, `k${i}`, "x");
  assert.deepEqual(
    (await take(responses, 3)).map(({ watch_id }) => watch_id),
    [id(2_999), id(7), id(1_500)],
  );
  for (let i = 0; i < count; i++) void call.send({ cancel_request: { watch_id: id(i) } });
  assert.ok((await take(responses, count)).every(({ canceled }) => canceled));
  call.cancel();
});

void test("A client that reads nothing loses nothing: its watch goes on from history", { timeout: 30_000 }, async (context) => {
  const { client } = await startServed(context);
  const { call, responses } = openWatch(client);
  void call.send({ create_request: { key: bytes("k") } });
  await take(responses, 1);
  const value = "x".repeat(10_000);
  const writes = 400;
  for (let i = 0; i < writes; i++) await put(client, "k", `${i}${value}`);
  const events = [];
  while (events.length < writes) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const [response] = await take(responses, 1);
    events.push(...response!.events);
  }
  assert.deepEqual(
    events.map((event) => Number.parseInt(text(event.kv!.value), 10)),
    Array.from({ length: writes }, (_, i) => i),
  );
  call.cancel();
});

void test("Renewals of a stream are answered in order, of leases that are gone too, and the stream ends with its client's half", async (context) => {
  const { client } = await startServed(context);
  const { ID } = await client.call("etcdserverpb.Lease", "LeaseGrant", { TTL: 100 });
  const call = client.stream("etcdserverpb.Lease", "LeaseKeepAlive");
  const asked = [ID, id(1), ID, id(0), ID];
  for (const one of asked) void call.send({ ID: one });
  call.end();
  const answers = [];
  for await (const answer of call) answers.push([answer.ID, answer.TTL]);
  assert.deepEqual(
    answers,
    asked.map((one) => [one, one === ID ? 100 : 0]),
  );
});

void test("A lease has at least two seconds, an id of 63 bits where none is asked for, and at most 9,000,000,000 seconds", async (context) => {
  const { client } = await startServed(context);
  const grant = (request: MessageInit<"etcdserverpb.LeaseGrantRequest">): Promise<Message<"etcdserverpb.LeaseGrantResponse">> =>
    client.call("etcdserverpb.Lease", "LeaseGrant", request);
  for (const TTL of [-5, 0, 1, 2]) assert.equal((await grant({ TTL })).TTL, 2);
  const ids = await Promise.all(Array.from({ length: 50 }, async () => (await grant({ TTL: 100 })).ID));
  assert.equal(new Set(ids).size, 50);
  assert.ok(ids.every((one) => one < "8"));
  assert.equal((await grant({ TTL: 9_000_000_000 })).TTL, 9_000_000_000);
  await assert.rejects(grant({ TTL: 9_000_000_001 }), { code: 11, message: "etcdserver: too large lease TTL" });
  const gone = await client.call("etcdserverpb.Lease", "LeaseTimeToLive", { ID: id(5), keys: true });
  assert.deepEqual([gone.ID, gone.TTL, gone.grantedTTL], [id(5), -1, 0]);
  assert.equal((await client.call("etcdserverpb.Lease", "LeaseLeases", {})).leases.length, 55);
});

void test("A range as a stream has the kvs of the range, whole, and says the rest at its end", async (context) => {
  const { client } = await startServed(context);
  const value = "v".repeat(3_000);
  for (let i = 0; i < 400; i++) await put(client, `k${String(i).padStart(4, "0")}`, value);
  const request = { key: bytes("k"), range_end: bytes("l") };
  const whole = await client.call("etcdserverpb.KV", "Range", request);
  const parts = [];
  for await (const part of client.serverStream("etcdserverpb.KV", "RangeStream", request)) parts.push(part.range_response!);
  assert.ok(parts.length > 2);
  const last = parts.at(-1)!;
  assert.deepEqual([last.header!.revision, last.count, last.more], [whole.header!.revision, 400, false]);
  assert.ok(parts.slice(0, -1).every(({ header, count }) => header === undefined && count === 0));
  assert.deepEqual(
    parts.flatMap(({ kvs }) => kvs.map(({ key }) => text(key))),
    whole.kvs.map(({ key }) => text(key)),
  );
  const some = [];
  for await (const part of client.serverStream("etcdserverpb.KV", "RangeStream", { ...request, limit: 150 }))
    some.push(part.range_response!);
  assert.equal(some.flatMap(({ kvs }) => kvs).length, 150);
  assert.deepEqual([some.at(-1)!.more, some.at(-1)!.count], [true, 400]);
  const sorted = client.serverStream("etcdserverpb.KV", "RangeStream", { ...request, sort_order: 2 })[Symbol.asyncIterator]();
  await assert.rejects(sorted.next(), { code: 12 });
});

void test("A lock passes from one to the next in the order of their asking; who gives up leaves no key", async (context) => {
  const { client } = await startServed(context);
  const lease = async (): Promise<string> => (await client.call("etcdserverpb.Lease", "LeaseGrant", { TTL: 600 })).ID;
  const name = bytes("L");
  const keys = async (): Promise<number> =>
    (await client.call("etcdserverpb.KV", "Range", { key: bytes("L/"), range_end: bytes("L0") })).count;
  const first = await client.call("v3lockpb.Lock", "Lock", { name, lease: await lease() });
  // Asked again by its holder, it is the same.
  const again = await client.call("v3lockpb.Lock", "Lock", { name, lease: Buffer.from(first.key).toString().slice(2).padStart(16, "0") });
  assert.deepEqual(again.key, first.key);
  const order: string[] = [];
  const second = client.call("v3lockpb.Lock", "Lock", { name, lease: await lease() }).then((lock) => {
    order.push("second");
    return lock;
  });
  await until(async () => (await keys()) === 2);
  const third = client.call("v3lockpb.Lock", "Lock", { name, lease: await lease() }).then((lock) => {
    order.push("third");
    return lock;
  });
  await until(async () => (await keys()) === 3);
  const impatient = new AbortController();
  const asked = client.call("v3lockpb.Lock", "Lock", { name, lease: await lease() }, { signal: impatient.signal });
  const givenUp = assert.rejects(asked, { code: 1 });
  await until(async () => (await keys()) === 4);
  impatient.abort();
  await givenUp;
  await until(async () => (await keys()) === 3);
  await client.call("v3lockpb.Lock", "Unlock", { key: first.key });
  await client.call("v3lockpb.Lock", "Unlock", { key: (await second).key });
  await third;
  assert.deepEqual(order, ["second", "third"]);
  await assert.rejects(client.call("v3lockpb.Lock", "Lock", { name, lease: id(77) }), {
    code: 2,
    message: "etcdserver: requested lease not found",
  });
});

void test("A waiter whose lease is gone is told that its session has expired", async (context) => {
  const { client } = await startServed(context);
  const name = bytes("L");
  const holder = await client.call("v3lockpb.Lock", "Lock", { name });
  const { ID } = await client.call("etcdserverpb.Lease", "LeaseGrant", { TTL: 600 });
  const waiting = assert.rejects(client.call("v3lockpb.Lock", "Lock", { name, lease: ID }), {
    code: 2,
    message: "mutex: session is expired",
  });
  await until(async () => (await client.call("etcdserverpb.KV", "Range", { key: bytes("L/"), range_end: bytes("L0") })).count === 2);
  await client.call("etcdserverpb.Lease", "LeaseRevoke", { ID });
  await client.call("v3lockpb.Lock", "Unlock", { key: holder.key });
  await waiting;
});

void test("An election has one leader, who proclaims; observers see the latest, then the next leader", async (context) => {
  const { client } = await startServed(context);
  const name = bytes("E");
  await assert.rejects(client.call("v3electionpb.Election", "Leader", { name }), { code: 2, message: "election: no leader" });
  const observed = client.serverStream("v3electionpb.Election", "Observe", { name })[Symbol.asyncIterator]();
  const one = await client.call("v3electionpb.Election", "Campaign", { name, value: bytes("one") });
  const two = client.call("v3electionpb.Election", "Campaign", { name, value: bytes("two") });
  assert.equal(text((await take(observed, 1))[0]!.kv!.value), "one");
  await client.call("v3electionpb.Election", "Proclaim", { leader: one.leader, value: bytes("uno") });
  assert.equal(text((await take(observed, 1))[0]!.kv!.value), "uno");
  await client.call("v3electionpb.Election", "Resign", { leader: one.leader });
  assert.equal(text((await take(observed, 1))[0]!.kv!.value), "two");
  assert.equal(text((await client.call("v3electionpb.Election", "Leader", { name })).kv!.value), "two");
  const { leader } = await two;
  assert.ok(leader !== undefined);
  const lost = { leader: one.leader, value: bytes("x") };
  await assert.rejects(client.call("v3electionpb.Election", "Proclaim", lost), { code: 2, message: "election: not leader" });
  // Without effect, and no error.
  await client.call("v3electionpb.Election", "Resign", { leader: one.leader });
  await observed.return?.();
});

void test("d-engine's own protocol writes, reads, scans, watches, and names errors by number", async (context) => {
  const { client } = await startServed(context);
  const service = "d_engine.client.RaftClientService";
  const write = (command: MessageInit<"d_engine.client.WriteCommand">): Promise<Message<"d_engine.client.ClientResponse">> =>
    client.call(service, "HandleClientWrite", { client_id: 1, command });
  const watched = client.serverStream(service, "Watch", { key: bytes("/a/"), prefix: true, prev_kv: true })[Symbol.asyncIterator]();
  const next = watched.next();
  const members = client.serverStream(service, "WatchMembership", {})[Symbol.asyncIterator]();
  assert.equal((await take(members, 1))[0]!.members.length, 1);
  await members.return?.();
  // The watch is there once something of it has been seen.
  let tries = 0;
  let seen: Message<"d_engine.client.WatchResponse"> | undefined;
  void next.then(({ value }) => {
    seen = value as Message<"d_engine.client.WatchResponse">;
  });
  await until(async () => {
    const { write_result } = await write({ insert: { key: bytes("/a/b"), value: bytes(`v${tries++}`) } });
    assert.equal(write_result?.succeeded, true);
    return seen !== undefined;
  });
  assert.equal(text(seen!.key), "/a/b");
  assert.equal((await write({ compare_and_swap: { key: bytes("/a/c"), new_value: bytes("1") } })).write_result?.succeeded, true);
  assert.equal((await write({ compare_and_swap: { key: bytes("/a/c"), new_value: bytes("2") } })).write_result?.succeeded, false);
  assert.equal(
    (await write({ compare_and_swap: { key: bytes("/a/c"), expected_value: bytes("1"), new_value: bytes("2") } })).write_result?.succeeded,
    true,
  );
  for (const consistency_policy of [undefined, 0, 1, 2]) {
    const { read_data } = await client.call(service, "HandleClientRead", { keys: [bytes("/a/c"), bytes("/none")], consistency_policy });
    assert.deepEqual(
      read_data?.results.map(({ key, value }) => [text(key), text(value)]),
      [["/a/c", "2"]],
    );
  }
  const scanned = await client.call(service, "HandleClientScan", { prefix: bytes("/a/") });
  assert.deepEqual(
    scanned.entries.map(({ key }) => text(key)),
    ["/a/b", "/a/c"],
  );
  assert.deepEqual((await client.call(service, "HandleClientScan", {})).entries, []);
  await write({ delete: { key: bytes("/a/b") } });
  assert.equal((await write({ insert: { key: new Uint8Array(0), value: bytes("x") } })).error, 4003);
  assert.equal((await write({})).error, 4003);
  const misnamed = client.serverStream(service, "Watch", { key: bytes("a"), prefix: true });
  const refused = misnamed[Symbol.asyncIterator]();
  await assert.rejects(refused.next(), { code: 3 });
  const cluster = await client.call("d_engine.server.cluster.ClusterManagementService", "GetClusterMetadata", {});
  assert.deepEqual([cluster.nodes.length, cluster.nodes[0]!.role, cluster.nodes[0]!.status], [1, 3, 3]);
  assert.equal(cluster.current_leader_id, cluster.nodes[0]!.id);
  await watched.return?.();
});

void test("The hash of the data is that of a revision, and tells where history begins", async (context) => {
  const { client } = await startServed(context);
  const hash = (revision: number): Promise<Message<"etcdserverpb.HashKVResponse">> =>
    client.call("etcdserverpb.Maintenance", "HashKV", { revision });
  const empty = await hash(0);
  assert.deepEqual([empty.hash_revision, empty.compact_revision], [1, -1]);
  for (let i = 0; i < 30; i++) await put(client, `k${i % 7}`, "v".repeat(50_000));
  const at20 = await hash(20);
  const now = await hash(0);
  assert.deepEqual([at20.hash_revision, now.hash_revision, now.header!.revision], [20, 31, 31]);
  assert.notEqual(at20.hash, now.hash);
  assert.equal((await client.call("etcdserverpb.Maintenance", "Hash", {})).hash, now.hash);
  await client.call("etcdserverpb.KV", "Compact", { revision: 20 });
  const again = await hash(20);
  assert.deepEqual([again.hash, again.compact_revision], [at20.hash, 20]);
  await assert.rejects(hash(19), { code: 11, message: "etcdserver: mvcc: required revision has been compacted" });
  await assert.rejects(hash(99), { code: 11, message: "etcdserver: mvcc: required revision is a future revision" });
});

void test("Health and reflection answer as tools expect", async (context) => {
  const { client } = await startServed(context);
  assert.equal((await client.call("grpc.health.v1.Health", "Check", {})).status, 1);
  await assert.rejects(client.call("grpc.health.v1.Health", "Check", { service: "x" }), { code: 5, message: "unknown service" });
  const health = client.serverStream("grpc.health.v1.Health", "Watch", { service: "x" })[Symbol.asyncIterator]();
  assert.equal((await take(health, 1))[0]!.status, 3);
  await health.return?.();
  const call = client.stream("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo");
  const answers = call[Symbol.asyncIterator]();
  void call.send({ list_services: "" });
  for (const file_containing_symbol of ["etcdserverpb.KV", "etcdserverpb.KV.Put", "mvccpb.Event.EventType", "no.such"]) {
    void call.send({ file_containing_symbol });
  }
  void call.send({ file_by_filename: "kv.proto" });
  const [services, ...files] = await take(answers, 6);
  assert.ok(services!.list_services_response!.service.some(({ name }) => name === "etcdserverpb.Watch"));
  const names = files.map(({ file_descriptor_response, error_response }) =>
    file_descriptor_response === undefined
      ? error_response?.error_code
      : file_descriptor_response.file_descriptor_proto
          .map((file) => decodeMessage("google.protobuf.FileDescriptorProto", file).name)
          .join(),
  );
  assert.deepEqual(names, ["rpc.proto,kv.proto,auth.proto", "rpc.proto,kv.proto,auth.proto", "kv.proto", 5, "kv.proto"]);
  assert.ok(PROTO_FILES.length > 0);
  call.cancel();
});

void test("Bytes that are no message are refused as etcd refuses them, and a method that nobody knows as unimplemented", async (context) => {
  const { client } = await startServed(context);
  const raw = (path: string, request: Uint8Array): Promise<Uint8Array> => {
    const same = (message: Uint8Array): Uint8Array => message;
    return client.rpc.unary(
      { path, kind: "unary", encodeRequest: same, decodeRequest: same, encodeResponse: same, decodeResponse: same },
      request,
    );
  };
  await assert.rejects(raw("/etcdserverpb.KV/Put", Uint8Array.of(0x0a, 200)), {
    code: 13,
    message: /^grpc: error unmarshalling request: proto: /,
  });
  await assert.rejects(raw("/etcdserverpb.KV/Nothing", new Uint8Array(0)), { code: 12 });
  await assert.rejects(raw("/etcdserverpb.KV/Put", new Uint8Array(2_097_153)), {
    code: 8,
    message: "grpc: received message larger than max (2097153 vs. 2097152)",
  });
  const large = { key: bytes("k"), value: new Uint8Array(1_600_000) };
  await assert.rejects(client.call("etcdserverpb.KV", "Put", large), { code: 3, message: "etcdserver: request is too large" });
  await assert.rejects(client.call("etcdserverpb.KV", "Range", { key: bytes("k"), sort_order: 9 }), {
    code: 3,
    message: "etcdserver: invalid sort option",
  });
});

/** Resolves when it holds, looked at again and again; rejects after ten seconds. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 10_000;
  // oxlint-disable-next-line no-await-in-loop -- looked at again and again
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error("it did not come true");
  }
}
