/** The rules of RFC 9113, one test for each: what a peer does, and how the server answers it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { frame, grpcMessage, number32, RawPeer, settingsPayload } from "../test/raw-peer.ts";
import { startServer, until } from "../test/server.ts";
import { CLIENT_PREFACE, ErrorCode, errorCodeName, FrameType, Setting } from "./protocol.ts";

const { data, headers, priority, rstStream, settings, pushPromise, ping, goaway, windowUpdate, continuation } = FrameType;
const END_STREAM = 1;
const END_HEADERS = 4;
const PADDED = 8;
const PRIORITY = 0x20;

/** What a peer does that ends the connection. Some parts need the peer's encoder. */
const CONNECTION_ERRORS: readonly (readonly [string, number, (peer: RawPeer) => Uint8Array[]])[] = [
  ["DATA on stream 0 (6.1)", ErrorCode.PROTOCOL_ERROR, () => [frame(data, 0, 0, [1])]],
  ["DATA on an idle stream (5.1)", ErrorCode.PROTOCOL_ERROR, () => [frame(data, 0, 1, [1])]],
  ["DATA on a stream of the wrong side (5.1.1)", ErrorCode.PROTOCOL_ERROR, () => [frame(data, 0, 2, [1])]],
  ["DATA with padding as long as the frame (6.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [open(peer), frame(data, PADDED, 1, [4, 1, 2, 3])]],
  ["HEADERS on stream 0 (6.2)", ErrorCode.PROTOCOL_ERROR, (peer) => [frame(headers, END_HEADERS, 0, peer.request("/a/b"))]],
  ["HEADERS with too much padding (6.2)", ErrorCode.PROTOCOL_ERROR, () => [frame(headers, END_HEADERS | PADDED, 1, [9, 0x82])]],
  ["HEADERS too short for priority (6.2)", ErrorCode.FRAME_SIZE_ERROR, () => [frame(headers, END_HEADERS | PRIORITY, 1, [0, 0, 0])]],
  ["an even stream id (5.1.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [frame(headers, END_HEADERS | END_STREAM, 2, peer.request("/a/b"))]],
  [
    "a stream id lower than one before (5.1.1)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [
      frame(headers, END_HEADERS, 5, peer.request("/test.Raw/Count")),
      frame(headers, END_HEADERS, 3, peer.request("/test.Raw/Count")),
    ],
  ],
  [
    "HEADERS on a stream that has ended (5.1)",
    ErrorCode.STREAM_CLOSED,
    (peer) => [...call(peer), frame(headers, END_HEADERS | END_STREAM, 1, peer.request("/test.Raw/Echo"))],
  ],
  ["DATA on a stream that has ended (5.1)", ErrorCode.STREAM_CLOSED, (peer) => [...call(peer), frame(data, 0, 1, [1])]],
  [
    "a frame of another stream within a header block (6.10)",
    ErrorCode.PROTOCOL_ERROR,
    () => [frame(headers, 0, 1, [0x82]), frame(ping, 0, 0, new Uint8Array(8))],
  ],
  [
    "CONTINUATION of another stream (6.10)",
    ErrorCode.PROTOCOL_ERROR,
    () => [frame(headers, 0, 1, [0x82]), frame(continuation, 4, 3, [0x82])],
  ],
  ["CONTINUATION without HEADERS (6.10)", ErrorCode.PROTOCOL_ERROR, () => [frame(continuation, END_HEADERS, 1, [0x82])]],
  ["a malformed header block (4.3)", ErrorCode.COMPRESSION_ERROR, () => [frame(headers, END_HEADERS, 1, [0x80])]],
  ["PRIORITY on stream 0 (6.3)", ErrorCode.PROTOCOL_ERROR, () => [frame(priority, 0, 0, new Uint8Array(5))]],
  ["RST_STREAM on stream 0 (6.4)", ErrorCode.PROTOCOL_ERROR, () => [frame(rstStream, 0, 0, number32(8))]],
  ["RST_STREAM on an idle stream (6.4)", ErrorCode.PROTOCOL_ERROR, () => [frame(rstStream, 0, 1, number32(8))]],
  ["RST_STREAM of a wrong length (6.4)", ErrorCode.FRAME_SIZE_ERROR, (peer) => [open(peer), frame(rstStream, 0, 1, [1])]],
  ["SETTINGS on a stream (6.5)", ErrorCode.PROTOCOL_ERROR, () => [frame(settings, 0, 1)]],
  ["SETTINGS of a wrong length (6.5)", ErrorCode.FRAME_SIZE_ERROR, () => [frame(settings, 0, 0, [1, 2, 3])]],
  ["an acknowledgement with settings (6.5)", ErrorCode.FRAME_SIZE_ERROR, () => [frame(settings, 1, 0, settingsPayload(1, 1))]],
  ["ENABLE_PUSH of 2 (6.5.2)", ErrorCode.PROTOCOL_ERROR, () => [frame(settings, 0, 0, settingsPayload(Setting.enablePush, 2))]],
  [
    "a window of 2^31 (6.5.2)",
    ErrorCode.FLOW_CONTROL_ERROR,
    () => [frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0x8000_0000))],
  ],
  [
    "a frame size of 16,383 (6.5.2)",
    ErrorCode.PROTOCOL_ERROR,
    () => [frame(settings, 0, 0, settingsPayload(Setting.maxFrameSize, 16_383))],
  ],
  ["a frame size of 2^24 (6.5.2)", ErrorCode.PROTOCOL_ERROR, () => [frame(settings, 0, 0, settingsPayload(Setting.maxFrameSize, 1 << 24))]],
  ["PUSH_PROMISE from a client (8.4)", ErrorCode.PROTOCOL_ERROR, () => [frame(pushPromise, END_HEADERS, 1, number32(2))]],
  ["PING on a stream (6.7)", ErrorCode.PROTOCOL_ERROR, () => [frame(ping, 0, 1, new Uint8Array(8))]],
  ["PING of a wrong length (6.7)", ErrorCode.FRAME_SIZE_ERROR, () => [frame(ping, 0, 0, new Uint8Array(7))]],
  ["GOAWAY on a stream (6.8)", ErrorCode.PROTOCOL_ERROR, () => [frame(goaway, 0, 1, new Uint8Array(8))]],
  ["GOAWAY too short (6.8)", ErrorCode.FRAME_SIZE_ERROR, () => [frame(goaway, 0, 0, new Uint8Array(7))]],
  ["WINDOW_UPDATE of 0 for the connection (6.9)", ErrorCode.PROTOCOL_ERROR, () => [frame(windowUpdate, 0, 0, number32(0))]],
  ["WINDOW_UPDATE of a wrong length (6.9)", ErrorCode.FRAME_SIZE_ERROR, () => [frame(windowUpdate, 0, 0, [1])]],
  ["WINDOW_UPDATE on an idle stream (5.1)", ErrorCode.PROTOCOL_ERROR, () => [frame(windowUpdate, 0, 7, number32(1))]],
  [
    "a window of the connection beyond 2^31 - 1 (6.9.1)",
    ErrorCode.FLOW_CONTROL_ERROR,
    () => [frame(windowUpdate, 0, 0, number32(0x7fff_ffff))],
  ],
  [
    "a stream's window beyond 2^31 - 1 by settings (6.9.2)",
    ErrorCode.FLOW_CONTROL_ERROR,
    (peer) => [
      open(peer),
      frame(windowUpdate, 0, 1, number32(1000)),
      frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0x7fff_ffff)),
    ],
  ],
  ["a frame larger than allowed (4.2)", ErrorCode.FRAME_SIZE_ERROR, (peer) => [open(peer), frame(data, 0, 1, new Uint8Array(16_385))]],
];

function open(peer: RawPeer): Buffer {
  return frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Count"));
}

function call(peer: RawPeer): Buffer[] {
  return [frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Echo")), frame(data, END_STREAM, 1, grpcMessage(new Uint8Array(0)))];
}

for (const [name, code, parts] of CONNECTION_ERRORS) {
  test(`The connection ends with ${errorCodeName(code)} after ${name}`, async (context) => {
    const { port } = await startServer(context);
    const peer = await RawPeer.connect(port);
    peer.send(...parts(peer));
    assert.equal(await peer.goawayCode(), code);
    await peer.closed();
  });
}

/** What a peer does that resets stream 1, and leaves the connection as it is. */
const STREAM_ERRORS: readonly (readonly [string, number, (peer: RawPeer) => Uint8Array[]])[] = [
  ["DATA behind the end (5.1)", ErrorCode.STREAM_CLOSED, (peer) => [...hang(peer), frame(data, 0, 1, [1])]],
  ["HEADERS behind the end (5.1)", ErrorCode.STREAM_CLOSED, (peer) => [...hang(peer), frame(headers, 5, 1, peer.block("x-a", "b"))]],
  [
    "trailers that do not end the stream (8.1)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [open(peer), frame(headers, END_HEADERS, 1, peer.block("x-a", "b"))],
  ],
  ["trailers with a pseudo-header (8.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [open(peer), frame(headers, 5, 1, peer.block(":path", "/"))]],
  ["WINDOW_UPDATE of 0 (6.9)", ErrorCode.PROTOCOL_ERROR, (peer) => [open(peer), frame(windowUpdate, 0, 1, number32(0))]],
  [
    "a window beyond 2^31 - 1 (6.9.1)",
    ErrorCode.FLOW_CONTROL_ERROR,
    (peer) => [open(peer), frame(windowUpdate, 0, 1, number32(0x7fff_ffff))],
  ],
  ["PRIORITY of a wrong length (6.3)", ErrorCode.FRAME_SIZE_ERROR, (peer) => [open(peer), frame(priority, 0, 1, [1])]],
  ["an upper-case name (8.2.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [opening(peer, "X-a", "b")]],
  ["a blank at the end of a value (8.2.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [opening(peer, "x-a", "b ")]],
  ["a line break in a value (8.2.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [opening(peer, "x-a", "b\r\nc")]],
  ["a connection-specific header (8.2.2)", ErrorCode.PROTOCOL_ERROR, (peer) => [opening(peer, "connection", "close")]],
  ["te other than trailers (8.2.2)", ErrorCode.PROTOCOL_ERROR, (peer) => [opening(peer, "te", "gzip")]],
  [
    "a pseudo-header behind others (8.3)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [head(peer, ":method", "POST", ":scheme", "http", "x-a", "b", ":path", "/a/b")],
  ],
  [
    "an unknown pseudo-header (8.3)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [head(peer, ":method", "POST", ":scheme", "http", ":path", "/a/b", ":x", "y")],
  ],
  [
    "a repeated pseudo-header (8.3)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [head(peer, ":method", "POST", ":scheme", "http", ":path", "/", ":path", "/")],
  ],
  ["a request without :path (8.3.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [head(peer, ":method", "POST", ":scheme", "http")]],
  ["a request without :method (8.3.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [head(peer, ":path", "/", ":scheme", "http")]],
  [
    "a request with an empty :path (8.3.1)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [head(peer, ":method", "POST", ":path", "", ":scheme", "http")],
  ],
  [
    "a request with :status (8.3)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [head(peer, ":method", "POST", ":path", "/", ":scheme", "http", ":status", "200")],
  ],
  [
    "more data than content-length (8.1.1)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [opening(peer, "content-length", "3"), frame(data, 0, 1, new Uint8Array(4))],
  ],
  [
    "less data than content-length (8.1.1)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [opening(peer, "content-length", "9"), frame(data, 1, 1, new Uint8Array(4))],
  ],
  [
    "no data in spite of content-length (8.1.1)",
    ErrorCode.PROTOCOL_ERROR,
    (peer) => [opening(peer, "content-length", "9"), frame(headers, 5, 1, peer.block("a", "b"))],
  ],
  ["a malformed content-length (8.1.1)", ErrorCode.PROTOCOL_ERROR, (peer) => [opening(peer, "content-length", "-1")]],
];

function hang(peer: RawPeer): Buffer[] {
  return [frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Hang")), frame(data, END_STREAM, 1, grpcMessage(new Uint8Array(0)))];
}

function opening(peer: RawPeer, ...more: string[]): Buffer {
  return frame(
    headers,
    END_HEADERS,
    1,
    peer.block(":method", "POST", ":scheme", "http", ":path", "/test.Raw/Count", "content-type", "application/grpc", ...more),
  );
}

function head(peer: RawPeer, ...fields: string[]): Buffer {
  return frame(headers, END_HEADERS, 1, peer.block(...fields));
}

for (const [name, code, parts] of STREAM_ERRORS) {
  test(`The stream is reset with ${errorCodeName(code)} after ${name}, and the connection goes on`, async (context) => {
    const { port, server } = await startServer(context);
    const peer = await RawPeer.connect(port);
    peer.send(...parts(peer));
    assert.equal(await peer.resetCode(1), code);
    // Frames on their way to a stream that was reset are no error.
    peer.send(frame(data, 0, 1, [1, 2, 3]), frame(windowUpdate, 0, 1, number32(5)));
    assert.equal(await peer.sync(), true);
    await until(() => server.runningCalls === 0);
    peer.destroy();
  });
}

test("Frames that mean nothing are ignored: unknown types, PRIORITY, unknown settings, WINDOW_UPDATE for ended streams", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  peer.send(
    frame(0x77, 0xff, 0, [1, 2, 3]),
    frame(priority, 0, 9, new Uint8Array(5)),
    frame(settings, 0, 0, settingsPayload(0x77, 1, Setting.maxHeaderListSize, 1 << 20)),
    ...call(peer),
    frame(windowUpdate, 0, 1, number32(5)),
    frame(rstStream, 0, 1, number32(8)),
  );
  assert.equal(await peer.sync(), true);
  peer.destroy();
});

test("Padding is taken off DATA and HEADERS, and priority fields are skipped", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  const message = grpcMessage(Buffer.from("hello"));
  peer.send(
    frame(
      headers,
      END_HEADERS | PADDED | PRIORITY,
      1,
      Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 7]), peer.request("/test.Raw/Echo"), Buffer.alloc(3)]),
    ),
    frame(data, END_STREAM | PADDED, 1, Buffer.concat([Buffer.from([5]), message, Buffer.alloc(5)])),
  );
  const answer = await peer.next((found) => found.type === data);
  assert.deepEqual(answer?.payload, message);
  peer.destroy();
});

test("A header block may come in CONTINUATION frames, empty ones among them", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  const block = peer.request("/test.Raw/Echo");
  peer.send(
    frame(headers, 0, 1, block.subarray(0, 1)),
    frame(continuation, 0, 1, block.subarray(1, 20)),
    frame(continuation, 0, 1),
    frame(continuation, END_HEADERS, 1, block.subarray(20)),
    frame(data, END_STREAM, 1, grpcMessage(Buffer.from("hi"))),
  );
  const answer = await peer.next((found) => found.type === data);
  assert.equal(answer?.payload.toString("latin1", 5), "hi");
  peer.destroy();
});

test("Bytes may come one at a time", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port, false);
  const bytes = Buffer.concat([CLIENT_PREFACE, frame(settings, 0, 0), ...call(peer)]);
  for (const byte of bytes) {
    peer.socket.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const answer = await peer.next((found) => found.type === data);
  assert.deepEqual(answer?.payload, grpcMessage(new Uint8Array(0)));
  peer.destroy();
});

for (const [name, bytes] of [
  ["something that is not the preface", Buffer.from("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")],
  ["an HTTP/1.1 request, when there is no server for it", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
] as const) {
  test(`The connection is closed after ${name}`, async (context) => {
    const { port } = await startServer(context);
    const peer = await RawPeer.connect(port, false);
    peer.send(bytes);
    await peer.closed();
  });
}

test("The first frame must be SETTINGS (3.4)", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port, false);
  peer.send(CLIENT_PREFACE, frame(ping, 0, 0, new Uint8Array(8)));
  assert.equal(await peer.goawayCode(), ErrorCode.PROTOCOL_ERROR);
});

test("A server's settings are those of its limits", async (context) => {
  const { port } = await startServer(context, {
    limits: {
      concurrentStreamsMax: 7,
      headerListBytesMax: 1234,
      frameBytesMax: 20_000,
      streamWindowBytes: 99_999,
      headerTableBytesMax: 100,
    },
  });
  const peer = await RawPeer.connect(port, false);
  peer.send(CLIENT_PREFACE, frame(settings, 0, 0));
  const found = await peer.next((candidate) => candidate.type === settings);
  const values = new Map<number, number>();
  for (let at = 0; at < found!.payload.length; at += 6) values.set(found!.payload.readUInt16BE(at), found!.payload.readUInt32BE(at + 2));
  assert.deepEqual(
    [...values].sort(([a], [b]) => a - b),
    [
      [1, 100],
      [3, 7],
      [4, 99_999],
      [5, 20_000],
      [6, 1234],
    ],
  );
  peer.destroy();
});

test("More streams than allowed are refused, and others go on (5.1.2)", async (context) => {
  const { port } = await startServer(context, { limits: { concurrentStreamsMax: 2 } });
  const peer = await RawPeer.connect(port);
  for (const id of [1, 3, 5]) peer.send(frame(headers, END_HEADERS, id, peer.request("/test.Raw/Hang")));
  assert.equal(await peer.resetCode(5), ErrorCode.REFUSED_STREAM);
  peer.send(frame(rstStream, 0, 1, number32(ErrorCode.CANCEL)));
  peer.send(frame(headers, END_HEADERS, 7, peer.request("/test.Raw/Echo")), frame(data, END_STREAM, 7, grpcMessage(new Uint8Array(0))));
  assert.equal((await peer.headers(7))?.get(":status"), "200");
  peer.destroy();
});

test("A draining server first says that it will, serves what is on its way, then names the last stream (6.8)", async (context) => {
  const { port, server } = await startServer(context);
  const peer = await RawPeer.connect(port);
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Count")));
  await until(() => server.runningCalls === 1);
  const closing = server.close({ graceMs: 5000 });
  const first = await peer.next((found) => found.type === goaway);
  assert.equal(first?.payload.readUInt32BE(0), 0x7fff_ffff);
  const probe = await peer.next((found) => found.type === ping);
  peer.send(frame(headers, END_HEADERS, 3, peer.request("/test.Raw/Count")), frame(ping, 1, 0, probe!.payload));
  const second = await peer.next((found) => found.type === goaway);
  assert.equal(second?.payload.readUInt32BE(0), 3);
  peer.send(frame(headers, END_HEADERS, 5, peer.request("/test.Raw/Count")));
  assert.equal(await peer.resetCode(5), ErrorCode.REFUSED_STREAM);
  for (const id of [1, 3]) peer.send(frame(data, END_STREAM, id, grpcMessage(new Uint8Array(3))));
  await closing;
  await peer.closed();
});

test("An early answer stops the request with NO_ERROR (8.1)", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Nothing")));
  const block = await peer.headers(1);
  assert.equal(block?.get("grpc-status"), "12");
  assert.equal(await peer.resetCode(1), ErrorCode.NO_ERROR);
  peer.destroy();
});
