/**
 * The speed of the stack beside @grpc/grpc-js and node:http2, as ratios of rates in the same run. Servers are processes of their own; load comes from
 * h2load where it is present, else from our client. Rounds alternate; the median of the rounds' ratios counts.
 *
 *     node dist/rpc/bench/bench.js [rounds] [seconds per measurement]
 */
import { execFile, fork, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { RpcClient } from "../grpc/client.ts";
import { CLIENT_PREFACE } from "../http2/protocol.ts";
import { EMPTY_PATH, emptyMethod, SERVERS, STREAM_MESSAGES, STREAM_PATH, type ServerName } from "./server.ts";

const rounds = Number(process.argv[2] ?? 3);
const seconds = Number(process.argv[3] ?? 2);
const hasH2load = spawnSync("h2load", ["--version"], { stdio: "ignore" }).status === 0;
const EMPTY = new Uint8Array(0);

interface Server {
  readonly name: ServerName;
  readonly child: ChildProcess;
  readonly port: number;
}

async function startServer(name: ServerName): Promise<Server> {
  const child = fork(fileURLToPath(new URL("./server.js", import.meta.url)), [name], { execArgv: ["--expose-gc"] });
  const { port } = await message<{ port: number }>(child);
  return { name, child, port };
}

function message<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve) => child.once("message", (found) => resolve(found as T)));
}

const directory = mkdtempSync(join(tmpdir(), "rpc-bench-"));
const requestFile = join(directory, "request");
writeFileSync(requestFile, Buffer.alloc(5));

/** Runs h2load and returns requests per second. */
function h2load(server: Server, path: string, connections: number, streams: number, count: number): Promise<number> {
  const args = ["-c", String(connections), "-m", String(streams), "-n", String(count), "-w", "24", "-W", "28", "-d", requestFile];
  args.push("-H", "content-type: application/grpc", "-H", "te: trailers", `http://127.0.0.1:${server.port}${path}`);
  return new Promise((resolve, reject) => {
    execFile("h2load", args, { encoding: "latin1" }, (error, stdout) => {
      const rate = /finished in [^,]+, ([0-9.]+) req\/s/.exec(stdout);
      const failed = / ([0-9]+) failed/.exec(stdout);
      if (error !== null || rate === null || failed?.[1] !== "0") reject(new Error(`h2load: ${stdout}`));
      else resolve(Number(rate[1]));
    });
  });
}

/** Calls with our client, so many at the same time on each of so many connections, and returns calls per second. */
async function ourLoad(server: Server, connections: number, streams: number, durationMs: number): Promise<number> {
  const clients = Array.from({ length: connections }, () => new RpcClient({ endpoints: [`127.0.0.1:${server.port}`] }));
  const rate = await callsPerSecond(
    clients.flatMap((client) => Array.from({ length: streams }, () => () => client.unary(emptyMethod(), EMPTY))),
    durationMs,
  );
  await Promise.all(clients.map((client) => client.close()));
  return rate;
}

async function callsPerSecond(callers: readonly (() => Promise<unknown>)[], durationMs: number): Promise<number> {
  let calls = 0;
  const startMs = performance.now();
  const endMs = startMs + durationMs;
  await Promise.all(
    callers.map(async (call) => {
      while (performance.now() < endMs) {
        await call();
        calls++;
      }
    }),
  );
  return (calls / (performance.now() - startMs)) * 1000;
}

async function grpcJsLoad(server: Server, streams: number, durationMs: number): Promise<number> {
  const client = new grpc.Client(`127.0.0.1:${server.port}`, grpc.credentials.createInsecure());
  const same = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
  const call = (): Promise<void> =>
    new Promise((resolve, reject) =>
      client.makeUnaryRequest(EMPTY_PATH, same, same, EMPTY, (error) => (error === null ? resolve() : reject(error))),
    );
  const rate = await callsPerSecond(
    Array.from({ length: streams }, () => call),
    durationMs,
  );
  client.close();
  return rate;
}

/** Calls per second of one measurement of about `seconds`, after a warm-up. */
async function unaryRate(server: Server, connections: number, streams: number): Promise<number> {
  if (!hasH2load) {
    await ourLoad(server, connections, streams, 500);
    return ourLoad(server, connections, streams, seconds * 1000);
  }
  const warm = await h2load(server, EMPTY_PATH, connections, streams, connections * streams * 20);
  return h2load(server, EMPTY_PATH, connections, streams, Math.ceil(warm * seconds));
}

async function streamRate(server: Server): Promise<number> {
  if (hasH2load) return (await h2load(server, STREAM_PATH, 1, 1, 2)) * STREAM_MESSAGES;
  const client = new RpcClient({ endpoints: [`127.0.0.1:${server.port}`] });
  const startMs = performance.now();
  let messages = 0;
  const call = client.serverStream({ ...emptyMethod(), path: STREAM_PATH, kind: "serverStream" }, EMPTY);
  await new Promise((resolve) => call.listen({ onMessage: () => void messages++, onEnd: resolve }));
  await client.close();
  return (messages / (performance.now() - startMs)) * 1000;
}

/** Bytes of memory for each of so many idle connections: what the heap holds, and what the process does. */
async function idleMemory(server: Server, count: number): Promise<{ readonly used: number; readonly rss: number }> {
  const ask = async (): Promise<{ used: number; rss: number }> => {
    const answer = message<{ used: number; rss: number }>(server.child);
    server.child.send("memory");
    return answer;
  };
  const before = await ask();
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i++) {
    const socket = connect(server.port, "127.0.0.1");
    await new Promise<void>((resolve) => socket.once("connect", resolve));
    socket.write(Buffer.concat([CLIENT_PREFACE, Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0])]));
    await new Promise<void>((resolve) => socket.once("data", () => resolve()));
    sockets.push(socket);
  }
  const after = await ask();
  for (const socket of sockets) socket.destroy();
  return { used: (after.used - before.used) / count, rss: (after.rss - before.rss) / count };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Writes a line of the result. */
function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

interface Row {
  readonly name: string;
  readonly ours: number[];
  readonly others: ReadonlyMap<string, { readonly rates: number[]; readonly required: number }>;
}

function row(name: string, required: Readonly<Record<string, number>>): Row {
  return { name, ours: [], others: new Map(Object.entries(required).map(([other, ratio]) => [other, { rates: [], required: ratio }])) };
}

const throughput = row("unary, 10 connections by 100 streams", { "grpc-js": 8, "node-http2": 6 });
const latency = row("unary, one at a time", { "grpc-js": 2, "node-http2": 1 });
const streaming = row("64-byte messages on one server stream", { "grpc-js": 5 });
const pair = row("client against server, 100 in flight", { "grpc-js": 8 });

const servers = new Map<ServerName, Server>();
for (const name of SERVERS) servers.set(name, await startServer(name));

for (let round = 0; round <= rounds; round++) {
  const measure = async (to: Row, name: ServerName, rate: Promise<number>): Promise<void> => {
    const found = await rate;
    // The first round warms up.
    if (round > 0) (name === "ours" ? to.ours : to.others.get(name)!.rates).push(found);
  };
  for (const name of SERVERS) {
    const server = servers.get(name)!;
    await measure(throughput, name, unaryRate(server, 10, 100));
    await measure(latency, name, unaryRate(server, 1, 1));
    if (name === "node-http2") continue;
    await measure(streaming, name, streamRate(server));
    await measure(pair, name, name === "ours" ? ourLoad(server, 1, 100, seconds * 1000) : grpcJsLoad(server, 100, seconds * 1000));
  }
}

print(`load: ${hasH2load ? "h2load" : "our client"}; ${rounds} rounds; rates per second`);
for (const { name, ours, others } of [throughput, latency, streaming, pair]) {
  print(`${name}: ours ${Math.round(median(ours))}`);
  for (const [other, { rates, required }] of others) {
    const ratios = rates.map((rate, i) => ours[i]! / rate);
    const range = `${Math.min(...ratios).toFixed(1)} to ${Math.max(...ratios).toFixed(1)}`;
    const verdict = median(ratios) >= required ? "ok" : "MISSED";
    print(`  ${median(ratios).toFixed(1)} times ${other} (${Math.round(median(rates))}), range ${range}, required ${required}: ${verdict}`);
  }
}
for (const server of servers.values()) server.child.disconnect();
const fresh = await startServer("ours");
const memory = await idleMemory(fresh, 2000);
fresh.child.disconnect();
const kilobytes = (bytes: number): string => (bytes / 1024).toFixed(1);
print(
  `memory per idle connection: ${kilobytes(memory.rss)} KB resident, ${kilobytes(memory.used)} KB in use, required under 40: ${memory.rss < 40 * 1024 ? "ok" : "MISSED"}`,
);
rmSync(directory, { recursive: true });
