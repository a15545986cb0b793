/**
 * The hop floor: what it costs to ask another thread of the same process for 256-byte values, nothing else: the reads of a turn go
 * over as one buffer and come back as one buffer, each value is copied out for its caller. With the ports of the floor's followers
 * each buffer also costs a round to a majority: the read floor of an engine that has a thread of its own.
 */
import net from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { countFrame, onFrames, ROUND } from "./floor-frame.ts";
import { keyIndex, makeKeys, runLoad, type LoadResult } from "./load.ts";
import { VALUE_BYTES } from "./work.ts";

const KEY_BYTES = 8;

interface Setup {
  readonly keys: number;
  readonly ports: readonly number[];
}

export async function measureHop(
  load: { readonly clients: number; readonly seconds: number; readonly keys: number },
  ports: readonly number[] = [],
): Promise<LoadResult> {
  const worker = new Worker(new URL(import.meta.url), { workerData: { keys: load.keys, ports } satisfies Setup, execArgv: [] });
  const keys = makeKeys(load.keys).map((key) => Buffer.from(key, "latin1"));
  const underWay: ((value: Uint8Array) => void)[][] = [];
  let waiting: ((value: Uint8Array) => void)[] = [];
  let asked: Buffer[] = [];
  await new Promise((resolve) => worker.once("message", resolve));
  worker.on("message", (reply: ArrayBuffer) => {
    let at = 0;
    for (const resolve of underWay.shift() ?? []) {
      resolve(new Uint8Array(reply.slice(at, at + VALUE_BYTES)));
      at += VALUE_BYTES;
    }
  });
  const flush = (): void => {
    const bytes = new Uint8Array(asked.length * KEY_BYTES);
    asked.forEach((key, i) => bytes.set(key, i * KEY_BYTES));
    underWay.push(waiting);
    waiting = [];
    asked = [];
    worker.postMessage(bytes.buffer, [bytes.buffer]);
  };
  const get = (key: Buffer): Promise<Uint8Array> =>
    new Promise((resolve) => {
      if (asked.length === 0) setImmediate(flush);
      asked.push(key);
      waiting.push(resolve);
    });
  const none = Buffer.alloc(KEY_BYTES);
  const result = await runLoad(load, (client, count) => get(keys[keyIndex(client, count, load.keys)] ?? none));
  await worker.terminate();
  return result;
}

async function answerReads(port: NonNullable<typeof parentPort>): Promise<void> {
  const { keys, ports } = workerData as Setup;
  const state = new Map<string, Uint8Array>();
  for (const key of makeKeys(keys)) state.set(key, new Uint8Array(VALUE_BYTES).fill(3));
  const answer = (buffer: ArrayBuffer): void => {
    const asked = Buffer.from(buffer);
    const reply = new Uint8Array((asked.length / KEY_BYTES) * VALUE_BYTES);
    for (let at = 0; at < asked.length; at += KEY_BYTES) {
      const value = state.get(asked.toString("latin1", at, at + KEY_BYTES));
      if (value !== undefined) reply.set(value, (at / KEY_BYTES) * VALUE_BYTES);
    }
    port.postMessage(reply.buffer, [reply.buffer]);
  };
  const rounds: ArrayBuffer[] = [];
  const reached = ports.map(() => 0);
  let confirmed = 0;
  const sockets = await Promise.all(
    ports.map(
      (number, i) =>
        new Promise<net.Socket>((resolve) => {
          const socket = net.connect({ port: number, host: "127.0.0.1", noDelay: true }, () => resolve(socket));
          onFrames(socket, () => {
            reached[i] = (reached[i] ?? 0) + 1;
            // This process and one other are two of three.
            for (const most = Math.max(...reached); confirmed < most; confirmed += 1) {
              const buffer = rounds.shift();
              if (buffer !== undefined) answer(buffer);
            }
          });
        }),
    ),
  );
  port.on("message", (buffer: ArrayBuffer) => {
    if (sockets.length === 0) return answer(buffer);
    rounds.push(buffer);
    for (const socket of sockets) socket.write(countFrame(ROUND, 1));
  });
  port.postMessage("ready");
}

if (!isMainThread && parentPort !== null) await answerReads(parentPort);
