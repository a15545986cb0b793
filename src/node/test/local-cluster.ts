/** Members of one cluster in this process: real links on loopback, real disks, every thread's work inline, and options that the public API hides. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLocalEngine, type LocalEngine } from "../../client/local-engine.ts";
import { resolveOptions, type EngineOptions } from "../../client/engine-options.ts";
import { createNodeClock } from "../../host/node-clock.ts";
import type { NodeInside } from "../environment.ts";
import { openInlineNode } from "../inline-port.ts";
import type { NodeOptions } from "../node-options.ts";
import { createEnvironment } from "../real-environment.ts";

export class LocalCluster {
  readonly directory: string = mkdtempSync(join(tmpdir(), "d-engine-cluster-"));
  readonly bootstrap: Record<string, string> = {};
  readonly engines: Map<string, LocalEngine> = new Map();
  readonly #overrides: Partial<NodeOptions>;
  readonly #looks: Map<string, () => NodeInside> = new Map();

  private constructor(overrides: Partial<NodeOptions>) {
    this.#overrides = overrides;
  }

  /** Reserves addresses for these names; opens nothing. */
  static async create(names: readonly string[], overrides: Partial<NodeOptions> = {}): Promise<LocalCluster> {
    const cluster = new LocalCluster(overrides);
    for (const [i, port] of (await freePorts(names.length)).entries()) cluster.bootstrap[names[i]!] = `127.0.0.1:${port}`;
    return cluster;
  }

  dataDir(name: string): string {
    return join(this.directory, name);
  }

  async open(name: string, engineOptions: Partial<EngineOptions> = {}): Promise<LocalEngine> {
    const { node, settings } = resolveOptions({
      dataDir: this.dataDir(name),
      name,
      bootstrap: this.bootstrap,
      peer: { listen: this.bootstrap[name]! },
      thread: "inline",
      electionTimeoutMs: 300,
      heartbeatMs: 30,
      timeoutMs: 20_000,
      ...engineOptions,
    });
    const options: NodeOptions = { ...node, ...this.#overrides };
    const environment = createEnvironment(options, { thread: "inline", diskWorkerUrl: undefined });
    const port = await openInlineNode({ ...environment, observe: (look) => this.#looks.set(name, look) }, options);
    const engine = await openLocalEngine(port, createNodeClock(), settings);
    this.engines.set(name, engine);
    return engine;
  }

  async openAll(): Promise<readonly LocalEngine[]> {
    return Promise.all(Object.keys(this.bootstrap).map((name) => this.open(name)));
  }

  /** Of a member that is open. */
  inside(name: string): NodeInside {
    return this.#looks.get(name)!();
  }

  async leader(): Promise<LocalEngine> {
    for (;;) {
      for (const engine of this.engines.values()) if (engine.isLeader()) return engine;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async close(name: string): Promise<void> {
    await this.engines.get(name)?.close();
    this.engines.delete(name);
  }

  async end(): Promise<void> {
    await Promise.all([...this.engines.values()].map((engine) => engine.close()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Ports that the system has just given out and taken back, all different. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer();
          server.listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { readonly port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
