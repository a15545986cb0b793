/** Sockets in the file system, beside ports. */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { spawnSync } from "node:child_process";
import { test, type TestContext } from "node:test";
import { RpcClient } from "../../rpc/index.ts";
import { CERTIFICATE, KEY } from "../../rpc/test/certificate.ts";
import { parsePlace } from "../places.ts";
import { serve } from "../serve.ts";
import { bytes, startServed, WireClient } from "./wire.ts";

const skip = process.platform === "win32" ? "sockets in the file system are not served here" : false;

async function directoryOf(context: TestContext): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), "d-engine-unix-"));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

function get(socketPath: string, target: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: target, headers: { host: "localhost" }, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => (text += part));
      response.on("end", () => resolve(text));
    });
    asked.on("error", reject).end();
  });
}

void test("gRPC and HTTP are served on a socket in the file system, which goes with the server", { skip }, async (context) => {
  const socket = path.join(await directoryOf(context), "client.sock");
  const { engine, server, client, address } = await startServed(context, { listen: ["127.0.0.1:0", `unix://${socket}`], frontEnds: 2 });
  assert.deepEqual(server.addresses, [address, `unix:${socket}`]);
  const local = new WireClient(context, `unix:${socket}`);
  await local.call("etcdserverpb.KV", "Put", { key: bytes("a"), value: bytes("1") });
  assert.equal((await client.call("etcdserverpb.KV", "Range", { key: bytes("a") })).count, 1);
  assert.equal(await get(socket, "/kv/a"), "1");
  // Other machines could not go there.
  const [member] = (await local.call("etcdserverpb.Cluster", "MemberList", {})).members;
  assert.deepEqual(member?.clientURLs, [`http://${address}`]);
  await assert.rejects(serve(engine, { listen: `unix:${socket}` }), { code: "IN_USE" });
  assert.equal(await get(socket, "/kv/a"), "1");
  await server.close();
  assert.equal(existsSync(socket), false);
});

void test("A socket that a killed server left behind is taken over; what is no socket stays", { skip }, async (context) => {
  const directory = await directoryOf(context);
  const socket = path.join(directory, "stale.sock");
  const source = `import { createServer } from "node:net"; createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, "SIGKILL"));`;
  spawnSync(process.execPath, ["--input-type=module", "-e", source]);
  assert.ok(existsSync(socket));
  const { engine, server } = await startServed(context, { listen: `unix:${socket}` });
  assert.deepEqual(JSON.parse(await get(socket, "/health")), { health: "true", reason: "" });
  await server.close({ timeoutMs: 0 });
  const file = path.join(directory, "file");
  writeFileSync(file, "precious");
  await assert.rejects(serve(engine, { listen: `unix:${file}` }), { code: "IN_USE" });
  assert.ok(existsSync(file));
  await assert.rejects(serve(engine, { listen: "unixs:secure.sock" }), { code: "INVALID_ARGUMENT" });
});

void test("unixs is a socket under the server's certificates, unix one in clear text beside it", { skip }, async (context) => {
  const directory = await directoryOf(context);
  const [secure, clear] = [path.join(directory, "s.sock"), path.join(directory, "c.sock")];
  const { server } = await startServed(context, {
    listen: [`unixs:${secure}`, `unix:${clear}`],
    tls: { cert: CERTIFICATE, key: KEY },
  });
  assert.deepEqual(server.addresses, [`unixs:${secure}`, `unix:${clear}`]);
  const rpc = new RpcClient({ endpoints: [`unixs://${secure}`], tls: { ca: CERTIFICATE } });
  context.after(() => rpc.close());
  const client = Object.assign(Object.create(WireClient.prototype) as WireClient, { rpc });
  assert.equal((await client.call("grpc.health.v1.Health", "Check", {})).status, 1);
  assert.equal((await new WireClient(context, `unix:${clear}`).call("grpc.health.v1.Health", "Check", {})).status, 1);
  server.renewCertificates();
  assert.equal((await client.call("grpc.health.v1.Health", "Check", {})).status, 1);
});

void test("Places are read as they are written", () => {
  assert.deepEqual(parsePlace("[::1]:2379", true), { kind: "tcp", host: "::1", port: 2379, isSecure: true });
  for (const text of ["unix:/run/d.sock", "unix:///run/d.sock"])
    assert.deepEqual(parsePlace(text, true), { kind: "unix", path: "/run/d.sock", isSecure: false });
  assert.deepEqual(parsePlace("unixs:d.sock", true), { kind: "unix", path: "d.sock", isSecure: true });
  for (const text of ["unix:", "unix:a\0b", `unix:/${"x".repeat(103)}`, "d.sock", "unixx:/a"])
    assert.equal(parsePlace(text, true), undefined);
});
