/** The Lock service. A lock is held for as long as its key is there: until Unlock, or until its lease ends. */
import type { ServiceHandlers } from "../handlers.ts";
import { etcdError } from "../etcd-errors.ts";
import { NO_ID } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";
import { grant } from "./lease.ts";
import { candidateKey, readKey, stand, waitForTurn } from "./ownership.ts";

/** Seconds of the lease that the server grants to who brings none. Nobody renews it. */
const LEASE_TTL = 60;

/** The handlers. */
export function lockService(context: ServiceContext): ServiceHandlers<"v3lockpb.Lock"> {
  return {
    Lock: async (request, call) => {
      context.admit(call);
      const name = Uint8Array.from(request.name);
      const lease = request.lease === NO_ID ? (await grant(context, { TTL: LEASE_TTL, ID: NO_ID })).ID! : request.lease;
      const candidacy = await stand(context, { key: candidateKey(name, lease), value: new Uint8Array(0), lease });
      const { hasWaited } = await waitForTurn(context, name, candidacy, call);
      if (!hasWaited) return { header: context.header(candidacy.revision), key: candidacy.key };
      // The lease may have ended while the call waited.
      const { kv, revision } = await readKey(context, candidacy.key);
      if (kv?.createRevision !== candidacy.createRevision) throw etcdError("sessionExpired");
      return { header: context.header(revision), key: candidacy.key };
    },
    Unlock: (request, call) => {
      context.admit(call);
      if (request.key.length === 0) throw etcdError("recipeEmptyKey");
      return context.write(
        (batch) => batch.deleteKey(request.key),
        (reader) => ({ header: context.header(reader.revision) }),
      );
    },
  };
}
