/** Corners of the protocol that ordinary calls and floods do not reach. */
import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { createServer as createTlsServer } from "node:tls";
import { WAITING_MESSAGE_BYTES } from "../grpc/message-framing.ts";
import { RpcServer } from "../grpc/server.ts";
import { RpcError, Status } from "../grpc/status.ts";
import { ErrorCode, FrameType, Setting } from "../http2/protocol.ts";
import { CERTIFICATE, KEY } from "./certificate.ts";
import { rawMethod } from "./methods.ts";
import { frame, grpcMessage, number32, RawPeer, settingsPayload } from "./raw-peer.ts";
import { Chat, Count, Echo, Flood, startClient, startServer, until } from "./server.ts";

const { data, headers, settings, rstStream, windowUpdate } = FrameType;
const END_STREAM = 1;
const END_HEADERS = 4;
const EMPTY = new Uint8Array(0);

test("Trailers of a request end it", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  for (const [id, method] of [
    [1, "Echo"],
    [3, "Count"],
  ] as const) {
    peer.send(frame(headers, END_HEADERS, id, peer.request(`/test.Raw/${method}`)), frame(data, 0, id, grpcMessage(Buffer.alloc(7))));
    peer.send(frame(headers, END_HEADERS | END_STREAM, id, peer.block("x-a", "b")));
    assert.equal((await peer.headers(id))?.get(":status"), "200");
    assert.equal((await peer.headers(id))?.get("grpc-status"), "0");
  }
  peer.destroy();
});

for (const [name, parts] of [
  ["has no message", [frame(data, END_STREAM, 1)]],
  ["ends within a message", [frame(data, END_STREAM, 1, [0, 0, 0, 0, 9, 1])]],
  ["has two messages", [frame(data, END_STREAM, 1, Buffer.concat([grpcMessage(EMPTY), grpcMessage(EMPTY)]))]],
] as const) {
  test(`A unary request that ${name} fails with INTERNAL`, async (context) => {
    const { port, server } = await startServer(context);
    const peer = await RawPeer.connect(port);
    peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Echo")), ...parts);
    assert.equal((await peer.headers(1))?.get("grpc-status"), "13");
    assert.deepEqual([server.runningCalls, server.memoryBytes], [0, 0]);
    peer.destroy();
  });
}

test("A head that ends the request at once fails a unary call, and is an empty stream for others", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  peer.send(frame(headers, END_HEADERS | END_STREAM, 1, peer.request("/test.Raw/Echo")));
  assert.equal((await peer.headers(1))?.get("grpc-status"), "13");
  peer.send(frame(headers, END_HEADERS | END_STREAM, 3, peer.request("/test.Raw/Count")));
  assert.equal((await peer.headers(3))?.get(":status"), "200");
  assert.equal((await peer.headers(3))?.get("grpc-status"), "0");
  peer.destroy();
});

test("An encoding that is not offered is UNIMPLEMENTED, with what is offered", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Echo", "grpc-encoding", "zstd")));
  const block = await peer.headers(1);
  assert.deepEqual([block?.get("grpc-status"), block?.get("grpc-accept-encoding")], ["12", "identity,gzip"]);
  peer.send(frame(headers, END_HEADERS, 3, peer.request("/test.Raw/Echo", "grpc-timeout", "soon")));
  assert.equal((await peer.headers(3))?.get("grpc-status"), "13");
  peer.destroy();
});

test("Data that comes for a call that has ended, while its answer waits for a window, is dropped", async (context) => {
  const { port, server } = await startServer(context);
  server.add({ ...Count, path: "/test.Raw/Early" }, () => Promise.resolve(new Uint8Array(1000)));
  const peer = await RawPeer.connect(port);
  peer.send(frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 100)));
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Early")));
  assert.equal((await peer.headers(1))?.get(":status"), "200");
  peer.send(frame(data, 0, 1, grpcMessage(Buffer.alloc(500))), frame(data, END_STREAM, 1, grpcMessage(Buffer.alloc(500))));
  peer.send(frame(windowUpdate, 0, 1, number32(5000)));
  assert.equal((await peer.headers(1))?.get("grpc-status"), "0");
  assert.equal(server.memoryBytes, 0);
  peer.destroy();
});

test("A failure behind messages that were sent comes in the trailers", async (context) => {
  const { port, server } = await startServer(context);
  server.add({ ...Flood, path: "/test.Raw/Half" }, async (request, call) => {
    call.send(request);
    throw new RpcError(Status.DATA_LOSS, "the other half is lost");
  });
  const client = startClient(context, port);
  const iterator = client.serverStream(rawMethod("Half", "serverStream"), Buffer.alloc(3))[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).value?.length, 3);
  await assert.rejects(iterator.next(), { code: Status.DATA_LOSS });
});

test("Unread messages count against connectionMemoryBytesMax, and are given back when their call ends", async (context) => {
  // Five messages and one open call with its headers, and not one more.
  const { port, server } = await startServer(context, { connectionMemoryBytesMax: 52_200 });
  const peer = await RawPeer.connect(port);
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Ignore")));
  assert.equal(await peer.sync(), true);
  const openBytes = server.memoryBytes;
  assert.ok(openBytes > 1024 && openBytes < 1680, String(openBytes));
  for (let i = 0; i < 5; i++) peer.send(frame(data, 0, 1, grpcMessage(Buffer.alloc(10_000))));
  assert.equal(await peer.sync(), true);
  assert.equal(server.memoryBytes, openBytes + 5 * (10_000 + WAITING_MESSAGE_BYTES));
  peer.send(frame(headers, END_HEADERS, 3, peer.request("/test.Raw/Echo")));
  assert.equal((await peer.headers(3))?.get("grpc-status"), "8");
  assert.equal(server.memoryBytes, openBytes + 5 * (10_000 + WAITING_MESSAGE_BYTES));
  peer.send(frame(data, 0, 1, grpcMessage(Buffer.alloc(10_000))));
  assert.equal((await peer.headers(1))?.get("grpc-status"), "8");
  assert.deepEqual([server.memoryBytes, server.runningCalls], [0, 0]);
  peer.destroy();
});

test("Responses that nobody takes are bounded for all connections together (sendMemoryBytesMax)", async (context) => {
  const { port } = await startServer(context, { sendMemoryBytesMax: 25_000 });
  const peers = await Promise.all([1, 2, 3].map(() => RawPeer.connect(port)));
  for (const peer of peers) {
    peer.send(frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0)));
    peer.send(
      frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Echo")),
      frame(data, END_STREAM, 1, grpcMessage(Buffer.alloc(10_000))),
    );
    assert.equal((await peer.headers(1))?.get(":status"), "200");
    if (peer !== peers[2]) assert.equal(await peer.sync(), true);
  }
  assert.equal(await peers[2]!.resetCode(1), ErrorCode.ENHANCE_YOUR_CALM);
  // What ends gives its memory back.
  for (const peer of peers.slice(0, 2)) peer.destroy();
  const last = peers[2]!;
  await until(() => peers[0]!.isClosed && peers[1]!.isClosed);
  const client = startClient(context, port);
  await client.unary(Echo, EMPTY);
  last.send(frame(headers, END_HEADERS, 3, last.request("/test.Raw/Echo")), frame(data, END_STREAM, 3, grpcMessage(Buffer.alloc(10_000))));
  last.send(frame(windowUpdate, 0, 3, number32(100_000)));
  assert.equal((await last.headers(3))?.get(":status"), "200");
  assert.equal((await last.headers(3))?.get("grpc-status"), "0");
  last.destroy();
});

test("A frame for a stream that ended long ago resets it, not the connection", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  for (let id = 1; id < 1200; id += 2) {
    peer.send(frame(headers, END_HEADERS, id, peer.request("/test.Raw/Echo")), frame(data, END_STREAM, id, grpcMessage(EMPTY)));
  }
  assert.equal(await peer.sync(), true);
  peer.send(frame(data, 0, 1, [1]));
  assert.equal(await peer.resetCode(1), ErrorCode.STREAM_CLOSED);
  assert.equal(await peer.sync(), true);
  peer.destroy();
});

test("A peer may shrink the header table at any time", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  let id = 1;
  for (const size of [4096, 0, 100, 4096]) {
    peer.send(frame(settings, 0, 0, settingsPayload(Setting.headerTableSize, size)));
    for (let i = 0; i < 3; i++, id += 2) {
      peer.send(frame(headers, END_HEADERS, id, peer.request("/test.Raw/Echo")), frame(data, END_STREAM, id, grpcMessage(EMPTY)));
      assert.equal((await peer.headers(id))?.get("content-type"), "application/grpc");
      assert.equal((await peer.headers(id))?.get("grpc-status"), "0");
    }
  }
  peer.destroy();
});

test("A server that drains a peer which answers no ping does so all the same", async (context) => {
  const { port, server } = await startServer(context, { limits: { idleTimeoutMs: 40 } });
  const peer = await RawPeer.connect(port);
  // Two seconds are given for the answer; the connection then ends in order.
  assert.equal(await peer.goawayCode(), ErrorCode.NO_ERROR);
  assert.equal(await peer.goawayCode(), ErrorCode.NO_ERROR);
  await peer.closed();
  assert.equal(server.connections, 0);
});

test("A connection that was accepted elsewhere is served", async (context) => {
  const server = new RpcServer().add(Echo, (request) => request);
  const front = createServer((socket) => server.accept(socket));
  await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
  context.after(() => front.close());
  context.after(() => server.close());
  const client = startClient(context, (front.address() as AddressInfo).port);
  assert.equal((await client.unary(Echo, Buffer.alloc(4))).length, 4);
  await assert.rejects(server.listen({ port: 0, host: "127.0.0.1" }).then(() => server.listen({ port: 0 })));
});

test("A TLS peer without HTTP/2 is no server for us, and one that breaks off its handshake harms nobody", async (context) => {
  const http1 = createTlsServer({ cert: CERTIFICATE, key: KEY, ALPNProtocols: ["http/1.1"] });
  await new Promise<void>((resolve) => http1.listen(0, "127.0.0.1", resolve));
  context.after(() => http1.close());
  const other = startClient(context, (http1.address() as AddressInfo).port, { tls: { ca: CERTIFICATE } });
  await assert.rejects(other.unary(Echo, EMPTY), { code: Status.UNAVAILABLE, mayHaveRun: false });
  const { port } = await startServer(context, { tls: { cert: CERTIFICATE, key: KEY } });
  const peer = await RawPeer.connect(port, false);
  peer.send(Buffer.from("this is no TLS"));
  await peer.closed();
  const client = startClient(context, port, { tls: { ca: CERTIFICATE } });
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
});

test("A plain request that does not arrive ends with 408, and one with trailers is served", async (context) => {
  const seen: string[] = [];
  const { port } = await startServer(context, {
    requestTimeoutMs: 60,
    onHttpRequest: (exchange) => {
      seen.push(`${exchange.body.length} ${JSON.stringify(exchange.headers)}`);
      assert.throws(() => exchange.respond(200, { "x-a": "b\nc" }), TypeError);
      assert.throws(() => exchange.respond(200, { ":path": "b" }), TypeError);
      exchange.respond(200, { "x-a": "b" });
      assert.throws(() => exchange.respond(200, {}));
      exchange.write(Buffer.from("part"));
      exchange.end();
    },
  });
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  context.after(() => session.destroy());
  const slow = session.request({ ":method": "POST", ":path": "/" });
  slow.on("error", () => {});
  slow.write("beginning");
  assert.equal(await new Promise((resolve) => slow.on("response", (found) => resolve(found[":status"]))), 408);
  const trailing = session.request({ ":method": "POST", ":path": "/", "x-b": "c" }, { waitForTrailers: true });
  trailing.on("wantTrailers", () => trailing.sendTrailers({ "x-trailer": "1" }));
  trailing.end("body");
  let text = "";
  for await (const chunk of trailing) text += String(chunk);
  assert.equal(text, "part");
  assert.deepEqual(seen, ['4 [["x-b","c"]]']);
  // One that is given up before it is complete is never delivered.
  const given = session.request({ ":method": "POST", ":path": "/" });
  given.on("error", () => {});
  given.write("beginning");
  given.close(8);
  await new Promise((resolve) => given.on("close", resolve));
  assert.equal(seen.length, 1);
});

test("A client that waits to write is told when its call ends, either way", async (context) => {
  const { port, server } = await startServer(context, { limits: { streamWindowBytes: 65_536 } });
  server.add({ ...Chat, path: "/test.Raw/Deaf" }, (call) => {
    call.onCancel(() => {});
    setTimeout(() => call.end(), 20);
  });
  server.add({ ...Chat, path: "/test.Raw/Rude" }, (call) => void setTimeout(() => call.fail(new RpcError(Status.ABORTED, "enough")), 20));
  const client = startClient(context, port);
  const deaf = client.stream(rawMethod("Deaf", "bidi"));
  // The first fill goes into the server's window, the second one has to wait.
  while (deaf.send(new Uint8Array(10_000)));
  await deaf.writable();
  while (deaf.send(new Uint8Array(10_000)));
  await deaf.writable();
  assert.equal(deaf.isSettled, true);
  const rude = client.stream(rawMethod("Rude", "bidi"));
  while (rude.send(new Uint8Array(10_000)));
  await rude.writable();
  while (rude.send(new Uint8Array(10_000)));
  await assert.rejects(rude.writable(), { code: Status.ABORTED });
  // Before there is a connection, too.
  const early = startClient(context, port).stream(Count);
  const response = early.response();
  let sent = 0;
  for (let i = 0; i < 100; i++) {
    sent += 10_000;
    if (!early.send(new Uint8Array(10_000))) await early.writable();
  }
  early.end();
  early.end();
  assert.equal(Buffer.from(await response).readUInt32BE(0), sent);
  assert.deepEqual(await early.response(), await response);
});

test("A server that answers a stream before it has ended leaves the client at rest", async (context) => {
  const { port, server } = await startServer(context);
  server.add({ ...Chat, path: "/test.Raw/Short" }, async () => {});
  const client = startClient(context, port);
  const call = client.stream(rawMethod("Short", "bidi"));
  assert.equal((await call[Symbol.asyncIterator]().next()).done, true);
  assert.equal(call.isSettled, true);
  call.end();
  await until(() => server.runningCalls === 0);
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
});

test("RST_STREAM with REFUSED_STREAM from a client is like any other reset", async (context) => {
  const { port, server, seen } = await startServer(context);
  const peer = await RawPeer.connect(port);
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Hang")), frame(data, END_STREAM, 1, grpcMessage(EMPTY)));
  await until(() => server.runningCalls === 1);
  peer.send(frame(rstStream, 0, 1, number32(ErrorCode.REFUSED_STREAM)));
  await until(() => seen.cancelled === 1);
  peer.destroy();
});
