/**
 * d-engine's own client protocol: one command a call, three read policies, watches of a key or of a path, members. Its clients know errors by
 * number (d_engine_error.proto) and members by 32 bits: the low half of a member's id.
 */
import { prefixEnd } from "../intervals.ts";
import type { Consistency, Members } from "../../client/client.ts";
import { keyAfter } from "../../core/kv/bytes.ts";
import type { KeyInterval } from "../../core/kv/table.ts";
import { decodeWatchEvent } from "../../core/kv/watch-event.ts";
import { EngineError, type AnyEngineError } from "../../errors.ts";
import type { ResponseStream } from "../../rpc/index.ts";
import { RpcError, Status } from "../../rpc/index.ts";
import type { BackendWatch, PackedEvents } from "../backend.ts";
import { etcdError, wireError } from "../etcd-errors.ts";
import type { Answer, ServiceHandlers } from "../handlers.ts";
import { D_ENGINE_ENUMS } from "../schema/d-engine.ts";
import type { Message, MessageInit } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";

type ClientResponse = MessageInit<"d_engine.client.ClientResponse">;
type WriteRequest = Message<"d_engine.client.ClientWriteRequest">;
type ReadRequest = Message<"d_engine.client.ClientReadRequest">;

const ERRORS = D_ENGINE_ENUMS["d_engine.error.ErrorCode"];
const EVENTS = D_ENGINE_ENUMS["d_engine.client.WatchEventType"];
const NODE = D_ENGINE_ENUMS["d_engine.common.NodeStatus"];
/** By the number of the policy. */
const POLICIES: readonly Consistency[] = ["lease", "linearizable", "eventual"];
const FOLLOWER = 1;
const LEADER = 3;
const LEARNER = 4;
const PROGRESS_MS = 30_000;
/** When to try again what had no leader or no time. */
const RETRY_MS = 100;
/** Keys of one read. */
const KEYS_MAX = 65_536;
const SLASH = 0x2f;

/** The handlers of the client service. */
export function raftClientService(context: ServiceContext): ServiceHandlers<"d_engine.client.RaftClientService"> {
  return {
    HandleClientWrite: (request) => answer(context, () => write(context, request)),
    HandleClientRead: (request) => answer(context, () => read(context, request)),
    HandleClientScan: (request) => scan(context, request),
    Watch: (request, call) => watch(context, request, call),
    WatchMembership: (_request, call) => watchMembership(context, call),
  };
}

/** The handlers of the cluster service. */
export function clusterManagementService(context: ServiceContext): ServiceHandlers<"d_engine.server.cluster.ClusterManagementService"> {
  return {
    GetClusterMetadata: () => {
      const { members, role } = context.backend.node();
      const leader = context.backend.leader();
      return {
        version: members.index,
        nodes: members.members.map((member) => ({
          id: shortId(member.id),
          address: addressOf(context, member),
          role: member.id === leader ? LEADER : member.role === "learner" ? LEARNER : FOLLOWER,
          status:
            member.role === "voter"
              ? NODE.NODE_STATUS_ACTIVE
              : member.promotable
                ? NODE.NODE_STATUS_PROMOTABLE
                : NODE.NODE_STATUS_READ_ONLY,
        })),
        current_leader_id: leader === undefined || role === "candidate" ? undefined : shortId(leader),
      };
    },
  };
}

function shortId(id: string): number {
  return Number.parseInt(id.slice(-8), 16);
}

/** Where clients reach the member, if that is known, else where members do. */
function addressOf(context: ServiceContext, member: Members["members"][number]): string {
  const own = member.id === context.backend.memberId ? context.clientUrls()[0] : undefined;
  return (own ?? member.clientAddresses[0] ?? member.peerAddress).replace(/^https?:\/\//, "");
}

// ------------------------------------------------------------------------------------------------------------- data

async function write(context: ServiceContext, { command }: WriteRequest): Promise<ClientResponse> {
  const { client } = context.backend;
  if (command?.insert !== undefined) {
    const { key, value, ttl_secs: ttl } = command.insert;
    await client.put(key, value, ttl === 0 ? {} : { ttlMs: ttl * 1_000 });
    return { write_result: { succeeded: true } };
  }
  if (command?.delete !== undefined) {
    await client.delete(command.delete.key);
    return { write_result: { succeeded: true } };
  }
  if (command?.compare_and_swap !== undefined) {
    const { key, expected_value: expected, new_value: value } = command.compare_and_swap;
    return { write_result: { succeeded: await client.compareAndSwap(key, expected, value) } };
  }
  return { error: ERRORS.INVALID_REQUEST, metadata: { debug_message: "the request holds no command" } };
}

async function read(context: ServiceContext, request: ReadRequest): Promise<ClientResponse> {
  const { keys, consistency_policy: policy } = request;
  const consistency = policy === undefined ? undefined : POLICIES[policy];
  if (keys.length === 0 || keys.length > KEYS_MAX || (policy !== undefined && consistency === undefined))
    return { error: ERRORS.INVALID_REQUEST, metadata: { debug_message: "1 to 65,536 keys and a known policy are wanted" } };
  const found = await context.backend.client.getMany(keys, consistency === undefined ? {} : { consistency });
  const results: MessageInit<"d_engine.client.ClientResult">[] = [];
  for (const [i, kv] of found.entries()) if (kv !== undefined) results.push({ key: keys[i]!, value: kv.value });
  return { read_data: { results } };
}

async function scan(
  context: ServiceContext,
  { prefix }: Message<"d_engine.client.ScanRequest">,
): Promise<MessageInit<"d_engine.client.ScanResponse">> {
  // Nothing is below no prefix, in this protocol.
  if (prefix.length === 0) return { revision: context.backend.revision() };
  try {
    const { kvs, revision } = await context.backend.client.range({ prefix });
    return { entries: kvs.map(({ keyBytes, value }) => ({ key: keyBytes, value })), revision };
  } catch (error) {
    throw wireError(error);
  }
}

async function answer(context: ServiceContext, act: () => Promise<ClientResponse>): Promise<ClientResponse> {
  try {
    return await act();
  } catch (error) {
    if (!EngineError.is(error)) throw error;
    return errorResponse(context, error);
  }
}

function retryAfterMs(error: AnyEngineError): number | undefined {
  if (error.code === "OVERLOADED") return error.details.retryAfterMs;
  return error.code === "UNAVAILABLE" || error.code === "TIMEOUT" ? RETRY_MS : undefined;
}

function errorResponse(context: ServiceContext, error: AnyEngineError): ClientResponse {
  const { code, message } = error;
  const leader = context.backend.node().members.members.find(({ id }) => id === context.backend.leader());
  return {
    error: errorNumber(code),
    metadata: {
      retry_after_ms: retryAfterMs(error),
      leader_id: leader === undefined ? undefined : String(shortId(leader.id)),
      leader_address: leader === undefined ? undefined : addressOf(context, leader),
      debug_message: message,
    },
  };
}

function errorNumber(code: EngineError["code"]): number {
  switch (code) {
    case "INVALID_ARGUMENT":
    case "UNSUPPORTED":
      return ERRORS.INVALID_REQUEST;
    case "UNAVAILABLE":
    case "CLOSED":
      return ERRORS.CLUSTER_UNAVAILABLE;
    case "TIMEOUT":
      return ERRORS.CONNECTION_TIMEOUT;
    case "OVERLOADED":
      return ERRORS.RATE_LIMITED;
    case "NO_SPACE":
      return ERRORS.DISK_FULL;
    case "DISK_FAILED":
      return ERRORS.STORAGE_IO_ERROR;
    case "CORRUPT":
      return ERRORS.DATA_CORRUPTION;
    case "REFUSED":
      return ERRORS.PROPOSE_FAILED;
    default:
      return ERRORS.UNCATEGORIZED;
  }
}

// ------------------------------------------------------------------------------------------------------------- watches

function watch(
  context: ServiceContext,
  request: Message<"d_engine.client.WatchRequest">,
  call: ResponseStream<Answer<"d_engine.client.WatchResponse">>,
): void {
  const interval = watchedInterval(Uint8Array.from(request.key), request.prefix);
  let watched: BackendWatch | undefined = undefined;
  const forgetStop = context.onStop(() => {
    watched?.close();
    call.fail(etcdError("stopped"));
  });
  call.onCancel(() => {
    watched?.close();
    forgetStop();
  });
  watched = context.backend.watch(
    { interval, fromRevision: undefined, prevKv: request.prev_kv, only: undefined, progressMs: PROGRESS_MS },
    {
      onRegistered: () => {},
      onEvents: (events) => {
        if (sendEvents(call, events)) watched?.taken(events);
        else
          call.writable().then(
            () => watched?.taken(events),
            () => {},
          );
      },
      onProgress: (revision) => call.send({ event_type: EVENTS.WATCH_EVENT_TYPE_PROGRESS, revision }),
      onCompacted: (revision) => {
        call.send({ event_type: EVENTS.WATCH_EVENT_TYPE_CANCELED, error: ERRORS.WATCH_BUFFER_OVERFLOW, revision });
        forgetStop();
        call.end();
      },
      onEnd: (error) => {
        forgetStop();
        call.fail(wireError(error));
      },
    },
  );
}

/** A path begins and ends with a slash; the slash alone is everything. */
function watchedInterval(key: Uint8Array, isPrefix: boolean): KeyInterval {
  if (!isPrefix && key.length > 0) return { start: key, end: keyAfter(key) };
  if (key.length === 0 || key[0] !== SLASH || key.at(-1) !== SLASH)
    throw new RpcError(Status.INVALID_ARGUMENT, "a key is wanted, or a prefix that begins and ends with a slash");
  if (key.length === 1) return { start: new Uint8Array(0), end: undefined };
  return { start: key, end: prefixEnd(key) };
}

function sendEvents(call: ResponseStream<Answer<"d_engine.client.WatchResponse">>, events: PackedEvents): boolean {
  let hasRoom = true;
  let at = 0;
  for (let i = 0; i < events.count; i++) {
    const { kind, kv, prevKv, next } = decodeWatchEvent(events.bytes, at);
    at = next;
    hasRoom = call.send({
      key: kv.key,
      value: kind === "put" ? kv.value : undefined,
      event_type: kind === "put" ? EVENTS.WATCH_EVENT_TYPE_PUT : EVENTS.WATCH_EVENT_TYPE_DELETE,
      revision: events.revision,
      prev_value: prevKv?.value,
    });
  }
  return hasRoom;
}

async function watchMembership(context: ServiceContext, call: ResponseStream<Answer<"d_engine.client.MembershipSnapshot">>): Promise<void> {
  const stop = new AbortController();
  const forgetStop = context.onStop(() => stop.abort());
  call.onCancel(() => {
    forgetStop();
    stop.abort();
  });
  for await (const { members, index } of context.backend.client.watchMembers({ signal: stop.signal })) {
    const idsOf = (role: "voter" | "learner"): number[] => members.filter((member) => member.role === role).map(({ id }) => shortId(id));
    const hasRoom = call.send({ members: idsOf("voter"), learners: idsOf("learner"), committed_index: index });
    if (!hasRoom) await call.writable();
  }
  if (!call.isCancelled) throw new RpcError(Status.UNAVAILABLE, "the server is stopping");
}
