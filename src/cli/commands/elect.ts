import { encode, isJson, OUTPUT_OPTION, type Command, type World } from "../command.ts";
import { EXIT, ExitError, usageError, type ExitCode } from "../exit.ts";
import { Holding, TTL_OPTION } from "../holding.ts";
import { jsonBytes, shown } from "../output.ts";
import { REMOTE_OPTIONS, remoteOf, type Remote } from "../remote.ts";
import { lost } from "./lock.ts";

export const elect: Command = {
  spec: {
    name: "elect",
    summary: "Campaigns for ELECTION with VALUE, says when it is won, and leads until a signal. With --listen shows who leads instead.",
    words: [{ name: "election" }, { name: "value", optional: true }],
    options: [
      { name: "listen", short: "l", kind: "flag", help: "Shows the leaders as they change" },
      TTL_OPTION,
      OUTPUT_OPTION,
      ...REMOTE_OPTIONS,
    ],
  },
  run: async (line, world) => {
    const name = line.word("election");
    const value = line.optionalWord("value");
    if (name === "") throw usageError("ELECTION is empty");
    if (line.flag("listen") && value !== undefined) throw usageError("--listen takes no VALUE");
    if (!line.flag("listen") && value === undefined) throw usageError("VALUE is missing: what the others shall see of the leader");
    const json = isJson(line, world);
    const remote = remoteOf(line, world);
    try {
      return value === undefined
        ? await observe(remote, name, json, world)
        : await campaign(remote, { name, value, ttl: line.number("ttl") }, json, world);
    } finally {
      await remote.close();
    }
  },
};

async function observe(remote: Remote, name: string, json: boolean, world: World): Promise<ExitCode> {
  try {
    for await (const { kv } of remote.stream("v3electionpb.Election", "Observe", { name: encode(name) }, { signal: world.signal })) {
      if (kv === undefined) continue;
      const leader = { key: jsonBytes(kv.key), value: jsonBytes(kv.value) };
      await world.print(json ? `${JSON.stringify(leader)}\n` : `${shown(kv.key)}\n${shown(kv.value)}\n`);
    }
    throw new ExitError(EXIT.unavailable, "the server ended the stream");
  } catch (error) {
    if (world.signal.aborted) return EXIT.done;
    throw error;
  }
}

async function campaign(
  remote: Remote,
  { name, value, ttl }: { readonly name: string; readonly value: string; readonly ttl: number | undefined },
  json: boolean,
  world: World,
): Promise<ExitCode> {
  const held = await Holding.begin(remote, world, ttl);
  try {
    const request = { name: encode(name), lease: held.lease, value: encode(value) };
    const answer = await held
      .ask(() => remote.call("v3electionpb.Election", "Campaign", request, { signal: held.signal, timeoutMs: Number.POSITIVE_INFINITY }))
      .catch((error: unknown) => {
        if (world.signal.aborted) return undefined;
        throw held.isLost ? lost(name) : error;
      });
    if (answer === undefined) return EXIT.no;
    const key = answer.leader?.key ?? new Uint8Array(0);
    const leader = { key: jsonBytes(key), value, token: answer.leader?.rev };
    await world.print(json ? `${JSON.stringify(leader)}\n` : `${shown(key)}\n${value}\n`);
    await held.ended;
    if (held.isLost) throw lost(name);
    return EXIT.done;
  } finally {
    await held.release();
  }
}
