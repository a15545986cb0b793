/** What a command is: its line in the table, and what it does with the world that it is given. */
import { addAbortSignal, type Readable } from "node:stream";
import type { CommandLine, CommandSpec, OptionSpec } from "./command-line.ts";
import { EXIT, ExitError, usageError, type ExitCode } from "./exit.ts";

/** The process around a command, so that tests can run one without a process. */
export interface World {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable;
  /** Whether a person types standard input, looks at standard output, and at standard error. */
  readonly isTerminal: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean };
  /** Aborts at the first SIGINT or SIGTERM. A second one ends the process. */
  readonly signal: AbortSignal;
  /** Calls back at each SIGHUP, which does nothing else then. */
  onHangup(callback: () => void): void;
  /** A result. Resolves when there is room for more, so that a slow reader slows the command down. */
  print(text: string | Uint8Array): Promise<void>;
  /** Anything else. */
  say(text: string): void;
}

/** One command of the program. */
export interface Command {
  readonly spec: CommandSpec;
  run(line: CommandLine, world: World): Promise<ExitCode>;
}

export const OUTPUT_OPTION: OptionSpec = {
  name: "output",
  short: "o",
  kind: "text",
  choices: ["text", "json"],
  help: "Default: D_ENGINE_OUTPUT, text",
};

/** As --output says, or D_ENGINE_OUTPUT. Throws ExitError (usage) for a variable that says neither. */
export function isJson(line: CommandLine, world: World): boolean {
  const output = line.text("output") ?? world.environment["D_ENGINE_OUTPUT"] ?? "text";
  if (output !== "text" && output !== "json") throw usageError(`D_ENGINE_OUTPUT is one of text, json, not ${JSON.stringify(output)}`);
  return output === "json";
}

/** No request can be larger, wherever it goes. */
const STDIN_BYTES_MAX = 64 << 20;

/** Standard input, whole. Rejects with an ExitError for what is too large, and when a signal comes first. */
export async function readStdin(world: World): Promise<Uint8Array> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  const stdin = addAbortSignal(world.signal, world.stdin);
  if (world.isTerminal.stdin) world.say("reading standard input; Ctrl-D ends it");
  try {
    for await (const piece of stdin) {
      const read = Buffer.from(piece as Uint8Array | string);
      pieces.push(read);
      bytes += read.length;
      if (bytes > STDIN_BYTES_MAX) throw new ExitError(EXIT.usage, "standard input is larger than 64 MiB");
    }
  } catch (error) {
    if (world.signal.aborted) throw new ExitError(EXIT.unavailable, "interrupted", { cause: error });
    throw error;
  }
  return Buffer.concat(pieces);
}

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
