/** The Election service: candidates with values, of whom the oldest leads. Not Raft's leader, but one of many applications. */
import { keyAfter } from "../../core/kv/bytes.ts";
import { compareBytes } from "../../core/kv/bytes.ts";
import { decodeWatchEvent } from "../../core/kv/watch-event.ts";
import type { CallContext, ResponseStream } from "../../rpc/index.ts";
import type { BackendWatch, PackedEvents } from "../backend.ts";
import { etcdError, wireError } from "../etcd-errors.ts";
import type { Answer, ServiceHandlers } from "../handlers.ts";
import { NO_ID, type Message, type MessageInit } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";
import { kvMessage } from "./kv-requests.ts";
import { grant } from "./lease.ts";
import { candidateKey, candidatesOf, findCandidate, ifHeld, stand, waitForTurn } from "./ownership.ts";

/** Seconds of the lease that the server grants to who brings none. */
const LEASE_TTL = 60;

/** The handlers. */
export function electionService(context: ServiceContext): ServiceHandlers<"v3electionpb.Election"> {
  return {
    Campaign: (request, call) => {
      context.admit(call);
      return campaign(context, request, call);
    },
    Proclaim: async (request, call) => {
      context.admit(call);
      const { leader, value } = request;
      if (leader === undefined) throw etcdError("leaderFieldMissing");
      const held = { key: leader.key, createRevision: leader.rev };
      const { succeeded, revision } = await ifHeld(context, held, putOf(leader.key, value, leader.lease));
      if (!succeeded) throw etcdError("electionNotLeader");
      return { header: context.header(revision) };
    },
    Leader: async (request, call) => {
      context.admit(call);
      const { kv, revision } = await findCandidate(context, request.name, { order: "ascending" });
      if (kv === undefined) throw etcdError("electionNoLeader");
      return { header: context.header(revision), kv: kvMessage(kv) };
    },
    Observe: async (request, call) => {
      context.admit(call);
      await observe(context, Uint8Array.from(request.name), call);
    },
    Resign: async (request, call) => {
      context.admit(call);
      const { leader } = request;
      if (leader === undefined) throw etcdError("leaderFieldMissing");
      const held = { key: leader.key, createRevision: leader.rev };
      const { revision } = await ifHeld(context, held, { kind: "delete", where: leader.key, prevKv: false });
      return { header: context.header(revision) };
    },
  };
}

async function campaign(
  context: ServiceContext,
  request: Message<"v3electionpb.CampaignRequest">,
  call: CallContext,
): Promise<MessageInit<"v3electionpb.CampaignResponse">> {
  const name = Uint8Array.from(request.name);
  const value = Uint8Array.from(request.value);
  const lease = request.lease === NO_ID ? (await grant(context, { TTL: LEASE_TTL, ID: NO_ID })).ID! : request.lease;
  const candidacy = await stand(context, { key: candidateKey(name, lease), value, lease });
  if (!candidacy.isNew && compareBytes(candidacy.value, value) !== 0) {
    const proclaimed = await ifHeld(context, candidacy, putOf(candidacy.key, value, lease)).catch(async (error: unknown) => {
      // The key of a candidate that cannot say its value would keep the others waiting.
      // If that fails too, its lease ends it, and the first error is the one to tell.
      await ifHeld(context, candidacy, { kind: "delete", where: candidacy.key, prevKv: false }).catch(() => {});
      throw error;
    });
    if (!proclaimed.succeeded) throw etcdError("electionNotLeader");
  }
  await waitForTurn(context, name, candidacy, call);
  return {
    // Of the candidacy, as etcd has it, however long it took and whatever was proclaimed.
    header: context.header(candidacy.revision),
    leader: { name, key: candidacy.key, rev: candidacy.createRevision, lease },
  };
}

function putOf(key: Uint8Array, value: Uint8Array, lease: string): Parameters<typeof ifHeld>[2] {
  return {
    kind: "put",
    key,
    value,
    lease: lease === NO_ID ? undefined : lease,
    ttlMs: undefined,
    ignoreValue: false,
    ignoreLease: false,
    prevKv: false,
  };
}

type ObserveCall = ResponseStream<Answer<"v3electionpb.LeaderResponse">>;

/** The present leader, each of its proclamations, then the next leader. */
async function observe(context: ServiceContext, name: Uint8Array, call: ObserveCall): Promise<void> {
  while (!call.isCancelled) {
    const { kv, revision } = await findCandidate(context, name, { order: "ascending" });
    if (kv === undefined) {
      // Until somebody stands.
      await watchUntil(context, call, candidatesOf(name), revision + 1, () => "stop");
      continue;
    }
    if (!call.send({ header: context.header(revision), kv: kvMessage(kv) })) await call.writable();
    const key = Uint8Array.from(kv.key);
    await watchUntil(context, call, { start: key, end: keyAfter(key) }, revision + 1, (events) => {
      let at = 0;
      for (let i = 0; i < events.count; i++) {
        const event = decodeWatchEvent(events.bytes, at);
        at = event.next;
        if (event.kind === "delete") return "stop";
        call.send({ header: context.header(events.revision), kv: kvMessage(event.kv) });
      }
      return "go on";
    });
  }
}

/** Resolves when `onEvents` says to stop, or when the history is gone. Rejects when the call or the engine ends. */
function watchUntil(
  context: ServiceContext,
  call: ObserveCall,
  interval: { readonly start: Uint8Array; readonly end: Uint8Array | undefined },
  fromRevision: number,
  onEvents: (events: PackedEvents) => "stop" | "go on",
): Promise<void> {
  return new Promise((resolve, reject) => {
    let watch: BackendWatch | undefined = undefined;
    const settle = (act: () => void): void => {
      watch?.close();
      forgetStop();
      act();
    };
    const forgetStop = context.onStop(() => settle(() => reject(etcdError("stopped"))));
    call.onCancel((reason) => settle(() => reject(reason)));
    watch = context.backend.watch(
      { interval, fromRevision, prevKv: false, only: undefined, progressMs: 0 },
      {
        onRegistered: () => {},
        onProgress: () => {},
        onEvents: (events) => {
          if (onEvents(events) === "stop") return settle(resolve);
          // A client that does not take them holds the watch back.
          call.writable().then(
            () => watch?.taken(events),
            () => {},
          );
        },
        onCompacted: () => settle(resolve),
        onEnd: (error) => settle(() => reject(wireError(error) as Error)),
      },
    );
  });
}
