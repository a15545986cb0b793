/** Calls between our client and our server: what each side is told, and when. */
import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { test } from "node:test";
import type { CallContext, DuplexStream } from "../grpc/handler.ts";
import { Metadata } from "../grpc/metadata.ts";
import { RpcError, Status } from "../grpc/status.ts";
import { rawMethod } from "./methods.ts";
import { Chat, Count, Echo, Flood, Hang, Ignore, startClient, startServer, until } from "./server.ts";

const EMPTY = new Uint8Array(0);

test("A handler may answer at once or later, and an error it throws is what the client gets", async (context) => {
  const { server, port, seen } = await startServer(context);
  const details = Uint8Array.of(8, 5);
  server.add({ ...Echo, path: "/test.Raw/Throws" }, () => {
    throw new RpcError(Status.NOT_FOUND, "gone: ünïcode", { details, metadata: Metadata.from({ "x-why": "because" }) });
  });
  server.add({ ...Echo, path: "/test.Raw/Rejects" }, () => Promise.reject(new RpcError(Status.ABORTED, "later")));
  server.add({ ...Echo, path: "/test.Raw/Breaks" }, () => {
    throw new TypeError("a secret");
  });
  server.add({ ...Echo, path: "/test.Raw/Ok" }, () => {
    throw new RpcError(0, "an OK is no error");
  });
  const client = startClient(context, port);
  const call = (name: string): Promise<Uint8Array> => client.unary(rawMethod(name, "unary"), EMPTY);
  await assert.rejects(call("Throws"), (error) => {
    assert.ok(RpcError.is(error));
    assert.deepEqual(
      [error.code, error.message, error.metadata?.get("x-why"), [...error.details!]],
      [5, "gone: ünïcode", "because", [8, 5]],
    );
    return true;
  });
  await assert.rejects(call("Rejects"), { code: Status.ABORTED, message: "later" });
  await assert.rejects(call("Breaks"), { code: Status.UNKNOWN, message: "the handler failed" });
  await assert.rejects(call("Ok"), { code: Status.UNKNOWN });
  assert.equal(seen.failures.length, 1);
  assert.equal(server.runningCalls, 0);
});

test("Metadata goes both ways: with the request, the head and the trailers", async (context) => {
  const { server, port } = await startServer(context);
  server.add({ ...Echo, path: "/test.Raw/Meta" }, (request, call) => {
    call.sendMetadata({ "x-head": call.metadata.get("x-in") ?? "", "x-bin": call.metadata.getBinary("x-in-bin")! });
    assert.throws(() => call.sendMetadata({ "x-again": "1" }));
    call.trailers.append("x-trailer", "t");
    return request;
  });
  const client = startClient(context, port);
  let head: Metadata | undefined;
  let trailers: Metadata | undefined;
  await client.unary(rawMethod("Meta", "unary"), EMPTY, {
    metadata: { "x-in": "in", "x-in-bin": Uint8Array.of(1, 2) },
    onMetadata: (found) => (head = found),
    onTrailers: (found) => (trailers = found),
  });
  assert.deepEqual([head?.get("x-head"), head?.getBinary("x-bin"), trailers?.get("x-trailer")], ["in", Uint8Array.of(1, 2), "t"]);
});

test("Metadata larger than the server accepts fails before it is sent; a large one within the limit takes several frames", async (context) => {
  const { server, port } = await startServer(context, { limits: { headerListBytesMax: 40_000, headerBlockBytesMax: 60_000 } });
  server.add({ ...Echo, path: "/test.Raw/Size" }, (_request, call) => Buffer.from(String(call.metadata.get("x-large")?.length)));
  const client = startClient(context, port);
  const size = rawMethod("Size", "unary");
  assert.equal(Buffer.from(await client.unary(size, EMPTY, { metadata: { "x-large": "~".repeat(30_000) } })).toString(), "30000");
  await assert.rejects(client.unary(size, EMPTY, { metadata: { "x-large": "~".repeat(50_000) } }), {
    code: Status.RESOURCE_EXHAUSTED,
    mayHaveRun: false,
  });
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
});

test("A deadline ends the call on both sides", async (context) => {
  const { server, port, seen } = await startServer(context);
  let left = 0;
  server.add({ ...Hang, path: "/test.Raw/Left" }, (_request, call) => {
    left = call.timeLeftMs;
    return EMPTY;
  });
  const client = startClient(context, port);
  await client.unary(rawMethod("Left", "unary"), EMPTY, { timeoutMs: 10_000 });
  assert.ok(left > 5000 && left <= 10_001, String(left));
  await assert.rejects(client.unary(Hang, EMPTY, { timeoutMs: 300 }), { code: Status.DEADLINE_EXCEEDED });
  await until(() => seen.cancelled === 1 && server.runningCalls === 0);
  // A call without time left is not even sent to a handler that could finish.
  await assert.rejects(client.unary(Hang, EMPTY, { timeoutMs: 0 }), { code: Status.DEADLINE_EXCEEDED });
  assert.equal(client.calls, 0);
});

test("Aborting a signal cancels the call on both sides, its reason as the cause", async (context) => {
  const { server, port, seen } = await startServer(context);
  const client = startClient(context, port);
  const controller = new AbortController();
  const call = client.unary(Hang, EMPTY, { signal: controller.signal });
  await until(() => server.runningCalls === 1);
  const reason = new Error("no longer wanted");
  controller.abort(reason);
  await assert.rejects(call, { code: Status.CANCELLED, cause: reason, mayHaveRun: true });
  await until(() => seen.cancelled === 1 && server.runningCalls === 0);
  await assert.rejects(client.unary(Echo, EMPTY, { signal: controller.signal }), { code: Status.CANCELLED, mayHaveRun: false });
  assert.equal(client.calls, 0);
});

test("A server's signal, callbacks and flags tell of the cancellation, once", async (context) => {
  const { server, port } = await startServer(context);
  const told: string[] = [];
  let handling: CallContext | undefined;
  server.add({ ...Ignore, path: "/test.Raw/Watch" }, (call) => {
    handling = call;
    call.signal.addEventListener("abort", () => told.push("signal"));
    call.onCancel((reason) => told.push(`callback ${reason.code}`));
    call.onCancel(() => {
      throw new Error("a callback that fails harms nobody");
    });
    call.onCancel(() => told.push("last"));
  });
  const client = startClient(context, port);
  const call = client.stream(rawMethod("Watch", "bidi"));
  await until(() => handling !== undefined);
  assert.equal(handling!.isCancelled, false);
  call.cancel();
  call.cancel();
  await until(() => told.length > 0);
  assert.deepEqual(told, ["signal", "callback 1", "last"]);
  assert.equal(handling!.isCancelled, true);
  handling!.onCancel(() => told.push("at once"));
  assert.equal(told.at(-1), "at once");
  assert.equal(server.runningCalls, 0);
});

test("Streams have backpressure end to end: a reader that stops, stops the sender, and loses nothing", async (context) => {
  const { server, port } = await startServer(context);
  let sent = 0;
  server.add({ ...Flood, path: "/test.Raw/Numbers" }, async (_request, call) => {
    for (; sent < 5000; sent++) {
      const message = Buffer.alloc(1000);
      message.writeUInt32BE(sent);
      if (!call.send(message)) await call.writable();
    }
  });
  const client = startClient(context, port);
  const call = client.serverStream(rawMethod("Numbers", "serverStream"), EMPTY);
  const iterator = call[Symbol.asyncIterator]();
  await iterator.next();
  // The rest waits: at most the stream's window, what the server queues, and sockets' buffers.
  let before = -1;
  while (before !== sent) {
    before = sent;
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(sent < 2000, String(sent));
  for (let i = 1; i < 5000; i++) {
    const result = await iterator.next();
    assert.equal(Buffer.from(result.value!).readUInt32BE(0), i);
  }
  assert.equal((await iterator.next()).done, true);
});

test("A sender that waits is woken when it may go on, in both directions at once", async (context) => {
  const { port } = await startServer(context);
  const client = startClient(context, port, { limits: { streamWindowBytes: 65_536 } });
  const call = client.stream(Chat);
  const total = 3000;
  const sending = (async () => {
    for (let i = 0; i < total; i++) if (!call.send(Buffer.alloc(2000, i & 0xff))) await call.writable();
    call.end();
  })();
  let received = 0;
  for await (const message of call) {
    assert.equal(message.length, 2000);
    assert.equal(message[1999], received & 0xff);
    received++;
  }
  await sending;
  assert.equal(received, total);
});

test("Leaving a response stream early cancels the call", async (context) => {
  const { server, port } = await startServer(context);
  const client = startClient(context, port);
  const request = Buffer.alloc(1000);
  request.writeUInt32BE(1_000_000);
  let received = 0;
  for await (const message of client.serverStream(Flood, request)) {
    assert.equal(message.length, 1000);
    if (++received === 10) break;
  }
  await until(() => server.runningCalls === 0 && client.calls === 0);
});

test("A handler that answers before the request has ended stops the sender", async (context) => {
  const { server, port } = await startServer(context);
  server.add({ ...Count, path: "/test.Raw/First" }, async (call) => {
    for await (const message of call) return message;
    return EMPTY;
  });
  const client = startClient(context, port);
  const call = client.stream(rawMethod("First", "clientStream"));
  const response = call.response();
  call.send(Buffer.from("one"));
  assert.equal(Buffer.from(await response).toString(), "one");
  assert.equal(call.send(Buffer.from("two")), false);
  await call.writable();
});

test("A request stream that breaks off is an error for its handler, not an end", async (context) => {
  const { server, port } = await startServer(context);
  const ends: string[] = [];
  server.add({ ...Count, path: "/test.Raw/Sum" }, async (call) => {
    try {
      for await (const _message of call);
      ends.push("end");
    } catch (error) {
      ends.push(`error ${(error as RpcError).code}`);
    }
    return EMPTY;
  });
  const client = startClient(context, port);
  const broken = client.stream(rawMethod("Sum", "clientStream"));
  broken.send(EMPTY);
  await until(() => server.runningCalls === 1);
  broken.cancel();
  await until(() => ends.length === 1);
  assert.deepEqual(ends, ["error 1"]);
});

test("Handlers without a promise keep their call open until they end it", async (context) => {
  const { server, port } = await startServer(context);
  let call: DuplexStream<Uint8Array, Uint8Array> | undefined;
  const got: string[] = [];
  server.add({ ...Chat, path: "/test.Raw/Push" }, (found) => {
    call = found;
    found.listen({ onMessage: (message) => got.push(Buffer.from(message).toString()), onEnd: (error) => got.push(String(error)) });
  });
  const client = startClient(context, port);
  const stream = client.stream(rawMethod("Push", "bidi"));
  stream.send(Buffer.from("a"));
  await until(() => got.length === 1);
  assert.equal(call!.send(Buffer.from("b")), true);
  const iterator = stream[Symbol.asyncIterator]();
  assert.equal(Buffer.from((await iterator.next()).value!).toString(), "b");
  stream.end();
  await until(() => got.length === 2);
  assert.deepEqual(got, ["a", "undefined"]);
  assert.equal(server.runningCalls, 1);
  call!.end();
  call!.end();
  assert.equal(call!.send(EMPTY), false);
  assert.equal((await iterator.next()).done, true);
  await until(() => server.runningCalls === 0);
});

test("A listener on the client is given messages and the end", async (context) => {
  const { port } = await startServer(context);
  const client = startClient(context, port);
  const request = Buffer.alloc(10);
  request.writeUInt32BE(5);
  let messages = 0;
  const end = await new Promise((resolve) => client.serverStream(Flood, request).listen({ onMessage: () => messages++, onEnd: resolve }));
  assert.deepEqual([messages, end], [5, undefined]);
  const failing = await new Promise((resolve) =>
    client.serverStream(rawMethod("Nothing", "serverStream"), EMPTY).listen({ onMessage() {}, onEnd: resolve }),
  );
  assert.equal((failing as RpcError).code, Status.UNIMPLEMENTED);
});

test("Codecs that throw fail their call, on each side and in each direction", async (context) => {
  const { server, port, seen } = await startServer(context);
  const bad = (): never => {
    throw new Error("cannot");
  };
  server.add({ ...Echo, path: "/test.Raw/BadRequest", decodeRequest: bad }, (request) => request);
  server.add({ ...Echo, path: "/test.Raw/BadResponse", encodeResponse: bad }, (request) => request);
  const client = startClient(context, port);
  await assert.rejects(client.unary(rawMethod("BadRequest", "unary"), EMPTY), { code: Status.INTERNAL });
  await assert.rejects(client.unary(rawMethod("BadResponse", "unary"), EMPTY), { code: Status.INTERNAL });
  await assert.rejects(client.unary({ ...Echo, encodeRequest: bad }, EMPTY), { code: Status.INTERNAL, mayHaveRun: false });
  await assert.rejects(client.unary({ ...Echo, decodeResponse: bad }, EMPTY), { code: Status.INTERNAL });
  assert.deepEqual([server.runningCalls, client.calls, seen.failures.length], [0, 0, 0]);
});

test("Callbacks that throw fail their call and nothing else", async (context) => {
  const { server, port, seen } = await startServer(context, {
    onHttpRequest: () => {
      throw new Error("cannot");
    },
  });
  const bad = (): never => {
    throw new Error("cannot");
  };
  server.add({ ...Chat, path: "/test.Raw/BadMessage" }, (call) => call.listen({ onMessage: bad, onEnd() {} }));
  server.add({ ...Chat, path: "/test.Raw/BadEnd" }, (call) => {
    call.listen({ onMessage() {}, onEnd: bad });
    call.send(EMPTY);
  });
  const client = startClient(context, port);
  await assert.rejects(client.unary(Echo, EMPTY, { onMetadata: bad }), { code: Status.INTERNAL });
  await assert.rejects(client.unary(Echo, EMPTY, { onTrailers: bad }), { code: Status.INTERNAL });
  const one = Buffer.alloc(4);
  one.writeUInt32BE(1);
  const error = await new Promise((resolve) => client.serverStream(Flood, one).listen({ onMessage: bad, onEnd: resolve }));
  assert.equal((error as RpcError).code, Status.INTERNAL);
  const badMessage = client.stream(rawMethod("BadMessage", "bidi"));
  badMessage.send(EMPTY);
  await assert.rejects(badMessage[Symbol.asyncIterator]().next(), { code: Status.UNKNOWN });
  const badEnd = client.stream(rawMethod("BadEnd", "bidi"));
  const iterator = badEnd[Symbol.asyncIterator]();
  await iterator.next();
  badEnd.end();
  await until(() => seen.failures.length === 2);
  badEnd.cancel();
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  context.after(() => session.destroy());
  const status = await new Promise((resolve) => session.request({ ":path": "/" }).on("response", (found) => resolve(found[":status"])));
  assert.deepEqual([status, seen.failures.length], [500, 3]);
  assert.equal((await client.unary(Echo, EMPTY)).length, 0);
  await until(() => server.runningCalls === 0);
});

test("A response larger than the client accepts fails its call", async (context) => {
  const { port } = await startServer(context);
  const client = startClient(context, port, { messageBytesMax: 1000 });
  await assert.rejects(client.unary(Echo, new Uint8Array(1001)), { code: Status.RESOURCE_EXHAUSTED });
  assert.equal((await client.unary(Echo, new Uint8Array(1000))).length, 1000);
});

test("Compression is used only where it was accepted", async (context) => {
  const { server, port } = await startServer(context);
  server.add({ ...Echo, path: "/test.Raw/Zip" }, (request, call) => {
    call.compress = true;
    return request;
  });
  const client = startClient(context, port);
  const text = Buffer.alloc(100_000, "abc");
  assert.deepEqual(Buffer.from(await client.unary(rawMethod("Zip", "unary"), text, { compress: true })), text);
});

test("A method is served once, and its path has two parts", async (context) => {
  const { server } = await startServer(context);
  assert.throws(() => server.add(Echo, (request) => request), TypeError);
  for (const path of ["", "x", "/x", "/x/", "//y", "/x/y/z"])
    assert.throws(() => server.add({ ...Echo, path }, (request) => request), TypeError, path);
});

test("Closing a server lets calls finish for a while, then ends them; closing settles always", async (context) => {
  const { server, port } = await startServer(context);
  const client = startClient(context, port);
  const hanging = client.unary(Hang, EMPTY);
  hanging.catch(() => {});
  await until(() => server.runningCalls === 1);
  await server.close({ graceMs: 50 });
  await assert.rejects(hanging, (error) => RpcError.is(error) && error.mayHaveRun);
  assert.equal(server.runningCalls, 0);
  await server.close();
});

test("Closing a client fails its calls, or lets them finish", async (context) => {
  const { server, port } = await startServer(context);
  const one = startClient(context, port);
  const hanging = one.unary(Hang, EMPTY);
  hanging.catch(() => {});
  await until(() => server.runningCalls === 1);
  await one.close();
  await assert.rejects(hanging, { name: "RpcError" });
  await assert.rejects(one.unary(Echo, EMPTY), { code: Status.CANCELLED, mayHaveRun: false });
  const other = startClient(context, port);
  const answer = other.unary(Echo, EMPTY);
  await other.close({ graceMs: 5000 });
  assert.equal((await answer).length, 0);
  await until(() => server.connections === 0);
});
