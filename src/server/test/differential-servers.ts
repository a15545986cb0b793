/**
 * Servers as processes with data on the disk, one or several that are members of one cluster: etcd's and ours are started with the same flags, stopped
 * and killed, and started again where they were. All end, and their data goes, with the test.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, type Ending } from "./wire.ts";

const OURS: readonly string[] = [process.execPath, fileURLToPath(new URL("../../cli/main.js", import.meta.url)), "serve"];
const THEIRS: readonly string[] = ["etcd"];
const SAID_KEPT = 20_000;

/** How a server is stopped. */
export type StopSignal = "SIGTERM" | "SIGKILL";

interface Member {
  readonly address: string;
  readonly directory: string;
  readonly flags: readonly string[];
}

/** The members of one cluster. */
export class Servers {
  /** Where clients reach each. */
  readonly addresses: readonly string[];
  /** Where each keeps its data. */
  readonly directories: readonly string[];
  readonly #command: readonly string[];
  readonly #arguments: readonly (readonly string[])[];
  readonly #running: (Running | undefined)[] = [];

  private constructor(command: readonly string[], members: readonly Member[]) {
    this.#command = command;
    this.addresses = members.map(({ address }) => address);
    this.directories = members.map(({ directory }) => directory);
    this.#arguments = members.map(({ flags }) => flags);
  }

  /** Starts so many members of one cluster, and waits until all are ready. `prepare`: called before, with each data directory and the list of the members. */
  static async start(
    context: Ending,
    whose: "etcd" | "ours",
    count: number,
    prepare: (dataDirectory: string, cluster: string) => unknown = () => {},
  ): Promise<Servers> {
    const parent = await mkdtemp(path.join(tmpdir(), `servers-${whose}-`));
    const clients = await Promise.all(Array.from({ length: count }, freePort));
    const peers = await Promise.all(Array.from({ length: count }, freePort));
    const url = (port: number): string => `http://127.0.0.1:${port}`;
    const cluster = peers.map((port, i) => `n${i + 1}=${url(port)}`).join(",");
    const directories = clients.map((_, i) => path.join(parent, `n${i + 1}`));
    const members = clients.map((port, i) => ({
      address: `127.0.0.1:${port}`,
      directory: directories[i]!,
      flags: [
        ...["--name", `n${i + 1}`, "--data-dir", directories[i]!],
        ...["--listen-client-urls", url(port), "--advertise-client-urls", url(port)],
        ...["--listen-peer-urls", url(peers[i]!), "--initial-advertise-peer-urls", url(peers[i]!), "--initial-cluster", cluster],
        ...["--heartbeat-interval", "50", "--election-timeout", "500"],
      ],
    }));
    const servers = new Servers(whose === "ours" ? OURS : THEIRS, members);
    context.after(async () => {
      await Promise.all(members.map((_, i) => servers.stop(i, "SIGKILL")));
      await rm(parent, { recursive: true, force: true });
    });
    for (const directory of directories) prepare(directory, cluster);
    await Promise.all(members.map((_, i) => servers.start(i)));
    return servers;
  }

  /** Resolves when the member says that it is ready; rejects if it ends instead. */
  async start(member: number): Promise<void> {
    if (this.#running[member] !== undefined) return;
    const [program, ...args] = [...this.#command, ...this.#arguments[member]!];
    const { PATH = "", HOME = "" } = process.env;
    const running = new Running(spawn(program!, args, { stdio: ["ignore", "pipe", "pipe"], env: { PATH, HOME } }));
    this.#running[member] = running;
    await running.ready;
  }

  async stop(member: number, signal: StopSignal): Promise<void> {
    const running = this.#running[member];
    this.#running[member] = undefined;
    await running?.stop(signal);
  }

  isRunning(member: number): boolean {
    return this.#running[member] !== undefined;
  }
}

class Running {
  readonly ready: Promise<void>;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once("close", () => resolve()));
    let said = "";
    this.ready = new Promise((resolve, reject) => {
      const onOutput = (chunk: Buffer): void => {
        said = (said + chunk.toString()).slice(-SAID_KEPT);
        if (said.includes("ready to serve client requests")) resolve();
      };
      child.stdout!.on("data", onOutput);
      child.stderr!.on("data", onOutput);
      child.once("error", reject);
      child.once("close", (code) => reject(new Error(`a server has ended with ${code}: ${said}`)));
    });
    // One that is stopped before it was ready is not waited for.
    this.ready.catch(() => {});
  }

  async stop(signal: StopSignal): Promise<void> {
    this.#child.kill(signal);
    await this.#ended;
  }
}
