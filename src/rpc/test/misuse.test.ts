/** What callers do wrong fails the call that did it, with an error that says what to do, and no other call and no process. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RpcClient } from "../grpc/client.ts";
import { RpcServer } from "../grpc/server.ts";
import { Status } from "../grpc/status.ts";
import { CERTIFICATE, KEY } from "./certificate.ts";
import { rawMethod } from "./methods.ts";
import { Chat, Count, Echo, Flood, startClient, startServer, until } from "./server.ts";

const EMPTY = new Uint8Array(0);

test("An encoder that returns no bytes fails its call", async (context) => {
  const { port, server } = await startServer(context);
  const nothing = (): Uint8Array => undefined as unknown as Uint8Array;
  server.add({ ...Echo, path: "/test.Raw/Now", encodeResponse: nothing }, () => EMPTY);
  server.add({ ...Echo, path: "/test.Raw/Later", encodeResponse: nothing }, () => Promise.resolve(EMPTY));
  const client = startClient(context, port);
  for (const path of ["/test.Raw/Now", "/test.Raw/Later"]) {
    await assert.rejects(client.unary({ ...Echo, path }, EMPTY), {
      code: Status.INTERNAL,
      message: "the response message cannot be encoded",
    });
  }
  await assert.rejects(client.unary({ ...Echo, encodeRequest: nothing }, EMPTY), { code: Status.INTERNAL, mayHaveRun: false });
  const call = client.stream({ ...Count, encodeRequest: nothing });
  assert.throws(() => call.send(EMPTY), { name: "TypeError", message: "an encoder must return a Uint8Array" });
  call.cancel();
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
});

test("What onHandlerFailure throws is thrown outside of the connection", async (context) => {
  const { port, server } = await startServer(context, {
    onHandlerFailure: () => {
      throw new Error("of onHandlerFailure");
    },
  });
  const bad = { ...Echo, path: "/test.Raw/Bad" };
  server.add(bad, () => {
    throw new Error("of the handler");
  });
  const thrown: unknown[] = [];
  const client = startClient(context, port);
  const monitor = (error: unknown): void => void thrown.push((error as Error).message);
  // The test runner's own listeners would take it for a failure.
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException").on("uncaughtException", monitor);
  context.after(() => {
    process.removeListener("uncaughtException", monitor);
    for (const listener of listeners) process.on("uncaughtException", listener);
  });
  const results = await Promise.allSettled([client.unary(bad, EMPTY), client.unary(Echo, EMPTY)]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["rejected", "fulfilled"],
  );
  assert.deepEqual(thrown, ["of onHandlerFailure"]);
});

test("A sender that goes on after the end of its call does not stop the event loop", async (context) => {
  const { port, server } = await startServer(context);
  server.add({ ...Chat, path: "/test.Raw/Short" }, async () => {});
  let isOver = false;
  let turns = 0;
  server.add({ ...Flood, path: "/test.Raw/AfterEnd" }, async (_request, call) => {
    call.end();
    while (!isOver) {
      if (!call.send(EMPTY)) await call.writable();
      turns++;
    }
  });
  const client = startClient(context, port);
  const call = client.stream(rawMethod("Short", "bidi"));
  await call[Symbol.asyncIterator]().next();
  const sender = (async () => {
    while (!isOver) if (!call.send(EMPTY)) await call.writable();
  })();
  for await (const _ of client.serverStream(rawMethod("AfterEnd", "serverStream"), EMPTY));
  await until(() => turns > 10);
  isOver = true;
  await sender;
  await until(() => server.runningCalls === 0);
});

test("A handler whose message cannot be encoded is told when it waits to send more", async (context) => {
  const { port, server } = await startServer(context);
  let told: unknown;
  const bad = {
    ...Flood,
    path: "/test.Raw/BadStream",
    encodeResponse: (): Uint8Array => {
      throw new Error("of the encoder");
    },
  };
  server.add(bad, async (_request, call) => {
    for (;;) {
      if (call.send(EMPTY)) continue;
      await call.writable().catch((error: unknown) => (told = error));
      return;
    }
  });
  const client = startClient(context, port);
  await assert.rejects(client.serverStream(bad, EMPTY)[Symbol.asyncIterator]().next(), { code: Status.INTERNAL });
  await until(() => told !== undefined);
  assert.equal((told as { code: number }).code, Status.INTERNAL);
});

test("Options that node:tls refuses, and look-ups that throw, reject and leave nothing waiting", async (context) => {
  const server = new RpcServer({ tls: { cert: "none", key: "none" } });
  await assert.rejects(server.listen({ port: 0 }));
  await server.close();
  const lookup = (): never => {
    throw new Error("of the look-up");
  };
  for (const options of [
    { endpoints: ["https://127.0.0.1:1"], tls: { cert: "none", key: "none" } },
    { endpoints: ["name:1"], lookup },
  ]) {
    const client = new RpcClient(options);
    context.after(() => client.close());
    for (let i = 0; i < 2; i++) await assert.rejects(client.unary(Echo, EMPTY), { code: Status.UNAVAILABLE, mayHaveRun: false });
    assert.deepEqual([client.calls, client.connections], [0, 0]);
  }
});

test("Numbers that are none, or that a timer cannot count, are refused", async (context) => {
  for (const options of [
    { connectionsMax: 0 },
    { callsMax: Number.NaN },
    { requestTimeoutMs: -1 },
    { messageBytesMax: Number.NaN },
    { messageBytesMax: 2 ** 32 },
    { connectionMemoryBytesMax: 1.5 },
    { memoryBytesMax: Number.NaN },
    { sendMemoryBytesMax: -1 },
    { limits: { frameTimeoutMs: 0 } },
    { limits: { outputBytesHigh: 0 } },
    { limits: { controlFramesBurst: 0 } },
  ]) {
    assert.throws(() => new RpcServer(options), RangeError, JSON.stringify(options));
  }
  const endpoints = ["127.0.0.1:1"];
  for (const options of [
    { messageBytesMax: Number.NaN },
    { connectTimeoutMs: Number.POSITIVE_INFINITY },
    { connectTimeoutMs: 0 },
    { staggerMs: 2 ** 31 },
    { waitingCallsMax: -1 },
    { connectionMemoryBytesMax: Number.NaN },
    { memoryBytesMax: Number.NaN },
    { sendMemoryBytesMax: Number.NaN },
    { backoff: { initialMs: Number.NaN } },
    { backoff: { maxMs: 0 } },
    { backoff: { factor: 0.5 } },
    { backoff: { jitter: 2 } },
  ]) {
    assert.throws(() => new RpcClient({ endpoints, ...options }), RangeError, JSON.stringify(options));
  }
  assert.throws(() => new RpcClient({ endpoints, userAgent: "a\nb" }), TypeError);
  assert.throws(() => new RpcClient({ endpoints, authority: " a" }), TypeError);
  const { port } = await startServer(context);
  const client = startClient(context, port);
  assert.throws(() => client.unary(Echo, EMPTY, { timeoutMs: Number.NaN }), RangeError);
  assert.equal((await client.unary(Echo, EMPTY, { timeoutMs: Number.POSITIVE_INFINITY })).length, 0);
  await assert.rejects(client.unary(Echo, EMPTY, { timeoutMs: -5 }), { code: Status.DEADLINE_EXCEEDED });
  assert.equal(client.calls, 0);
});

test("Requests that wait for a connection count in sendMemoryBytesMax", async (context) => {
  const { port, server } = await startServer(context, { limits: { concurrentStreamsMax: 1 } });
  const hold = { ...Echo, path: "/test.Raw/Hold" };
  let release = (): void => {};
  server.add(hold, (request) => new Promise<Uint8Array>((resolve) => (release = (): void => resolve(request))));
  const client = startClient(context, port, { sendMemoryBytesMax: 1000 });
  const first = client.unary(hold, EMPTY);
  await until(() => server.runningCalls === 1);
  const second = client.unary(Echo, Buffer.alloc(600));
  await assert.rejects(client.unary(Echo, Buffer.alloc(600)), { code: Status.RESOURCE_EXHAUSTED, mayHaveRun: false });
  const stream = client.stream(Count);
  assert.equal(stream.send(Buffer.alloc(600)), false);
  await assert.rejects(stream.response(), { code: Status.RESOURCE_EXHAUSTED });
  release();
  assert.equal((await second).length, 600);
  await first;
  for (let i = 0; i < 10; i++) assert.equal((await client.unary(Echo, Buffer.alloc(600))).length, 600);
});

test("A plain response refuses headers of HTTP/1.1 connections and statuses that are none, and writing after the end says so", async (context) => {
  const errors: unknown[] = [];
  let more: boolean | undefined;
  const { port } = await startServer(context, {
    tls: { cert: CERTIFICATE, key: KEY },
    onHttpRequest: (exchange) => {
      for (const name of ["Connection", "transfer-encoding", ":status", "a b"]) {
        try {
          exchange.respond(200, { [name]: "x" }, EMPTY);
        } catch (error) {
          errors.push((error as Error).name);
        }
      }
      for (const status of [0, 101, 600, Number.NaN]) {
        try {
          exchange.respond(status, {}, EMPTY);
        } catch (error) {
          errors.push((error as Error).name);
        }
      }
      exchange.respond(204, {});
      exchange.end();
      more = exchange.write(EMPTY);
    },
  });
  const client = startClient(context, 0, { endpoints: [`https://127.0.0.1:${port}`], tls: { ca: CERTIFICATE } });
  await assert.rejects(client.unary({ ...Echo, path: "/test.Raw/None" }, EMPTY), { code: Status.UNIMPLEMENTED });
  const { connect } = await import("node:http2");
  const session = connect(`https://127.0.0.1:${port}`, { ca: CERTIFICATE });
  context.after(() => session.destroy());
  const status = await new Promise((resolve) => session.request({ ":path": "/" }).on("response", (found) => resolve(found[":status"])));
  assert.equal(status, 204);
  assert.deepEqual(errors, [...Array<string>(4).fill("TypeError"), ...Array<string>(4).fill("RangeError")]);
  assert.equal(more, false);
});
