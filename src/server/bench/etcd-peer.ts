/** A real etcd, or this engine's server, started with the same flags: one member or three, each a process, durable, on ports of the system's choice. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { RpcClient } from "../../rpc/index.ts";
import { leaderAndSelf, STATUS } from "./etcd-messages.ts";

export type Product = "etcd" | "d-engine";

const READY = /ready to serve client requests/;
const READY_MS_MAX = 60_000;

interface Member {
  readonly child: ChildProcess;
  readonly clientPort: number;
  /** The last lines that it printed, for the day on which it does not start. */
  readonly output: string[];
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = net.createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(
    servers.map(async (server) => {
      server.close();
      await once(server, "close");
    }),
  );
  return ports;
}

export function isInstalled(): boolean {
  return (
    spawnSync("etcd", ["--version"], { stdio: "ignore" }).status === 0 &&
    spawnSync("h2load", ["--version"], { stdio: "ignore" }).status === 0
  );
}

/** "3.4.23", "0.1.0". */
export function versionOf(product: Product): string {
  const [command, ...args] = commandOf(product);
  const { stdout } = spawnSync(command ?? "", [...args, "--version"], { encoding: "utf8" });
  return /(?:etcd Version|d-engine):? ([0-9][^\s]*)/.exec(product === "etcd" ? stdout : stdout.replace(/etcd Version: .*/, ""))?.[1] ?? "?";
}

function commandOf(product: Product): string[] {
  return product === "etcd" ? ["etcd"] : [process.execPath, fileURLToPath(new URL("../../cli/main.js", import.meta.url))];
}

export class Peer {
  readonly product: Product;
  readonly #members: readonly Member[];

  private constructor(product: Product, members: readonly Member[]) {
    this.product = product;
    this.#members = members;
  }

  static async start(product: Product, members: number, directory: string): Promise<Peer> {
    const ports = await freePorts(members * 2);
    const cluster = Array.from({ length: members }, (_, i) => `n${i + 1}=http://127.0.0.1:${ports[members + i]}`).join(",");
    const started = Array.from({ length: members }, (_, i): Member => {
      const client = `http://127.0.0.1:${ports[i]}`;
      const peer = `http://127.0.0.1:${ports[members + i]}`;
      const dataDir = path.join(directory, `${product}-n${i + 1}`);
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      const [command, ...prefix] = commandOf(product);
      const args = [...prefix, ...(product === "etcd" ? [] : ["serve"])];
      args.push("--name", `n${i + 1}`, "--data-dir", dataDir, "--listen-client-urls", client, "--advertise-client-urls", client);
      args.push("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster);
      args.push("--quota-backend-bytes", String(2 ** 31));
      const child = spawn(command ?? "", args, { stdio: ["ignore", "pipe", "pipe"] });
      return { child, clientPort: ports[i] ?? 0, output: [] };
    });
    const peer = new Peer(product, started);
    try {
      await Promise.all(started.map(whenReady));
    } catch (error) {
      await peer.stop();
      throw error;
    }
    return peer;
  }

  /** The client port of the member that leads. */
  async leaderPort(): Promise<number> {
    for (let attempt = 0; attempt < 100; attempt += 1) {
      for (const { clientPort } of this.#members) {
        const client = new RpcClient({ endpoints: [`127.0.0.1:${clientPort}`] });
        try {
          const { leader, self } = leaderAndSelf(await client.unary(STATUS, new Uint8Array(0), { timeoutMs: 5_000 }));
          if (leader !== 0n && leader === self) return clientPort;
        } finally {
          await client.close();
        }
      }
    }
    throw new Error(`no member of ${this.product} leads`);
  }

  /** Resident memory of all members, in bytes. */
  residentBytes(): number {
    return this.#members.reduce((sum, { child }) => {
      const kibibytes = /VmRSS:\s+([0-9]+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "latin1"))?.[1];
      return sum + Number(kibibytes) * 1024;
    }, 0);
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#members.map(async ({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const gone = once(child, "exit");
        child.kill("SIGKILL");
        await gone;
      }),
    );
  }
}

async function whenReady(member: Member): Promise<void> {
  const { child, output } = member;
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`a member was not ready in time:\n${output.join("")}`)), READY_MS_MAX);
    const onText = (text: string): void => {
      output.push(text);
      if (output.length > 50) output.shift();
      if (!READY.test(output.join(""))) return;
      clearTimeout(late);
      resolve();
    };
    child.stdout?.setEncoding("utf8").on("data", onText);
    child.stderr?.setEncoding("utf8").on("data", onText);
    child.once("error", reject);
    child.once("exit", (code) => {
      clearTimeout(late);
      reject(new Error(`a member ended with code ${code}:\n${output.join("")}`));
    });
  });
}
