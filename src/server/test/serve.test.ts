/** serve(): its options, TLS, and its end. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Engine, EngineError } from "../../index.ts";
import { RpcClient } from "../../rpc/index.ts";
import { CERTIFICATE, KEY } from "../../rpc/test/certificate.ts";
import { serve, type ServeOptions } from "../serve.ts";
import { bytes, startServed, WireClient } from "./wire.ts";

void test("Options that cannot be are refused before anything listens", async (context) => {
  const { engine, address } = await startServed(context);
  const refused: readonly (readonly [ServeOptions | { readonly lisen: string }, string])[] = [
    [{ listen: "0.0.0.0:0" }, "listen"],
    [{ listen: "db.example:2379" }, "listen"],
    [{ listen: "nonsense" }, "listen"],
    [{ listen: [] }, "listen"],
    [{ listen: "127.0.0.1:0", advertise: ["n1"] }, "advertise"],
    [{ lisen: "127.0.0.1:0" }, "options"],
    [{ listen: "127.0.0.1:0", tls: { cert: "/no/such/file", key: KEY } }, "tls.cert"],
    [{ listen: "127.0.0.1:0", tls: { cert: CERTIFICATE, key: KEY, requireClientCert: true } }, "tls.ca"],
    [{ listen: "127.0.0.1:0", requestBytesMax: 0 }, "requestBytesMax"],
  ];
  for (const [options, argument] of refused) {
    await assert.rejects(serve(engine, options as ServeOptions), (error: unknown) => {
      assert.ok(EngineError.is(error, "INVALID_ARGUMENT"), String(error));
      assert.equal(error.details.argument, argument);
      return true;
    });
  }
  await assert.rejects(serve(engine, { listen: address }), (error: unknown) => EngineError.is(error, "IN_USE"));
  await assert.rejects(serve({} as Engine), (error: unknown) => EngineError.is(error, "UNSUPPORTED"));
});

void test("Under TLS gRPC and HTTP/1.1 share the port, and clients without a certificate are refused where one is wanted", async (context) => {
  const engine = await Engine.open({ dataDir: "memory:", name: "n1" });
  context.after(() => engine.close());
  for (const requireClientCert of [false, true]) {
    const server = await serve(engine, { listen: "127.0.0.1:0", tls: { cert: CERTIFICATE, key: KEY, ca: CERTIFICATE, requireClientCert } });
    context.after(() => server.close({ timeoutMs: 0 }));
    const address = server.addresses[0]!;
    const port = Number(address.split(":")[1]);
    const identity = requireClientCert ? { cert: CERTIFICATE, key: KEY } : {};
    const wire = new WireClient(context, address);
    await wire.rpc.close();
    const rpc = new RpcClient({ endpoints: [`https://127.0.0.1:${port}`], tls: { ca: CERTIFICATE, ...identity } });
    context.after(() => rpc.close());
    const secure = Object.assign(Object.create(WireClient.prototype) as WireClient, { rpc });
    assert.equal((await secure.call("grpc.health.v1.Health", "Check", {})).status, 1);
    const [member] = (await secure.call("etcdserverpb.Cluster", "MemberList", {})).members;
    // Beside it may stand that of the other front end, which is open still.
    assert.ok(member!.clientURLs.includes(`https://${address}`), member!.clientURLs.join(" "));
    assert.equal(await status(port, identity), 200);
    if (requireClientCert) await assert.rejects(status(port, {}));
  }
});

const NO_OPENSSL = spawnSync("openssl", ["version"]).error === undefined ? false : "there is no openssl on this machine";

void test(
  "Renewed certificates are shown to new connections; broken ones are refused, and the old ones stay",
  { skip: NO_OPENSSL },
  async (context) => {
    const directory = await mkdtemp(path.join(tmpdir(), "certificates-"));
    context.after(() => rm(directory, { recursive: true, force: true }));
    const [cert, key] = [path.join(directory, "cert.pem"), path.join(directory, "key.pem")];
    await Promise.all([writeFile(cert, CERTIFICATE), writeFile(key, KEY)]);
    const engine = await Engine.open({ dataDir: "memory:", name: "n1" });
    context.after(() => engine.close());
    const server = await serve(engine, { listen: "127.0.0.1:0", tls: { cert, key } });
    context.after(() => server.close({ timeoutMs: 0 }));
    const port = Number(server.addresses[0]!.split(":")[1]);
    assert.equal(await status(port, {}), 200);
    await writeFile(cert, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    assert.throws(
      () => server.renewCertificates(),
      (error: unknown) => EngineError.is(error, "INVALID_ARGUMENT"),
    );
    assert.equal(await status(port, {}), 200);
    const [otherCert, otherKey] = otherCertificate(directory);
    await Promise.all([writeFile(cert, otherCert), writeFile(key, otherKey)]);
    server.renewCertificates();
    await assert.rejects(status(port, {}), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
    assert.equal(await status(port, { ca: otherCert }), 200);
  },
);

/** A certificate for 127.0.0.1 that signs itself, made by openssl. */
function otherCertificate(directory: string): readonly [cert: string, key: string] {
  const [cert, key] = [path.join(directory, "other-cert.pem"), path.join(directory, "other-key.pem")];
  const made = spawnSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=other"],
    ...["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
  ]);
  assert.equal(made.status, 0, made.stderr.toString());
  return [readFileSync(cert, "utf8"), readFileSync(key, "utf8")];
}

function status(port: number, identity: object): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest({ host: "127.0.0.1", port, path: "/livez", ca: CERTIFICATE, agent: false, ...identity }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on("error", reject).end();
  });
}

void test("Several addresses are served, and those who wait are told when the server stops, not the engine", async (context) => {
  const { engine, server, client } = await startServed(context, { listen: ["127.0.0.1:0", "127.0.0.1:0"] });
  assert.equal(new Set(server.addresses).size, 2);
  const other = new WireClient(context, server.addresses[1]!);
  await other.call("etcdserverpb.KV", "Put", { key: bytes("a"), value: bytes("1") });
  assert.equal((await client.call("etcdserverpb.KV", "Range", { key: bytes("a") })).count, 1);
  const watch = client.stream("etcdserverpb.Watch", "Watch");
  void watch.send({ create_request: { key: bytes("a") } });
  const responses = watch[Symbol.asyncIterator]();
  await responses.next();
  const ended = assert.rejects(responses.next(), { code: 14, message: "etcdserver: server stopped" });
  await client.call("v3lockpb.Lock", "Lock", { name: bytes("L") });
  const waiting = assert.rejects(client.call("v3lockpb.Lock", "Lock", { name: bytes("L") }), { code: 14 });
  await other.call("etcdserverpb.KV", "Range", { key: bytes("a") });
  // With all the time in the world: it must not be needed.
  await server.close({ timeoutMs: 60_000 });
  await ended;
  await waiting;
  await server.close();
  assert.equal((await engine.get("a"))?.text(), "1");
});

void test("A closed engine is told as a server that has stopped", async (context) => {
  const { engine, client } = await startServed(context);
  const watch = client.stream("etcdserverpb.Watch", "Watch");
  void watch.send({ create_request: { key: bytes("a") } });
  const responses = watch[Symbol.asyncIterator]();
  await responses.next();
  const ended = assert.rejects(responses.next(), { code: 14 });
  await engine.close();
  await ended;
  await assert.rejects(client.call("etcdserverpb.KV", "Put", { key: bytes("a") }), { code: 14, message: "etcdserver: server stopped" });
  await assert.rejects(client.call("etcdserverpb.KV", "Range", { key: bytes("a"), serializable: true }), { code: 14 });
});
