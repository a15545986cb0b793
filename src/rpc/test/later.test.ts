/** What handlers with very many calls and messages use: a Later in the place of a promise, and messages that lie in three parts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Later } from "../grpc/later.ts";
import type { Method } from "../grpc/method.ts";
import { RpcError, Status } from "../grpc/status.ts";
import { rawMethod } from "./methods.ts";
import { Echo, Flood, startClient, startServer, until } from "./server.ts";

class Answer extends Later<Uint8Array> {
  give(response: Uint8Array): void {
    this.succeed(response);
  }

  refuse(error: unknown): void {
    this.fail(error);
  }
}

test("A Later answers its call when it comes, before it is returned or after, and fails it like an error that is thrown", async (context) => {
  const { server, port, seen } = await startServer(context);
  const waiting: Answer[] = [];
  const observed: unknown[] = [];
  server.add({ ...Echo, path: "/test.Raw/Later" }, (request) => {
    const answer = new Answer();
    answer.observe({ onResponse: () => observed.push("response"), onError: () => observed.push("error") });
    if (request[0] === 1) answer.give(request);
    else if (request[0] === 2) answer.refuse(new RpcError(Status.ABORTED, "no"));
    else waiting.push(answer);
    // What comes second does nothing.
    if (request[0]! <= 2) answer.refuse(new Error("again"));
    return answer;
  });
  const client = startClient(context, port);
  const call = (byte: number, timeoutMs = 10_000): Promise<Uint8Array> =>
    client.unary(rawMethod("Later", "unary"), Uint8Array.of(byte), { timeoutMs });
  assert.deepEqual(await call(1), Uint8Array.of(1));
  await assert.rejects(call(2), { code: Status.ABORTED });
  const calls = [call(3), call(4)];
  await until(() => waiting.length === 2);
  assert.equal(server.runningCalls, 2);
  waiting[1]!.refuse(new TypeError("a secret"));
  waiting[0]!.give(Uint8Array.of(7));
  assert.deepEqual(await calls[0], Uint8Array.of(7));
  await assert.rejects(calls[1]!, { code: Status.UNKNOWN, message: "the handler failed" });
  assert.equal(seen.failures.length, 1);
  // One whose call has ended meanwhile does nothing but end.
  await assert.rejects(call(5, 20), { code: Status.DEADLINE_EXCEEDED });
  await until(() => waiting.length === 3);
  assert.equal(server.runningCalls, 1);
  waiting[2]!.give(Uint8Array.of(9));
  assert.equal(server.runningCalls, 0);
  assert.deepEqual(observed, ["response", "error", "error", "response", "response"]);
  const promised = new Answer();
  promised.give(Uint8Array.of(1));
  assert.deepEqual(await promised.promise(), Uint8Array.of(1));
});

const SIZES = [0, 1, 100, 3_071, 3_072, 9_000, 16_300, 16_384, 16_400, 70_000];

for (const compress of [false, true]) {
  test(`A message in three parts arrives as one, whatever their sizes${compress ? ", compressed" : ""}`, async (context) => {
    const { server, port } = await startServer(context);
    let encodedBytes = 0;
    const method: Method<Uint8Array, Uint8Array, "serverStream"> = {
      ...Flood,
      path: "/test.Raw/Parts",
      onEncoded: (bytes) => {
        encodedBytes += bytes;
      },
    };
    const parts = (size: number): [Uint8Array, Uint8Array, Uint8Array] => [
      Uint8Array.of(1, 2, 3).subarray(0, size % 4),
      Buffer.alloc(size % 11, 7),
      Uint8Array.from({ length: size }, (_, i) => i % 251),
    ];
    let waits = 0;
    server.add(method, async (_request, call) => {
      call.compress = compress;
      for (let round = 0; round < 20; round++) {
        for (const size of SIZES) {
          if (call.sendParts(...parts(size))) continue;
          waits++;
          // oxlint-disable-next-line no-await-in-loop -- one after another
          await call.drained();
        }
      }
    });
    const client = startClient(context, port, { limits: { streamWindowBytes: 20_000 } });
    const found: string[] = [];
    let foundBytes = 0;
    for await (const message of client.serverStream(rawMethod("Parts", "serverStream"), Uint8Array.of(0))) {
      foundBytes += message.length;
      found.push(Buffer.from(message).toString("base64"));
    }
    const wanted = Array.from({ length: 20 }, () => SIZES.map((size) => Buffer.concat(parts(size)).toString("base64"))).flat();
    assert.deepEqual(found, wanted);
    assert.equal(encodedBytes, foundBytes);
    assert.ok(compress || waits > 0);
  });
}
