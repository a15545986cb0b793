/** What clients can make a server hold: each byte counts, and at the limit a call fails, not the server. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { CLIENT_PREFACE, ErrorCode, FrameType, Setting } from "../http2/protocol.ts";
import { frame, grpcMessage, number32, RawPeer, settingsPayload } from "./raw-peer.ts";
import { SlowSocket } from "./slow-socket.ts";
import { Echo, startServer, until } from "./server.ts";

const { data, headers, rstStream, settings } = FrameType;
const END_STREAM = 1;
const END_HEADERS = 4;
const EMPTY = new Uint8Array(0);

function open(peer: RawPeer, method: string, id = 1): Buffer {
  return frame(headers, END_HEADERS, id, peer.request(`/test.Raw/${method}`));
}

test("A handler that ignores that it must wait fails its call at sendQueueBytesMax", async (context) => {
  const { port, server } = await startServer(context, { limits: { sendQueueBytesMax: 1_000_000 } });
  let refusedAt = 0;
  server.add({ ...Echo, path: "/test.Raw/Careless", kind: "serverStream" }, async (_request, call) => {
    while (!call.isCancelled) {
      call.send(new Uint8Array(10_000));
      refusedAt++;
    }
  });
  const peer = await RawPeer.connect(port);
  peer.send(frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0)));
  peer.send(open(peer, "Careless"), frame(data, END_STREAM, 1, grpcMessage(EMPTY)));
  assert.equal(await peer.resetCode(1), ErrorCode.ENHANCE_YOUR_CALM);
  assert.ok(refusedAt > 90 && refusedAt < 120, String(refusedAt));
  peer.destroy();
});

test("A message beyond messageBytesMax fails its call by its length alone", async (context) => {
  const { port } = await startServer(context, { messageBytesMax: 1000 });
  const peer = await RawPeer.connect(port);
  peer.send(open(peer, "Echo"), frame(data, 0, 1, Buffer.from([0, 0, 0, 3, 0xe9])));
  const block = await peer.headers(1);
  assert.equal(block?.get("grpc-status"), "8");
  assert.equal(block.get("grpc-message"), "grpc: received message larger than max (1001 vs. 1000)");
  peer.destroy();
});

test("What a length merely claims is not allocated, and incomplete messages are bounded (connectionMemoryBytesMax)", async (context) => {
  const { port, server } = await startServer(context, { connectionMemoryBytesMax: 70_000 });
  const peer = await RawPeer.connect(port);
  const claim = Buffer.concat([Buffer.from([0, 0, 0x30, 0, 0]), Buffer.alloc(10)]);
  for (let id = 1; id <= 19; id += 2) peer.send(open(peer, "Count", id));
  assert.equal(await peer.sync(), true);
  const openBytes = server.memoryBytes;
  for (let id = 1; id <= 19; id += 2) peer.send(frame(data, 0, id, claim));
  assert.equal(await peer.sync(), true);
  assert.equal(server.memoryBytes, openBytes + 10 * 4096);
  // The buffers of three streams can grow, that of the fourth cannot.
  for (let id = 1; id <= 7; id += 2) peer.send(frame(data, 0, id, Buffer.alloc(9000)));
  assert.equal((await peer.headers(7))?.get("grpc-status"), "8");
  assert.ok(server.memoryBytes <= 70_000);
  peer.destroy();
  await until(() => server.memoryBytes === 0);
});

test("Incomplete messages of all connections are bounded together (memoryBytesMax)", async (context) => {
  const { port, server } = await startServer(context, { memoryBytesMax: 12_000 });
  const claim = Buffer.concat([Buffer.from([0, 0, 0x30, 0, 0]), Buffer.alloc(10)]);
  const peers = await Promise.all([1, 2, 3].map(() => RawPeer.connect(port)));
  for (const peer of peers) {
    peer.send(open(peer, "Count"), frame(data, 0, 1, claim));
    if (peer !== peers[2]) assert.equal(await peer.sync(), true);
  }
  assert.equal((await peers[2]!.headers(1))?.get("grpc-status"), "8");
  for (const peer of peers) peer.destroy();
  await until(() => server.memoryBytes === 0);
});

test("A gzip bomb fails its call at the message limit", async (context) => {
  const { port } = await startServer(context, { messageBytesMax: 100_000 });
  const peer = await RawPeer.connect(port);
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  assert.ok(bomb.length < 100_000);
  const message = grpcMessage(bomb, 1);
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Echo", "grpc-encoding", "gzip")));
  for (let at = 0; at < message.length; at += 10_000) peer.send(frame(data, 0, 1, message.subarray(at, at + 10_000)));
  assert.equal((await peer.headers(1))?.get("grpc-status"), "8");
  peer.destroy();
});

test("Open calls count with their headers, so that many of them with large headers end at connectionMemoryBytesMax", async (context) => {
  const { port, server } = await startServer(context, { connectionMemoryBytesMax: 100_000 });
  const peer = await RawPeer.connect(port);
  const openLarge = (id: number): Buffer =>
    frame(headers, END_HEADERS, id, peer.request("/test.Raw/Ignore", "x-large", "y".repeat(10_000)));
  for (let id = 1; id <= 19; id += 2) peer.send(openLarge(id));
  assert.equal((await peer.headers(19))?.get("grpc-status"), "8");
  assert.equal(server.runningCalls, 8);
  // A cancelled call counts until its handler has ended.
  for (let id = 1; id <= 15; id += 2) peer.send(frame(rstStream, 0, id, number32(8)));
  await until(() => server.memoryBytes === 0 && server.runningCalls === 0);
  peer.destroy();
});

test("Messages without content count while they wait", async (context) => {
  const { port, server } = await startServer(context, { connectionMemoryBytesMax: 50_000 });
  const peer = await RawPeer.connect(port);
  peer.send(open(peer, "Ignore"), frame(data, 0, 1, Buffer.alloc(5000)));
  assert.equal((await peer.headers(1))?.get("grpc-status"), "8");
  assert.deepEqual([server.memoryBytes, server.runningCalls], [0, 0]);
  peer.destroy();
});

test("What many connections do not read, each within outputBytesMax, is bounded for all together (sendMemoryBytesMax)", async (context) => {
  const limits = { outputBytesMax: 10_000_000, outputBytesHigh: 50_000, controlFramesBurst: 1_000_000 };
  const { server } = await startServer(context, { limits, sendMemoryBytesMax: 250_000, requestTimeoutMs: 20 });
  const pings = Buffer.concat(Array.from({ length: 5000 }, () => frame(FrameType.ping, 0, 0, new Uint8Array(8))));
  const sockets = [1, 2, 3, 4].map(() => new SlowSocket());
  for (const [i, socket] of sockets.entries()) {
    server.accept(socket as unknown as Socket);
    // Three that hold 85,000 bytes each are too much, and one of them goes; the fourth holds next to nothing.
    socket.push(Buffer.concat([CLIENT_PREFACE, frame(settings, 0, 0), frame(settings, 1, 0), ...(i === 3 ? [] : [pings])]));
  }
  await until(() => server.connections === 3);
  assert.equal(sockets[3]!.destroyed, false);
  assert.equal(sockets.filter((socket) => socket.destroyed).length, 1);
});
