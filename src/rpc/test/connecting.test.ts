/** The client's connections: endpoints, failures, backoff, draining, TLS, and what else may speak on a gRPC port. */
import assert from "node:assert/strict";
import { createServer as createHttp1Server, request as httpRequest } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { request as httpsRequest } from "node:https";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RpcClient } from "../grpc/client.ts";
import { RpcServer } from "../grpc/server.ts";
import { Status, type RpcError } from "../grpc/status.ts";
import { ErrorCode, FrameType, Setting } from "../http2/protocol.ts";
import { CERTIFICATE, KEY } from "./certificate.ts";
import { frame, number32 } from "./raw-peer.ts";
import { deadPort, listen, startRawServer } from "./raw-server.ts";
import { Chat, Count, Echo, Hang, startClient, startServer, until } from "./server.ts";

const EMPTY = new Uint8Array(0);
const { headers, rstStream, goaway } = FrameType;

test("A client without a server fails its calls at once, and those that wait for ready when it comes", async (context) => {
  const port = await deadPort();
  const client = startClient(context, port, { backoff: { initialMs: 5, maxMs: 20 } });
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.UNAVAILABLE, mayHaveRun: false });
  const patient = client.unary(Echo, Buffer.from("patient"), { waitForReady: true });
  await assert.rejects(client.unary(Echo, EMPTY, { waitForReady: true, timeoutMs: 30 }), {
    code: Status.DEADLINE_EXCEEDED,
    mayHaveRun: false,
  });
  const server = new RpcServer().add(Echo, (request) => request);
  context.after(() => server.close());
  await server.listen({ port, host: "127.0.0.1" });
  assert.equal(Buffer.from(await patient).toString(), "patient");
});

test("A client goes to the next endpoint when one is down, and comes back to life with the server", async (context) => {
  const { server, port } = await startServer(context);
  const client = startClient(context, port, {
    endpoints: [`127.0.0.1:${await deadPort()}`, `http://127.0.0.1:${port}`],
    backoff: { initialMs: 1, maxMs: 5 },
  });
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
  await server.close();
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.UNAVAILABLE });
  const again = new RpcServer().add(Echo, (request) => request);
  context.after(() => again.close());
  await again.listen({ port, host: "127.0.0.1" });
  assert.equal((await client.unary(Echo, EMPTY, { waitForReady: true })).length, 0);
});

test("An endpoint that does not answer costs staggerMs, not connectTimeoutMs", async (context) => {
  const silent = createServer(() => {});
  const silentPort = await listen(context, silent);
  const { port } = await startServer(context);
  const client = startClient(context, port, {
    endpoints: [`127.0.0.1:${silentPort}`, `127.0.0.1:${port}`],
    staggerMs: 20,
    connectTimeoutMs: 60_000,
  });
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
  // The slower attempt is given up.
  await until(() => client.connections === 1);
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
});

test("Round robin spreads calls over all endpoints, and over the others when one goes", async (context) => {
  const servers = await Promise.all([1, 2, 3].map(() => startServer(context)));
  const counts = [0, 0, 0];
  for (const [i, { server }] of servers.entries()) {
    server.add({ ...Echo, path: "/test.Raw/Who" }, () => {
      counts[i]!++;
      return EMPTY;
    });
  }
  const client = startClient(context, 0, {
    endpoints: servers.map(({ port }) => `127.0.0.1:${port}`),
    balance: "roundRobin",
    backoff: { initialMs: 1 },
  });
  const who = { ...Echo, path: "/test.Raw/Who" };
  await client.unary(who, EMPTY);
  await until(() => servers.every(({ server }) => server.connections === 1));
  await client.unary(who, EMPTY);
  counts.fill(0);
  for (let i = 0; i < 30; i++) await client.unary(who, EMPTY);
  assert.deepEqual(counts, [10, 10, 10]);
  await servers[1]!.server.close({ graceMs: 1000 });
  counts.fill(0);
  for (let i = 0; i < 20; i++) await client.unary(who, EMPTY);
  assert.deepEqual(counts, [10, 0, 10]);
  // It comes back, and is found though the others have room for all calls.
  const again = new RpcServer().add(who, () => {
    counts[1]!++;
    return EMPTY;
  });
  context.after(() => again.close());
  await again.listen({ port: servers[1]!.port, host: "127.0.0.1" });
  await until(() => {
    void client.unary(who, EMPTY).catch(() => {});
    return again.connections === 1;
  });
  await until(() => client.calls === 0);
  counts.fill(0);
  for (let i = 0; i < 30; i++) await client.unary(who, EMPTY);
  assert.deepEqual(counts, [10, 10, 10]);
});

test("Calls beyond the server's streams wait for room, in order, up to waitingCallsMax", async (context) => {
  const { server, port } = await startServer(context, { limits: { concurrentStreamsMax: 3 } });
  const client = startClient(context, port, { waitingCallsMax: 50 });
  await client.unary(Echo, EMPTY);
  const calls = Array.from({ length: 53 }, () => client.unary(Echo, EMPTY));
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.RESOURCE_EXHAUSTED, mayHaveRun: false });
  await Promise.all(calls);
  const hanging = Array.from({ length: 10 }, () => client.unary(Hang, EMPTY, { timeoutMs: 60 }));
  await Promise.allSettled(hanging);
  assert.equal(client.calls, 0);
  await until(() => server.runningCalls === 0);
});

test("A call that the server has not looked at is sent again, and one that it may have is not", async (context) => {
  let attempts = 0;
  const port = await startRawServer(context, (peer) => {
    void (async () => {
      for (;;) {
        const found = await peer.next((candidate) => candidate.type === headers);
        if (found === undefined) return;
        attempts++;
        const code = attempts <= 2 ? ErrorCode.REFUSED_STREAM : ErrorCode.INTERNAL_ERROR;
        peer.send(frame(rstStream, 0, found.streamId, number32(code)));
      }
    })();
  });
  const client = startClient(context, port);
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.INTERNAL, mayHaveRun: true });
  assert.equal(attempts, 3);
  // Refused for ever: given up after some attempts.
  attempts = -100;
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.UNAVAILABLE, mayHaveRun: false });
  assert.equal(attempts, -96);
});

test("After a GOAWAY, calls beyond its last stream are sent again on a new connection, and others finish", async (context) => {
  const { port: livePort } = await startServer(context);
  let peers = 0;
  const port = await startRawServer(context, (peer) => {
    peers++;
    void (async () => {
      const first = await peer.next((found) => found.type === headers && found.streamId === 3);
      // The second connection sees one call, and then its own end.
      if (first === undefined) return;
      peer.send(frame(goaway, 0, 0, Buffer.concat([number32(1), number32(0)])));
      const block = peer.block(":status", "200", "content-type", "application/grpc", "grpc-status", "9", "grpc-message", "served");
      peer.send(frame(headers, 5, 1, block));
    })();
  });
  const client = startClient(context, port, { endpoints: [`127.0.0.1:${port}`, `127.0.0.1:${livePort}`], balance: "first" });
  const controller = new AbortController();
  const calls = [client.unary(Echo, Buffer.from("a")), client.unary(Echo, Buffer.from("b"), { signal: controller.signal })];
  await assert.rejects(calls[0]!, { code: 9, message: "served" });
  // The second goes to the first endpoint again, whose new connection never answers.
  await until(() => peers === 2);
  controller.abort();
  await assert.rejects(calls[1]!, { code: Status.CANCELLED });
});

test("A lost connection fails its calls with UNAVAILABLE, and the next call has a new one", async (context) => {
  const { server, port } = await startServer(context);
  const sockets: Socket[] = [];
  // A proxy that can break the line.
  const proxy = createServer((socket) => {
    const onward = connect(port, "127.0.0.1");
    sockets.push(socket);
    socket.pipe(onward);
    onward.pipe(socket);
    socket.on("error", () => {});
    onward.on("error", () => {});
    socket.on("close", () => onward.destroy());
  });
  const proxyPort = await listen(context, proxy);
  const client = startClient(context, proxyPort);
  const hanging = client.unary(Hang, EMPTY);
  hanging.catch(() => {});
  const chat = client.stream(Chat);
  await until(() => server.runningCalls === 2);
  sockets[0]!.resetAndDestroy();
  await assert.rejects(hanging, { code: Status.UNAVAILABLE, mayHaveRun: true });
  await assert.rejects(chat[Symbol.asyncIterator]().next(), { code: Status.UNAVAILABLE });
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
  await until(() => server.runningCalls === 0);
});

test("A client's keepalive finds a server that is gone without a word", async (context) => {
  const port = await startRawServer(context, () => {});
  const client = startClient(context, port, { limits: { keepaliveTimeMs: 40, keepaliveTimeoutMs: 40 } });
  await assert.rejects(client.unary(Echo, EMPTY), { code: Status.UNAVAILABLE });
});

test("A server's limit of streams and its windows are obeyed, also when they change", async (context) => {
  let open = 0;
  let openMax = 0;
  const port = await startRawServer(
    context,
    (peer) => {
      void (async () => {
        for (;;) {
          const found = await peer.next((candidate) => candidate.type === headers);
          if (found === undefined) return;
          openMax = Math.max(openMax, ++open);
          setImmediate(() => {
            open--;
            const block = peer.block(":status", "200", "content-type", "application/grpc", "grpc-status", "5");
            peer.send(frame(headers, 5, found.streamId, block));
          });
        }
      })();
    },
    Setting.maxConcurrentStreams,
    2,
  );
  const client = startClient(context, port);
  const results = await Promise.allSettled(Array.from({ length: 20 }, () => client.unary(Echo, EMPTY)));
  assert.ok(results.every((result) => result.status === "rejected" && (result.reason as RpcError).code === 5));
  assert.ok(openMax <= 2, String(openMax));
});

test("TLS with ALPN, and a client certificate that the handler can see", async (context) => {
  const tls = { cert: CERTIFICATE, key: KEY, ca: CERTIFICATE, requestCert: true, rejectUnauthorized: false };
  const { server, port } = await startServer(context, { tls });
  server.add({ ...Echo, path: "/test.Raw/Peer" }, (_request, call) => Buffer.from(`${call.peer.address} ${call.peer.commonName}`));
  const peerMethod = { ...Echo, path: "/test.Raw/Peer" };
  const named = startClient(context, 0, {
    endpoints: [`https://localhost:${port}`],
    tls: { ca: CERTIFICATE, cert: CERTIFICATE, key: KEY },
    lookup: lookUpHere,
  });
  assert.equal(Buffer.from(await named.unary(peerMethod, EMPTY)).toString(), "127.0.0.1 localhost");
  const anonymous = startClient(context, 0, { endpoints: [`127.0.0.1:${port}`], tls: { ca: CERTIFICATE } });
  assert.equal(Buffer.from(await anonymous.unary(peerMethod, EMPTY)).toString(), "127.0.0.1 undefined");
  const big = Buffer.alloc(1_000_000, 3);
  assert.deepEqual(Buffer.from(await anonymous.unary(Echo, big)), big);
  const untrusting = startClient(context, 0, { endpoints: [`https://127.0.0.1:${port}`] });
  await assert.rejects(untrusting.unary(Echo, EMPTY), { code: Status.UNAVAILABLE, mayHaveRun: false });
  const clear = startClient(context, port);
  await assert.rejects(clear.unary(Echo, EMPTY), { code: Status.UNAVAILABLE });
});

function lookUpHere(
  _name: string,
  options: { all?: boolean | undefined },
  callback: (error: null, address: never, family?: number) => void,
): void {
  if (options.all === true) callback(null, [{ address: "127.0.0.1", family: 4 }] as never);
  else callback(null, "127.0.0.1" as never, 4);
}

for (const tls of [undefined, { cert: CERTIFICATE, key: KEY }]) {
  test(`HTTP/1.1 and plain HTTP/2 requests are served on the same port${tls === undefined ? "" : ", under TLS"}`, async (context) => {
    const http1 = createHttp1Server((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => response.end(`1.1 ${request.method} ${request.url} ${Buffer.concat(chunks).length}`));
    });
    const { port } = await startServer(context, {
      ...(tls === undefined ? {} : { tls }),
      http1,
      onHttpRequest: (exchange) => {
        const text = `2 ${exchange.method} ${exchange.path} ${exchange.body.length} ${exchange.header("X-A")}`;
        exchange.respond(200, { "Content-Type": "text/plain" }, Buffer.from(text));
      },
    });
    const get = (path: string, body: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const options = { port, host: "127.0.0.1", path, method: "POST" };
        const request = tls === undefined ? httpRequest(options) : httpsRequest({ ...options, ca: CERTIFICATE });
        request.on("response", (response) => {
          let text = "";
          response.on("data", (chunk: Buffer) => (text += chunk.toString()));
          response.on("end", () => resolve(text));
        });
        request.on("error", reject);
        request.end(body);
      });
    assert.equal(await get("/one", "hello"), "1.1 POST /one 5");
    assert.equal(await get("/large", "x".repeat(500_000)), "1.1 POST /large 500000");
    const session = connectHttp2(`${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`, { ca: CERTIFICATE });
    context.after(() => session.destroy());
    const stream = session.request({ ":method": "POST", ":path": "/two", "x-a": "b" });
    stream.end("x".repeat(300_000));
    let text = "";
    for await (const chunk of stream) text += String(chunk);
    assert.equal(text, "2 POST /two 300000 b");
    const client = startClient(context, port, tls === undefined ? {} : { tls: { ca: CERTIFICATE } });
    assert.equal((await client.unary(Echo, EMPTY)).length, 0);
  });
}

test("A plain HTTP/2 response may be streamed, and tells when its reader is gone", async (context) => {
  let cancelled = 0;
  const { port } = await startServer(context, {
    messageBytesMax: 1000,
    onHttpRequest: (exchange) => {
      exchange.onCancel = () => cancelled++;
      exchange.respond(200, {});
      const more = (): void => {
        while (exchange.write(Buffer.alloc(10_000)));
      };
      exchange.onDrain = more;
      more();
    },
  });
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  context.after(() => session.destroy());
  const stream = session.request({ ":path": "/endless" });
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length;
    if (bytes > 1_000_000) break;
  }
  await until(() => cancelled === 1);
  const tooLarge = session.request({ ":method": "POST", ":path": "/" });
  tooLarge.on("error", () => {});
  tooLarge.end(Buffer.alloc(2000));
  const status = await new Promise((resolve) => tooLarge.on("response", (found) => resolve(found[":status"])));
  assert.equal(status, 413);
});

test("A Unix socket serves as well as a port", async (context) => {
  const directory = mkdtempSync(join(tmpdir(), "rpc-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "socket");
  const server = new RpcServer().add(Echo, (request) => request);
  context.after(() => server.close());
  await server.listen({ path });
  const client = startClient(context, 0, { endpoints: [`unix:${path}`] });
  assert.equal((await client.unary(Echo, Buffer.alloc(5))).length, 5);
});

test("A port that is taken rejects", async (context) => {
  const { port } = await startServer(context);
  const second = new RpcServer();
  await assert.rejects(second.listen({ port, host: "127.0.0.1" }), { code: "EADDRINUSE" });
  await second.close();
});

test("Endpoints that are none are refused", () => {
  for (const endpoint of ["", "host", "host:0", "host:99999", "ftp://x:1", "a b:1"])
    assert.throws(() => new RpcClient({ endpoints: [endpoint] }), TypeError, endpoint);
  assert.throws(() => new RpcClient({ endpoints: [] }), TypeError);
  assert.throws(() => new RpcClient({ endpoints: ["a:1"], limits: { frameBytesMax: 1 } }), RangeError);
});

test("A stream that is never started can still be used and cancelled", async (context) => {
  const client = startClient(context, await deadPort());
  const call = client.stream(Count);
  call.send(new Uint8Array(10));
  await assert.rejects(call.response(), { code: Status.UNAVAILABLE });
  assert.equal(call.send(EMPTY), false);
  await assert.rejects(call.writable(), { code: Status.UNAVAILABLE });
  call.end();
  call.cancel();
});
