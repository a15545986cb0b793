import type { Message } from "../../api/schema/messages.ts";
import type { CommandLine } from "../command-line.ts";
import { isJson, OUTPUT_OPTION, type Command, type World } from "../command.ts";
import { EXIT, ExitError, exitOf, usageError, type ExitCode } from "../exit.ts";
import { size, table } from "../output.ts";
import { REMOTE_OPTIONS, remoteOf, splitEndpoints, type Remote } from "../remote.ts";

const OPTIONS = [OUTPUT_OPTION, ...REMOTE_OPTIONS];
type Member = Message<"etcdserverpb.Member">;

/** 16 hex digits, or fewer. */
export function memberId(text: string): string {
  if (!/^[0-9a-f]{1,16}$/.test(text)) throw usageError(`a member's ID is 1 to 16 lower-case hex digits, not ${JSON.stringify(text)}`);
  return text.padStart(16, "0");
}

async function showMembers(members: readonly Member[], line: CommandLine, world: World): Promise<void> {
  if (isJson(line, world)) {
    const shown = members.map(({ ID, name, peerURLs, clientURLs, isLearner }) => ({
      id: ID,
      name,
      peerUrls: peerURLs,
      clientUrls: clientURLs,
      role: isLearner ? "learner" : "voter",
    }));
    return world.print(`${JSON.stringify(shown)}\n`);
  }
  const rows = members.map(({ ID, name, peerURLs, clientURLs, isLearner }) => [
    ID,
    name,
    isLearner ? "learner" : "voter",
    peerURLs.join(","),
    clientURLs.join(","),
  ]);
  return world.print(table([["id", "name", "role", "members reach it at", "clients reach it at"], ...rows]));
}

const memberCommand = (
  spec: Pick<Command["spec"], "name" | "summary" | "words"> & Partial<Pick<Command["spec"], "options">>,
  ask: (remote: Remote, line: CommandLine) => Promise<{ readonly members: readonly Member[] }>,
): Command => ({
  spec: { ...spec, options: [...(spec.options ?? []), ...OPTIONS] },
  run: async (line, world) => {
    const remote = remoteOf(line, world);
    try {
      await showMembers((await ask(remote, line)).members, line, world);
      return EXIT.done;
    } finally {
      await remote.close();
    }
  },
});

export const memberCommands: readonly Command[] = [
  memberCommand({ name: "member list", summary: "Shows the members.", words: [] }, (remote) =>
    remote.call("etcdserverpb.Cluster", "MemberList", { linearizable: true }),
  ),
  memberCommand(
    {
      name: "member add",
      summary: "Adds a member that other members will reach at URL.",
      words: [{ name: "url" }],
      options: [{ name: "learner", kind: "flag", help: "One that does not vote" }],
    },
    (remote, line) => remote.call("etcdserverpb.Cluster", "MemberAdd", { peerURLs: [line.word("url")], isLearner: line.flag("learner") }),
  ),
  memberCommand({ name: "member remove", summary: "Removes a member.", words: [{ name: "id" }] }, (remote, line) =>
    remote.call("etcdserverpb.Cluster", "MemberRemove", { ID: memberId(line.word("id")) }),
  ),
  memberCommand({ name: "member promote", summary: "Makes a learner a voter.", words: [{ name: "id" }] }, (remote, line) =>
    remote.call("etcdserverpb.Cluster", "MemberPromote", { ID: memberId(line.word("id")) }),
  ),
  memberCommand(
    { name: "member update", summary: "Changes where other members reach one.", words: [{ name: "id" }, { name: "url" }] },
    (remote, line) => remote.call("etcdserverpb.Cluster", "MemberUpdate", { ID: memberId(line.word("id")), peerURLs: [line.word("url")] }),
  ),
];

interface Asked<T> {
  readonly endpoint: string;
  readonly answer?: T;
  readonly error?: string;
  /** Why, as this program ends with it; "done" if it did not fail. */
  readonly code: ExitCode;
  readonly tookMs: number;
}

/** Done if all have answered; else what kept the first of the others from it. */
const worst = (found: readonly Asked<unknown>[]): ExitCode => found.find(({ code }) => code !== EXIT.done)?.code ?? EXIT.done;

/** Runs a call at each endpoint by itself, or at every member's with --cluster. */
async function atEach<T>(line: CommandLine, world: World, ask: (remote: Remote) => Promise<T>): Promise<readonly Asked<T>[]> {
  const first = remoteOf(line, world);
  let endpoints = first.endpoints;
  try {
    if (line.flag("cluster")) {
      const { members } = await first.call("etcdserverpb.Cluster", "MemberList", {});
      endpoints = members.flatMap(({ clientURLs }) => splitEndpoints(clientURLs.join(",")));
      const silent = members.filter(({ clientURLs }) => clientURLs.length === 0).map(({ ID, name }) => (name === "" ? ID : name));
      if (silent.length > 0) world.say(`not asked, since it is not known where clients reach them: ${silent.join(", ")}`);
      if (endpoints.length === 0) throw new ExitError(EXIT.refused, "no member tells where clients reach it: name them with --endpoints");
    }
  } finally {
    await first.close();
  }
  return Promise.all(
    endpoints.map(async (endpoint) => {
      const remote = remoteOf(line, world, [endpoint]);
      const started = performance.now();
      try {
        const answer = await ask(remote);
        return { endpoint, answer, code: EXIT.done, tookMs: performance.now() - started };
      } catch (error) {
        const { code, message } = exitOf(error, false);
        return { endpoint, error: message, code, tookMs: performance.now() - started };
      } finally {
        await remote.close();
      }
    }),
  );
}

const CLUSTER_OPTION = { name: "cluster", kind: "flag", help: "All members, not only those of --endpoints" } as const;

export const endpointStatus: Command = {
  spec: { name: "endpoint status", summary: "Shows how each server is.", words: [], options: [CLUSTER_OPTION, ...OPTIONS] },
  run: async (line, world) => {
    const found = await atEach(line, world, (remote) => remote.call("etcdserverpb.Maintenance", "Status", {}));
    if (isJson(line, world)) await world.print(`${JSON.stringify(found.map(statusJson))}\n`);
    else {
      const rows = found.flatMap(({ endpoint, answer }) => {
        if (answer === undefined) return [];
        const id = answer.header?.member_id ?? "";
        return [
          [
            endpoint,
            id,
            answer.version,
            size(answer.dbSize),
            answer.leader === id ? "leader" : answer.isLearner ? "learner" : "follower",
            String(answer.raftTerm),
            String(answer.raftIndex),
            String(answer.raftAppliedIndex),
            answer.errors.join(", "),
          ],
        ];
      });
      if (rows.length > 0)
        await world.print(table([["endpoint", "id", "version", "data", "role", "term", "index", "applied", "errors"], ...rows]));
      for (const { endpoint, error } of found) if (error !== undefined) world.say(`${endpoint}: ${error}`);
    }
    return worst(found);
  },
};

function statusJson({
  endpoint,
  answer,
  error,
}: {
  readonly endpoint: string;
  readonly answer?: Message<"etcdserverpb.StatusResponse">;
  readonly error?: string;
}): unknown {
  if (answer === undefined) return { endpoint, error };
  const id = answer.header?.member_id ?? "";
  return {
    endpoint,
    memberId: id,
    clusterId: answer.header?.cluster_id,
    version: answer.version,
    dataBytes: answer.dbSize,
    dataBytesMax: answer.dbSizeQuota,
    role: answer.leader === id ? "leader" : answer.isLearner ? "learner" : "follower",
    leader: answer.leader,
    term: answer.raftTerm,
    index: answer.raftIndex,
    applied: answer.raftAppliedIndex,
    revision: answer.header?.revision,
    errors: answer.errors,
  };
}

const HEALTH_KEY = new TextEncoder().encode("health");

export const endpointHealth: Command = {
  spec: {
    name: "endpoint health",
    summary: "Asks each server to read one key as a majority sees it. Ends with 1 if one cannot.",
    words: [],
    options: [CLUSTER_OPTION, ...OPTIONS],
  },
  run: async (line, world) => {
    const found = await atEach(line, world, (remote) => remote.call("etcdserverpb.KV", "Range", { key: HEALTH_KEY }));
    if (isJson(line, world))
      await world.print(
        `${JSON.stringify(found.map(({ endpoint, error, tookMs }) => ({ endpoint, healthy: error === undefined, tookMs: Math.round(tookMs * 10) / 10, ...(error === undefined ? {} : { error }) })))}\n`,
      );
    else
      for (const { endpoint, error, tookMs } of found)
        await world.print(
          error === undefined ? `${endpoint} is healthy: answered in ${tookMs.toFixed(1)} ms\n` : `${endpoint} is not healthy: ${error}\n`,
        );
    return found.some(({ error }) => error !== undefined) ? EXIT.no : EXIT.done;
  },
};

export const endpointHashKv: Command = {
  spec: {
    name: "endpoint hashkv",
    summary: "Shows a hash of each server's data: equal at one revision, or a member has diverged.",
    words: [],
    options: [
      { name: "rev", kind: "number", value: "REVISION", help: "As of this revision; default: the newest of each" },
      CLUSTER_OPTION,
      ...OPTIONS,
    ],
  },
  run: async (line, world) => {
    const revision = line.number("rev") ?? 0;
    const found = await atEach(line, world, (remote) => remote.call("etcdserverpb.Maintenance", "HashKV", { revision }));
    if (isJson(line, world))
      await world.print(
        `${JSON.stringify(found.map(({ endpoint, answer, error }) => (answer === undefined ? { endpoint, error } : { endpoint, hash: answer.hash, revision: answer.hash_revision, compactRevision: answer.compact_revision })))}\n`,
      );
    else {
      const rows = found.flatMap(({ endpoint, answer }) =>
        answer === undefined ? [] : [[endpoint, String(answer.hash), String(answer.hash_revision)]],
      );
      if (rows.length > 0) await world.print(table([["endpoint", "hash", "revision"], ...rows]));
      for (const { endpoint, error } of found) if (error !== undefined) world.say(`${endpoint}: ${error}`);
    }
    return worst(found);
  },
};

export const moveLeader: Command = {
  spec: { name: "move-leader", summary: "Hands leadership to the member ID.", words: [{ name: "id" }], options: OPTIONS },
  run: async (line, world) => {
    const target = memberId(line.word("id"));
    // Only the leader can, so it is looked for.
    const found = await atEach(line, world, async (remote) => {
      const status = await remote.call("etcdserverpb.Maintenance", "Status", {});
      return status.leader === status.header?.member_id;
    });
    const leader = found.find(({ answer }) => answer === true)?.endpoint;
    const remote = leader === undefined ? remoteOf(line, world) : remoteOf(line, world, [leader]);
    try {
      await remote.call("etcdserverpb.Maintenance", "MoveLeader", { targetID: target });
      await world.print(isJson(line, world) ? `${JSON.stringify({ leader: target })}\n` : `${target} leads\n`);
      return EXIT.done;
    } finally {
      await remote.close();
    }
  },
};

export const compact: Command = {
  spec: {
    name: "compact",
    summary: "Forgets history before REVISION.",
    words: [{ name: "revision" }],
    options: [{ name: "physical", kind: "flag", help: "Answers when the space is free" }, ...OPTIONS],
  },
  run: async (line, world) => {
    const word = line.word("revision");
    const revision = /^\d+$/.test(word) ? Number(word) : Number.NaN;
    if (!Number.isSafeInteger(revision) || revision < 1) throw usageError("REVISION is a whole number of at least 1");
    const remote = remoteOf(line, world);
    try {
      await remote.call("etcdserverpb.KV", "Compact", { revision, physical: line.flag("physical") });
      await world.print(isJson(line, world) ? `${JSON.stringify({ compactRevision: revision })}\n` : `compacted to revision ${revision}\n`);
      return EXIT.done;
    } finally {
      await remote.close();
    }
  },
};

export const status: Command = {
  spec: { name: "status", summary: "Shows the cluster at one look: members, who leads, revision, size.", words: [], options: OPTIONS },
  run: async (line, world) => {
    const remote = remoteOf(line, world);
    try {
      const answer = await remote.call("etcdserverpb.Maintenance", "Status", {});
      const { members } = await remote.call("etcdserverpb.Cluster", "MemberList", {});
      const { kvs: _, count } = await remote.call("etcdserverpb.KV", "Range", {
        key: Uint8Array.of(0),
        range_end: Uint8Array.of(0),
        count_only: true,
        serializable: true,
      });
      const leader = members.find(({ ID }) => ID === answer.leader);
      if (isJson(line, world)) {
        const { endpoint: __, ...node } = statusJson({ endpoint: "", answer }) as Record<string, unknown>;
        await world.print(`${JSON.stringify({ ...node, keys: count, members: members.map(({ ID, name }) => ({ id: ID, name })) })}\n`);
      } else {
        const quota = answer.dbSizeQuota > 0 ? ` of ${size(answer.dbSizeQuota)}` : "";
        await world.print(
          table([
            ["cluster", answer.header?.cluster_id ?? ""],
            ["leader", leader === undefined ? "none" : `${leader.name} (${leader.ID}), term ${answer.raftTerm}`],
            [
              "members",
              members
                .map(({ name }) => name)
                .toSorted()
                .join(", "),
            ],
            ["revision", String(answer.header?.revision ?? 0)],
            ["keys", String(count)],
            ["data", `${size(answer.dbSize)}${quota}`],
            ["alarms", answer.errors.length === 0 ? "none" : answer.errors.join(", ")],
          ]),
        );
      }
      return EXIT.done;
    } finally {
      await remote.close();
    }
  },
};
