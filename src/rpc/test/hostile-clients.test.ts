/** What hostile clients do, and that each limit holds: they end, memory stays bounded, and others are served. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { ErrorCode, FrameType, Setting, CLIENT_PREFACE, errorCodeName } from "../http2/protocol.ts";
import type { RpcServerOptions } from "../grpc/server.ts";
import { frame, grpcMessage, number32, RawPeer, settingsPayload } from "./raw-peer.ts";
import { Echo, startClient, startServer, until } from "./server.ts";

const { data, headers, priority, rstStream, settings, ping, windowUpdate, continuation } = FrameType;
const END_STREAM = 1;
const END_HEADERS = 4;
const EMPTY = new Uint8Array(0);
const LARGE = new Uint8Array(16_000);

/** Sends the same bytes until the connection ends, at most so often, and returns the code of the GOAWAY. */
async function flood(peer: RawPeer, times: number, part: (i: number) => Uint8Array): Promise<number | "closed"> {
  for (let i = 0; i < times && !peer.isClosed; i++) {
    const more = peer.socket.write(part(i));
    if (!more) await new Promise<void>((resolve) => (peer.socket.once("drain", resolve), peer.socket.once("close", resolve)));
  }
  return peer.goawayCode();
}

const FLOODS: readonly (readonly [string, (peer: RawPeer, i: number) => Uint8Array])[] = [
  ["PINGs", () => frame(ping, 0, 0, new Uint8Array(8))],
  ["answers to PINGs that were never sent", () => frame(ping, 1, 0, new Uint8Array(8))],
  ["SETTINGS", () => frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 1000))],
  ["empty SETTINGS", () => frame(settings, 0, 0)],
  ["acknowledgements of SETTINGS", () => frame(settings, 1, 0)],
  ["PRIORITY", () => frame(priority, 0, 1, new Uint8Array(5))],
  ["frames of an unknown type", () => frame(0x99, 0, 0)],
  ["WINDOW_UPDATEs", () => frame(windowUpdate, 0, 0, number32(1))],
  ["empty DATA", (peer, i) => (i === 0 ? open(peer, "Count") : frame(data, 0, 1))],
  ["DATA that is all padding", (peer, i) => (i === 0 ? open(peer, "Count") : frame(data, 8, 1, Buffer.alloc(256, 255).fill(255, 0, 1)))],
  [
    "DATA for a stream that was reset",
    (peer, i) =>
      // What the stream's window had allowed may have been on its way: it is free.
      i === 0 ? Buffer.concat([open(peer, "Count"), frame(headers, END_HEADERS, 1, peer.block("a", "b"))]) : frame(data, 0, 1, LARGE),
  ],
  [
    "RST_STREAM for a stream that is over",
    (peer, i) => (i === 0 ? Buffer.concat([open(peer, "Nothing")]) : frame(rstStream, 0, 1, number32(8))),
  ],
];

function open(peer: RawPeer, method: string, id = 1): Buffer {
  return frame(headers, END_HEADERS, id, peer.request(`/test.Raw/${method}`));
}

for (const [name, part] of FLOODS) {
  test(`A flood of ${name} ends with ENHANCE_YOUR_CALM after controlFramesBurst`, async (context) => {
    const { port, server } = await startServer(context, { limits: { controlFramesBurst: 100, controlFramesPerSecond: 0 } });
    const peer = await RawPeer.connect(port);
    assert.equal(await flood(peer, 300, (i) => part(peer, i)), ErrorCode.ENHANCE_YOUR_CALM);
    await until(() => server.connections === 0 && server.runningCalls === 0);
  });
}

test("Useful work pays for control frames: a peer that acknowledges each message goes on for ever", async (context) => {
  const { port } = await startServer(context, { limits: { controlFramesBurst: 20, controlFramesPerSecond: 0 } });
  const peer = await RawPeer.connect(port);
  const message = grpcMessage(Buffer.alloc(100));
  for (let id = 1; id < 400; id += 2) {
    peer.send(open(peer, "Echo", id), frame(data, END_STREAM, id, message));
    assert.ok((await peer.next((found) => found.type === data)) !== undefined);
    peer.send(frame(windowUpdate, 0, 0, number32(105)), frame(ping, 0, 0, new Uint8Array(8)));
  }
  peer.destroy();
});

test("Rapid reset ends with ENHANCE_YOUR_CALM after resetsBurst, and never more handlers run than twice the streams allowed", async (context) => {
  const { port, server } = await startServer(context, { limits: { resetsBurst: 200, resetsPerSecond: 0, concurrentStreamsMax: 10 } });
  let runningMax = 0;
  server.add({ ...Echo, path: "/test.Raw/Stubborn" }, () => {
    runningMax = Math.max(runningMax, server.runningCalls);
    return new Promise(() => {});
  });
  const peer = await RawPeer.connect(port);
  const code = await flood(peer, 1000, (i) => {
    const id = i * 2 + 1;
    return Buffer.concat([
      open(peer, "Stubborn", id),
      frame(data, END_STREAM, id, grpcMessage(EMPTY)),
      frame(rstStream, 0, id, number32(8)),
    ]);
  });
  assert.equal(code, ErrorCode.ENHANCE_YOUR_CALM);
  assert.equal(runningMax, 20);
});

test("Streams that the peer makes us reset count like its own resets", async (context) => {
  const { port } = await startServer(context, { limits: { resetsBurst: 100, resetsPerSecond: 0 } });
  const peer = await RawPeer.connect(port);
  const code = await flood(peer, 1000, (i) => frame(headers, END_HEADERS | END_STREAM, i * 2 + 1, peer.block(":method", "GET")));
  assert.equal(code, ErrorCode.ENHANCE_YOUR_CALM);
});

test("A flood of CONTINUATIONs ends with ENHANCE_YOUR_CALM after continuationFramesMax", async (context) => {
  const { port } = await startServer(context, { limits: { continuationFramesMax: 5, frameTimeoutMs: 600_000 } });
  const peer = await RawPeer.connect(port);
  assert.equal(await flood(peer, 100, (i) => frame(i === 0 ? headers : continuation, 0, 1)), ErrorCode.ENHANCE_YOUR_CALM);
});

test("A header block beyond headerBlockBytesMax ends with ENHANCE_YOUR_CALM, before it is decoded", async (context) => {
  const { port } = await startServer(context, { limits: { headerBlockBytesMax: 20_000, frameTimeoutMs: 600_000 } });
  const peer = await RawPeer.connect(port);
  const code = await flood(peer, 100, (i) => frame(i === 0 ? headers : continuation, 0, 1, Buffer.alloc(10_000, 0x82)));
  assert.equal(code, ErrorCode.ENHANCE_YOUR_CALM);
});

test("An HPACK bomb fails its call and holds no more than the limit of the list", async (context) => {
  const { port, server } = await startServer(context);
  const peer = await RawPeer.connect(port);
  const entry = Buffer.concat([Buffer.from([0x40, 1, 0x61, 0x7f, 0x81, 0x1e]), Buffer.alloc(4000, 0x62)]);
  const bomb = Buffer.concat([peer.request("/test.Raw/Echo"), entry, Buffer.alloc(12_000, 0xbe)]);
  const heapBefore = process.memoryUsage().heapUsed;
  peer.send(frame(headers, END_HEADERS, 1, bomb.subarray(0, 16_384)));
  const block = await peer.headers(1);
  assert.equal(block?.get("grpc-status"), "8");
  assert.ok(process.memoryUsage().heapUsed - heapBefore < 30_000_000);
  assert.equal(await peer.sync(), true);
  assert.equal(server.runningCalls, 0);
  peer.destroy();
});

test("Headers beyond headerListBytesMax fail their call, and the connection goes on", async (context) => {
  const { port } = await startServer(context, { limits: { headerListBytesMax: 1000 } });
  const peer = await RawPeer.connect(port);
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Echo", "x-long", "y".repeat(2000))));
  assert.equal((await peer.headers(1))?.get("grpc-status"), "8");
  // Here the limit leaves nothing that could be answered.
  peer.send(frame(headers, END_HEADERS, 3, peer.block("x-long", "y".repeat(2000), ":path", "/")));
  assert.equal(await peer.resetCode(3), ErrorCode.ENHANCE_YOUR_CALM);
  assert.equal(await peer.sync(), true);
  peer.destroy();
});

const SILENCES: readonly (readonly [string, number | "closed", RpcServerOptions["limits"], (peer: RawPeer) => Uint8Array[], boolean])[] = [
  ["sends nothing (handshakeTimeoutMs)", "closed", { handshakeTimeoutMs: 60 }, () => [], false],
  ["sends half a preface (handshakeTimeoutMs)", "closed", { handshakeTimeoutMs: 60 }, () => [CLIENT_PREFACE.subarray(0, 10)], false],
  ["sends no SETTINGS (handshakeTimeoutMs)", ErrorCode.SETTINGS_TIMEOUT, { handshakeTimeoutMs: 60 }, () => [CLIENT_PREFACE], false],
  [
    "never acknowledges our SETTINGS (handshakeTimeoutMs)",
    ErrorCode.SETTINGS_TIMEOUT,
    { handshakeTimeoutMs: 60 },
    () => [CLIENT_PREFACE, frame(settings, 0, 0)],
    false,
  ],
  [
    "sends half a frame (frameTimeoutMs)",
    ErrorCode.ENHANCE_YOUR_CALM,
    { frameTimeoutMs: 60 },
    (peer) => [open(peer, "Count"), frame(data, 0, 1, Buffer.alloc(50)).subarray(0, 20)],
    true,
  ],
  ["sends half a frame header (frameTimeoutMs)", ErrorCode.ENHANCE_YOUR_CALM, { frameTimeoutMs: 60 }, () => [Buffer.alloc(4)], true],
  [
    "never ends a header block (frameTimeoutMs)",
    ErrorCode.ENHANCE_YOUR_CALM,
    { frameTimeoutMs: 60 },
    () => [frame(headers, 0, 1, [0x82])],
    true,
  ],
  ["has no calls (idleTimeoutMs)", ErrorCode.NO_ERROR, { idleTimeoutMs: 60 }, () => [], true],
  ["answers no ping (keepaliveTimeMs, keepaliveTimeoutMs)", "closed", { keepaliveTimeMs: 60, keepaliveTimeoutMs: 60 }, () => [], true],
];

for (const [name, code, limits, parts, greet] of SILENCES) {
  test(`A peer that ${name} ends with ${typeof code === "number" ? errorCodeName(code) : "a closed connection"}`, async (context) => {
    const { port, server } = await startServer(context, { limits: limits! });
    const peer = await RawPeer.connect(port, greet);
    for (const part of parts(peer)) peer.send(part);
    assert.equal(await peer.goawayCode(), code);
    peer.destroy();
    await until(() => server.connections === 0 && server.runningCalls === 0);
  });
}

test("A half-open connection is noticed though its calls are open", async (context) => {
  const { port, server, seen } = await startServer(context, { limits: { keepaliveTimeMs: 50, keepaliveTimeoutMs: 50 } });
  const peer = await RawPeer.connect(port);
  peer.send(open(peer, "Hang"), frame(data, END_STREAM, 1, grpcMessage(EMPTY)));
  await until(() => server.runningCalls === 1);
  await until(() => seen.cancelled === 1 && server.connections === 0);
  peer.destroy();
});

test("A peer that answers pings stays, however silent", async (context) => {
  const { port, server } = await startServer(context, { limits: { keepaliveTimeMs: 30, keepaliveTimeoutMs: 5000 } });
  const peer = await RawPeer.connect(port);
  for (let i = 0; i < 4; i++) {
    const found = await peer.next((candidate) => candidate.type === ping);
    peer.send(frame(ping, 1, 0, found!.payload));
  }
  assert.equal(server.connections, 1);
  peer.destroy();
});

test("A request that trickles in without end fails after requestTimeoutMs, whatever else its connection does", async (context) => {
  const { port, server } = await startServer(context, { requestTimeoutMs: 80 });
  const peer = await RawPeer.connect(port);
  peer.send(open(peer, "Echo"), frame(data, 0, 1, grpcMessage(new Uint8Array(1000)).subarray(0, 10)));
  peer.send(open(peer, "Count", 3), frame(data, 0, 3, grpcMessage(new Uint8Array(1000)).subarray(0, 10)));
  // Between messages a streaming request may rest.
  peer.send(open(peer, "Count", 5), frame(data, 0, 5, grpcMessage(new Uint8Array(10))));
  let isOver = false;
  const trickle = (): void => {
    if (isOver) return;
    peer.socket.write(Buffer.concat([frame(data, 0, 1, [1]), frame(data, 0, 3, [1])]));
    setTimeout(trickle, 10);
  };
  trickle();
  // The first has no head yet, the other neither: both are told by their status alone.
  const one = await peer.headers(1);
  isOver = true;
  assert.equal(one?.get("grpc-status"), "4");
  await until(() => server.runningCalls === 1);
  peer.destroy();
});

test("A slow reader stops its own streams and nothing else, then is destroyed (writeTimeoutMs)", async (context) => {
  const { port, server } = await startServer(context, { limits: { writeTimeoutMs: 200 } });
  let sentBytes = 0;
  server.add({ ...Echo, path: "/test.Raw/Endless", kind: "serverStream" }, async (_request, call) => {
    for (;;) {
      sentBytes += 10_000;
      if (!call.send(new Uint8Array(10_000))) await call.writable();
    }
  });
  const peer = await RawPeer.connect(port);
  peer.socket.pause();
  peer.send(
    frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0x7fff_ffff)),
    frame(windowUpdate, 0, 0, number32(0x7fff_0000)),
  );
  peer.send(open(peer, "Endless"), frame(data, END_STREAM, 1, grpcMessage(EMPTY)));
  await until(() => sentBytes > 0);
  const client = startClient(context, port);
  assert.equal((await client.unary(Echo, Buffer.from("hi"))).length, 2);
  await until(() => server.runningCalls === 0);
  // What the kernel buffers, and a little of ours; the windows would have allowed two gigabytes.
  assert.ok(sentBytes < 30_000_000, String(sentBytes));
  assert.equal(server.connections, 1);
  peer.destroy();
});

test("A peer that grants no window loses its stream after windowTimeoutMs, not its connection", async (context) => {
  const { port } = await startServer(context, { limits: { windowTimeoutMs: 80 } });
  const peer = await RawPeer.connect(port);
  peer.send(frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0)));
  peer.send(open(peer, "Echo"), frame(data, END_STREAM, 1, grpcMessage(Buffer.alloc(100))));
  assert.equal(await peer.resetCode(1), ErrorCode.CANCEL);
  assert.equal(await peer.sync(), true);
  peer.destroy();
});

test("Windows of one byte do not pay for themselves", async (context) => {
  const { port } = await startServer(context, { limits: { controlFramesBurst: 100, controlFramesPerSecond: 0 } });
  const peer = await RawPeer.connect(port);
  peer.send(frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0)));
  peer.send(open(peer, "Echo"), frame(data, END_STREAM, 1, grpcMessage(Buffer.alloc(3000))));
  assert.equal(await flood(peer, 1000, () => frame(windowUpdate, 0, 1, number32(1))), ErrorCode.ENHANCE_YOUR_CALM);
});

test("Answers that the peer makes us write but does not read stop us from reading (outputBytesMax)", async (context) => {
  const limits = { controlFramesBurst: 100_000_000, outputBytesMax: 100_000, outputBytesHigh: 50_000, writeTimeoutMs: 300 };
  const { port, server } = await startServer(context, { limits });
  const peer = await RawPeer.connect(port);
  peer.socket.pause();
  const pings = Buffer.concat(Array.from({ length: 1000 }, () => frame(ping, 0, 0, new Uint8Array(8))));
  // Until both kernels' buffers are full: then the server does not read on, since it could not write its answers.
  let isStuck = false;
  while (!isStuck && !peer.isClosed) {
    isStuck = !peer.socket.write(pings) && peer.socket.writableLength > 5_000_000;
    if (!isStuck) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(isStuck, true);
  await until(() => server.connections === 0);
  peer.destroy();
});

test("Connections beyond connectionsMax are closed", async (context) => {
  const { port, server } = await startServer(context, { connectionsMax: 2 });
  const peers = [await RawPeer.connect(port), await RawPeer.connect(port)];
  const third = await RawPeer.connect(port, false);
  await third.closed();
  assert.equal(server.connections, 2);
  for (const peer of peers) peer.destroy();
});

test("Calls beyond callsMax fail with RESOURCE_EXHAUSTED", async (context) => {
  const { port, server } = await startServer(context, { callsMax: 2 });
  const peer = await RawPeer.connect(port);
  for (const id of [1, 3]) peer.send(open(peer, "Hang", id), frame(data, END_STREAM, id, grpcMessage(EMPTY)));
  await until(() => server.runningCalls === 2);
  peer.send(open(peer, "Hang", 5), frame(data, END_STREAM, 5, grpcMessage(EMPTY)));
  assert.equal((await peer.headers(5))?.get("grpc-status"), "8");
  peer.destroy();
});

test("A peer that vanishes in the middle of anything leaves nothing behind", async (context) => {
  const { port, server } = await startServer(context);
  const whole = (peer: RawPeer): Buffer =>
    Buffer.concat([
      open(peer, "Count"),
      frame(data, 0, 1, grpcMessage(Buffer.alloc(100))),
      open(peer, "Hang", 3),
      frame(data, END_STREAM, 3, grpcMessage(EMPTY)),
    ]);
  const peers: RawPeer[] = [];
  const length = whole(await RawPeer.connect(port)).length;
  for (let cut = 1; cut < length; cut += 7) {
    const peer = await RawPeer.connect(port);
    peer.send(whole(peer).subarray(0, cut));
    peers.push(peer);
  }
  for (const peer of peers) peer.socket.resetAndDestroy();
  await until(() => server.runningCalls === 0 && server.memoryBytes === 0 && server.connections <= 1);
});

test("Calls whose handlers run for nothing, since the client breaks the rules of gRPC, count as resets", async (context) => {
  const { port, server } = await startServer(context, { limits: { resetsBurst: 50, resetsPerSecond: 0 } });
  let runningMax = 0;
  server.add({ ...Echo, path: "/test.Raw/StubbornStream", kind: "bidi" }, () => {
    runningMax = Math.max(runningMax, server.runningCalls);
    return new Promise(() => {});
  });
  const peer = await RawPeer.connect(port);
  const code = await flood(peer, 1000, (i) =>
    Buffer.concat([open(peer, "StubbornStream", i * 2 + 1), frame(data, END_STREAM, i * 2 + 1, [9, 0, 0, 0, 0])]),
  );
  assert.equal(code, ErrorCode.ENHANCE_YOUR_CALM);
  assert.ok(runningMax <= 51, String(runningMax));
});

test("Compressed messages that expand enormously end with ENHANCE_YOUR_CALM, those that expand much do not", async (context) => {
  const { port, server } = await startServer(context, { limits: { controlFramesBurst: 40, controlFramesPerSecond: 0 } });
  for (const [bytes, times] of [
    [271_828, 100],
    [4_000_000, 4],
    // Beyond the limit: each fails its call, and costs as much.
    [6_000_000, 4],
  ] as const) {
    const peer = await RawPeer.connect(port);
    const message = grpcMessage(gzipSync(Buffer.alloc(bytes)), 1);
    for (let i = 0; i < times; i++) {
      const id = bytes === 6_000_000 ? i * 2 + 1 : 1;
      if (i === 0 || id > 1) peer.send(frame(headers, END_HEADERS, id, peer.request("/test.Raw/Count", "grpc-encoding", "gzip")));
      peer.send(frame(data, 0, id, message));
    }
    if (times === 4) {
      assert.equal(await peer.goawayCode(), ErrorCode.ENHANCE_YOUR_CALM);
    } else {
      peer.send(frame(data, END_STREAM, 1));
      assert.equal((await peer.headers(1))?.get(":status"), "200");
      assert.equal((await peer.headers(1))?.get("grpc-status"), "0");
    }
    peer.destroy();
  }
  await until(() => server.connections === 0 && server.memoryBytes === 0);
});
