/**
 * Random bytes, random frames, and real traffic with random damage, against server and client: nothing throws, nothing stays behind, and others are
 * served. RPC_FUZZ_RUNS sets the number of connections, RPC_FUZZ_SEED the first seed.
 */
import assert from "node:assert/strict";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { test } from "node:test";
import { CLIENT_PREFACE, FrameType } from "../http2/protocol.ts";
import { frame, grpcMessage, RawPeer } from "./raw-peer.ts";
import { Chat, Echo, Flood, startClient, startServer, until } from "./server.ts";

const runs = Number(process.env["RPC_FUZZ_RUNS"] ?? 300);
const firstSeed = Number(process.env["RPC_FUZZ_SEED"] ?? 1);

/** Numbers from 0 to below `max`, the same for the same seed (mulberry32). */
function randomOf(seed: number): (max: number) => number {
  let state = seed >>> 0;
  return (max) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * max);
  };
}

function randomBytes(random: (max: number) => number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)));
}

/** A frame that is mostly well-formed: types, ids, lengths and blocks that mean something. */
function randomFrame(random: (max: number) => number, peer: RawPeer): Buffer {
  const streamId = random(4) === 0 ? random(12) : random(6) * 2 + 1;
  const flags = random(3) === 0 ? random(256) : [0, 1, 4, 5][random(4)]!;
  switch (random(13)) {
    case 0:
    case 1: {
      const path = ["/test.Raw/Echo", "/test.Raw/Count", "/test.Raw/Chat", "/test.Raw/Hang", "/test.Raw/Flood", "/x"][random(6)]!;
      const extra = [[], ["grpc-timeout", "5m"], ["grpc-encoding", "gzip"], ["x-a-bin", "%"], ["content-length", "5"], [":path", "/"]][
        random(6)
      ]!;
      return frame(FrameType.headers, flags | 4, streamId, peer.request(path, ...extra));
    }
    case 2:
      return frame(FrameType.headers, flags, streamId, randomBytes(random, random(40)));
    case 3:
    case 4:
      return frame(FrameType.data, flags, streamId, grpcMessage(randomBytes(random, random(50)), random(8) === 0 ? random(256) : 0));
    case 5:
      return frame(FrameType.data, flags, streamId, randomBytes(random, random(300)));
    case 6:
      return frame(FrameType.settings, random(2), 0, randomBytes(random, random(3) * 6));
    case 7:
      return frame(FrameType.windowUpdate, 0, streamId, Buffer.concat([randomBytes(random, 4)]));
    case 8:
      return frame(FrameType.rstStream, 0, streamId, randomBytes(random, 4));
    case 9:
      return frame(FrameType.ping, random(2), 0, randomBytes(random, 8));
    case 10:
      return frame(FrameType.continuation, flags, streamId, randomBytes(random, random(30)));
    case 11: {
      const block = peer.block(
        ":method",
        "POST",
        ":scheme",
        "http",
        ":path",
        "/plain",
        ...(random(3) === 0 ? ["content-length", "5"] : []),
      );
      return frame(FrameType.headers, flags | 4, streamId, block);
    }
    default:
      return frame(random(256), flags, streamId, randomBytes(random, random(30)));
  }
}

/** What a good client sends. */
function goodTraffic(peer: RawPeer): Buffer {
  const parts: Buffer[] = [CLIENT_PREFACE, frame(FrameType.settings, 0, 0), frame(FrameType.settings, 1, 0)];
  for (const [i, path] of ["/test.Raw/Echo", "/test.Raw/Chat", "/test.Raw/Count", "/test.Raw/Echo"].entries()) {
    const id = i * 2 + 1;
    parts.push(frame(FrameType.headers, 4, id, peer.request(path, "grpc-timeout", "100m", "x-a", "b")));
    parts.push(frame(FrameType.data, 0, id, grpcMessage(Buffer.alloc(30, i))));
    if (path !== "/test.Raw/Echo") parts.push(frame(FrameType.data, 0, id, grpcMessage(Buffer.alloc(300, i))));
    parts.push(frame(FrameType.data, 1, id));
    parts.push(frame(FrameType.windowUpdate, 0, 0, [0, 0, 0, 9]), frame(FrameType.ping, 0, 0, Buffer.alloc(8)));
  }
  return Buffer.concat(parts);
}

function damage(random: (max: number) => number, bytes: Buffer, from: number): Buffer {
  let damaged = Buffer.from(bytes);
  for (let i = random(4); i >= 0; i--) {
    const at = from + random(damaged.length - from);
    switch (random(4)) {
      case 0:
        damaged[at] = random(256);
        break;
      case 1:
        damaged[at]! ^= 1 << random(8);
        break;
      case 2:
        damaged = Buffer.concat([damaged.subarray(0, at), damaged.subarray(Math.min(damaged.length, at + 1 + random(20)))]);
        break;
      default:
        damaged = Buffer.concat([damaged.subarray(0, at), randomBytes(random, 1 + random(10)), damaged.subarray(at)]);
    }
    if (damaged.length <= from + 1) break;
  }
  return damaged;
}

/** Sends in random cuts, then ends in one of several ways. */
async function play(random: (max: number) => number, peer: RawPeer, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length && !peer.isClosed;) {
    const end = at + 1 + random(random(3) === 0 ? 20 : 2000);
    peer.socket.write(bytes.subarray(at, end));
    at = end;
    if (random(3) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  if (random(2) === 0) await new Promise((resolve) => setImmediate(resolve));
  if (random(3) === 0) peer.socket.resetAndDestroy();
  else if (random(2) === 0) peer.socket.end();
  else peer.destroy();
}

for (const [name, make] of [
  [
    "random bytes behind the preface",
    (random: (max: number) => number) =>
      Buffer.concat([CLIENT_PREFACE, frame(FrameType.settings, 0, 0), randomBytes(random, random(2000))]),
  ],
  ["random bytes", (random: (max: number) => number) => randomBytes(random, random(100))],
  [
    "random frames",
    (random: (max: number) => number, peer: RawPeer) =>
      Buffer.concat([
        CLIENT_PREFACE,
        frame(FrameType.settings, 0, 0),
        ...Array.from({ length: 1 + random(60) }, () => randomFrame(random, peer)),
      ]),
  ],
  [
    "damaged traffic",
    (random: (max: number) => number, peer: RawPeer) => damage(random, goodTraffic(peer), random(3) === 0 ? 0 : CLIENT_PREFACE.length),
  ],
] as const) {
  test(`A server survives ${name}`, async (context) => {
    const { server, port, seen } = await startServer(context, {
      limits: { concurrentStreamsMax: 10, handshakeTimeoutMs: 1000 },
      onHttpRequest: (exchange) => {
        exchange.respond(200, {});
        while (exchange.write(exchange.body)) exchange.end();
      },
    });
    const client = startClient(context, port);
    for (let seed = firstSeed; seed < firstSeed + runs; seed += 10) {
      await Promise.all(
        Array.from({ length: 10 }, async (_, i) => {
          const random = randomOf(seed + i);
          const peer = await RawPeer.connect(port, false);
          await play(random, peer, make(random, peer));
        }),
      );
      assert.equal((await client.unary(Echo, Buffer.from("still here"))).length, 10, `seed ${seed}`);
    }
    await until(() => server.connections === 1 && server.runningCalls === 0);
    assert.equal(server.memoryBytes, 0);
    assert.deepEqual(seen.failures.map(String), []);
  });
}

test("A client survives random frames and damaged traffic from a server", async (context) => {
  const sockets = new Set<Socket>();
  let seed = firstSeed;
  const hostile = createServer((socket) => {
    sockets.add(socket);
    const random = randomOf(seed++);
    socket.on("error", () => {});
    const peer = new RawPeer(socket);
    const block = (...fields: string[]): Buffer => peer.block(...fields);
    const answer = Buffer.concat(
      Array.from({ length: 6 }, (_, i) => [
        frame(FrameType.headers, 4, i * 2 + 1, block(":status", "200", "content-type", "application/grpc")),
        frame(FrameType.data, 0, i * 2 + 1, grpcMessage(Buffer.alloc(20))),
        frame(FrameType.headers, 5, i * 2 + 1, block("grpc-status", "0")),
      ]).flat(),
    );
    const greeting = frame(FrameType.settings, 0, 0);
    const bytes = random(2) === 0 ? damage(random, answer, 0) : Buffer.concat(Array.from({ length: 30 }, () => randomFrame(random, peer)));
    socket.write(greeting);
    socket.once("data", () => {
      setImmediate(() => {
        void play(random, peer, bytes);
      });
    });
  });
  await new Promise<void>((resolve) => hostile.listen(0, "127.0.0.1", resolve));
  context.after(() => hostile.close());
  const { port } = hostile.address() as AddressInfo;
  for (let run = 0; run < runs; run += 5) {
    await Promise.all(
      Array.from({ length: 5 }, async () => {
        const client = startClient(context, port, { backoff: { initialMs: 1, maxMs: 1 } });
        const stream = client.stream(Chat, { timeoutMs: 200 });
        stream.send(Buffer.alloc(100));
        const results = await Promise.allSettled([
          client.unary(Echo, Buffer.alloc(10), { timeoutMs: 200 }),
          client.serverStream(Flood, Buffer.alloc(10), { timeoutMs: 200 })[Symbol.asyncIterator]().next(),
          stream[Symbol.asyncIterator]().next(),
        ]);
        assert.equal(results.length, 3);
        await client.close();
        assert.equal(client.calls, 0);
        assert.equal(client.connections, 0);
      }),
    );
  }
  for (const socket of sockets) socket.destroy();
});
