/** The program in this process, with its streams in memory: what a command prints, says and ends with. */
import { Readable } from "node:stream";
import type { World } from "../command.ts";
import type { ExitCode } from "../exit.ts";
import { runProgram } from "../program.ts";

export interface Ran {
  readonly code: ExitCode;
  readonly stdout: string;
  /** The same, where it is not text. */
  readonly bytes: Uint8Array;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: string | Uint8Array | Readable;
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Called with each piece that is printed. */
  readonly onPrint?: (text: string) => void;
}

/** Runs one command line. Never rejects. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const printed: Buffer[] = [];
  const said: string[] = [];
  const world: World = {
    environment: options.environment ?? {},
    stdin:
      options.stdin instanceof Readable ? options.stdin : Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]),
    isTerminal: { stdin: false, stdout: false, stderr: false },
    signal: options.signal ?? new AbortController().signal,
    onHangup() {},
    print: (text) => {
      printed.push(Buffer.from(text));
      options.onPrint?.(Buffer.from(text).toString());
      return Promise.resolve();
    },
    say: (text) => {
      said.push(`${text}\n`);
    },
  };
  const code = await runProgram(args, world);
  const bytes = Buffer.concat(printed);
  return { code, stdout: bytes.toString(), bytes, stderr: said.join("") };
}
