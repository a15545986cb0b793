/** What takes long is begun where somebody answers: a lock, a watch. */
import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Engine } from "../index.ts";
import { RpcServer } from "../rpc/index.ts";
import { serve, type Server } from "../server/index.ts";
import { EXIT } from "./exit.ts";
import { freePorts } from "./test/processes.ts";
import { run } from "./test/world.ts";

test("a server that goes away with the answer costs no lock: another is asked", { timeout: 30_000 }, async (context) => {
  const engine = await Engine.open({ dataDir: "memory:" });
  const [other = 0] = await freePorts(1);
  let server: Promise<Server> | undefined;
  const codec = (bytes: Uint8Array): Uint8Array => bytes;
  const codecs = { encodeRequest: codec, decodeRequest: codec, encodeResponse: codec, decodeResponse: codec };
  const leaving = new RpcServer();
  context.after(async () => {
    await leaving.close();
    await (await server)?.close();
    await engine.close();
  });
  let asked = 0;
  leaving.add({ path: "/etcdserverpb.Lease/LeaseGrant", kind: "unary", ...codecs }, () => {
    asked += 1;
    server = serve(engine, { listen: `127.0.0.1:${other}` });
    void server.then(() => leaving.close());
    return new Promise<Uint8Array>(() => {});
  });
  const { port } = (await leaving.listen({ port: 0, host: "127.0.0.1" })) as AddressInfo;
  const endpoints = `127.0.0.1:${port},127.0.0.1:${other}`;
  const { code, stderr } = await run(["lock", "l", "--endpoints", endpoints, "--", process.execPath, "-e", ""]);
  assert.deepEqual([code, stderr, asked], [EXIT.done, "", 1]);
});

test("a server that goes away before a watch has begun costs no watch", { timeout: 30_000 }, async (context) => {
  const engine = await Engine.open({ dataDir: "memory:" });
  await engine.put("k", "v");
  const [other = 0] = await freePorts(1);
  let server: Promise<Server> | undefined;
  const codec = (bytes: Uint8Array): Uint8Array => bytes;
  const codecs = { encodeRequest: codec, decodeRequest: codec, encodeResponse: codec, decodeResponse: codec };
  const leaving = new RpcServer();
  context.after(async () => {
    await leaving.close();
    await (await server)?.close();
    await engine.close();
  });
  leaving.add({ path: "/etcdserverpb.Watch/Watch", kind: "bidi", ...codecs }, () => {
    server = serve(engine, { listen: `127.0.0.1:${other}` });
    void server.then(() => leaving.close());
    return new Promise<void>(() => {});
  });
  const { port } = (await leaving.listen({ port: 0, host: "127.0.0.1" })) as AddressInfo;
  const endpoints = `127.0.0.1:${port},127.0.0.1:${other}`;
  const { code, stdout, stderr } = await run(["watch", "k", "--rev", "1", "--count", "1", "--endpoints", endpoints]);
  assert.deepEqual([code, stdout], [EXIT.done, "PUT\nk\nv\n"]);
  assert.match(stderr, /the watch goes on at revision 1 when a server answers/);
});
