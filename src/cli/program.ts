/** The program without its process: finds the command that a command line names, runs it, and says how it ended. */
import { commands } from "./commands/index.ts";
import { versionText } from "./commands/version.ts";
import { helpOf, nearest, parseCommandLine, type OptionSpec } from "./command-line.ts";
import { isJson, OUTPUT_OPTION, type Command, type World } from "./command.ts";
import { SETTINGS } from "./config/settings.ts";
import { EXIT, exitOf, usageError, type ExitCode } from "./exit.ts";
import { REMOTE_OPTIONS } from "./remote.ts";

/** Commands that change nothing: when their answer is lost, nothing can have been done. */
const READS: ReadonlySet<string> = new Set([
  "get",
  "watch",
  "status",
  "tree",
  "locks",
  "lease list",
  "lease timetolive",
  "member list",
  "endpoint status",
  "endpoint health",
  "endpoint hashkv",
  "snapshot save",
]);

/** Runs one command line. Never rejects: what goes wrong is told on standard error and by the code. */
export async function runProgram(args: readonly string[], world: World): Promise<ExitCode> {
  let command: Command | undefined;
  try {
    const [first] = args;
    if (first === undefined) {
      world.say(overview().trimEnd());
      return EXIT.usage;
    }
    if (first === "help" || first === "--help" || first === "-h") {
      await world.print(helpFor(args.slice(1)));
      return EXIT.done;
    }
    if (first === "--version" || first === "-version") {
      await world.print(versionText());
      return EXIT.done;
    }
    const found = findCommand(isEtcdsCommandLine(first) ? ["serve", ...args] : commandFirst(args));
    command = found.command;
    const before = found.rest.includes("--") ? found.rest.slice(0, found.rest.indexOf("--")) : found.rest;
    if (before.includes("--help") || (before[0] === "-h" && before.length === 1)) {
      await world.print(helpOf(command.spec));
      return EXIT.done;
    }
    const line = parseCommandLine(command.spec, found.rest);
    // What cannot be shown is not begun.
    if (command.spec.options.includes(OUTPUT_OPTION)) isJson(line, world);
    return await command.run(line, world);
  } catch (error) {
    const { code, message } = exitOf(error, command !== undefined && !READS.has(command.spec.name));
    world.say(`d-engine: ${message}`);
    if (code === EXIT.usage && command !== undefined) world.say(`d-engine ${command.spec.name} --help tells more`);
    return code;
  }
}

/** `etcd --name n1 ...` has no command: what begins with a setting is the server's. */
function isEtcdsCommandLine(first: string): boolean {
  const [, name] = /^--?([^=]+)/.exec(first) ?? [];
  return name === "config-file" || SETTINGS.some((setting) => setting.name === name || setting.also?.includes(name ?? "") === true);
}

/** Options that are the same for all commands may stand before the command. */
function commandFirst(args: readonly string[]): readonly string[] {
  const common = new Map<string, OptionSpec>();
  for (const option of [...REMOTE_OPTIONS, OUTPUT_OPTION]) {
    common.set(`--${option.name}`, option);
    if (option.short !== undefined) common.set(`-${option.short}`, option);
  }
  let at = 0;
  for (let arg = args[at]; arg !== undefined; arg = args[at]) {
    const option = common.get(arg.split("=", 1)[0] ?? "");
    if (option === undefined) break;
    at += option.kind === "flag" || arg.includes("=") ? 1 : 2;
  }
  if (at === 0) return args;
  const length = isTwoWords(args.slice(at)) ? 2 : 1;
  return [...args.slice(at, at + length), ...args.slice(0, at), ...args.slice(at + length)];
}

const isTwoWords = (args: readonly string[]): boolean => commands.some(({ spec }) => spec.name === args.slice(0, 2).join(" "));

/** Commands of etcdctl's that go by other names here, or that nothing is left for. */
const ETCDCTLS: Readonly<Record<string, string>> = {
  compaction: "here it is compact",
  defrag: "space that compaction frees is given back by itself",
  alarm: "status shows alarms, and each ends by itself when its cause does",
};

/** The longest name that the words begin with. */
function findCommand(args: readonly string[]): { readonly command: Command; readonly rest: readonly string[] } {
  for (const length of [2, 1]) {
    const name = args.slice(0, length).join(" ");
    const command = commands.find(({ spec }) => spec.name === name);
    if (command !== undefined) return { command, rest: args.slice(length) };
  }
  const [first = "", second] = args;
  const within = commands.filter(({ spec }) => spec.name.startsWith(`${first} `)).map(({ spec }) => spec.name);
  if (within.length > 0) {
    const asked = second === undefined || second.startsWith("-");
    throw usageError(`${asked ? `${first} wants another word` : `no command ${first} ${second}`}: ${within.join(", ")}`);
  }
  const ours = Object.hasOwn(ETCDCTLS, first) ? ETCDCTLS[first] : undefined;
  if (ours !== undefined) throw usageError(`no command ${JSON.stringify(first)}: ${ours}`);
  const near = nearest(
    first,
    commands.map(({ spec }) => spec.name.split(" ")[0] ?? ""),
  );
  throw usageError(
    `no command ${JSON.stringify(first)}${near === undefined ? "" : `; did you mean ${near}?`} (d-engine --help lists them)`,
  );
}

/** Of one command, of all that begin with a word, or of all. Throws ExitError (usage). */
function helpFor(words: readonly string[]): string {
  if (words.length === 0) return overview();
  const name = words.join(" ");
  const within = commands.filter(({ spec }) => spec.name === name || spec.name.startsWith(`${name} `));
  return within.length === 0 ? helpOf(findCommand(words).command.spec) : within.map(({ spec }) => helpOf(spec)).join("\n");
}

/** The help of the whole program. */
export function overview(): string {
  const width = Math.max(...commands.map(({ spec }) => spec.name.length));
  const lines = commands.map(({ spec }) => `  ${spec.name.padEnd(width)}  ${spec.summary.split(". ")[0]?.replace(/\.$/, "") ?? ""}`);
  return [
    "usage: d-engine COMMAND [WORDS] [OPTIONS]",
    "",
    ...lines,
    "",
    "d-engine COMMAND --help tells more of each.",
    "Exit codes: 0 done, 1 no, 2 usage, 3 unavailable, 4 refused, 5 may have been done.",
    "",
  ].join("\n");
}
