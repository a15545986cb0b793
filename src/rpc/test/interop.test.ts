/** Our client and server against others, and others against ours: the cases of gRPC's interoperability tests. */
import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { test } from "node:test";
import { RpcClient } from "../grpc/client.ts";
import { CASES } from "./interop/cases.ts";
import { connectNode } from "./interop/connect-node.ts";
import { grpcJs } from "./interop/grpc-js.ts";
import { nodeHttp2 } from "./interop/node-http2.ts";
import { ours } from "./interop/ours.ts";
import type { Implementation } from "./interop/peer.ts";
import { rawMethod } from "./methods.ts";

const PAIRS: readonly (readonly [client: Implementation, server: Implementation])[] = [
  [ours, ours],
  [ours, grpcJs],
  [ours, connectNode],
  [ours, nodeHttp2],
  [grpcJs, ours],
  [connectNode, ours],
  [nodeHttp2, ours],
];

for (const [clientOf, serverOf] of PAIRS) {
  for (const compress of [false, true]) {
    void test(`${clientOf.name} calls ${serverOf.name}${compress ? ", compressed" : ""}`, async (context) => {
      const server = await serverOf.startServer!();
      context.after(() => server.close());
      const client = clientOf.startClient!(server.port, { compress });
      context.after(() => client.close());

      for (const { name, run } of CASES) await context.test(name, { timeout: 10_000 }, () => run(client));

      await context.test("going away under load loses no call", { timeout: 10_000 }, async () => {
        const calls = Array.from({ length: 100 }, (_, i) => client.unary("Slow", Buffer.from(String(i))));
        // The first answer shows that calls have arrived; with one that is still open the server goes away.
        await calls[0];
        const more = client.unary("Slow", new Uint8Array(5));
        await client.unary("Unary", new Uint8Array(0));
        const drained = server.drain();
        assert.equal((await more).response.length, 5);
        assert.equal((await Promise.all(calls)).length, 100);
        await client.close();
        await drained;
      });
    });
  }
}

void test("An unknown method and an unknown service are UNIMPLEMENTED, to others and to us", async (context) => {
  for (const implementation of [ours, grpcJs, connectNode]) {
    const server = await implementation.startServer!();
    context.after(() => server.close());
    const client = new RpcClient({ endpoints: [`127.0.0.1:${server.port}`] });
    context.after(() => client.close());
    for (const path of ["/test.Interop/Nothing", "/test.Nothing/Unary"]) {
      await assert.rejects(
        client.unary({ ...rawMethod("x", "unary"), path }, new Uint8Array(0)),
        { code: 12 },
        `${implementation.name} ${path}`,
      );
    }
  }
});

void test("A request that is not gRPC is answered with 415", async (context) => {
  const server = await ours.startServer!();
  context.after(() => server.close());
  const session = connectHttp2(`http://127.0.0.1:${server.port}`);
  context.after(() => session.destroy());
  for (const head of [
    { ":method": "POST", "content-type": "application/json" },
    { ":method": "GET" },
    { ":method": "POST", "content-type": "application/grpc-web" },
  ]) {
    const stream = session.request({ ":path": "/test.Interop/Unary", ...head });
    const status = await new Promise((resolve) => stream.on("response", (found) => resolve(found[":status"])));
    assert.equal(status, 415);
    stream.resume();
  }
});
