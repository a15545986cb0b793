import { spawn } from "node:child_process";
import type { Message } from "../../api/schema/messages.ts";
import { RpcError, Status } from "../../rpc/index.ts";
import { isJson, OUTPUT_OPTION, type Command, type World } from "../command.ts";
import { EXIT, ExitError, usageError, type ExitCode } from "../exit.ts";
import { keyRangeOf, RANGE_OPTIONS, type KeyRangeFields } from "../key-range.ts";
import { asText, jsonBytes, jsonPair, shown } from "../output.ts";
import { pause } from "../pause.ts";
import { REMOTE_OPTIONS, remoteOf, type Remote } from "../remote.ts";

/** So long a watch that has begun looks for a server to go on with. */
const RESUME_MS = 30_000;
const RETRY_MS = 200;
/** Systems bound the environment of a process; what is larger is on its standard input alone. */
const VARIABLE_BYTES_MAX = 65_536;

export const watch: Command = {
  spec: {
    name: "watch",
    summary: "Shows each change as it comes, until a signal. With a command behind --, runs it for each change.",
    words: [
      { name: "key", optional: true },
      { name: "end", optional: true },
      { name: "command", optional: true, rest: true },
    ],
    options: [
      ...RANGE_OPTIONS,
      { name: "rev", kind: "number", value: "REVISION", help: "From this revision on; default: from now on" },
      { name: "prev-kv", kind: "flag", help: "Shows each pair as it was before" },
      { name: "count", kind: "number", help: "Ends after so many changes" },
      OUTPUT_OPTION,
      ...REMOTE_OPTIONS,
    ],
    notes: [
      "The command finds the change as JSON on its standard input, and ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE (PUT, DELETE), ETCD_WATCH_KEY",
      "and, if it is at most 64 KiB, ETCD_WATCH_VALUE in its environment. Changes wait while it runs. When its server goes away, a watch goes on",
      "where it was with the next of --endpoints, or with the same one if it is back within 30 seconds.",
    ],
  },
  run: async (line, world) => {
    const range = keyRangeOf(line);
    const countMax = line.number("count") ?? Number.POSITIVE_INFINITY;
    if (countMax < 1) throw usageError("--count is at least 1");
    const startRevision = line.number("rev") ?? 0;
    if (startRevision < 0) throw usageError("--rev cannot be negative");
    const remote = remoteOf(line, world);
    try {
      const settings = { range, startRevision, prevKv: line.flag("prev-kv"), json: isJson(line, world), command: line.rest, countMax };
      return await new Following(remote, world, settings).run();
    } catch (error) {
      if (world.signal.aborted) return EXIT.done;
      throw error;
    } finally {
      await remote.close();
    }
  },
};

interface FollowingSettings {
  readonly range: KeyRangeFields;
  readonly startRevision: number;
  readonly prevKv: boolean;
  readonly json: boolean;
  readonly command: readonly string[];
  readonly countMax: number;
}

/** One watch, over as many streams as it takes. */
class Following {
  readonly #remote: Remote;
  readonly #world: World;
  readonly #settings: FollowingSettings;
  /** The revision that a new stream begins with; 0: now. */
  #next: number;
  /** The revision of the change that was shown last, and how many of it were. */
  #shown: { readonly revision: number; count: number } = { revision: 0, count: 0 };
  #count = 0;
  /** When a server last answered; undefined before the first one has. */
  #heardAt: number | undefined;

  constructor(remote: Remote, world: World, settings: FollowingSettings) {
    this.#remote = remote;
    this.#world = world;
    this.#settings = settings;
    this.#next = settings.startRevision;
  }

  async run(): Promise<ExitCode> {
    let isTold = false;
    for (;;) {
      const heardAt = this.#heardAt;
      try {
        return await this.#stream();
      } catch (error) {
        const isGone = RpcError.is(error) && (error.code === Status.UNAVAILABLE || error.code === Status.CANCELLED);
        // Where nobody was there to begin with, that is told at once.
        if (isGone && error.mayHaveRun) this.#heardAt ??= performance.now();
        if (!isGone || this.#heardAt === undefined || this.#world.signal.aborted) throw error;
        if (this.#heardAt !== heardAt) isTold = false;
        else if (performance.now() - this.#heardAt > RESUME_MS) throw error;
        const where = this.#next === 0 ? "begins" : `goes on at revision ${this.#next}`;
        if (!isTold) this.#world.say(`${error.message}: the watch ${where} when a server answers`);
        isTold = true;
        await pause(RETRY_MS, this.#world.signal);
        // From here on the time counts.
        if (this.#heardAt !== heardAt) this.#heardAt = performance.now();
      }
    }
  }

  async #stream(): Promise<ExitCode> {
    const { range, prevKv, json, command, countMax } = this.#settings;
    const call = this.#remote.talk("etcdserverpb.Watch", "Watch", { signal: this.#world.signal });
    call.send({ create_request: { ...range, start_revision: this.#next, prev_kv: prevKv, fragment: true } });
    // In the middle of a large revision, a stream begins with its first change again.
    let skip = this.#next === this.#shown.revision ? this.#shown.count : 0;
    for await (const answer of call) {
      if (answer.canceled) throw cancelled(answer);
      this.#heardAt = performance.now();
      for (const event of answer.events) {
        const revision = event.kv?.mod_revision ?? 0;
        if (revision === this.#shown.revision && skip > 0) {
          skip--;
          continue;
        }
        if (revision === this.#shown.revision) this.#shown.count++;
        else this.#shown = { revision, count: 1 };
        await show(event, json, this.#world);
        if (command.length > 0) await runFor(event, command, this.#world);
        this.#count += 1;
        if (this.#count >= countMax) return EXIT.done;
      }
      // A server that is catching up tells its own revision with old changes: what counts is how far they have come.
      const last = answer.events.at(-1)?.kv?.mod_revision;
      if (last !== undefined) this.#next = answer.fragment ? last : last + 1;
      else if (!answer.created || this.#next === 0) this.#next = Math.max(this.#next, (answer.header?.revision ?? 0) + 1);
    }
    throw new RpcError(Status.UNAVAILABLE, "the server ended the watch");
  }
}

function cancelled(answer: Message<"etcdserverpb.WatchResponse">): ExitError {
  if (answer.compact_revision > 0)
    return new ExitError(EXIT.refused, `history before revision ${answer.compact_revision} is gone: watch from there, or from now on`);
  return new ExitError(EXIT.refused, `the watch was ended: ${answer.cancel_reason === "" ? "no reason is given" : answer.cancel_reason}`);
}

async function show(event: Message<"mvccpb.Event">, json: boolean, world: World): Promise<void> {
  const { kv, prev_kv: before } = event;
  if (kv === undefined) return;
  if (json) return world.print(eventLine(event));
  const previous = before === undefined ? "" : `${shown(before.key)}\n${shown(before.value)}\n`;
  return world.print(`${event.type === 1 ? "DELETE" : "PUT"}\n${previous}${shown(kv.key)}\n${shown(kv.value)}\n`);
}

function eventLine({ type, kv, prev_kv: before }: Message<"mvccpb.Event">): string {
  if (kv === undefined) return "";
  const prevKv = before === undefined ? {} : { prevKv: jsonPair(before, true) };
  const pair = type === 1 ? { key: jsonBytes(kv.key) } : jsonPair(kv, true);
  return `${JSON.stringify({ kind: type === 1 ? "delete" : "put", revision: kv.mod_revision, ...pair, ...prevKv })}\n`;
}

/** Resolves when the command has ended, however it did: that is for standard error. */
async function runFor(event: Message<"mvccpb.Event">, command: readonly string[], world: World): Promise<void> {
  const { kv } = event;
  if (kv === undefined) return;
  const [file = "", ...args] = command;
  const environment = {
    ...world.environment,
    ETCD_WATCH_REVISION: String(kv.mod_revision),
    ETCD_WATCH_EVENT_TYPE: event.type === 1 ? "DELETE" : "PUT",
    ETCD_WATCH_KEY: variable(kv.key),
    ...(kv.value.length > VARIABLE_BYTES_MAX ? {} : { ETCD_WATCH_VALUE: variable(kv.value) }),
  };
  await new Promise<void>((resolve) => {
    const child = spawn(file, args, { env: environment, stdio: ["pipe", "inherit", "inherit"] });
    const end = (): void => {
      child.kill("SIGTERM");
    };
    world.signal.addEventListener("abort", end, { once: true });
    const settle = (told: string | undefined): void => {
      world.signal.removeEventListener("abort", end);
      if (told !== undefined) world.say(told);
      resolve();
    };
    child.once("error", (error) => settle(`${file}: ${error.message}`));
    child.once("exit", (code, signal) => settle(code === 0 ? undefined : `${file} ended with ${signal ?? `code ${code}`}`));
    // A command that does not read is none of our business.
    child.stdin.on("error", () => {});
    child.stdin.end(eventLine(event));
  });
}

/** No variable can hold a zero byte. */
const variable = (bytes: Uint8Array): string =>
  bytes.includes(0) || asText(bytes) === undefined ? `0x${Buffer.from(bytes).toString("hex")}` : shown(bytes);
