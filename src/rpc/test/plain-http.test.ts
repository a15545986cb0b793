/** What is not gRPC on a gRPC port: HTTP/1.1 that is handed over, plain requests over HTTP/2, and hostile ones of both. */
import assert from "node:assert/strict";
import { createServer as createHttp1Server } from "node:http";
import { connect, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import { CLIENT_PREFACE, ErrorCode, FrameType } from "../http2/protocol.ts";
import { CERTIFICATE, KEY } from "./certificate.ts";
import { frame, RawPeer } from "./raw-peer.ts";
import { startServer, until } from "./server.ts";

const { data, headers } = FrameType;
const EMPTY = new Uint8Array(0);

/** All that comes on the socket until it is closed. */
async function readAll(socket: Socket): Promise<string> {
  let text = "";
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  await new Promise((resolve) => socket.once("close", resolve));
  return text;
}

function socketOf(context: TestContext, port: number): Socket {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  context.after(() => socket.destroy());
  return socket;
}

test("HTTP/1.1 that comes byte by byte, or begins like the preface, reaches its server whole and in order", async (context) => {
  const seen: string[] = [];
  const http1 = createHttp1Server((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      seen.push(`${request.method} ${request.url} ${body}`);
      response.end("ok");
    });
  });
  const { port, server } = await startServer(context, { http1 });
  const whole = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  for (const step of [1, 3, whole.length]) {
    const socket = socketOf(context, port);
    const reading = readAll(socket);
    for (let at = 0; at < whole.length; at += step) {
      socket.write(whole.slice(at, at + step));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal((await reading).match(/HTTP\/1\.1 200/g)?.length, 2);
  }
  assert.deepEqual(
    seen,
    [1, 2, 3].flatMap(() => ["POST /a hello", "GET /b "]),
  );
  for (const start of [0, 5, 15, 20, 23]) {
    const socket = socketOf(context, port);
    const reading = readAll(socket);
    // So far it is the preface, then it is not: node:http knows no such method, and closes.
    socket.write(Buffer.concat([CLIENT_PREFACE.subarray(0, start), Buffer.from("XXXX\r\n\r\n")]));
    assert.doesNotMatch(await reading, /200/);
  }
  assert.equal(server.connections, 0);
});

test("The preface may come byte by byte", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port, false);
  for (const byte of Buffer.concat([CLIENT_PREFACE, frame(FrameType.settings, 0, 0)])) {
    peer.send(Uint8Array.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(await peer.sync(), true);
  peer.destroy();
});

test("A client whose HTTP/1.1 head never ends is held to the timeouts of its server, which does not listen", async (context) => {
  const http1 = createHttp1Server({ headersTimeout: 50, requestTimeout: 100, connectionsCheckingInterval: 20 }, (_request, response) => {
    response.end("ok");
  });
  const { port } = await startServer(context, { http1 });
  for (const parts of ["G", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow:", "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n"]) {
    const socket = socketOf(context, port);
    socket.write(parts);
    await readAll(socket);
  }
});

test("A client without ALPN, or with HTTP/1.1 alone, is served by what its first bytes or its choice say", async (context) => {
  const http1 = createHttp1Server((_request, response) => response.end("one"));
  const tls = { cert: CERTIFICATE, key: KEY };
  const { port } = await startServer(context, { tls, http1 });
  const { port: onlyHttp2 } = await startServer(context, { tls });
  const get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  for (const [options, expected] of [
    [{}, /200 OK/],
    [{ ALPNProtocols: ["http/1.1"] }, /200 OK/],
    // Who has chosen HTTP/1.1 and speaks HTTP/2 is not understood.
    [{ ALPNProtocols: ["http/1.1"], says: CLIENT_PREFACE }, /400/],
  ] as const) {
    const socket = connectTls({ port, host: "127.0.0.1", ca: CERTIFICATE, ...options });
    context.after(() => socket.destroy());
    socket.write("says" in options ? options.says : get);
    assert.match(await readAll(socket), expected);
  }
  // Without a server for it, HTTP/1.1 is refused in the handshake, or closed.
  const refused = connectTls({ port: onlyHttp2, host: "127.0.0.1", ca: CERTIFICATE, ALPNProtocols: ["http/1.1"] });
  assert.equal(await readAll(refused), "");
  const closed = connectTls({ port: onlyHttp2, host: "127.0.0.1", ca: CERTIFICATE });
  closed.write(get);
  assert.equal(await readAll(closed), "");
});

test("A plain request whose headers were cut off at the limit is answered with 431, and its listener never sees it", async (context) => {
  let seen = 0;
  const { port, server } = await startServer(context, {
    limits: { headerListBytesMax: 1000 },
    onHttpRequest: (exchange) => {
      seen++;
      exchange.respond(200, {}, EMPTY);
    },
  });
  const peer = await RawPeer.connect(port);
  const get = [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "x"];
  peer.send(frame(headers, 5, 1, peer.block(...get, "x-long", "y".repeat(2000), "authorization", "none")));
  assert.equal((await peer.headers(1))?.get(":status"), "431");
  peer.send(frame(headers, 5, 3, peer.block(...get)));
  assert.equal((await peer.headers(3))?.get(":status"), "200");
  assert.equal(seen, 1);
  await until(() => server.memoryBytes === 0);
  peer.destroy();
});

test("A body that comes in frames of one byte costs what it would in one, and is counted until its answer", async (context) => {
  let body: Buffer | undefined;
  let respond = (): void => {};
  const { port, server } = await startServer(context, {
    messageBytesMax: 200_000,
    onHttpRequest: (exchange) => {
      ({ body } = exchange);
      respond = () => exchange.respond(200, {}, EMPTY);
    },
  });
  const peer = await RawPeer.connect(port);
  peer.send(frame(headers, 4, 1, peer.block(":method", "POST", ":scheme", "http", ":path", "/", ":authority", "x")));
  const length = 100_000;
  const heapBefore = process.memoryUsage().heapUsed;
  for (let sent = 0; sent < length; sent += 10_000) {
    peer.send(Buffer.concat(Array.from({ length: 10_000 }, (_, i) => frame(data, sent + i === length - 1 ? 1 : 0, 1, [i & 0xff]))));
    assert.equal(await peer.sync(), true);
  }
  assert.equal(body?.length, length);
  assert.ok(body!.every((byte, i) => byte === ((i % 10_000) & 0xff)));
  // 100,000 buffers of their own would take some 20 MB.
  assert.ok(process.memoryUsage().heapUsed - heapBefore < 15_000_000 || body!.buffer.byteLength <= 200_000);
  assert.ok(body!.buffer.byteLength <= 200_000, String(body!.buffer.byteLength));
  assert.ok(server.memoryBytes >= length && server.memoryBytes < 210_000, String(server.memoryBytes));
  respond();
  assert.equal((await peer.headers(1))?.get(":status"), "200");
  assert.equal(server.memoryBytes, 0);
  peer.destroy();
});

test("Plain requests beyond connectionMemoryBytesMax are answered with 503 or 413, and give back what they held", async (context) => {
  const { port, server } = await startServer(context, { connectionMemoryBytesMax: 5000, onHttpRequest: () => {} });
  const peer = await RawPeer.connect(port);
  const post = (id: number): Buffer =>
    frame(headers, 4, id, peer.block(":method", "POST", ":scheme", "http", ":path", "/", ":authority", "x"));
  peer.send(post(1), frame(data, 0, 1, new Uint8Array(5000)));
  assert.equal((await peer.headers(1))?.get(":status"), "413");
  assert.equal(server.memoryBytes, 0);
  for (const id of [3, 5, 7, 9, 11, 13]) peer.send(post(id));
  assert.equal((await peer.headers(11))?.get(":status"), "503");
  assert.equal((await peer.headers(13))?.get(":status"), "503");
  peer.destroy();
  await until(() => server.memoryBytes === 0);
});

test("A table that the limit forbids may be used until the limit is acknowledged, and must then be given up", async (context) => {
  const { port } = await startServer(context, { limits: { headerTableBytesMax: 0 } });
  for (const isGood of [true, false]) {
    const peer = await RawPeer.connect(port, false);
    peer.send(CLIENT_PREFACE, frame(FrameType.settings, 0, 0));
    // In the table at once, as clients do that do not wait for our settings.
    for (const id of [1, 3, 5]) {
      peer.send(frame(headers, 5, id, peer.request("/test.Raw/Count", "x-a", "b")));
      assert.equal((await peer.headers(id))?.get(":status"), "200");
      assert.equal((await peer.headers(id))?.get("grpc-status"), "0");
    }
    assert.ok(peer.encoder.tableBytes > 0);
    peer.send(frame(FrameType.settings, 1, 0));
    if (isGood) peer.encoder.setTableBytesMax(0);
    peer.send(frame(headers, 5, 7, peer.request("/test.Raw/Count", "x-a", "b")));
    if (isGood) {
      assert.equal((await peer.headers(7))?.get(":status"), "200");
      peer.destroy();
    } else {
      assert.equal(await peer.goawayCode(), ErrorCode.COMPRESSION_ERROR);
    }
  }
});
