/** One or three members of the engine as processes, ready to be measured. */
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { MemberProcess, leaderOf } from "./members.ts";

/** durable: every acknowledged write is synced on a majority. relaxed: nothing is synced (`unsafeNoFsync`). slow: durable, each sync takes 2 ms more. memory: durable, without a record store. timed: durable, the node's thread tells how long it was held up. */
export type Mode = "durable" | "relaxed" | "slow" | "memory" | "timed";

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export class EngineCluster {
  readonly #directory: string;
  readonly #mode: Mode;
  readonly #addresses: readonly string[];
  readonly members: MemberProcess[] = [];

  private constructor(directory: string, mode: Mode, addresses: readonly string[]) {
    this.#directory = directory;
    this.#mode = mode;
    this.#addresses = addresses;
  }

  static async start(options: {
    readonly directory: string;
    readonly nodes: 1 | 3;
    readonly mode: Mode;
    readonly keys: number;
  }): Promise<EngineCluster> {
    const ports = options.nodes === 1 ? [] : await freePorts(options.nodes);
    const cluster = new EngineCluster(
      options.directory,
      options.mode,
      ports.map((port, i) => `n${i + 1}=127.0.0.1:${port}`),
    );
    await Promise.all(Array.from({ length: options.nodes }, (_, i) => cluster.startMember(i)));
    if (options.keys > 0) await (await leaderOf(cluster.members)).ask({ kind: "fill", keys: options.keys });
    return cluster;
  }

  /** Starts the member again where it was killed. */
  async startMember(i: number): Promise<MemberProcess> {
    const name = `n${i + 1}`;
    const member = new MemberProcess("member.js", [path.join(this.#directory, name), name, this.#mode, ...this.#addresses]);
    this.members[i] = member;
    await Promise.race([
      once(member.process, "message"),
      once(member.process, "exit").then(() => Promise.reject(new Error(`member ${name} ended before it was open`))),
    ]);
    return member;
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.stop()));
  }
}
