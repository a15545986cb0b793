/** Plain HTTP on the gRPC port: the gateway, keys for people, probes, metrics, and who is let in. */
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer as createNetServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { parseJson } from "../../api/json-codec.ts";
import { Engine } from "../../index.ts";
import { createHttp1Server } from "../http1-server.ts";
import { serve } from "../serve.ts";
import { startServed } from "./wire.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");

async function post(address: string, path: string, body: unknown): Promise<{ readonly status: number; readonly json: any }> {
  const response = await fetch(`http://${address}${path}`, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: response.status, json: await response.json() };
}

/** fetch() sets these headers itself. */
function get(address: string, path: string, headers: Readonly<Record<string, string>>): Promise<number> {
  const [host, port] = address.split(":");
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host, port, path, headers }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on("error", reject).end();
  });
}

/** Reads a streamed body until it has so many lines. */
async function lines(response: Response, count: number): Promise<string[]> {
  const reader = response.body!.getReader();
  let text = "";
  while (text.split("\n").length <= count) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const { value, done } = await reader.read();
    if (done) break;
    text += Buffer.from(value).toString();
  }
  await reader.cancel();
  return text.split("\n").slice(0, count);
}

void test("The gateway takes names in both spellings, integers as text and as numbers, and leaves defaults out", async (context) => {
  const { address } = await startServed(context);
  assert.equal((await post(address, "/v3/kv/put", { key: base64("a"), value: base64("1"), prevKv: true })).status, 200);
  const put = await post(address, "/v3/kv/put", { key: base64("a"), value: base64("2"), prev_kv: true, lease: "0", nobodyKnows: 5 });
  assert.equal(put.json.header.revision, "3");
  assert.equal(put.json.prev_kv.value, base64("1"));
  assert.equal("lease" in put.json.prev_kv, false);
  const range = await post(address, "/v3/kv/range", { key: base64("a"), limit: 5, sort_order: "ASCEND", sort_target: 2 });
  assert.deepEqual([range.json.count, range.json.kvs.length, "more" in range.json], ["1", 1, false]);
  assert.equal((await post(address, "/v3beta/kv/range", { key: base64("a") })).json.count, "1");
  const granted = await post(address, "/v3/lease/grant", '{"TTL": 60, "ID": 9007199254740993}');
  assert.equal(granted.json.ID, "9007199254740993");
  assert.equal((await post(address, "/v3/kv/lease/timetolive", { ID: "9007199254740993" })).json.grantedTTL, "60");
});

void test("The gateway tells errors by code, text and HTTP status", async (context) => {
  const { address } = await startServed(context);
  assert.deepEqual(await post(address, "/v3/kv/put", {}), {
    status: 400,
    json: { error: "etcdserver: key is not provided", code: 3, message: "etcdserver: key is not provided", details: [] },
  });
  assert.equal((await post(address, "/v3/lease/revoke", { ID: 5 })).status, 404);
  assert.equal((await post(address, "/v3/cluster/member/add", {})).status, 501);
  for (const body of ["{", "[]", '{"key":1}', '{"key":"?"}', '{"limit":"x"}', '{"limit":1e99}', '{"sort_order":"NO"}']) {
    assert.equal((await post(address, "/v3/kv/range", body)).json.code, 3, body);
  }
  const wrong = await fetch(`http://${address}/v3/kv/range`);
  assert.deepEqual([wrong.status, wrong.headers.get("allow")], [405, "POST"]);
  const missing = await fetch(`http://${address}/v3/nothing`, { method: "POST" });
  assert.deepEqual([missing.status, await missing.text()], [404, "Not Found\n"]);
  const large = await fetch(`http://${address}/v3/kv/put`, { method: "POST", body: new Uint8Array(3_000_000) }).catch(() => undefined);
  assert.ok(large === undefined || large.status === 413);
});

void test("The gateway streams: a watch as lines, and renewals that end", async (context) => {
  const { address, engine } = await startServed(context);
  const watching = await fetch(`http://${address}/v3/watch`, {
    method: "POST",
    body: JSON.stringify({ create_request: { key: base64("k"), range_end: base64("l"), start_revision: "2" } }),
  });
  await engine.put("k1", "one");
  await engine.put("k2", "two");
  const told = (await lines(watching, 3)).map((line) => JSON.parse(line).result);
  assert.equal(told[0].created, true);
  assert.deepEqual(
    told.slice(1).map(({ events }) => events[0].kv.value),
    [base64("one"), base64("two")],
  );
  const { json } = await post(address, "/v3/lease/grant", { TTL: 60 });
  const renewed = await fetch(`http://${address}/v3/lease/keepalive`, { method: "POST", body: `{"ID":${json.ID}}` });
  assert.equal(JSON.parse(await renewed.text()).result.TTL, "60");
});

void test("Keys can be put, read, listed, watched and deleted with plain HTTP", async (context) => {
  const { address } = await startServed(context);
  const at = `http://${address}/kv`;
  const put = await fetch(`${at}/config/timeout`, { method: "PUT", body: "30" });
  assert.deepEqual(await put.json(), { revision: 2 });
  const got = await fetch(`${at}/config/timeout`);
  assert.deepEqual(
    [await got.text(), got.headers.get("content-type"), got.headers.get("etag")],
    ["30", "text/plain; charset=utf-8", '"2"'],
  );
  await fetch(`${at}/config/%ff%00`, { method: "PUT", body: Uint8Array.of(0xff) });
  const listed = await (await fetch(`${at}/config/?prefix`)).json();
  assert.deepEqual(listed, {
    revision: 3,
    count: 2,
    more: false,
    kvs: [
      { key: "config/timeout", value: "30", createRevision: 2, modRevision: 2, version: 1 },
      {
        keyBase64: Buffer.from("config/\xff\x00", "latin1").toString("base64"),
        valueBase64: "/w==",
        createRevision: 3,
        modRevision: 3,
        version: 1,
      },
    ],
  });
  assert.equal((await fetch(`${at}/config/timeout?revision=1`)).status, 404);
  assert.equal((await fetch(`${at}/config/timeout?revision=99`)).status, 400);
  assert.equal((await fetch(`${at}/config/timeout?consistency=eventual`)).status, 200);
  assert.equal((await fetch(`${at}/config/timeout?consistency=sometimes`)).status, 400);
  assert.equal((await fetch(`${at}/`)).status, 400);
  assert.equal((await fetch(`${at}/config/timeout`, { method: "PATCH" })).status, 405);
  assert.deepEqual(await (await fetch(`${at}/config/?prefix`, { method: "DELETE" })).json(), { deleted: 2, revision: 4 });
  assert.equal((await fetch(`${at}/config/timeout`)).status, 404);
});

void test("A watch as server-sent events goes on where it was cut off", async (context) => {
  const { address, engine } = await startServed(context);
  for (const value of ["1", "2", "3", "4"]) await engine.put("k", value);
  const at = `http://${address}/kv/k`;
  const first = await lines(await fetch(`${at}?watch&revision=2`), 2 + 2 * 4);
  assert.equal(first[0], ": watching");
  assert.deepEqual(
    first.filter((line) => line.startsWith("id: ")),
    ["id: 2", "id: 3"],
  );
  const resumed = await fetch(at, { headers: { accept: "text/event-stream", "last-event-id": "3" } });
  assert.equal(resumed.headers.get("content-type"), "text/event-stream");
  const data = (await lines(resumed, 2 + 2 * 4)).filter((line) => line.startsWith("data: "));
  assert.deepEqual(
    data.map((line) => JSON.parse(line.slice(6)).value),
    ["3", "4"],
  );
  await engine.maintenance.compact(5);
  const gone = await fetch(`${at}?watch&revision=2`);
  assert.equal(gone.status, 410, "a browser asks again for ever after anything else");
  assert.match(await gone.text(), /COMPACTED/);
});

void test("Probes tell whether the node is alive, ready and healthy, check by check", async (context) => {
  const { address } = await startServed(context);
  const ask = async (path: string, at = address): Promise<readonly [number, string]> => {
    const response = await fetch(`http://${at}${path}`);
    return [response.status, await response.text()];
  };
  assert.deepEqual(await ask("/health"), [200, '{"health":"true","reason":""}']);
  assert.deepEqual(await ask("/livez"), [200, "ok\n"]);
  assert.deepEqual(await ask("/readyz/linearizable_read"), [200, "ok\n"]);
  assert.deepEqual(await ask("/readyz?verbose&exclude=non_learner"), [
    200,
    "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
  ]);
  assert.equal((await ask("/readyz/nothing"))[0], 404);
  assert.match((await ask("/version"))[1], /^\{"etcdserver":"3\.\d+\.\d+"/);
  assert.match((await ask("/metrics"))[1], /^etcd_server_has_leader 1$/m);
  assert.equal((await fetch(`http://${address}/health`, { method: "POST" })).status, 405);
});

void test("Calls are counted by method and code", async (context) => {
  const { address } = await startServed(context);
  await post(address, "/v3/kv/range", { key: base64("a") });
  await post(address, "/v3/kv/range", {});
  const metrics = await (await fetch(`http://${address}/metrics`)).text();
  const labels = 'grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Range"';
  assert.ok(metrics.includes(`grpc_server_started_total{${labels}} 2\n`));
  assert.ok(metrics.includes(`grpc_server_handled_total{${labels},grpc_code="OK"} 1\n`));
  assert.ok(metrics.includes(`grpc_server_handled_total{${labels},grpc_code="InvalidArgument"} 1\n`));
});

void test("No web page reaches the server: foreign hosts, origins and sites are refused", async (context) => {
  const engine = await Engine.open({ dataDir: "memory:", name: "n1" });
  context.after(() => engine.close());
  const http = { allowedHosts: ["db.example"], allowedOrigins: ["https://console.example"] };
  const server = await serve(engine, { listen: "127.0.0.1:0", http, advertise: ["http://n1.example:2379"] });
  context.after(() => server.close({ timeoutMs: 0 }));
  const address = server.addresses[0]!;
  const cases: readonly (readonly [number, Readonly<Record<string, string>>])[] = [
    [200, {}],
    [200, { host: "localhost:2379" }],
    [200, { host: "[::1]:2379" }],
    [200, { host: "db.example" }],
    [200, { host: "n1.example:2379" }],
    [421, { host: "evil.example" }],
    [421, { host: "127.0.0.1.evil.example" }],
    [421, { host: "localhost.evil.example" }],
    [403, { origin: "https://evil.example" }],
    [403, { origin: "null" }],
    [403, { origin: `http://${address}0` }],
    [200, { origin: `http://${address}` }],
    [200, { origin: "https://console.example", "sec-fetch-site": "cross-site" }],
    [403, { "sec-fetch-site": "cross-site" }],
    [403, { "sec-fetch-site": "same-site" }],
    [200, { "sec-fetch-site": "none" }],
    [200, { "sec-fetch-site": "same-origin" }],
  ];
  for (const [status, headers] of cases) assert.equal(await get(address, "/livez", headers), status, JSON.stringify(headers));
});

void test("Plain HTTP/2 on the same port is answered as HTTP/1.1 is", async (context) => {
  const { address } = await startServed(context);
  const session = connectHttp2(`http://${address}`);
  context.after(() => session.destroy());
  const ask = (headers: Readonly<Record<string, string>>, body = ""): Promise<readonly [unknown, string]> =>
    new Promise((resolve, reject) => {
      const stream = session.request(headers, { endStream: body === "" });
      let status: unknown;
      let text = "";
      stream.on("response", (head) => (status = head[":status"]));
      stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
      stream.on("end", () => resolve([status, text]));
      stream.on("error", reject);
      if (body !== "") stream.end(body);
    });
  assert.deepEqual(await ask({ ":path": "/livez" }), [200, "ok\n"]);
  const put = await ask({ ":path": "/kv/a", ":method": "PUT" }, "x");
  assert.deepEqual(put, [200, '{"revision":2}\n']);
  assert.deepEqual(await ask({ ":path": "/kv/a" }), [200, "x"]);
  assert.equal((await ask({ ":path": "/kv/a", ":authority": "evil.example" }))[0], 421);
});

void test("A connection that does not finish its request is closed", { timeout: 20_000 }, async (context) => {
  const http1 = createHttp1Server((_request, response) => response.end("ok"), { headMs: 50, requestMs: 100, checkMs: 10 });
  context.after(() => http1.close());
  const listener = createNetServer((socket) => http1.emit("connection", socket));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  context.after(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  for (const begun of ["GET / HTTP/1.1\r\nhost: x\r\n", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab"]) {
    const socket = connect(port, "127.0.0.1");
    socket.write(begun);
    socket.resume();
    await new Promise((resolve) => socket.once("close", resolve));
  }
});

void test("A value of a megabyte passes through the gateway, and integers keep all of their digits", async (context) => {
  const { address } = await startServed(context);
  const value = Buffer.alloc(1_000_000, 0x31).toString("base64");
  assert.equal((await post(address, "/v3/kv/put", { key: base64("12345678901234567890"), value })).status, 200);
  const { json } = await post(address, "/v3/kv/range", { key: base64("12345678901234567890") });
  assert.equal(json.kvs[0].value, value);
  assert.deepEqual(
    parseJson('{"a":-9223372036854775808,"b":"\\"1234567890123456789","c":1234567890123456789.5,"d":[18446744073709551615]}'),
    {
      a: "-9223372036854775808",
      b: '"1234567890123456789',
      c: 1234567890123456800,
      d: ["18446744073709551615"],
    },
  );
});

void test("Without HTTP only gRPC is served", async (context) => {
  const { address, client } = await startServed(context, { http: false });
  await assert.rejects(fetch(`http://${address}/livez`));
  assert.equal((await client.call("grpc.health.v1.Health", "Check", {})).status, 1);
});
