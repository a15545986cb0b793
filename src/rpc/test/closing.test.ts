/** Closing: what is owed is given, nothing stays, and it settles, whatever the other side does and whenever it happens. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { RpcServer } from "../grpc/server.ts";
import { Status } from "../grpc/status.ts";
import { CLIENT_PREFACE, FrameType } from "../http2/protocol.ts";
import { CERTIFICATE, KEY } from "./certificate.ts";
import { frame, grpcMessage, number32, HeaderBlocks } from "./raw-peer.ts";
import { deadPort, listen, startRawServer } from "./raw-server.ts";
import { SlowSocket } from "./slow-socket.ts";
import { Chat, Echo, Hang, startClient, startServer, until } from "./server.ts";

const EMPTY = new Uint8Array(0);
const { data, headers, settings, goaway } = FrameType;

test("A client that reads slowly gets the whole answer of a server that is closing, as long as grace lasts", async (context) => {
  const { server } = await startServer(context);
  const socket = new SlowSocket();
  server.accept(socket as unknown as Socket);
  const peer = new HeaderBlocks();
  socket.push(
    Buffer.concat([CLIENT_PREFACE, frame(settings, 0, 0), frame(settings, 1, 0), frame(headers, 4, 1, peer.request("/test.Raw/Echo"))]),
  );
  socket.push(frame(data, 1, 1, grpcMessage(Buffer.alloc(10_000, 7))));
  await until(() => socket.writableLength > 10_000);
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const closing = server.close({ graceMs: 20_000 });
  // The client answers the ping that comes with the first GOAWAY: all that is left is to read.
  socket.push(frame(FrameType.ping, 1, 0, new Uint8Array(8)));
  await until(() => socket.writableEnded);
  context.mock.timers.tick(19_000);
  assert.equal(socket.destroyed, false);
  while (!socket.writableFinished) {
    socket.takeWrite();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(socket.taken.includes(Buffer.alloc(10_000, 7)));
  socket.push(null);
  await closing;
  assert.equal(socket.destroyed, true);
});

test("A client that never reads to the end holds up a server that closes until grace is over", async (context) => {
  const { server } = await startServer(context);
  const socket = new SlowSocket();
  server.accept(socket as unknown as Socket);
  socket.push(Buffer.concat([CLIENT_PREFACE, frame(settings, 0, 0), frame(settings, 1, 0)]));
  await until(() => server.connections === 1);
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const closing = server.close({ graceMs: 20_000 });
  socket.push(frame(FrameType.ping, 1, 0, new Uint8Array(8)));
  await until(() => socket.writableEnded);
  context.mock.timers.tick(19_999);
  assert.equal(socket.destroyed, false);
  context.mock.timers.tick(1);
  await closing;
  assert.equal(socket.destroyed, true);
});

for (const answers of [false, true]) {
  const what = answers ? "answers the ping and never closes its side" : "never answers";
  test(`A client without a call that ${what} holds up a server that closes for a second at most`, async (context) => {
    const { server } = await startServer(context);
    const socket = new SlowSocket();
    server.accept(socket as unknown as Socket);
    const read = async (): Promise<void> => {
      do await new Promise((resolve) => setImmediate(resolve));
      while (socket.takeWrite());
    };
    socket.push(Buffer.concat([CLIENT_PREFACE, frame(settings, 0, 0), frame(settings, 1, 0)]));
    await until(() => server.connections === 1);
    await read();
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const closing = server.close({ graceMs: 20_000 });
    await read();
    if (answers) socket.push(frame(FrameType.ping, 1, 0, new Uint8Array(8)));
    await read();
    assert.equal(socket.writableEnded, answers);
    assert.equal(socket.destroyed, false);
    context.mock.timers.tick(500);
    await read();
    assert.equal(socket.destroyed, answers);
    context.mock.timers.tick(500);
    await closing;
    assert.equal(socket.destroyed, true);
  });
}

test("A client that stays in the TLS handshake does not hold up a server that closes", async (context) => {
  const { server, port } = await startServer(context, { tls: { cert: CERTIFICATE, key: KEY }, limits: { handshakeTimeoutMs: 60_000 } });
  const socket = connect(port, "127.0.0.1");
  context.after(() => socket.destroy());
  await new Promise((resolve) => socket.once("connect", resolve));
  const isClosed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => {});
  socket.resume();
  await server.close();
  await isClosed;
});

test("A server that is closed while it begins to listen does not listen, and cannot be made to", async () => {
  const server = new RpcServer();
  const listening = server.listen({ port: 0, host: "localhost" });
  await Promise.all([assert.rejects(listening, { message: "the server is closed" }), server.close()]);
  await assert.rejects(server.listen({ port: 0 }), { message: "the server is closed" });
});

test("A time of grace without end waits for the calls, and all who close are told", async (context) => {
  const { server, port } = await startServer(context);
  const client = startClient(context, port);
  let finish = (_bytes: Uint8Array): void => {};
  const slow = { ...Echo, path: "/test.Raw/Slow" };
  server.add(slow, () => new Promise<Uint8Array>((resolve) => (finish = resolve)));
  const call = client.unary(slow, EMPTY);
  await until(() => server.runningCalls === 1);
  const closings = [1, 2].map(() => client.close({ graceMs: Number.POSITIVE_INFINITY }));
  closings.push(...[1, 2].map(() => server.close({ graceMs: Number.POSITIVE_INFINITY })));
  let closed = 0;
  for (const closing of closings) void closing.then(() => closed++);
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(closed, 0);
  finish(Buffer.from("done"));
  assert.equal(Buffer.from(await call).toString(), "done");
  await Promise.all(closings);
});

test("A second close without grace cuts the first one short", async (context) => {
  const { server, port } = await startServer(context);
  const client = startClient(context, port);
  const call = client.unary(Hang, EMPTY);
  call.catch(() => {});
  await until(() => server.runningCalls === 1);
  const patient = server.close({ graceMs: 60_000 });
  await server.close();
  await patient;
  await assert.rejects(call, { code: Status.UNAVAILABLE });
});

test("Calls that wait when the client closes with grace still find their way", async (context) => {
  const { port: livePort } = await startServer(context);
  let connections = 0;
  const port = await startRawServer(context, (peer) => {
    connections++;
    // Not looked at: the call needs another connection, which is made in the time of grace.
    void peer
      .next((found) => found.type === headers)
      .then(() => peer.send(frame(goaway, 0, 0, Buffer.concat([number32(0), number32(0)]))))
      .then(() => peer.destroy());
  });
  const client = startClient(context, port, { endpoints: [`127.0.0.1:${port}`, `127.0.0.1:${livePort}`] });
  const call = client.unary(Echo, Buffer.from("late"));
  const closing = client.close({ graceMs: 60_000 });
  assert.equal(Buffer.from(await call).toString(), "late");
  await closing;
  assert.ok(connections >= 1);
});

test("A client that closes with grace and cannot connect fails what waits, and does not wait for the end of grace", async (context) => {
  const client = startClient(context, await deadPort());
  const call = client.unary(Echo, EMPTY);
  const closing = client.close({ graceMs: 60_000 });
  await assert.rejects(call, { code: Status.UNAVAILABLE, mayHaveRun: false });
  await closing;
});

test("Calls that are cancelled while they connect, and clients that close meanwhile, leave no socket", async (context) => {
  const silent = createServer();
  const port = await listen(context, silent);
  let open = 0;
  silent.on("connection", (socket) => {
    open++;
    socket.on("error", () => {});
    socket.on("close", () => open--);
    socket.resume();
  });
  for (const tls of [undefined, { ca: CERTIFICATE }]) {
    const client = startClient(context, port, tls === undefined ? {} : { tls });
    const controller = new AbortController();
    const calls = [
      client.unary(Echo, EMPTY, { signal: controller.signal }),
      client.unary(Echo, EMPTY, { timeoutMs: 1 }),
      client.unary(Echo, EMPTY),
    ];
    const results = Promise.allSettled(calls);
    await until(() => open === 1);
    controller.abort();
    await assert.rejects(calls[1]!, { code: Status.DEADLINE_EXCEEDED, mayHaveRun: false });
    await client.close();
    assert.deepEqual(
      (await results).map((result) => (result as PromiseRejectedResult).reason.code),
      [Status.CANCELLED, Status.DEADLINE_EXCEEDED, Status.CANCELLED],
    );
    await until(() => open === 0);
  }
});

test("Cancelling all calls of a connection at once is no attack", async (context) => {
  const { server, port } = await startServer(context);
  const client = startClient(context, port);
  const controller = new AbortController();
  await client.unary(Echo, EMPTY);
  const chat = client.stream(Chat);
  const calls = Array.from({ length: 999 }, () => client.unary(Hang, EMPTY, { signal: controller.signal }));
  const results = Promise.allSettled(calls);
  await until(() => server.runningCalls === 1000);
  controller.abort();
  await results;
  await until(() => server.runningCalls === 1);
  chat.send(Buffer.from("still there"));
  assert.equal((await chat[Symbol.asyncIterator]().next()).value?.length, 11);
});
