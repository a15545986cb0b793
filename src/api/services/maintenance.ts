/** The Maintenance service: what the member that is asked says of itself. What the engine cannot do is unimplemented, not imitated. */
import { EngineError } from "../../errors.ts";
import type { CallContext } from "../../rpc/index.ts";
import { REQUEST_TIMEOUT_MS } from "../backend.ts";
import { ETCD_ERRORS, etcdError, unimplemented, wireError } from "../etcd-errors.ts";
import type { ServiceHandlers } from "../handlers.ts";
import { NO_ID, type Message, type MessageInit } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";
import { ETCD_CLUSTER_VERSION, ETCD_VERSION } from "../versions.ts";
import { hash, hashKv, sizes, snapshot } from "./maintenance-data.ts";

const ALARM_NONE = 0;
const ALARM_NOSPACE = 1;
const ALARM_CORRUPT = 2;

/** The handlers. */
export function maintenanceService(context: ServiceContext): ServiceHandlers<"etcdserverpb.Maintenance"> {
  return {
    Alarm: (request, call) => {
      context.admit(call);
      return alarm(context, request);
    },
    Status: () => status(context),
    // Memory and disk are compacted as the engine runs: there is nothing to be done, and it is done.
    Defragment: () => ({}),
    Hash: () => hash(context),
    HashKV: (request) => hashKv(context, request),
    Snapshot: (_request, call) => snapshot(context, call),
    MoveLeader: (request, call) => moveLeader(context, request, call),
    Downgrade: (request) => downgrade(request),
  };
}

/** The alarms that stand, as far as this member knows. They clear themselves. */
export function alarmsOf(context: ServiceContext): MessageInit<"etcdserverpb.AlarmMember">[] {
  const { backend } = context;
  const node = backend.node();
  const alarms: MessageInit<"etcdserverpb.AlarmMember">[] = [];
  if (node.full) alarms.push({ memberID: backend.memberId, alarm: ALARM_NOSPACE });
  if (node.corrupt) alarms.push({ memberID: backend.memberId, alarm: ALARM_CORRUPT });
  return alarms;
}

function alarm(context: ServiceContext, request: Message<"etcdserverpb.AlarmRequest">): MessageInit<"etcdserverpb.AlarmResponse"> {
  const { action, alarm: wanted } = request;
  if (action === 0) {
    const alarms = alarmsOf(context).filter(({ alarm: kind }) => wanted === ALARM_NONE || kind === wanted);
    return { header: context.header(), alarms };
  }
  // An alarm cannot be raised by hand. To lower one is not needed, and changes nothing while its cause lasts.
  if (action === 1 && wanted !== ALARM_NONE) throw unimplemented("to raise an alarm");
  return { header: context.header() };
}

async function status(context: ServiceContext): Promise<MessageInit<"etcdserverpb.StatusResponse">> {
  const { backend } = context;
  const data = await sizes(context);
  const node = backend.node();
  const errors = alarmsOf(context).map(
    ({ memberID, alarm: kind }) => `memberID:${BigInt(`0x${memberID ?? NO_ID}`)} alarm:${kind === ALARM_NOSPACE ? "NOSPACE" : "CORRUPT"} `,
  );
  if (node.leader === undefined) errors.unshift(ETCD_ERRORS.noLeader[1]);
  return {
    header: context.header(),
    version: ETCD_VERSION,
    leader: node.leader,
    raftIndex: node.commitIndex,
    raftTerm: node.term,
    raftAppliedIndex: node.appliedIndex,
    errors,
    isLearner: node.role === "learner",
    storageVersion: ETCD_VERSION,
    ...data,
  };
}

async function moveLeader(
  context: ServiceContext,
  request: Message<"etcdserverpb.MoveLeaderRequest">,
  call: CallContext,
): Promise<MessageInit<"etcdserverpb.MoveLeaderResponse">> {
  context.admit(call);
  const { backend } = context;
  const node = backend.node();
  // Clients ask for the leader and come back: that other members would pass it on is nothing that they expect.
  if (node.role !== "leader") throw etcdError("notLeader");
  const target = node.members.members.find(({ id }) => id === request.targetID);
  if (target === undefined || target.role === "learner") throw etcdError("badTransferee");
  try {
    await backend.client.cluster.moveLeader(target.id, { timeoutMs: REQUEST_TIMEOUT_MS });
    return {};
  } catch (error) {
    if (EngineError.is(error, "REFUSED")) throw etcdError("badTransferee");
    throw EngineError.is(error, "TIMEOUT") ? etcdError("transferTimedOut") : wireError(error);
  }
}

function downgrade(request: Message<"etcdserverpb.DowngradeRequest">): never {
  const { action, version } = request;
  if (action === 2) throw etcdError("noInflightDowngrade");
  if (action !== 0 && action !== 1) throw etcdError("unknownMethod");
  if (!/^\d+\.\d+(\.\d+)?$/.test(version)) throw etcdError("wrongDowngradeVersion");
  const [major, minor] = ETCD_CLUSTER_VERSION.split(".");
  if (!version.startsWith(`${major}.${Number(minor) - 1}`)) throw etcdError("invalidDowngradeVersion");
  throw unimplemented("Downgrade");
}
