/**
 * Many calls and many connections, after which memory must be what it was. Client and server share the process, so that a leak of either shows.
 *
 *     node --expose-gc dist/rpc/bench/soak.js [calls] [connections]      default 1,000,000 and 10,000
 */
import type { AddressInfo } from "node:net";
import { RpcClient } from "../grpc/client.ts";
import { RpcServer } from "../grpc/server.ts";
import { emptyMethod } from "./server.ts";

const calls = Number(process.argv[2] ?? 1_000_000);
const connections = Number(process.argv[3] ?? 10_000);
/** What the heap may grow by: code that the compiler keeps, pools that filled. */
const GROWTH_BYTES_MAX = 6_000_000;

/** Heap and buffers after full collections; buffers are freed behind them, so the least of several looks counts. */
async function memoryInUse(): Promise<number> {
  const collect = (globalThis as { gc?: () => void }).gc;
  if (collect === undefined) throw new Error("run with --expose-gc");
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 10; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 30));
    const { heapUsed, external } = process.memoryUsage();
    least = Math.min(least, heapUsed + external);
  }
  return least;
}

/** Writes a line of the result. */
function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

const method = emptyMethod();
const stream = { ...method, path: "/bench.Bench/Chat", kind: "bidi" } as const;
const server = new RpcServer();
server.add(method, (request) => request);
server.add(stream, async (call) => {
  for await (const message of call) call.send(message);
});
const { port } = (await server.listen({ port: 0, host: "127.0.0.1" })) as AddressInfo;

/** One call in 50 is a stream, and one in 50 is cancelled or too late: those paths leave nothing either. */
async function callMany(client: RpcClient, count: number): Promise<void> {
  let left = count;
  const message = new Uint8Array(50);
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      while (left-- > 0) {
        if (left % 50 === 0) {
          const call = client.stream(stream, { timeoutMs: 60_000 });
          call.send(message);
          const iterator = call[Symbol.asyncIterator]();
          await iterator.next();
          if (left % 100 === 0) call.cancel();
          else call.end();
          await iterator.next().catch(() => {});
        } else if (left % 50 === 1) {
          await client.unary(method, message, { timeoutMs: 0, metadata: { "x-call": String(left) } }).catch(() => {});
        } else {
          await client.unary(method, message, { timeoutMs: 60_000 });
        }
      }
    }),
  );
}

async function connectMany(count: number): Promise<void> {
  const open: RpcClient[] = [];
  for (let i = 0; i < count; i++) {
    const client = new RpcClient({ endpoints: [`127.0.0.1:${port}`] });
    open.push(client);
    await client.unary(method, new Uint8Array(5));
    // A thousand at the same time, then all at once gone.
    if (open.length === 1000) await Promise.all(open.splice(0).map((one) => one.close()));
  }
  await Promise.all(open.map((one) => one.close()));
  while (server.connections > 1) await new Promise((resolve) => setTimeout(resolve, 20));
}

const client = new RpcClient({ endpoints: [`127.0.0.1:${port}`] });
await callMany(client, Math.min(calls, 50_000));
await connectMany(Math.min(connections, 1000));
const before = await memoryInUse();
const startMs = performance.now();
await callMany(client, calls);
const afterCalls = await memoryInUse();
const callsMs = performance.now() - startMs;
await connectMany(connections);
const after = await memoryInUse();
const megabytes = (bytes: number): string => `${(bytes / 1_000_000).toFixed(2)} MB`;
print(`${calls} calls in ${(callsMs / 1000).toFixed(1)} s: ${megabytes(before)} in use before, ${megabytes(afterCalls)} after`);
print(`${connections} connections in ${((performance.now() - startMs - callsMs) / 1000).toFixed(1)} s: ${megabytes(after)} in use after`);
const isFlat =
  after - before < GROWTH_BYTES_MAX && afterCalls - before < GROWTH_BYTES_MAX && server.runningCalls === 0 && client.calls === 0;
print(isFlat ? "memory is flat" : "MEMORY GREW");
await client.close();
await server.close();
process.exitCode = isFlat ? 0 : 1;
