/** A process that closes what it opened ends by itself: no timer, socket or handle stays behind. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

const PROGRAM = `
const { RpcServer, RpcClient } = await import(process.argv[1]);
const same = (bytes) => bytes;
const method = (name, kind) => ({ path: "/t.T/" + name, kind, encodeRequest: same, decodeRequest: same, encodeResponse: same, decodeResponse: same });
const echo = method("Echo", "unary");
const hang = method("Hang", "bidi");
const server = new RpcServer();
server.add(echo, (request) => Uint8Array.from(request));
server.add(hang, () => {});
const { port } = await server.listen({ port: 0, host: "127.0.0.1" });
const client = new RpcClient({ endpoints: ["127.0.0.1:" + port] });
const dead = new RpcClient({ endpoints: ["127.0.0.1:1", "127.0.0.1:2"], backoff: { initialMs: 60_000 } });
await client.unary(echo, new Uint8Array(10), { timeoutMs: 3_600_000 });
client.stream(hang, { timeoutMs: 3_600_000 }).send(new Uint8Array(10));
client.stream(hang, { signal: new AbortController().signal });
const patient = dead.unary(echo, new Uint8Array(1), { waitForReady: true, timeoutMs: 3_600_000 }).catch((error) => error.code);
await dead.unary(echo, new Uint8Array(1)).catch(() => {});
await dead.close();
if ((await patient) !== 1) throw new Error("the patient call was not cancelled");
await client.close();
await server.close({ graceMs: 3_600_000 });
process.stdout.write("closed\\n");
`;

test("A process ends by itself when its servers and clients are closed", () => {
  const index = new URL("../index.js", import.meta.url).href;
  const { status, stdout, stderr, signal } = spawnSync(
    process.execPath,
    ["--unhandled-rejections=strict", "--input-type=module", "-e", PROGRAM, index],
    { encoding: "utf8", timeout: 30_000 },
  );
  assert.deepEqual({ status, signal, stdout, stderr }, { status: 0, signal: null, stdout: "closed\n", stderr: "" });
});
