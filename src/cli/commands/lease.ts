import { isJson, OUTPUT_OPTION, type Command } from "../command.ts";
import { EXIT, usageError } from "../exit.ts";
import { renew } from "../holding.ts";
import { jsonBytes, shown } from "../output.ts";
import { pause } from "../pause.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";
import { RpcError, Status } from "../../rpc/index.ts";
import { leaseId } from "./put.ts";

const OPTIONS = [OUTPUT_OPTION, ...REMOTE_OPTIONS];

export const leaseGrant: Command = {
  spec: {
    name: "lease grant",
    summary: "Makes a lease that lives for SECONDS unless it is renewed, and prints its ID.",
    words: [{ name: "seconds" }],
    options: [{ name: "id", kind: "text", value: "ID", help: "1 to 16 hex digits; default: drawn by the server" }, ...OPTIONS],
  },
  run: async (line, world) => {
    const word = line.word("seconds");
    const seconds = Number(word);
    if (!/^\d+$/.test(word) || !Number.isSafeInteger(seconds) || seconds < 1) throw usageError("SECONDS is a whole number of at least 1");
    const id = line.text("id");
    const remote = remoteOf(line, world);
    try {
      const answer = await remote.call("etcdserverpb.Lease", "LeaseGrant", {
        TTL: seconds,
        ...(id === undefined ? {} : { ID: leaseId(id) }),
      });
      await world.print(isJson(line, world) ? `${JSON.stringify({ id: answer.ID, ttlSeconds: answer.TTL })}\n` : `${answer.ID}\n`);
      return EXIT.done;
    } finally {
      await remote.close();
    }
  },
};

export const leaseRevoke: Command = {
  spec: {
    name: "lease revoke",
    summary: "Ends a lease; its keys go with it. Ends with 1 where there is none.",
    words: [{ name: "id" }],
    options: OPTIONS,
  },
  run: async (line, world) => {
    const remote = remoteOf(line, world);
    try {
      const answer = await remote.call("etcdserverpb.Lease", "LeaseRevoke", { ID: leaseId(line.word("id")) });
      const revision = answer.header?.revision;
      await world.print(isJson(line, world) ? `${JSON.stringify({ revision })}\n` : `revision ${revision}\n`);
      return EXIT.done;
    } catch (error) {
      if (!RpcError.is(error) || error.code !== Status.NOT_FOUND) throw error;
      world.say(`there is no lease ${leaseId(line.word("id"))}`);
      return EXIT.no;
    } finally {
      await remote.close();
    }
  },
};

export const leaseTimeToLive: Command = {
  spec: {
    name: "lease timetolive",
    summary: "Shows how long a lease has left. Ends with 1 where there is none.",
    words: [{ name: "id" }],
    options: [{ name: "keys", kind: "flag", help: "Shows its keys, too" }, ...OPTIONS],
  },
  run: async (line, world) => {
    const remote = remoteOf(line, world);
    try {
      const answer = await remote.call("etcdserverpb.Lease", "LeaseTimeToLive", { ID: leaseId(line.word("id")), keys: line.flag("keys") });
      const isThere = answer.TTL >= 0;
      if (isJson(line, world)) {
        const keys = line.flag("keys") ? { keys: answer.keys.map(jsonBytes) } : {};
        await world.print(
          `${JSON.stringify(isThere ? { id: answer.ID, ttlSeconds: answer.grantedTTL, remainingSeconds: answer.TTL, ...keys } : null)}\n`,
        );
      } else if (isThere) {
        await world.print(`${answer.TTL} of ${answer.grantedTTL} seconds left\n${answer.keys.map((key) => `${shown(key)}\n`).join("")}`);
      } else world.say(`there is no lease ${answer.ID}`);
      return isThere ? EXIT.done : EXIT.no;
    } finally {
      await remote.close();
    }
  },
};

export const leaseList: Command = {
  spec: { name: "lease list", summary: "Shows the IDs of all leases.", words: [], options: OPTIONS },
  run: async (line, world) => {
    const remote = remoteOf(line, world);
    try {
      const { leases } = await remote.call("etcdserverpb.Lease", "LeaseLeases", {});
      const ids = leases.map(({ ID }) => ID);
      await world.print(isJson(line, world) ? `${JSON.stringify(ids)}\n` : ids.map((id) => `${id}\n`).join(""));
      return EXIT.done;
    } finally {
      await remote.close();
    }
  },
};

export const leaseKeepAlive: Command = {
  spec: {
    name: "lease keep-alive",
    summary: "Renews a lease until a signal. Ends with 1 when the lease is gone.",
    words: [{ name: "id" }],
    options: [{ name: "once", kind: "flag", help: "Renews it once" }, ...OPTIONS],
  },
  run: async (line, world) => {
    const id = leaseId(line.word("id"));
    const json = isJson(line, world);
    const remote = remoteOf(line, world);
    try {
      for (;;) {
        const ttlSeconds = await renew(remote, id, remote.timeoutMs, world.signal);
        if (ttlSeconds <= 0) {
          world.say(`lease ${id} is gone`);
          return EXIT.no;
        }
        await world.print(json ? `${JSON.stringify({ id, ttlSeconds })}\n` : `renewed for ${ttlSeconds} seconds\n`);
        if (line.flag("once")) return EXIT.done;
        await pause((ttlSeconds * 1000) / 3, world.signal);
      }
    } catch (error) {
      if (world.signal.aborted) return EXIT.done;
      throw error;
    } finally {
      await remote.close();
    }
  },
};
