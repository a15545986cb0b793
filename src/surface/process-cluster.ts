/** Nodes in processes of their own, as a test sees them: started, asked, stopped, killed, and removed in the end. */
import { fork, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { EngineOptions } from "d-engine";
import { OrderFailure, type Order, type Status } from "./orders.ts";

export interface NodeProcessOptions {
  /** The program beside this file; default node-process.js. */
  readonly program?: string;
  readonly engine: EngineOptions;
  readonly env?: Readonly<Record<string, string>>;
  readonly execArgv?: readonly string[];
}

export class NodeProcess {
  readonly #options: NodeProcessOptions;
  readonly #waiting = new Map<number, { readonly resolve: (result: unknown) => void; readonly reject: (error: Error) => void }>();
  #child: ChildProcess | undefined;
  #lastId = 0;
  memberId = "";

  constructor(options: NodeProcessOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Resolves when the engine is open; rejects with what the process said if it ends before. */
  async start(): Promise<void> {
    const child = fork(
      fileURLToPath(new URL(this.#options.program ?? "node-process.js", import.meta.url)),
      [JSON.stringify(this.#options.engine)],
      {
        serialization: "advanced",
        stdio: ["ignore", "inherit", "pipe", "ipc"],
        env: { ...process.env, ...this.#options.env },
        execArgv: [...(this.#options.execArgv ?? [])],
      },
    );
    this.#child = child;
    let said = "";
    child.stderr?.on("data", (bytes: Buffer) => {
      if (said.length < 10_000) said += String(bytes);
    });
    await new Promise<void>((resolve, reject) => {
      child.on("message", (message) => {
        const { id, result, failure, opened } = message as {
          readonly id?: number;
          readonly result?: unknown;
          readonly failure?: { readonly code: string; readonly mayHaveApplied: boolean; readonly message: string };
          readonly opened?: string;
        };
        if (opened !== undefined) {
          this.memberId = opened;
          resolve();
        }
        if (id === undefined) return;
        const waiting = this.#waiting.get(id);
        this.#waiting.delete(id);
        if (failure === undefined) waiting?.resolve(result);
        else waiting?.reject(new OrderFailure(failure));
      });
      child.on("exit", (code, signal) => {
        if (this.#child === child) this.#child = undefined;
        const reason = new OrderFailure({ code: "GONE", mayHaveApplied: true, message: `the process ended (${code ?? signal}) ${said}` });
        for (const waiting of this.#waiting.values()) waiting.reject(reason);
        this.#waiting.clear();
        reject(reason);
      });
    });
  }

  /** What is asked of a process that dies meanwhile rejects with the code GONE. */
  async ask<T>(order: Order): Promise<T> {
    const child = this.#child;
    if (child === undefined) throw new OrderFailure({ code: "GONE", mayHaveApplied: false, message: "the process does not run" });
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
      child.send({ id, order }, (error) => {
        if (error !== null) reject(new OrderFailure({ code: "GONE", mayHaveApplied: true, message: String(error) }));
      });
    });
  }

  status(): Promise<Status> {
    return this.ask<Status>({ kind: "status" });
  }

  /** Who leads, and in which term, as this node has heard. */
  async leadership(): Promise<{ readonly term: number | undefined; readonly leader: string | undefined }> {
    const { term, leader } = await this.status();
    return { term, leader };
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(signal);
  }

  /** All threads that the process has on one core. false where the system has no such command. */
  pinToOneCore(): boolean {
    return spawnSync("taskset", ["-a", "-p", "-c", "0", String(this.pid)], { stdio: "ignore" }).status === 0;
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  /** Closes the engine first, and fails if that fails. */
  async close(): Promise<void> {
    await this.ask({ kind: "close" });
    await this.kill();
  }
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export interface ClusterSetup {
  readonly nodes: 1 | 3;
  readonly program?: string;
  /** More options for the engines, the same on each. */
  readonly engine?: Omit<EngineOptions, "dataDir" | "name" | "peer" | "bootstrap">;
  readonly env?: Readonly<Record<string, string>>;
  readonly execArgv?: readonly string[];
}

export class ProcessCluster {
  readonly nodes: readonly NodeProcess[];
  readonly directory: string;

  private constructor(directory: string, nodes: readonly NodeProcess[]) {
    this.directory = directory;
    this.nodes = nodes;
  }

  /** Runs `body` with a cluster all of whose nodes know their leader; whatever happens, nothing of it is left. */
  static async with(setup: ClusterSetup, body: (cluster: ProcessCluster) => Promise<void>): Promise<void> {
    const directory = mkdtempSync(path.join(tmpdir(), "d-engine-test-"));
    const ports = await freePorts(setup.nodes === 1 ? 0 : setup.nodes);
    const bootstrap = Object.fromEntries(ports.map((port, i) => [`n${i + 1}`, `127.0.0.1:${port}`]));
    const { nodes: count, engine, ...rest } = setup;
    const nodes = Array.from({ length: count }, (_, i) => {
      const name = `n${i + 1}`;
      const peer = count === 1 ? {} : { peer: { listen: bootstrap[name] ?? "" }, bootstrap };
      return new NodeProcess({ engine: { ...engine, dataDir: path.join(directory, name), name, ...peer }, ...rest });
    });
    const cluster = new ProcessCluster(directory, nodes);
    try {
      await Promise.all(nodes.map((node) => node.start()));
      await Promise.all(nodes.map((node) => node.ask({ kind: "waitReady", timeoutMs: 30_000 })));
      await body(cluster);
    } finally {
      await Promise.all(nodes.map((node) => node.kill()));
      rmSync(directory, { recursive: true, force: true });
    }
  }

  get running(): readonly NodeProcess[] {
    return this.nodes.filter((node) => node.isRunning);
  }

  /** The leader among the given nodes (all that run, unless some are stopped), once they have one. */
  async leader(among: readonly NodeProcess[] = this.running): Promise<NodeProcess> {
    for (;;) {
      for (const node of among) {
        await node.ask({ kind: "waitReady", timeoutMs: 30_000 });
        if ((await node.status()).isLeader) return node;
      }
    }
  }

  async followers(): Promise<readonly NodeProcess[]> {
    const leader = await this.leader();
    return this.nodes.filter((node) => node !== leader);
  }
}
