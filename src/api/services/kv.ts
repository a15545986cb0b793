/**
 * The KV service. A put and a read of one key go from the request's bytes into the tick's batch, and from the packed answer into the response's
 * bytes. What a transaction is: txn.ts.
 */
import type { ReadWaiter, WriteWaiter } from "../../client/calls.ts";
import type { PutCommandOptions } from "../../core/kv/command.ts";
import type { UnpackedKv } from "../../core/kv/packed-kv.ts";
import type { ResultReader } from "../../core/kv/result.ts";
import type { EngineError } from "../../errors.ts";
import { Later, type CallContext, type ResponseStream } from "../../rpc/index.ts";
import { etcdError, wireError } from "../etcd-errors.ts";
import type { Answer, ServiceHandlers } from "../handlers.ts";
import { toInterval } from "../intervals.ts";
import {
  encodeDeleteResponse,
  encodePointResponse,
  encodePutResponse,
  encodeRangeResponse,
  packedBytes,
  writePacked,
  type PackedRange,
  type ResponseHeads,
} from "../kv-responses.ts";
import { varintBytes, writeVarint } from "../proto-writer.ts";
import { NO_ID, type Message } from "../schema/messages.ts";
import { packingError, type ServiceContext } from "../service-context.ts";
import { checkPut, checkRange, isPoint, isSortedLate, rangeRequest, sortLate, unpack } from "./kv-requests.ts";
import { txn } from "./txn.ts";

type RangeMessage = Message<"etcdserverpb.RangeRequest">;
type PutMessage = Message<"etcdserverpb.PutRequest">;

const PLAIN_PUT: PutCommandOptions = {};

/** The handlers. */
export function kvService(context: ServiceContext): ServiceHandlers<"etcdserverpb.KV"> {
  return {
    Range: (request, call) => range(context, request, call),
    RangeStream: (request, call) => rangeStream(context, request, call),
    Put: (request, call) => put(context, request, call),
    DeleteRange: (request, call) => deleteRange(context, request, call),
    Txn: (request, call) => txn(context, request, call),
    Compact: (request, call) => compact(context, request, call),
  };
}

function range(
  context: ServiceContext,
  request: RangeMessage,
  call: CallContext,
): Answer<"etcdserverpb.RangeResponse"> | Promise<Answer<"etcdserverpb.RangeResponse">> | Later<Uint8Array> {
  checkRange(request);
  const { backend, heads } = context;
  context.admit(call, request.serializable);
  if (isPoint(request)) {
    if (request.serializable) {
      const revision = backend.revision();
      const found = backend.peek(request.key);
      if (found === undefined) return encodePointResponse(heads, revision, undefined, request);
      if (found !== "retry") {
        const { createRevision, modRevision, version, lease, value } = found;
        const kv: UnpackedKv = { key: request.key, value, createRevision, modRevision, version, lease, next: 0 };
        // A revision between, at which the key was the same.
        return encodePointResponse(heads, Math.max(revision, modRevision), kv, request);
      }
    }
    const waiter = new PointWaiter(heads, request);
    try {
      backend.read(request.key, request.serializable ? "eventual" : "linearizable", waiter);
    } catch (error) {
      throw wireError(error);
    }
    return waiter;
  }
  return rangeAnswer(context, request);
}

/** One read, and what is kept for its response: neither closure nor promise for each. */
class PointWaiter extends Later<Uint8Array> implements ReadWaiter {
  private readonly heads: ResponseHeads;
  private readonly shape: RangeMessage;

  constructor(heads: ResponseHeads, shape: RangeMessage) {
    super();
    this.heads = heads;
    this.shape = shape;
  }

  take(kv: UnpackedKv | undefined, revision: number): void {
    this.succeed(encodePointResponse(this.heads, revision, kv, this.shape));
  }

  reject(error: EngineError): void {
    this.fail(wireError(error));
  }
}

async function rangeAnswer(context: ServiceContext, request: RangeMessage): Promise<Answer<"etcdserverpb.RangeResponse">> {
  try {
    const answered = await context.backend.range(rangeRequest(request), request.serializable ? "eventual" : "linearizable");
    // Of a past revision, too, the header says where the data is now.
    const found = request.revision > 0 ? { ...answered, revision: Math.max(answered.revision, context.backend.revision()) } : answered;
    if (!isSortedLate(request)) return encodeRangeResponse(context.heads, found);
    const { kvs, more } = sortLate(request, unpack(found));
    return { header: context.header(found.revision), kvs, more: more || found.more, count: found.count };
  } catch (error) {
    throw wireError(error);
  }
}

async function rangeStream(
  context: ServiceContext,
  request: RangeMessage,
  call: ResponseStream<Answer<"etcdserverpb.RangeStreamResponse">>,
): Promise<void> {
  checkRange(request);
  if (request.sort_order !== 0 && !(request.sort_order === 1 && request.sort_target === 0)) throw etcdError("streamSort");
  if (request.sort_order === 0 && request.sort_target !== 0) throw etcdError("streamSort");
  if (request.min_mod_revision + request.max_mod_revision + request.min_create_revision + request.max_create_revision !== 0)
    throw etcdError("streamFilters");
  context.admit(call, request.serializable);
  try {
    let last: PackedRange | undefined;
    for await (const page of context.backend.pages(rangeRequest(request), request.serializable ? "eventual" : "linearizable")) {
      // The last part says more than its kvs, and which is the last shows only when there is no further one.
      if (last !== undefined && !call.send(streamPart(undefined, last))) await call.writable();
      last = { ...page, count: last?.count ?? page.count };
    }
    if (last !== undefined) call.send(streamPart(context.heads, last));
  } catch (error) {
    throw wireError(error);
  }
}

/** A RangeStreamResponse: of a part that is not the last, kvs alone. */
function streamPart(heads: ResponseHeads | undefined, page: PackedRange): Uint8Array {
  if (heads === undefined) {
    const bytes = packedBytes(page.kvs, page.returned);
    const part = Buffer.allocUnsafe(1 + varintBytes(bytes) + bytes);
    part[0] = 0x0a;
    writePacked(part, writeVarint(part, 1, bytes), 0x12, page.kvs, page.returned);
    return part;
  }
  const response = encodeRangeResponse(heads, page);
  const head = Buffer.allocUnsafe(1 + varintBytes(response.length));
  head[0] = 0x0a;
  writeVarint(head, 1, response.length);
  return Buffer.concat([head, response]);
}

function put(context: ServiceContext, request: PutMessage, call: CallContext): Later<Uint8Array> {
  checkPut(request);
  context.admit(call);
  const plain = request.lease === NO_ID && !request.prev_kv && !request.ignore_value && !request.ignore_lease;
  const options: PutCommandOptions = plain
    ? PLAIN_PUT
    : {
        lease: request.lease === NO_ID ? undefined : request.lease,
        prevKv: request.prev_kv,
        ignoreValue: request.ignore_value,
        ignoreLease: request.ignore_lease,
      };
  const { backend } = context;
  try {
    backend.writes().put(request.key, request.value, options);
    const waiter = new PutWaiter(context.heads);
    backend.wrote(waiter);
    return waiter;
  } catch (error) {
    throw packingError(error);
  }
}

/** One put: neither closure nor promise for each. */
class PutWaiter extends Later<Uint8Array> implements WriteWaiter {
  private readonly heads: ResponseHeads;

  constructor(heads: ResponseHeads) {
    super();
    this.heads = heads;
  }

  take(reader: ResultReader): void {
    this.succeed(encodePutResponse(this.heads, reader.revision, reader.prevKv()));
  }

  reject(error: EngineError): void {
    this.fail(wireError(error));
  }
}

function deleteRange(context: ServiceContext, request: Message<"etcdserverpb.DeleteRangeRequest">, call: CallContext): Promise<Uint8Array> {
  if (request.key.length === 0) throw etcdError("emptyKey");
  context.admit(call);
  const options = { prevKv: request.prev_kv };
  return context.write(
    (batch) => {
      if (request.range_end.length === 0) batch.deleteKey(request.key, options);
      else batch.deleteRange(toInterval(request.key, request.range_end), options);
    },
    (reader) => {
      // They are deleted; to answer with a part of them as if it were all would be worse than this.
      if (reader.cut) throw etcdError("answerTooLarge");
      return encodeDeleteResponse(context.heads, reader.revision, reader.deleted, reader.prevKvs());
    },
  );
}

function compact(
  context: ServiceContext,
  request: Message<"etcdserverpb.CompactionRequest">,
  call: CallContext,
): Promise<Answer<"etcdserverpb.CompactionResponse">> {
  context.admit(call);
  return context.write(
    (batch) => batch.compact(Math.max(0, request.revision)),
    (reader) => ({ header: context.header(reader.revision) }),
  );
}
