/**
 * Peers that are programs of their own, where they are on the machine: curl and h2load, h2spec, grpcio (Python), grpc-go. Those that are not, are
 * skipped with a message. PATH decides, or RPC_PYTHON (an interpreter with grpcio), RPC_GO_PEER (the program in peers/go, built) and RPC_H2SPEC.
 */
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { RpcServer } from "../grpc/server.ts";
import { CERTIFICATE, KEY } from "./certificate.ts";
import { CASES } from "./interop/cases.ts";
import { ours } from "./interop/ours.ts";
import { grpcMessage } from "./raw-peer.ts";
import { startServer } from "./server.ts";

const PYTHON_PEER = fileURLToPath(new URL("../../../src/rpc/test/peers/peer.py", import.meta.url));

function works(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

const python = process.env["RPC_PYTHON"] ?? "python3";
const goPeer = process.env["RPC_GO_PEER"];
const h2spec = process.env["RPC_H2SPEC"] ?? "h2spec";

/** Says why a peer is skipped, or false. */
function missing(isThere: boolean, what: string): string | false {
  return isThere ? false : `${what} is not on this machine`;
}

const skips = {
  curl: missing(works("curl", "--version"), "curl"),
  h2load: missing(works("h2load", "--version"), "h2load"),
  h2spec: missing(works(h2spec, "--version"), "h2spec"),
  python: missing(works(python, "-c", "import grpc"), "grpcio"),
  go: missing(goPeer !== undefined, "RPC_GO_PEER"),
};

function run(command: string, args: readonly string[]): Promise<{ readonly output: string; readonly code: number }> {
  return new Promise((resolve) => {
    execFile(command, args, { encoding: "latin1", maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ output: stdout + stderr, code: typeof error?.code === "number" ? error.code : error === null ? 0 : -1 });
    });
  });
}

function temporaryFile(context: TestContext, bytes: Uint8Array | string): string {
  const directory = mkdtempSync(join(tmpdir(), "rpc-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "file");
  writeFileSync(path, bytes);
  return path;
}

for (const isTls of [false, true]) {
  test(`curl calls${isTls ? " under TLS" : ""}`, { skip: skips.curl }, async (context) => {
    const { port } = await startServer(context, isTls ? { tls: { cert: CERTIFICATE, key: KEY } } : {});
    const message = grpcMessage(Buffer.from("hello from curl"));
    const request = temporaryFile(context, message);
    const { output, code } = await run("curl", [
      "-s",
      "-i",
      "--data-binary",
      `@${request}`,
      "-H",
      "content-type: application/grpc",
      "-H",
      "te: trailers",
      ...(isTls
        ? ["--http2", "-k", `https://127.0.0.1:${port}/test.Raw/Echo`]
        : ["--http2-prior-knowledge", `http://127.0.0.1:${port}/test.Raw/Echo`]),
    ]);
    assert.equal(code, 0, output);
    assert.match(output, /HTTP\/2 200/);
    assert.ok(output.includes(message.toString("latin1")));
    assert.match(output, /grpc-status: 0/);
  });
}

for (const isTls of [false, true]) {
  test(`h2load calls${isTls ? " under TLS" : ""}, and all succeed`, { skip: skips.h2load }, async (context) => {
    const { port, server } = await startServer(context, isTls ? { tls: { cert: CERTIFICATE, key: KEY } } : {});
    const request = temporaryFile(context, grpcMessage(Buffer.alloc(100)));
    const args = ["-n", "20000", "-c", "10", "-m", "50", "-d", request, "-H", "content-type: application/grpc", "-H", "te: trailers"];
    const { output } = await run("h2load", [...args, `${isTls ? "https" : "http"}://127.0.0.1:${port}/test.Raw/Echo`]);
    assert.match(output, /20000 succeeded, 0 failed, 0 errored/, output);
    assert.equal(server.runningCalls, 0);
  });
}

/** RFC 9113 dropped the rule that a stream must not depend on itself; we ignore priorities. */
const H2SPEC_FAILURES: ReadonlySet<string> = new Set([
  "Sends HEADERS frame that depend on itself",
  "Sends PRIORITY frame that depend on itself",
]);

test("h2spec finds nothing that RFC 9113 asks for", { skip: skips.h2spec }, async (context) => {
  const server = new RpcServer({
    limits: { concurrentStreamsMax: 20 },
    // Answered in a later turn: some cases need a stream that is open for a moment.
    onHttpRequest: (exchange) => void setTimeout(() => exchange.respond(200, { "content-type": "text/plain" }, Buffer.from("hello")), 20),
  });
  context.after(() => server.close());
  const address = await server.listen({ port: 0, host: "127.0.0.1" });
  assert.ok(typeof address === "object");
  const { output } = await run(h2spec, ["-h", "127.0.0.1", "-p", String(address.port), "-o", "3"]);
  const failed = [...output.matchAll(/\u00c3\u0097 \d+: (.*)|\u00d7 \d+: (.*)/g)].map((match) => (match[1] ?? match[2] ?? "").trim());
  assert.match(output, /\d+ tests, \d+ passed/);
  assert.deepEqual(
    failed.filter((name) => !H2SPEC_FAILURES.has(name)),
    [],
  );
});

async function firstLine(child: ChildProcess): Promise<string> {
  let text = "";
  for await (const chunk of child.stdout!) {
    text += String(chunk);
    if (text.includes("\n")) return text.split("\n")[0]!;
  }
  throw new Error("the peer ended");
}

for (const [name, skip, command, args] of [
  ["grpcio", skips.python, python, [PYTHON_PEER]],
  ["grpc-go", skips.go, goPeer ?? "", []],
] as const) {
  test(`ours calls ${name}`, { skip }, async (context) => {
    const child = spawn(command, [...args, "serve"], { stdio: ["pipe", "pipe", "inherit"] });
    context.after(() => child.kill("SIGKILL"));
    const port = Number(await firstLine(child));
    for (const compress of [false, true]) {
      const client = ours.startClient!(port, { compress });
      for (const one of CASES)
        await context.test(`${one.name}${compress ? ", compressed" : ""}`, { timeout: 10_000 }, () => one.run(client));
      await client.close();
    }
  });

  test(`${name} calls ours`, { skip }, async (context) => {
    const server = await ours.startServer!();
    context.after(() => server.close());
    for (const more of [[], ["gzip"]]) {
      const { output, code } = await run(command, [...args, "call", String(server.port), ...more]);
      assert.equal(code, 0, output);
      const lines = output.trim().split("\n");
      assert.deepEqual(
        lines.filter((line) => !line.startsWith("ok ")),
        [],
      );
      assert.ok(lines.length >= 11);
    }
  });
}
