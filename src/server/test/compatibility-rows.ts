/** What is compared, RPC by RPC and option by option, for the matrix in docs/compatibility.md: each row asks a server, and what it answers is set beside etcd's answer. */
import { messageToJson } from "../../api/json-codec.ts";
import type { MessageInit } from "../../api/schema/messages.ts";
import { methodRows, type ServiceName } from "../../api/schema/services.ts";
import { RpcError } from "../../rpc/index.ts";
import { until } from "./differential-side.ts";
import { bytes, comparable, type WireClient } from "./wire.ts";

/** One row. They are asked in order, of the same data, so that each may count on those before. */
export interface Row {
  readonly service: ServiceName;
  readonly method: string;
  readonly option: string;
  readonly ask: (client: WireClient) => Promise<unknown>;
  /** Why the answer is another than that of etcd 3.4. */
  readonly differs?: string;
  /** An etcd 3.4 cannot be asked: it would end, or change what later rows find. */
  readonly notAsked?: string;
}

const rows: Row[] = [];
type More = Pick<Row, "differs" | "notAsked">;

/** A row of a unary call. `seen`: what of the answer counts. */
function unary(
  service: ServiceName,
  method: string,
  option: string,
  request: object,
  more: More & { readonly seen?: (outcome: unknown) => unknown } = {},
): void {
  const { seen = (outcome: unknown) => outcome, ...rest } = more;
  rows.push({ service, method, option, ask: async (client) => seen(await client.outcome(service, method, request)), ...rest });
}

/** A row of a stream of answers. */
function streamed(
  service: ServiceName,
  method: string,
  option: string,
  request: object,
  more: More & { readonly count?: number } = {},
): void {
  const { count = Number.POSITIVE_INFINITY, ...rest } = more;
  rows.push({ service, method, option, ask: (client) => answersOf(client, { service, method, request, count }), ...rest });
}

async function answersOf(
  client: WireClient,
  call: { readonly service: ServiceName; readonly method: string; readonly request: object; readonly count: number },
): Promise<unknown> {
  const { service, method, request, count } = call;
  const response = methodRows().find(([of, name]) => of === service && name === method)![2][2];
  const found: unknown[] = [];
  try {
    for await (const one of client.serverStream(service, method as never, request as never)) {
      found.push(comparable(messageToJson(response as "etcdserverpb.RangeResponse", one as object)));
      if (found.length >= count) break;
    }
  } catch (error) {
    if (!RpcError.is(error)) throw error;
    found.push(`${error.code} ${error.message}`);
  }
  return found;
}

type WatchRequest = MessageInit<"etcdserverpb.WatchRequest">;

/**
 * A row of watches: what their stream tells, after these requests and these writes, until there are so many answers. `answersBefore`: how many there
 * must be before each further request, if not as many as watches.
 */
function watched(
  option: string,
  requests: readonly WatchRequest[],
  count: number,
  more: More & { readonly writes?: readonly string[]; readonly answersBefore?: readonly number[] } = {},
): void {
  const { writes = [], answersBefore = [], ...rest } = more;
  const ask = async (client: WireClient): Promise<unknown> => {
    const call = client.stream("etcdserverpb.Watch", "Watch");
    const told: unknown[] = [];
    call.listen({
      onMessage: (response) => told.push(comparable(messageToJson("etcdserverpb.WatchResponse", response))),
      onEnd: (error) => error !== undefined && RpcError.is(error) && told.push(`${error.code} ${error.message}`),
    });
    for (const [i, request] of requests.entries()) {
      void call.send(request);
      // oxlint-disable-next-line no-await-in-loop -- one after another
      if (request.create_request !== undefined) await until(() => told.length >= (answersBefore[i] ?? i + 1));
    }
    for (const key of writes) {
      const deleted = key.startsWith("-");
      const request = { key: bytes(deleted ? key.slice(1) : key) };
      // oxlint-disable-next-line no-await-in-loop -- one after another
      await client.outcome("etcdserverpb.KV", deleted ? "DeleteRange" : "Put", deleted ? request : { ...request, value: bytes("w") });
    }
    await until(() => told.length >= count);
    call.cancel();
    return told.slice(0, count);
  };
  rows.push({ service: "etcdserverpb.Watch", method: "Watch", option, ask, ...rest });
}

const KV = "etcdserverpb.KV";
const ZERO = Uint8Array.of(0);
const [a, b, c, p, q] = ["a", "b", "c", "p/", "p0"].map(bytes) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
const LEASE = "0000000000000011";
const NO_LEASE = "00000000000000ff";

/** Which fields there are. */
const fields = (outcome: unknown): unknown => (typeof outcome === "object" && outcome !== null ? Object.keys(outcome).toSorted() : outcome);
const withoutHeader = (outcome: unknown): unknown => (typeof outcome === "object" ? { ...outcome, header: undefined } : outcome);
const onlyCode = (outcome: unknown): unknown => (typeof outcome === "string" ? outcome : "answered");

unary(KV, "Put", "a new key", { key: a, value: bytes("1") });
unary(KV, "Put", "prev_kv", { key: a, value: bytes("2"), prev_kv: true });
unary("etcdserverpb.Lease", "LeaseGrant", "ID", { ID: LEASE, TTL: 600 });
unary("etcdserverpb.Lease", "LeaseGrant", "ID of a lease that is there", { ID: LEASE, TTL: 600 });
unary("etcdserverpb.Lease", "LeaseGrant", "TTL below the minimum", { ID: "0000000000000012", TTL: 0 });
unary("etcdserverpb.Lease", "LeaseGrant", "TTL above the maximum", { ID: "0000000000000013", TTL: 9_000_000_001 });
unary(
  "etcdserverpb.Lease",
  "LeaseGrant",
  "no ID: the server chooses",
  { TTL: 600 },
  { seen: (o) => ({ ...(o as object), ID: BigInt((o as { ID: string }).ID) > 0n }) },
);
unary(KV, "Put", "lease", { key: b, value: bytes("x"), lease: LEASE });
unary(KV, "Put", "lease that is not there", { key: b, value: bytes("x"), lease: NO_LEASE });
unary(KV, "Put", "ignore_lease", { key: b, value: bytes("y"), ignore_lease: true });
unary(KV, "Put", "ignore_value", { key: a, ignore_value: true });
unary(KV, "Put", "ignore_value of a key that is not there", { key: c, ignore_value: true });
unary(KV, "Put", "ignore_value with a value", { key: a, value: bytes("1"), ignore_value: true });
unary(KV, "Put", "ignore_lease with a lease", { key: a, lease: LEASE, ignore_lease: true });
unary(KV, "Put", "no key", { value: bytes("1") });
unary(KV, "Put", "1.5 MiB and more", { key: a, value: new Uint8Array(1_600_000) });
unary(KV, "Put", "2 MiB and more", { key: a, value: new Uint8Array(2_100_000) });
unary(
  KV,
  "Put",
  "a key of more than 32 KiB",
  { key: new Uint8Array(40_000).fill(0x70), value: bytes("1") },
  { differs: "request is too large", notAsked: "it would hold the key" },
);
for (const key of ["p/3", "p/1", "p/2"])
  unary(KV, "Put", `for the ranges, ${key}`, { key: bytes(key), value: bytes(`v${key.charCodeAt(2) % 3}`) });

unary(KV, "Range", "one key", { key: a });
unary(KV, "Range", "no such key", { key: bytes("none") });
unary(KV, "Range", "range_end", { key: p, range_end: q });
unary(KV, "Range", "range_end of one zero byte: to the last key", { key: b, range_end: ZERO });
unary(KV, "Range", "key and range_end of one zero byte: all", { key: ZERO, range_end: ZERO });
unary(KV, "Range", "range_end before key", { key: b, range_end: a });
unary(KV, "Range", "limit, more", { key: p, range_end: q, limit: 2 });
for (const [target, name] of ["KEY", "VERSION", "CREATE", "MOD", "VALUE"].entries()) {
  for (const [order, way] of ["NONE", "ASCEND", "DESCEND"].entries()) {
    unary(KV, "Range", `sort_target ${name}, sort_order ${way}`, {
      key: p,
      range_end: q,
      sort_target: target,
      sort_order: order,
      limit: 2,
    });
  }
}
unary(
  KV,
  "Range",
  "sort_order out of range",
  { key: a, sort_order: 9 },
  { notAsked: "it would end", differs: "invalid sort option, as since 3.6" },
);
unary(KV, "Range", "serializable", { key: a, serializable: true });
unary(KV, "Range", "keys_only", { key: a, range_end: ZERO, keys_only: true });
unary(KV, "Range", "count_only", { key: a, range_end: ZERO, count_only: true });
unary(KV, "Range", "min_mod_revision, max_mod_revision", { key: a, range_end: ZERO, min_mod_revision: 4, max_mod_revision: 7 });
unary(KV, "Range", "min_create_revision, max_create_revision", { key: a, range_end: ZERO, min_create_revision: 3, max_create_revision: 7 });
unary(KV, "Range", "revision of the past", { key: a, range_end: ZERO, revision: 3 });
unary(KV, "Range", "revision of the future", { key: a, revision: 1_000 });
unary(KV, "Range", "no key", {});
streamed(KV, "RangeStream", "all, in parts", { key: ZERO, range_end: ZERO }, { differs: "served, as since 3.7" });
streamed(KV, "RangeStream", "sort_order", { key: ZERO, range_end: ZERO, sort_order: 2 }, { differs: "UNIMPLEMENTED with 3.7's text" });

const compare = (one: MessageInit<"etcdserverpb.Compare">): MessageInit<"etcdserverpb.TxnRequest"> => ({
  compare: [{ ...one, result: 0 }],
  success: [{ request_txn: txnOfResults(one) }],
  failure: [{ request_txn: txnOfResults(one) }],
});
/** Its answer says how each of the four results came out. */
function txnOfResults(one: MessageInit<"etcdserverpb.Compare">): MessageInit<"etcdserverpb.TxnRequest"> {
  return { success: [0, 1, 2, 3].map((result) => ({ request_txn: { compare: [{ ...one, result }] } })) };
}
unary(KV, "Txn", "compare VERSION", compare({ target: 0, key: a, version: 3 }));
unary(KV, "Txn", "compare CREATE", compare({ target: 1, key: a, create_revision: 2 }));
unary(KV, "Txn", "compare MOD", compare({ target: 2, key: a, mod_revision: 4 }));
unary(KV, "Txn", "compare VALUE", compare({ target: 3, key: a, value: bytes("2") }));
unary(KV, "Txn", "compare VALUE of a key that is not there", compare({ target: 3, key: c, value: bytes("2") }));
unary(KV, "Txn", "compare LEASE", compare({ target: 4, key: b, lease: LEASE }));
unary(KV, "Txn", "compare with range_end", compare({ target: 0, key: p, range_end: q, version: 1 }));
for (const key of [a, c]) {
  const compares = [0, 3].map((target) => ({ request_txn: { compare: [{ result: 7, target, key }] } }));
  unary(KV, "Txn", `compare with a result that nobody knows, of a key that is ${key === a ? "" : "not "}there`, { success: compares });
}
unary(KV, "Txn", "compare with neither key nor target", { compare: [{}] });
unary(KV, "Txn", "nothing", {});
unary(KV, "Txn", "puts, ranges and deletions that see each other", {
  success: [
    { request_put: { key: c, value: bytes("1") } },
    { request_range: { key: c } },
    { request_delete_range: { key: c, prev_kv: true } },
    { request_range: { key: c } },
  ],
});
unary(KV, "Txn", "failure", { compare: [{ key: a, target: 0, version: 99 }], failure: [{ request_put: { key: c, value: bytes("f") } }] });
unary(KV, "Txn", "nested", { success: [{ request_txn: { success: [{ request_put: { key: c, value: bytes("n"), prev_kv: true } }] } }] });
unary(KV, "Txn", "one key twice", { success: [{ request_put: { key: c } }, { request_put: { key: c } }] });
unary(KV, "Txn", "a put that a deletion of the branch covers", {
  success: [{ request_put: { key: c } }, { request_delete_range: { key: a, range_end: bytes("d") } }],
});
unary(
  KV,
  "Txn",
  "a put that a deletion to the last key covers",
  {
    success: [
      { request_put: { key: c } },
      { request_delete_range: { key: bytes("zz"), range_end: ZERO } },
      { request_delete_range: { key: c, range_end: ZERO } },
    ],
  },
  { notAsked: "it overlooks it", differs: "duplicate key given in txn request" },
);
unary(KV, "Txn", "more than 128 operations", { success: Array.from({ length: 129 }, () => ({ request_range: { key: a } })) });
unary(KV, "Txn", "an operation of no kind", { success: [{}] });
unary(KV, "Txn", "a lease that is not there", { success: [{ request_put: { key: c, lease: NO_LEASE } }] });
unary(KV, "Txn", "a revision of the future", { success: [{ request_range: { key: c, revision: 1_000 } }] });

unary("etcdserverpb.Lease", "LeaseTimeToLive", "", { ID: LEASE }, { seen: (o) => ({ ...(o as object), TTL: "left" }) });
unary("etcdserverpb.Lease", "LeaseTimeToLive", "keys", { ID: LEASE, keys: true }, { seen: (o) => ({ ...(o as object), TTL: "left" }) });
unary("etcdserverpb.Lease", "LeaseTimeToLive", "of a lease that is not there", { ID: NO_LEASE, keys: true });
unary("etcdserverpb.Lease", "LeaseLeases", "", {}, { seen: (o) => (o as { leases: unknown[] }).leases.length });
const keepAlive = (option: string, ID: string): void => {
  const ask = async (client: WireClient): Promise<unknown> => {
    const call = client.stream("etcdserverpb.Lease", "LeaseKeepAlive");
    void call.send({ ID });
    call.end();
    const answers: unknown[] = [];
    for await (const answer of call) answers.push(comparable(messageToJson("etcdserverpb.LeaseKeepAliveResponse", answer)));
    return answers;
  };
  rows.push({ service: "etcdserverpb.Lease", method: "LeaseKeepAlive", option, ask });
};
keepAlive("", LEASE);
keepAlive("of a lease that is not there", NO_LEASE);

watched("from now on", [{ create_request: { key: a } }], 3, { writes: ["a", "b", "-a"] });
watched("start_revision of the past", [{ create_request: { key: a, start_revision: 2 } }], 2, {
  differs: "each revision is a response of its own",
});
watched("range_end, prev_kv", [{ create_request: { key: p, range_end: q, prev_kv: true } }], 3, { writes: ["p/1", "-p/1"] });
watched("filters NOPUT", [{ create_request: { key: p, range_end: q, filters: [0] } }], 2, { writes: ["p/1", "-p/1"] });
watched("filters NODELETE", [{ create_request: { key: p, range_end: q, filters: [1] } }], 3, { writes: ["p/1", "-p/1", "p/1"] });
watched(
  "watch_id",
  [{ create_request: { key: a, watch_id: "0000000000000007" } }, { create_request: { key: a, watch_id: "0000000000000007" } }],
  2,
);
watched("several on one stream", [{ create_request: { key: a } }, { create_request: { key: b } }, { create_request: { key: c } }], 4, {
  writes: ["c"],
});
watched("an empty range", [{ create_request: { key: b, range_end: a } }], 1);
watched("fragment", [{ create_request: { key: a, fragment: true } }], 2, { writes: ["a"] });
watched("progress_request", [{ create_request: { key: a } }, { progress_request: {} }], 2);
watched("cancel_request", [{ create_request: { key: a } }, { cancel_request: { watch_id: "0000000000000000" } }], 2);
watched("start_revision below 0", [{ create_request: { key: a, start_revision: -1 } }], 1, {
  differs: "cancelled as compacted, as since 3.5.24",
});

unary(KV, "DeleteRange", "one key, prev_kv", { key: c, prev_kv: true });
unary(KV, "DeleteRange", "no such key", { key: c });
unary(KV, "DeleteRange", "range_end, prev_kv", { key: p, range_end: q, prev_kv: true });
unary(KV, "DeleteRange", "no key", {});
unary(KV, "Compact", "revision", { revision: 5 });
unary(KV, "Compact", "revision that is compacted", { revision: 5 });
unary(KV, "Compact", "revision of the future", { revision: 10_000 });
unary(KV, "Compact", "physical", { revision: 8, physical: true });
unary(KV, "Range", "revision that is compacted", { key: a, revision: 5 });
watched("start_revision that is compacted", [{ create_request: { key: a, start_revision: 3 } }], 2);
const gone: WatchRequest = { create_request: { key: a, start_revision: 3, watch_id: "0000000000000009" } };
watched("watch_id of one that was cancelled as compacted", [gone, gone, { cancel_request: { watch_id: "0000000000000009" } }, gone], 6, {
  answersBefore: [2, 3, 0, 5],
});
watched("start_revision of the future", [{ create_request: { key: a, start_revision: 1_000 } }], 1);
unary("etcdserverpb.Lease", "LeaseRevoke", "", { ID: LEASE });
unary("etcdserverpb.Lease", "LeaseRevoke", "of a lease that is not there", { ID: LEASE });

unary("etcdserverpb.Lease", "LeaseGrant", "for locks and elections", { ID: LEASE, TTL: 600 });
unary("v3lockpb.Lock", "Lock", "", { name: bytes("L"), lease: LEASE });
unary("v3lockpb.Lock", "Lock", "held by the caller", { name: bytes("L"), lease: LEASE });
unary("v3lockpb.Lock", "Lock", "a lease that is not there", { name: bytes("L"), lease: NO_LEASE });
unary("v3lockpb.Lock", "Unlock", "", { key: bytes("L/11") });
unary("v3lockpb.Lock", "Unlock", "not held", { key: bytes("L/11") });
unary("v3lockpb.Lock", "Unlock", "no key", {});
const leader = { name: bytes("E"), key: bytes("E/11"), lease: LEASE };
unary("v3electionpb.Election", "Leader", "nobody", { name: bytes("E") });
unary("v3electionpb.Election", "Campaign", "", { name: bytes("E"), lease: LEASE, value: bytes("1") });
unary(
  "v3electionpb.Election",
  "Campaign",
  "once more, with another value",
  { name: bytes("E"), lease: LEASE, value: bytes("2") },
  { differs: "the header has the newest revision" },
);
unary("v3electionpb.Election", "Leader", "", { name: bytes("E") });
unary("v3electionpb.Election", "Proclaim", "without being leader", { leader: { ...leader, rev: 1 }, value: bytes("x") });
unary("v3electionpb.Election", "Proclaim", "no leader given", { value: bytes("x") });
unary(KV, "Put", "for a campaign, its key", { key: bytes("F/ff"), value: bytes("1") });
unary("v3electionpb.Election", "Campaign", "with another value, of a lease that is not there", {
  name: bytes("F"),
  lease: NO_LEASE,
  value: bytes("2"),
});
unary("v3electionpb.Election", "Leader", "after such a campaign", { name: bytes("F") });
streamed("v3electionpb.Election", "Observe", "", { name: bytes("E") }, { count: 1 });
unary("v3electionpb.Election", "Resign", "without being leader", { leader: { ...leader, rev: 1 } });
unary("v3electionpb.Election", "Resign", "no leader given", {});

unary("etcdserverpb.Cluster", "MemberList", "", {}, { seen: shapeOfMembers });
unary("etcdserverpb.Cluster", "MemberList", "linearizable", { linearizable: true }, { seen: shapeOfMembers });
unary("etcdserverpb.Cluster", "MemberAdd", "a URL that is none", { peerURLs: ["nonsense"] }, { seen: onlyCode });
unary("etcdserverpb.Cluster", "MemberRemove", "of a member that is not there", { ID: NO_LEASE }, { seen: onlyCode });
unary(
  "etcdserverpb.Cluster",
  "MemberUpdate",
  "of a member that is not there",
  { ID: NO_LEASE, peerURLs: ["http://127.0.0.1:1"] },
  { seen: onlyCode },
);
unary("etcdserverpb.Cluster", "MemberPromote", "of a member that is not there", { ID: NO_LEASE }, { seen: onlyCode });
unary("etcdserverpb.Maintenance", "Status", "its fields", {}, { seen: fields, differs: "it has those of 3.6 too" });
unary("etcdserverpb.Maintenance", "Alarm", "GET", {}, { seen: withoutHeader });
unary("etcdserverpb.Maintenance", "Alarm", "DEACTIVATE of what is not there", { action: 2, alarm: 1 }, { seen: withoutHeader });
unary(
  "etcdserverpb.Maintenance",
  "Alarm",
  "ACTIVATE",
  { action: 1, alarm: 1 },
  { seen: onlyCode, notAsked: "it would take no more writes", differs: "" },
);
unary("etcdserverpb.Maintenance", "Defragment", "", {});
unary("etcdserverpb.Maintenance", "Hash", "", {}, { seen: fields });
unary("etcdserverpb.Maintenance", "HashKV", "", {}, { seen: fields, differs: "it has hash_revision of 3.6 too" });
unary("etcdserverpb.Maintenance", "HashKV", "a revision of the future", { revision: 10_000 });
unary("etcdserverpb.Maintenance", "HashKV", "a revision that is compacted", { revision: 3 });
rows.push({
  service: "etcdserverpb.Maintenance",
  method: "Snapshot",
  option: "",
  // Its content is each server's own.
  ask: async (client) => {
    const parts = (await answersOf(client, {
      service: "etcdserverpb.Maintenance",
      method: "Snapshot",
      request: {},
      count: 1e9,
    })) as unknown[];
    return typeof parts[0] === "string" ? parts[0] : "parts";
  },
});
unary("etcdserverpb.Maintenance", "MoveLeader", "to a member that is not there", { targetID: NO_LEASE });
unary("etcdserverpb.Maintenance", "Downgrade", "CANCEL", { action: 2 }, { differs: "no inflight downgrade job, as 3.6" });
unary(
  "etcdserverpb.Maintenance",
  "Downgrade",
  "VALIDATE of what is no version",
  { action: 0, version: "x" },
  { differs: "wrong downgrade target version format, as 3.6" },
);

for (const [method, request] of Object.entries({
  AuthStatus: {},
  AuthEnable: {},
  AuthDisable: {},
  Authenticate: { name: "u", password: "p" },
  UserList: {},
  RoleList: {},
  UserGet: { name: "u" },
  UserDelete: { name: "u" },
  UserChangePassword: { name: "u", password: "p" },
  UserGrantRole: { user: "u", role: "r" },
  UserRevokeRole: { name: "u", role: "r" },
  RoleGet: { role: "r" },
  RoleDelete: { role: "r" },
  RoleGrantPermission: { name: "r", perm: { key: a } },
  RoleRevokePermission: { role: "r", key: a },
  UserAdd: { name: "u", password: "p" },
  RoleAdd: { name: "r" },
})) {
  unary("etcdserverpb.Auth", method, "", request, method === "AuthStatus" ? { differs: "served, as since 3.5" } : {});
}
unary("grpc.health.v1.Health", "Check", "", {});
unary("grpc.health.v1.Health", "Check", "of a service that is not there", { service: "x" });
streamed("grpc.health.v1.Health", "Watch", "", {}, { count: 1 });
streamed("grpc.health.v1.Health", "Watch", "of a service that is not there", { service: "x" }, { count: 1 });

function shapeOfMembers(outcome: unknown): unknown {
  const members = (outcome as { members?: { ID: string; name: string; peerURLs?: string[]; clientURLs?: string[] }[] }).members;
  return members?.map(({ name, clientURLs }) => [name, clientURLs?.length]) ?? outcome;
}

/** All rows, in the order in which they are asked. */
export const ROWS: readonly Row[] = rows;
