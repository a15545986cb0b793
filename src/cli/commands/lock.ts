import { spawn } from "node:child_process";
import { constants } from "node:os";
import { encode, isJson, OUTPUT_OPTION, type Command, type World } from "../command.ts";
import { EXIT, ExitError, usageError, type ExitCode } from "../exit.ts";
import { Holding, TTL_OPTION } from "../holding.ts";
import { jsonBytes, shown } from "../output.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";

export const lock: Command = {
  spec: {
    name: "lock",
    summary: "Waits for a lock, then runs COMMAND while it is held, and ends with its code. Without COMMAND holds it until a signal.",
    words: [{ name: "name" }, { name: "command", optional: true, rest: true }],
    options: [TTL_OPTION, OUTPUT_OPTION, ...REMOTE_OPTIONS],
    notes: [
      "The command finds D_ENGINE_LOCK_KEY and D_ENGINE_LOCK_TOKEN in its environment. If the lock is lost, it is sent SIGTERM a tenth of --ttl",
      "before another can hold it, and SIGKILL then; d-engine ends with 4.",
    ],
  },
  run: async (line, world) => {
    const name = line.word("name");
    if (name === "") throw usageError("NAME is empty");
    const remote = remoteOf(line, world);
    try {
      const held = await Holding.begin(remote, world, line.number("ttl"));
      try {
        const request = { name: encode(name), lease: held.lease };
        const answer = await held
          .ask(() => remote.call("v3lockpb.Lock", "Lock", request, { signal: held.signal, timeoutMs: Number.POSITIVE_INFINITY }))
          .catch((error: unknown) => {
            if (world.signal.aborted) return undefined;
            throw held.isLost ? lost(name) : error;
          });
        if (answer === undefined) return EXIT.no;
        const { kvs } = await held.ask(() => remote.call("etcdserverpb.KV", "Range", { key: answer.key }));
        const token = kvs[0]?.create_revision;
        if (token === undefined) throw lost(name);
        if (line.rest.length === 0) {
          const json = isJson(line, world);
          await world.print(json ? `${JSON.stringify({ key: jsonBytes(answer.key), token })}\n` : `${shown(answer.key)}\n`);
          await held.ended;
        } else {
          const variables = { D_ENGINE_LOCK_KEY: shown(answer.key), D_ENGINE_LOCK_TOKEN: String(token) };
          const code = await runHeld(line.rest, variables, held, world);
          if (!held.isLost) return code as ExitCode;
        }
        if (held.isLost) throw lost(name);
        return EXIT.done;
      } finally {
        await held.release();
      }
    } finally {
      await remote.close();
    }
  },
};

/** What the caller's lock or election has come to. */
export const lost = (name: string): ExitError => new ExitError(EXIT.refused, `${name} was lost: its lease could not be renewed in time`);

/** Resolves with the code that the command ended with. */
async function runHeld(
  command: readonly string[],
  variables: Readonly<Record<string, string>>,
  held: Holding,
  world: World,
): Promise<number> {
  const [file = "", ...args] = command;
  if (held.signal.aborted) return EXIT.no;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env: { ...world.environment, ...variables }, stdio: "inherit" });
    let killer: NodeJS.Timeout | undefined;
    const end = (): void => {
      child.kill("SIGTERM");
      if (held.isLost) killer = setTimeout(() => child.kill("SIGKILL"), held.remainingMs);
    };
    held.signal.addEventListener("abort", end, { once: true });
    child.once("error", (error) => reject(new ExitError(EXIT.usage, `${file}: ${error.message}`)));
    child.once("exit", (code, signal) => {
      clearTimeout(killer);
      held.signal.removeEventListener("abort", end);
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
