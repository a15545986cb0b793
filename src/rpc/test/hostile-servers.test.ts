/** What hostile servers do, and that it costs the client its call or its connection, bounded memory, and nothing else. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { MemoryBudget } from "../http2/memory-budget.ts";
import { HTTP2_LIMITS } from "../http2/limits.ts";
import { ErrorCode, FrameType, Setting, STREAM_ID_MAX } from "../http2/protocol.ts";
import { NOBODY } from "../http2/connection-events.ts";
import { Turn } from "../http2/turn.ts";
import { Endpoint, resolveBackoff } from "../grpc/endpoint.ts";
import { RpcError, Status } from "../grpc/status.ts";
import { frame, grpcMessage, number32, type RawPeer } from "./raw-peer.ts";
import { listen, startRawServer } from "./raw-server.ts";
import { Chat, Echo, startClient, startServer, until } from "./server.ts";

const EMPTY = new Uint8Array(0);
const { data, headers, rstStream, ping, goaway, pushPromise } = FrameType;

const HOSTILE: readonly (readonly [string, number, (peer: RawPeer) => Uint8Array[]])[] = [
  ["resets a stream that never was", Status.UNAVAILABLE, () => [frame(rstStream, 0, 99, number32(8))]],
  ["pushes", Status.INTERNAL, () => [frame(pushPromise, 4, 1, number32(2))]],
  ["opens a stream", Status.INTERNAL, (peer) => [frame(headers, 5, 2, peer.block(":status", "200"))]],
  ["sends data before a head", Status.INTERNAL, () => [frame(data, 0, 1, [0, 0, 0, 0, 0])]],
  ["sends a malformed block", Status.INTERNAL, () => [frame(headers, 4, 1, [0x80])]],
  ["sends a frame too large", Status.INTERNAL, () => [frame(data, 0, 1, new Uint8Array(20_000))]],
  ["sends a response without :status", Status.INTERNAL, (peer) => [frame(headers, 4, 1, peer.block("x-a", "b"))]],
  ["sends a request as response", Status.INTERNAL, (peer) => [frame(headers, 4, 1, peer.block(":status", "200", ":path", "/"))]],
  ["ends without trailers", Status.INTERNAL, (peer) => [head(peer), frame(data, 1, 1, [0, 0, 0, 0, 0])]],
  [
    "ends within a message",
    Status.INTERNAL,
    (peer) => [head(peer), frame(data, 0, 1, [0, 0, 0, 0, 9, 1]), frame(headers, 5, 1, peer.block("grpc-status", "0"))],
  ],
  ["ends without a message", Status.INTERNAL, (peer) => [head(peer), frame(headers, 5, 1, peer.block("grpc-status", "0"))]],
  ["sends two messages to a unary call", Status.INTERNAL, (peer) => [head(peer), frame(data, 0, 1, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]],
  [
    "answers without a status",
    Status.UNKNOWN,
    (peer) => [head(peer), frame(data, 0, 1, [0, 0, 0, 0, 0]), frame(headers, 5, 1, peer.block("x-a", "b"))],
  ],
  ["answers in HTML", Status.UNKNOWN, (peer) => [frame(headers, 4, 1, peer.block(":status", "200", "content-type", "text/html"))]],
  ["answers with 503", Status.UNAVAILABLE, (peer) => [frame(headers, 5, 1, peer.block(":status", "503"))]],
  [
    "answers with 404 and a body",
    Status.UNIMPLEMENTED,
    (peer) => [frame(headers, 4, 1, peer.block(":status", "404", "content-type", "text/html")), frame(data, 1, 1, [1])],
  ],
  [
    "uses an encoding that was not offered",
    Status.INTERNAL,
    (peer) => [frame(headers, 4, 1, peer.block(":status", "200", "content-type", "application/grpc", "grpc-encoding", "br"))],
  ],
  ["claims a huge message", Status.RESOURCE_EXHAUSTED, (peer) => [head(peer), frame(data, 0, 1, [0, 0xff, 0xff, 0xff, 0xff])]],
  [
    "sends huge headers",
    Status.RESOURCE_EXHAUSTED,
    (peer) => [frame(headers, 4, 1, peer.block(":status", "200", "content-type", "application/grpc", "x-a", "~".repeat(16_300)))],
  ],
  ["goes away with an error", Status.UNAVAILABLE, () => [frame(goaway, 0, 0, Buffer.concat([number32(0), number32(2)]))]],
  ["is calmed", Status.RESOURCE_EXHAUSTED, () => [frame(rstStream, 0, 1, number32(ErrorCode.ENHANCE_YOUR_CALM))]],
  ["floods with pings", Status.RESOURCE_EXHAUSTED, () => Array.from({ length: 3000 }, () => frame(ping, 0, 0, new Uint8Array(8)))],
];

function head(peer: RawPeer): Buffer {
  return frame(headers, 4, 1, peer.block(":status", "200", "content-type", "application/grpc"));
}

for (const [name, code, parts] of HOSTILE) {
  test(`A server that ${name} fails the call, and nothing else`, async (context) => {
    let attempts = 0;
    const port = await startRawServer(context, (peer) => {
      void (async () => {
        const found = await peer.next((candidate) => candidate.type === headers);
        if (found !== undefined && ++attempts <= 4) peer.send(...parts(peer));
      })();
    });
    const client = startClient(context, port);
    await assert.rejects(client.unary(Echo, EMPTY, { timeoutMs: 5000 }), (error) => {
      assert.ok(RpcError.is(error));
      // A broken connection is UNAVAILABLE or INTERNAL, by who broke it; what matters is that the call ends.
      if (code === Status.INTERNAL) assert.ok(error.code === Status.INTERNAL || error.code === Status.UNAVAILABLE, error.message);
      else if (code === Status.UNAVAILABLE) assert.ok(error.code === Status.INTERNAL || error.code === Status.UNAVAILABLE, error.message);
      else assert.equal(error.code, code, error.message);
      return true;
    });
    assert.equal(client.calls, 0);
  });
}

/** Does the same with each stream that the client opens. */
async function onEachStream(peer: RawPeer, onStream: (streamId: number) => void): Promise<void> {
  for (;;) {
    const found = await peer.next((candidate) => candidate.type === headers);
    if (found === undefined) return;
    onStream(found.streamId);
  }
}

function gzipHead(peer: RawPeer, id: number): Buffer {
  return frame(headers, 4, id, peer.block(":status", "200", "content-type", "application/grpc", "grpc-encoding", "gzip"));
}

test("Compressed responses that nobody reads count as what they hold, and end their call at connectionMemoryBytesMax", async (context) => {
  const bomb = grpcMessage(gzipSync(Buffer.alloc(1_000_000)), 1);
  const port = await startRawServer(context, (peer) => {
    void onEachStream(peer, (id) => peer.send(gzipHead(peer, id), ...Array.from({ length: 100 }, () => frame(data, 0, id, bomb))));
  });
  const client = startClient(context, port, { connectionMemoryBytesMax: 10_000_000 });
  const call = client.stream(Chat);
  await until(() => call.isSettled);
  await assert.rejects(call[Symbol.asyncIterator]().next(), { code: Status.RESOURCE_EXHAUSTED });
  // What was held is given back: the next call fails at the same place, not before.
  const reader = client.stream(Chat)[Symbol.asyncIterator]();
  assert.equal((await reader.next()).value?.length, 1_000_000);
});

test("Responses to unary calls whose status does not come count as well", async (context) => {
  const port = await startRawServer(context, (peer) => {
    void onEachStream(peer, (id) => peer.send(gzipHead(peer, id), frame(data, 0, id, grpcMessage(gzipSync(Buffer.alloc(1_000_000)), 1))));
  });
  const client = startClient(context, port, { memoryBytesMax: 3_500_000 });
  const calls = Array.from({ length: 4 }, () => client.unary(Echo, EMPTY));
  await assert.rejects(Promise.race(calls), { code: Status.RESOURCE_EXHAUSTED });
  assert.equal(client.calls, 3);
  for (const call of calls) call.catch(() => {});
});

test("Data on its way for a cancelled call is free, however small its frames; more than its window had allowed is not", async (context) => {
  let flood = (_messages: number): void => {};
  let speakOn: ((id: number) => void) | undefined;
  const port = await startRawServer(context, (peer) => {
    const small = frame(data, 0, 1, grpcMessage(new Uint8Array(0)));
    flood = (messages) => peer.socket.write(Buffer.concat(Array.from({ length: messages }, () => small)));
    void onEachStream(peer, (id) => {
      peer.send(frame(headers, 4, id, peer.block(":status", "200", "content-type", "application/grpc")));
      if (id === 1) peer.send(small);
      else speakOn = () => peer.send(frame(data, 0, id, grpcMessage(new Uint8Array(7))));
    });
  });
  const client = startClient(context, port, { limits: { streamWindowBytes: 100_000, controlFramesBurst: 100, controlFramesPerSecond: 0 } });
  const call = client.stream(Chat);
  const reader = call[Symbol.asyncIterator]();
  await reader.next();
  call.cancel();
  await assert.rejects(reader.next(), { code: Status.CANCELLED });
  const other = client.stream(Chat);
  const otherReader = other[Symbol.asyncIterator]();
  await until(() => speakOn !== undefined);
  flood(19_000);
  speakOn!(3);
  assert.equal((await otherReader.next()).value?.length, 7);
  flood(2000);
  await assert.rejects(otherReader.next(), { code: Status.RESOURCE_EXHAUSTED });
});

test("A server that lets the client in and shows it out again is not stormed: the second time, the client pauses", async (context) => {
  let connections = 0;
  const onPeer = (peer: RawPeer): void => {
    connections++;
    peer.socket.end();
  };
  // No streams are allowed, so that the call never leaves the client and waits again and again.
  const port = await startRawServer(context, onPeer, Setting.maxConcurrentStreams, 0);
  const client = startClient(context, port, { backoff: { initialMs: 86_400_000 } });
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.UNAVAILABLE, mayHaveRun: false });
  assert.equal(connections, 2);
});

test("Trailers beyond the limit fail a call that would have ended with OK, and leave a failure as it is", async (context) => {
  const port = await startRawServer(context, (peer) => {
    void onEachStream(peer, (id) => {
      peer.send(frame(headers, 4, id, peer.block(":status", "200", "content-type", "application/grpc")));
      const trailers = peer.block("grpc-status", id === 1 ? "0" : "9", "x-long", "y".repeat(2000));
      peer.send(frame(data, 0, id, grpcMessage(EMPTY)), frame(headers, 5, id, trailers));
    });
  });
  const client = startClient(context, port, { limits: { headerListBytesMax: 1000 } });
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.RESOURCE_EXHAUSTED });
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.FAILED_PRECONDITION });
});

test("A server that answers and then says that it has not looked at the call is not believed", async (context) => {
  const port = await startRawServer(context, (peer) => {
    void onEachStream(peer, () => peer.send(head(peer), frame(rstStream, 0, 1, number32(ErrorCode.REFUSED_STREAM))));
  });
  const client = startClient(context, port);
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.UNAVAILABLE, mayHaveRun: true });
});

test("What a server says when it ends a connection is what its calls fail with", async (context) => {
  const port = await startRawServer(context, (peer) => {
    void onEachStream(peer, (id) => {
      const reason = Buffer.from("slower, please");
      peer.send(frame(goaway, 0, 0, Buffer.concat([number32(id), number32(ErrorCode.ENHANCE_YOUR_CALM), reason])));
      peer.socket.end();
    });
  });
  const client = startClient(context, port);
  await assert.rejects(client.unary(Echo, EMPTY), {
    code: Status.UNAVAILABLE,
    message: 'the peer said ENHANCE_YOUR_CALM "slower, please"',
    mayHaveRun: true,
  });
});

test("A connection whose stream ids are used up is left for a new one, and ends when its last call has", async (context) => {
  const { port } = await startServer(context);
  let lost = 0;
  let ended = 0;
  let onReady: () => void = () => {};
  const isReady = new Promise<void>((resolve) => (onReady = resolve));
  const endpoint = new Endpoint(
    { host: "127.0.0.1", port, path: undefined, isTls: false, authority: "test" },
    {
      limits: HTTP2_LIMITS,
      turn: new Turn(1_000_000),
      tls: undefined,
      lookup: undefined,
      connectTimeoutMs: 5000,
      userAgent: "test",
      memory: new MemoryBudget(1_000_000),
      connectionMemoryBytesMax: 1_000_000,
    },
    resolveBackoff({}),
    () => 0.5,
    {
      onReady,
      onFailed: (_endpoint, error) => assert.fail(error),
      onLost: () => lost++,
      onRoom() {},
      onConnection() {},
      onConnectionEnd: () => ended++,
    },
  );
  endpoint.connect();
  await isReady;
  const connection = endpoint.connection!;
  connection.http2.lastStreamId = STREAM_ID_MAX - 6;
  let answers = 0;
  const listener = { ...NOBODY, onHeaders: (_block: unknown, end: boolean) => void (answers += end ? 1 : 0) };
  for (const isLast of [false, true]) {
    assert.deepEqual([connection.hasRoom, lost], [true, 0]);
    const stream = connection.http2.openStream(listener);
    stream.sendHeaders(connection.headOf("/test.Raw/Echo"), undefined, false);
    stream.write(grpcMessage(EMPTY));
    stream.end();
    assert.deepEqual([connection.hasRoom, lost], isLast ? [false, 1] : [true, 0]);
  }
  await until(() => answers === 2 && ended === 1);
  assert.equal(endpoint.connection, undefined);
});

test("A port that accepts and says nothing fails the client's connection after connectTimeoutMs", async (context) => {
  const silent = createServer();
  const port = await listen(context, silent);
  const sockets: { destroy(): void }[] = [];
  silent.on("connection", (socket) => sockets.push(socket));
  const client = startClient(context, port, { connectTimeoutMs: 60 });
  await assert.rejects(client.unary(Echo, EMPTY), { name: "RpcError", code: 14, mayHaveRun: false });
  for (const socket of sockets) socket.destroy();
});
