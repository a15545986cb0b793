/** Random requests of every method, and random bytes: each call ends with a status of its own, and the server goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeMessage } from "../../api/message-codec.ts";
import { messageArbitrary } from "../../api/test/messages.ts";
import type { MessageName } from "../../api/schema/messages.ts";
import { methodRows } from "../../api/schema/services.ts";
import { RpcError, type Method } from "../../rpc/index.ts";
import { bytes, startServed } from "./wire.ts";

const same = (message: Uint8Array): Uint8Array => message;

function raw(path: string, kind: "unary" | "serverStream" | "bidi"): Method<Uint8Array, Uint8Array> {
  return { path, kind, encodeRequest: same, decodeRequest: same, encodeResponse: same, decodeResponse: (found) => Uint8Array.from(found) };
}

const RUNS = 25;

void test("No request of any method, however odd, makes a handler fail or the server end", { timeout: 120_000 }, async (context) => {
  const { engine, client } = await startServed(context);
  await engine.put("k", "v");
  const failures: string[] = [];
  const note = (path: string, error: unknown): void => {
    if (!RpcError.is(error)) throw error;
    // What the rpc layer tells of an error that no handler meant to throw.
    if (error.message.includes("the handler failed") || error.message.includes("cannot be encoded"))
      failures.push(`${path}: ${error.message}`);
  };
  for (const [service, name, [kind, request]] of methodRows()) {
    const path = `/${service}/${name}`;
    const samples = fc.sample(messageArbitrary(request), { numRuns: RUNS, seed: 7 });
    const messages = samples.map((message) => encodeMessage(request as MessageName, message as never));
    const odd = fc.sample(fc.uint8Array({ maxLength: 50 }), { numRuns: RUNS, seed: 8 });
    const calls = [...messages, ...odd].map(async (message) => {
      try {
        if (kind === "unary") {
          await client.rpc.unary(raw(path, "unary") as Method<Uint8Array, Uint8Array, "unary">, message, { timeoutMs: 1_500 });
        } else if (kind === "serverStream") {
          const method = raw(path, "serverStream") as Method<Uint8Array, Uint8Array, "serverStream">;
          for await (const _ of client.rpc.serverStream(method, message, { timeoutMs: 300 }));
        } else {
          const call = client.rpc.stream(raw(path, "bidi") as Method<Uint8Array, Uint8Array, "bidi">, { timeoutMs: 300 });
          void call.send(message);
          for (const more of messages.slice(0, 5)) void call.send(more);
          for await (const _ of call);
        }
      } catch (error) {
        note(path, error);
      }
    });
    // oxlint-disable-next-line no-await-in-loop -- one method after another
    await Promise.all(calls);
  }
  assert.deepEqual(failures, []);
  await client.call("etcdserverpb.KV", "Put", { key: bytes("k"), value: bytes("after") });
  assert.equal((await engine.get("k"))?.text(), "after");
});

void test("No path, method or body of plain HTTP makes the server end", { timeout: 60_000 }, async (context) => {
  const { engine, address } = await startServed(context);
  const paths = [
    "/kv/",
    "/kv/a",
    "/kv/%",
    "/kv/%ff?prefix",
    "/kv/a?watch&revision=x",
    "/kv/a?limit=-1&prefix",
    "/v3/kv/range",
    "/v3/watch",
    "/livez/",
    "/readyz/x/y",
    "//",
    "/%00",
    "/v3/lease/keepalive",
    "/metrics?x",
    "/health?exclude=NOSPACE",
  ];
  const methods = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];
  const bodies = [
    undefined,
    "",
    "{",
    "[]",
    "null",
    "{}{}",
    '{"create_request":{}}',
    '{"create_request":{"key":"Lw=="}}',
    '"',
    "\0\uffff",
    '{"__proto__":{"key":"YQ=="}}',
    '{"constructor":1,"key":"YQ=="}',
  ];
  for (const path of paths) {
    const asked = methods.flatMap((method) =>
      bodies.map(async (body) => {
        if (body !== undefined && (method === "GET" || method === "HEAD")) return;
        const response = await fetch(`http://${address}${path}`, {
          method,
          ...(body === undefined ? {} : { body }),
          signal: AbortSignal.timeout(500),
        }).catch(() => undefined);
        assert.ok(response === undefined || response.status !== 500, `${method} ${path} ${String(body)}: ${String(response?.status)}`);
        await response?.body?.cancel();
      }),
    );
    // oxlint-disable-next-line no-await-in-loop -- one path after another
    await Promise.all(asked);
  }
  assert.equal((await fetch(`http://${address}/readyz`)).status, 200);
  await engine.put("k", "v");
});
