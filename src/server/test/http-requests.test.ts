/** What stands in requests of plain HTTP that no client of good will sends: taken as it is, or refused in a sentence, and never in more memory than there is for it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { test } from "node:test";
import { wireError } from "../../api/etcd-errors.ts";
import { EngineError } from "../../errors.ts";
import { BodyBudget } from "../body-budget.ts";
import { collectHttp1 } from "../http-call.ts";
import { bytes, startServed } from "./wire.ts";

interface Asked {
  readonly status: number;
  readonly body: string;
}

/** The path goes out as it is, which fetch() does not let it. */
function ask(
  address: string,
  path: string,
  options: { readonly method?: string; readonly body?: string; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<Asked> {
  const [host, port] = address.split(":");
  const { method = "GET", body = "", headers = {} } = options;
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host, port, path, method, headers }, (response: IncomingMessage) => {
      let text = "";
      response.on("data", (part: Buffer) => (text += String(part)));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    request.on("error", reject).end(body);
  });
}

/** All that comes back on a connection until it ends. */
async function talk(address: string, text: string): Promise<string> {
  const [host, port] = address.split(":");
  const socket = connect(Number(port), host);
  let said = "";
  socket.on("data", (part: Buffer) => (said += part.toString("latin1")));
  socket.on("error", () => {});
  socket.write(text, "latin1");
  await once(socket, "close");
  return said;
}

void test("A path is taken as it was sent: a key may hold dots, slashes of both kinds, and any byte", async (context) => {
  const { address, engine } = await startServed(context);
  const keys = [
    ["a/../b", "a/../b"],
    ["%2e%2e/metrics", "../metrics"],
    ["./x", "./x"],
    ["/x", "/x"],
    ["c%5cd", "c\\d"],
    ["e\\f", "e\\f"],
    ["100%", "100%"],
    ["g%00h", "g\0h"],
  ] as const;
  for (const [path, key] of keys) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    assert.equal((await ask(address, `/kv/${path}`, { method: "PUT", body: key })).status, 200, path);
    // oxlint-disable-next-line no-await-in-loop -- one after another
    assert.deepEqual(await ask(address, `/kv/${path}`), { status: 200, body: key });
  }
  const { kvs } = await engine.range({ all: true });
  assert.deepEqual(new Set(kvs.map((kv) => kv.key)), new Set(keys.map(([, key]) => key)));
  for (const path of ["//elsewhere/kv/a", "/livez/../metrics", "/kv/../metrics/", "*"])
    // oxlint-disable-next-line no-await-in-loop -- one after another
    assert.equal((await ask(address, path)).status, 404, path);
});

void test("What is no request is told so, but never as the answer to another one", async (context) => {
  const { address } = await startServed(context);
  assert.match(await talk(address, "NONSENSE\r\n\r\n"), /^HTTP\/1\.1 400 Bad Request\r\n/);
  assert.match(await talk(address, `GET /version HTTP/1.1\r\nHost: localhost\r\nX: ${"y".repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
  const both = "POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
  assert.match(await talk(address, `${both}GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n`), /^HTTP\/1\.1 400 [^{]*$/);
  const second = await talk(address, "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\nNONSENSE\r\n\r\n");
  assert.doesNotMatch(second, / 400 /);
  const hosts = "GET /version HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
  assert.match(await talk(address, hosts), /^HTTP\/1\.1 400 [^]*one Host is wanted/);
});

void test("A server that closes answers what it was asked over HTTP/1.1", { timeout: 20_000 }, async (context) => {
  const { address, client, server } = await startServed(context);
  const { ID } = await client.call("etcdserverpb.Lease", "LeaseGrant", { TTL: 60 });
  await client.call("v3lockpb.Lock", "Lock", { name: bytes("l"), lease: ID });
  const waiting = ask(address, "/v3/lock/lock", { method: "POST", body: JSON.stringify({ name: Buffer.from("l").toString("base64") }) });
  // It waits once it has joined the queue.
  while ((await client.call("etcdserverpb.KV", "Range", { key: bytes("l/"), range_end: bytes("l0") })).count < 2);
  await server.close();
  assert.ok((await waiting).status >= 500);
});

void test("A connection has so many requests under way, and no more", { timeout: 20_000 }, async (context) => {
  const { address } = await startServed(context);
  const request = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const few = await talk(address, `${request.repeat(49)}GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  assert.equal(few.split("HTTP/1.1 200").length - 1, 50);
  const watches = "GET /kv/?prefix&watch HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(65);
  // Ends by itself, and with no more than the first of them begun.
  assert.ok((await talk(address, watches)).split("HTTP/1.1 200").length <= 2);
});

void test("Numbers and methods that make no sense are refused", async (context) => {
  const { address } = await startServed(context);
  assert.equal((await ask(address, "/kv/?prefix&limit=many")).status, 400);
  assert.equal((await ask(address, "/kv/?prefix&limit=0")).status, 400);
  assert.equal((await ask(address, "/metrics", { method: "DELETE" })).status, 405);
  for (const host of ["[::1]evil", "[127.0.0.1].evil.example"])
    // oxlint-disable-next-line no-await-in-loop -- one after another
    assert.equal((await ask(address, "/version", { headers: { host } })).status, 421, host);
  const sent = { origin: `http://${address}`, "sec-fetch-site": "cross-site" };
  assert.equal((await ask(address, "/version", { headers: sent })).status, 403);
});

void test("The gateway takes no name that only looks like a value, no half of a base64 text, and nothing between the requests of a stream", async (context) => {
  const { address } = await startServed(context);
  const post = async (path: string, body: string): Promise<string> => {
    const { status, body: text } = await ask(address, path, { method: "POST", body });
    return `${status} ${(JSON.parse(text) as { readonly message?: string }).message ?? ""}`;
  };
  const key = Buffer.from("k").toString("base64");
  for (const name of ["constructor", "toString", "__proto__"])
    // oxlint-disable-next-line no-await-in-loop -- one after another
    assert.match(await post("/v3/kv/range", JSON.stringify({ key, sort_order: name })), /^400 sort_order/);
  for (const half of ["a", "YQ=", "YWJjZ"])
    // oxlint-disable-next-line no-await-in-loop -- one after another
    assert.equal(await post("/v3/kv/range", JSON.stringify({ key: half })), "400 key: base64 is wanted");
  for (const body of ["}{", 'x{"ID":"1"}', '{"ID":"1"},{"ID":"2"}', '{"ID":"1"}y'])
    // oxlint-disable-next-line no-await-in-loop -- one after another
    assert.equal(await post("/v3/lease/keepalive", body), "400 the body is not JSON", body);
});

void test("An answer that is too large is not taken for too many requests", () => {
  const error = new EngineError("OVERLOADED", "the answer is too large", { limit: "answerBytes", max: 1, retryAfterMs: 0 });
  assert.equal((wireError(error) as Error).message, "etcdserver: the answer is too large");
  const range = new EngineError("OVERLOADED", "any", { limit: "rangeBytes", max: 67_108_864, retryAfterMs: 0 });
  assert.equal(
    (wireError(range) as Error).message,
    "etcdserver: the answer exceeds 67108864 bytes: set a limit, or use RangeStream",
    "as docs/compatibility.md has it",
  );
});

void test(
  "Bodies are bounded, each and all together; what is given up is given back, and small ones always find room",
  { timeout: 20_000 },
  async (context) => {
    const budget = new BodyBudget(200_000, 300_000);
    const server = createServer((request, response) =>
      collectHttp1(request, response, budget, (call) => call.respond(200, {}, String(call.body.length))),
    );
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    context.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const put = (body: string): Promise<Asked> => ask(address, "/", { method: "PUT", body });
    assert.deepEqual(await put("x".repeat(200_000)), { status: 200, body: "200000" });
    assert.equal((await put("x".repeat(200_001))).status, 413);
    // Held by a client that does not send the last byte.
    const { port } = server.address() as AddressInfo;
    const slow = connect(port, "127.0.0.1");
    context.after(() => slow.destroy());
    slow.on("error", () => {});
    slow.write(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n${"x".repeat(199_999)}`);
    const refused = await until(() => put("x".repeat(190_000)), 503);
    assert.match(refused.body, /too many large requests/);
    assert.deepEqual(await put("x".repeat(10_000)), { status: 200, body: "10000" });
    slow.destroy();
    assert.equal((await until(() => put("x".repeat(190_000)), 200)).body, "190000");
  },
);

/** Asks until the status is what is waited for: the other end is told of a socket's bytes, and of its end, in its own time. */
async function until(asking: () => Promise<Asked>, status: number): Promise<Asked> {
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const asked = await asking();
    if (asked.status === status) return asked;
  }
}
