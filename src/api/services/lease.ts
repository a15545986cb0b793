/** The Lease service. Renewals go through the log like every other command; those of a tick are one batch. */
import { randomId, type Random } from "../../host/random.ts";
import { EngineError } from "../../errors.ts";
import type { DuplexStream } from "../../rpc/index.ts";
import { RpcError, Status } from "../../rpc/index.ts";
import { etcdError, wireError } from "../etcd-errors.ts";
import type { Answer, ServiceHandlers } from "../handlers.ts";
import { NO_ID, type Message, type MessageInit } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";

/** Seconds: less is taken as this, one and a half election timeouts rounded up, as etcd has it by default. */
const TTL_MIN = 2;
/** Seconds: more is refused. */
const TTL_MAX = 9_000_000_000;
/** Renewals of one stream that wait for their answers. */
const RENEWALS_MAX = 10_000;
/** Tries to find an id that is free. */
const ID_TRIES = 8;

/** The handlers. */
export function leaseService(context: ServiceContext): ServiceHandlers<"etcdserverpb.Lease"> {
  return {
    LeaseGrant: async (request, call) => {
      context.admit(call);
      return grant(context, request);
    },
    LeaseRevoke: (request, call) => {
      context.admit(call);
      return context.write(
        (batch) => batch.revokeLease(request.ID),
        (reader) => ({ header: context.header(reader.revision) }),
      );
    },
    LeaseKeepAlive: (call) => {
      context.admit(call);
      keepAlive(context, call);
    },
    LeaseTimeToLive: (request, call) => {
      context.admit(call);
      return timeToLive(context, request);
    },
    LeaseLeases: (_request, call) => {
      context.admit(call);
      return leases(context);
    },
  };
}

/** Grants a lease; seconds. Rejects with the error of the wire. */
export async function grant(
  context: ServiceContext,
  request: Pick<Message<"etcdserverpb.LeaseGrantRequest">, "TTL" | "ID">,
): Promise<MessageInit<"etcdserverpb.LeaseGrantResponse">> {
  if (request.TTL > TTL_MAX) throw etcdError("leaseTtlTooLarge");
  const ttl = Math.max(TTL_MIN, request.TTL);
  for (let tries = 1; ; tries++) {
    const id = request.ID === NO_ID ? leaseId(context.backend.random) : request.ID;
    try {
      return await context.write(
        (batch) => batch.grantLease(id, ttl * 1_000),
        (reader) => ({ header: context.header(reader.revision), ID: id, TTL: ttl }),
      );
    } catch (error) {
      const isTaken = RpcError.is(error) && error.message === etcdError("leaseExists").message;
      if (request.ID !== NO_ID || !isTaken || tries === ID_TRIES) throw error;
    }
  }
}

/** A positive number of 63 bits. */
function leaseId(random: Random): string {
  for (;;) {
    const id = randomId(random);
    if (id < "8") return id;
  }
}

type KeepAliveCall = DuplexStream<Message<"etcdserverpb.LeaseKeepAliveRequest">, Answer<"etcdserverpb.LeaseKeepAliveResponse">>;

/** One answer for each request, in order. */
function keepAlive(context: ServiceContext, call: KeepAliveCall): void {
  let waiting = 0;
  let isHalfClosed = false;
  const forgetStop = context.onStop(() => call.fail(etcdError("stopped")));
  const end = (): void => {
    forgetStop();
    call.end();
  };
  call.onCancel(forgetStop);
  let answers: Promise<void> = Promise.resolve();
  call.listen({
    onMessage: (request) => {
      if (waiting >= RENEWALS_MAX) {
        call.fail(new RpcError(Status.RESOURCE_EXHAUSTED, "too many renewals wait for their answers"));
        return;
      }
      waiting++;
      const renewed = renew(context, request.ID);
      answers = answers.then(async () => {
        try {
          call.send(await renewed);
          if (--waiting === 0 && isHalfClosed) end();
        } catch (error) {
          forgetStop();
          call.fail(error);
        }
      });
    },
    onEnd: (error) => {
      isHalfClosed = true;
      if (error === undefined && waiting === 0) end();
    },
  });
}

function renew(context: ServiceContext, id: string): Promise<MessageInit<"etcdserverpb.LeaseKeepAliveResponse">> {
  if (id === NO_ID) return Promise.resolve({ header: context.header(), ID: id });
  return context.write(
    (batch) => batch.renewLeases([id]),
    (reader) => ({ header: context.header(reader.revision), ID: id, TTL: seconds(reader.renewedTtlMs(0)) }),
  );
}

/** Whole seconds, and never 0 for what there is: that says that there is none. */
function seconds(ms: number): number {
  return ms === 0 ? 0 : Math.max(1, Math.floor(ms / 1_000));
}

async function timeToLive(
  context: ServiceContext,
  request: Message<"etcdserverpb.LeaseTimeToLiveRequest">,
): Promise<MessageInit<"etcdserverpb.LeaseTimeToLiveResponse">> {
  try {
    const found = request.ID === NO_ID ? undefined : await context.backend.lease(request.ID, request.keys);
    const header = context.header();
    if (found === undefined) return { header, ID: request.ID, TTL: -1 };
    return {
      header,
      ID: request.ID,
      TTL: Math.floor(found.remainingMs / 1_000),
      grantedTTL: seconds(found.ttlMs),
      keys: request.keys ? found.keys : [],
    };
  } catch (error) {
    if (EngineError.is(error, "NOT_FOUND")) return { header: context.header(), ID: request.ID, TTL: -1 };
    throw wireError(error);
  }
}

async function leases(context: ServiceContext): Promise<MessageInit<"etcdserverpb.LeaseLeasesResponse">> {
  try {
    const ids = await context.backend.leases();
    return { header: context.header(), leases: ids.map((ID) => ({ ID: ID.padStart(16, "0") })) };
  } catch (error) {
    throw wireError(error);
  }
}
