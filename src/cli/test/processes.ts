/** The program as processes of their own: servers that tell when they are ready, and commands with pipes and signals. All end with their test. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../main.js", import.meta.url));

/** Removed at the end of the test. */
export function temporaryDirectory(context: Pick<TestContext, "after">): string {
  const directory = mkdtempSync(path.join(tmpdir(), "d-engine-cli-"));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Ports that nobody listens at, as of now. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export interface ProgramOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** A running process of the program. */
export class Program {
  readonly child: ChildProcess;
  /** With which code, or by which signal, it has ended. */
  readonly ended: Promise<number | string>;
  #stdout = "";
  #stderr = "";
  #isOver = false;
  readonly #listeners = new Set<() => void>();

  constructor(context: Pick<TestContext, "after">, args: readonly string[], options: ProgramOptions = {}) {
    // Only what a process needs: variables of whoever runs the tests are no settings of theirs.
    const { PATH = "", HOME = "" } = process.env;
    this.child = spawn(process.execPath, [MAIN, ...args], {
      stdio: "pipe",
      env: { PATH, HOME, ...options.environment },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    this.child.stdin?.on("error", () => {});
    this.child.stdout?.on("data", (bytes: Buffer) => {
      this.#stdout += String(bytes);
      this.#tell();
    });
    this.child.stderr?.on("data", (bytes: Buffer) => {
      this.#stderr += String(bytes);
      this.#tell();
    });
    this.ended = new Promise((resolve) => {
      this.child.once("close", (code, signal) => {
        this.#isOver = true;
        this.#tell();
        resolve(code ?? signal ?? -1);
      });
    });
    context.after(async () => {
      this.child.kill("SIGKILL");
      await this.ended;
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Resolves once the output, of either kind, matches; rejects if the process ends without. */
  said(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = pattern.exec(this.#stdout) ?? pattern.exec(this.#stderr);
        if (found === null && !this.#isOver) return;
        this.#listeners.delete(look);
        if (found === null) reject(new Error(`it ended without saying ${String(pattern)}:\n${this.#stdout}\n${this.#stderr}`));
        else resolve(found);
      };
      this.#listeners.add(look);
      look();
    });
  }
}

/** A server with data of its own, and where it listens. */
export interface Served {
  readonly program: Program;
  readonly address: string;
  readonly directory: string;
}

/** Starts `d-engine serve` and waits until it is ready. */
export async function startServer(
  context: Pick<TestContext, "after">,
  args: readonly string[] = [],
  directory: string = temporaryDirectory(context),
): Promise<Served> {
  const listen = args.includes("--listen-client-urls") ? [] : ["--listen-client-urls", "http://127.0.0.1:0"];
  const program = new Program(context, ["serve", "--data-dir", path.join(directory, "data"), ...listen, ...args]);
  const [, address = ""] = await program.said(/clients +https?:\/\/([^,\s]+)/);
  await program.said(/ready to serve client requests/);
  return { program, address, directory };
}
