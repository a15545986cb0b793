/** The demo's three nodes as the main process sees them: processes with a name, a directory and a port. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { AnswerMessage, Answers, Notice, Order, OrderMessage } from "./protocol.ts";

/** A refusal or failure that a node reported. */
export class NodeError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

type OrderOf<K extends Order["kind"]> = Extract<Order, { readonly kind: K }>;

export class DemoNode {
  readonly name: string;
  readonly address: string;
  readonly #arguments: readonly string[];
  readonly #onEvent: (name: string, text: string) => void;
  readonly #waiting = new Map<number, { readonly resolve: (answer: AnswerMessage) => void; readonly reject: (error: Error) => void }>();
  #process: ChildProcess | undefined;
  #lastId = 0;

  constructor(node: {
    readonly name: string;
    readonly address: string;
    readonly arguments: readonly string[];
    readonly onEvent: (name: string, text: string) => void;
  }) {
    this.name = node.name;
    this.address = node.address;
    this.#arguments = node.arguments;
    this.#onEvent = node.onEvent;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Resolves when its engine is open. */
  async start(): Promise<void> {
    const child = fork(fileURLToPath(new URL("node.js", import.meta.url)), this.#arguments, {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#process = child;
    const opened = new Promise<void>((resolve, reject) => {
      child.on("message", (message) => {
        if (!("notice" in (message as object))) {
          const answer = message as AnswerMessage;
          this.#waiting.get(answer.id)?.resolve(answer);
          this.#waiting.delete(answer.id);
          return;
        }
        const { notice } = message as { readonly notice: Notice };
        if (notice.kind === "opened") resolve();
        else if (notice.kind === "openFailed") reject(new Error(`${this.name} did not open: ${notice.message}`));
        else this.#onEvent(this.name, notice.text);
      });
      child.on("exit", () => {
        if (this.#process === child) this.#process = undefined;
        reject(new Error(`${this.name} ended before it was open`));
        for (const { reject: fail } of this.#waiting.values())
          fail(new NodeError("CLOSED", `${this.name} is gone; what was asked of it may have happened`));
        this.#waiting.clear();
      });
    });
    await opened;
  }

  async ask<K extends Order["kind"]>(order: OrderOf<K>): Promise<Answers[K]> {
    const child = this.#process;
    if (child === undefined) throw new NodeError("CLOSED", `${this.name} is not running`);
    const id = (this.#lastId += 1);
    const answer = await new Promise<AnswerMessage>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      child.send({ id, order } satisfies OrderMessage, (error) => {
        if (error !== null) reject(new NodeError("CLOSED", `${this.name} is gone`));
      });
    });
    if (answer.error !== undefined) throw new NodeError(answer.error.code, answer.error.message);
    return answer.result as Answers[K];
  }

  /** kill -9: no goodbye, nothing written. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  async stop(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    const gone = once(child, "exit");
    await this.ask<"close">({ kind: "close" }).catch(() => child.kill("SIGKILL"));
    if (child.connected) child.disconnect();
    await gone;
  }
}

/** Ports of loopback that nobody listens on at the moment. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export class DemoCluster {
  readonly nodes: readonly DemoNode[];
  readonly directory: string;
  #closing: Promise<void> | undefined;

  private constructor(directory: string, nodes: readonly DemoNode[]) {
    this.directory = directory;
    this.nodes = nodes;
  }

  /** Three nodes that are not started yet. */
  static async create(onEvent: (name: string, text: string) => void): Promise<DemoCluster> {
    const directory = await mkdtemp(path.join(tmpdir(), "d-engine-demo-"));
    const ports = await freePorts(3);
    const members = ports.map((port, i) => ({ name: `n${i + 1}`, address: `127.0.0.1:${port}` }));
    const bootstrap = members.map(({ name, address }) => `${name}=${address}`);
    const nodes = members.map(
      ({ name, address }) => new DemoNode({ name, address, onEvent, arguments: [name, path.join(directory, name), ...bootstrap] }),
    );
    return new DemoCluster(directory, nodes);
  }

  /** Resolves when all are open. */
  async start(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.start()));
  }

  get running(): readonly DemoNode[] {
    return this.nodes.filter((node) => node.isRunning);
  }

  find(name: string): DemoNode | undefined {
    return this.nodes.find((node) => node.name === name);
  }

  /** Waits until the nodes that run have a leader among them. */
  async leader(): Promise<{ readonly node: DemoNode; readonly term: number }> {
    for (;;) {
      const [asked] = this.running;
      if (asked === undefined) throw new NodeError("UNAVAILABLE", "no node is running");
      const { leader, term } = await asked.ask<"waitReady">({ kind: "waitReady" });
      const node = this.find(leader);
      if (node?.isRunning === true) return { node, term };
      // The one asked has not noticed yet that its leader is gone.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Stops what still runs and removes everything that was made. Twice is once. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await Promise.all(this.nodes.map((node) => node.stop()));
      await rm(this.directory, { recursive: true, force: true });
    })();
    return this.#closing;
  }
}
