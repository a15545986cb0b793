/** The Cluster service. Changes of membership are refused as unimplemented until the engine makes them. */
import type { Member as EngineMember } from "../../client/client.ts";
import { unimplemented, wireError } from "../etcd-errors.ts";
import type { ServiceHandlers } from "../handlers.ts";
import { type MessageInit } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";

/** The handlers. */
export function clusterService(context: ServiceContext): ServiceHandlers<"etcdserverpb.Cluster"> {
  return {
    MemberAdd: () => refuse("MemberAdd"),
    MemberRemove: () => refuse("MemberRemove"),
    MemberUpdate: () => refuse("MemberUpdate"),
    MemberPromote: () => refuse("MemberPromote"),
    MemberList: async (request, call) => {
      context.admit(call);
      try {
        const { members } = await context.backend.members(request.linearizable);
        const sorted = members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
        return { header: context.header(0), members: sorted.map((member) => memberMessage(context, member)) };
      } catch (error) {
        throw wireError(error);
      }
    },
  };
}

function refuse(what: string): never {
  throw unimplemented(what);
}

function memberMessage(context: ServiceContext, member: EngineMember): MessageInit<"etcdserverpb.Member"> {
  const { id, name, peerAddress, clientAddresses, role } = member;
  const recorded = clientAddresses.map(urlOf);
  // Of itself it knows sooner than the log; other front ends of the same engine have URLs too.
  const own = id === context.backend.memberId ? context.clientUrls() : [];
  return {
    ID: id,
    name,
    peerURLs: peerAddress === "" ? [] : [urlOf(peerAddress)],
    clientURLs: own.every((url) => recorded.includes(url)) ? recorded : own,
    isLearner: role === "learner",
  };
}

function urlOf(address: string): string {
  return address.includes("://") ? address : `http://${address}`;
}
