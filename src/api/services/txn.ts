/** Transactions of the wire: their translation into the engine's, and its packed answers into responses. */
import { ResultReader } from "../../core/kv/result.ts";
import { packTxn } from "../../core/kv/txn-codec.ts";
import { TXN_OPS_MAX, type CompareResult, type TxnCommand, type TxnCompare, type TxnOp } from "../../core/kv/txn-command.ts";
import type { TxnAnswerReader } from "../../core/kv/txn-result.ts";
import type { CallContext } from "../../rpc/index.ts";
import { etcdError } from "../etcd-errors.ts";
import type { Answer } from "../handlers.ts";
import { toInterval } from "../intervals.ts";
import {
  encodeDeleteResponse,
  encodeField,
  encodePutResponse,
  encodeRangeResponse,
  encodeTxnResponse,
  INNER_HEADS,
} from "../kv-responses.ts";
import { encodeMessage } from "../message-codec.ts";
import { NO_ID, type Message } from "../schema/messages.ts";
import { packingError, type ServiceContext } from "../service-context.ts";
import { checkPut, checkRange, isSortedLate, rangeRequest, sortLate } from "./kv-requests.ts";

type TxnMessage = Message<"etcdserverpb.TxnRequest">;
type OpMessage = Message<"etcdserverpb.RequestOp">;
type CompareMessage = Message<"etcdserverpb.Compare">;

/** The tag of TxnResponse.responses. */
const RESPONSE = 0x1a;
const NOTHING = new Uint8Array(0);
const RESULTS: readonly CompareResult[] = ["equal", "greater", "less", "not"];
const TARGETS = ["version", "createRevision", "modRevision", "value", "lease"] as const;

/** The handler. */
export function txn(context: ServiceContext, request: TxnMessage, call: CallContext): Promise<Answer<"etcdserverpb.TxnResponse">> {
  const command = txnCommand(request, TXN_OPS_MAX);
  context.admit(call);
  const isRead = [...request.success, ...request.failure].every((op) => op.request_range !== undefined);
  if (isRead) return read(context, request, command);
  return context.write(
    (batch) => batch.txn(packTxn(command)),
    (reader) => answerOf(context, request, reader),
  );
}

/** Outside the log, and with no majority if every range says that it needs none. */
async function read(context: ServiceContext, request: TxnMessage, command: TxnCommand): Promise<Answer<"etcdserverpb.TxnResponse">> {
  const ops = [...request.success, ...request.failure];
  const isLocal = ops.length > 0 && ops.every((op) => op.request_range?.serializable === true);
  try {
    // A copy: what packTxn() answers is good until it is called again.
    const results = await context.backend.readTxn(packTxn(command).slice(), isLocal ? "eventual" : "linearizable");
    const reader = new ResultReader(results);
    reader.next();
    return answerOf(context, request, reader);
  } catch (error) {
    throw packingError(error);
  }
}

function answerOf(context: ServiceContext, request: TxnMessage, reader: ResultReader): Answer<"etcdserverpb.TxnResponse"> {
  if (reader.cut) throw etcdError("answerTooLarge");
  const answers = reader.answers();
  const ops = reader.succeeded ? request.success : request.failure;
  return encodeTxnResponse(
    context.heads,
    reader.revision,
    reader.succeeded,
    ops.map((op) => responseOf(op, answers)),
  );
}

/** The transaction as the engine knows it. Refuses what etcd refuses before it looks at the data. */
function txnCommand(request: TxnMessage, opsLeft: number): TxnCommand {
  const { compare, success, failure } = request;
  const own = Math.max(compare.length, success.length, failure.length);
  if (own > opsLeft) throw etcdError("tooManyOps");
  const compares: TxnCompare[] = [];
  for (const one of compare) {
    if (one.key.length === 0) throw etcdError("emptyKey");
    const known = txnCompare(one);
    if (known !== undefined) compares.push(known);
  }
  return {
    compare: compares,
    success: success.map((op) => txnOp(op, opsLeft - own)),
    failure: failure.map((op) => txnOp(op, opsLeft - own)),
  };
}

/** undefined: it holds, whatever the data. */
function txnCompare(compare: CompareMessage): TxnCompare | undefined {
  const where = compare.range_end.length === 0 ? compare.key : toInterval(compare.key, compare.range_end);
  const result = RESULTS[compare.result];
  const target = TARGETS[compare.target];
  // etcd takes a result that it does not know for true, but for values of what is not there, and a target that it does not know for equal.
  if (result === undefined) {
    if (target !== "value") return undefined;
    return { where, target: "version", result: "not", number: 0, value: NOTHING, lease: undefined };
  }
  if (target === undefined) {
    if (result === "equal") return undefined;
    // Never true.
    return { where, target: "version", result: "less", number: 0, value: NOTHING, lease: undefined };
  }
  // What to compare with, where it is of the target's kind; else it is 0, or empty.
  const lease = target === "lease" ? compare.lease : undefined;
  return {
    where,
    target,
    result,
    number: numberOf(compare, target),
    value: (target === "value" ? compare.value : undefined) ?? NOTHING,
    lease: lease === NO_ID ? undefined : lease,
  };
}

function numberOf(compare: CompareMessage, target: (typeof TARGETS)[number]): number {
  switch (target) {
    case "version":
      return compare.version ?? 0;
    case "createRevision":
      return compare.create_revision ?? 0;
    case "modRevision":
      return compare.mod_revision ?? 0;
    default:
      return 0;
  }
}

function txnOp(op: OpMessage, opsLeft: number): TxnOp {
  const { request_range: range, request_put: put, request_delete_range: deletion, request_txn: nested } = op;
  if (range !== undefined) {
    checkRange(range);
    return { kind: "range", request: rangeRequest(range) };
  }
  if (put !== undefined) {
    checkPut(put);
    return {
      kind: "put",
      key: put.key,
      value: put.value,
      lease: put.lease === NO_ID ? undefined : put.lease,
      ttlMs: undefined,
      ignoreValue: put.ignore_value,
      ignoreLease: put.ignore_lease,
      prevKv: put.prev_kv,
    };
  }
  if (deletion !== undefined) {
    if (deletion.key.length === 0) throw etcdError("emptyKey");
    const where = deletion.range_end.length === 0 ? deletion.key : toInterval(deletion.key, deletion.range_end);
    return { kind: "delete", where, prevKv: deletion.prev_kv };
  }
  if (nested !== undefined) return { kind: "txn", txn: txnCommand(nested, opsLeft) };
  throw etcdError("keyNotFound");
}

/** The next answer as a field of a TxnResponse, with those that are within it. */
function responseOf(op: OpMessage, answers: TxnAnswerReader): Uint8Array {
  answers.next();
  const { revision } = answers;
  const { request_range: range, request_put: put, request_delete_range: deletion, request_txn: nested } = op;
  if (range !== undefined) return encodeField(RESPONSE, [encodeField(0x0a, [rangeResponse(range, answers)])]);
  if (put !== undefined) return encodeField(RESPONSE, [encodeField(0x12, [encodePutResponse(INNER_HEADS, revision, answers.kv())])]);
  if (deletion !== undefined) {
    return encodeField(RESPONSE, [encodeField(0x1a, [encodeDeleteResponse(INNER_HEADS, revision, answers.number, answers.kvs())])]);
  }
  const { succeeded } = answers;
  const ops = (succeeded ? nested?.success : nested?.failure) ?? [];
  const inner = encodeTxnResponse(
    undefined,
    0,
    succeeded,
    ops.map((one) => responseOf(one, answers)),
  );
  return encodeField(RESPONSE, [encodeField(0x22, [inner])]);
}

function rangeResponse(range: Message<"etcdserverpb.RangeRequest">, answers: TxnAnswerReader): Uint8Array {
  const { revision, number: count, more, items } = answers;
  if (!isSortedLate(range)) return encodeRangeResponse(INNER_HEADS, { kvs: answers.packedKvs(), returned: items, count, more, revision });
  const late = sortLate(range, answers.kvs());
  return encodeMessage("etcdserverpb.RangeResponse", { header: { revision }, kvs: late.kvs, more: more || late.more, count });
}
