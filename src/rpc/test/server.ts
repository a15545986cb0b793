/** A server for tests, on a free port, closed when the test ends. */
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { RpcClient, type RpcClientOptions } from "../grpc/client.ts";
import { RpcServer, type RpcServerOptions } from "../grpc/server.ts";
import type { Method } from "../grpc/method.ts";
import { rawMethod } from "./methods.ts";

/** Answers the request. */
export const Echo: Method<Uint8Array, Uint8Array, "unary"> = rawMethod("Echo", "unary");
/** Never answers. */
export const Hang: Method<Uint8Array, Uint8Array, "unary"> = rawMethod("Hang", "unary");
/** Answers the number in the first four bytes with so many messages of the request's length. */
export const Flood: Method<Uint8Array, Uint8Array, "serverStream"> = rawMethod("Flood", "serverStream");
/** The sum of the lengths of all messages. */
export const Count: Method<Uint8Array, Uint8Array, "clientStream"> = rawMethod("Count", "clientStream");
/** Echoes each message. */
export const Chat: Method<Uint8Array, Uint8Array, "bidi"> = rawMethod("Chat", "bidi");
/** Reads nothing and never answers. */
export const Ignore: Method<Uint8Array, Uint8Array, "bidi"> = rawMethod("Ignore", "bidi");

/** What the handlers saw. */
export interface Seen {
  cancelled: number;
  failures: unknown[];
}

/** Starts a server with the methods above. */
export async function startServer(
  context: TestContext,
  options: RpcServerOptions = {},
): Promise<{ server: RpcServer; port: number; seen: Seen }> {
  const seen: Seen = { cancelled: 0, failures: [] };
  const server = new RpcServer({ onHandlerFailure: (error) => seen.failures.push(error), ...options });
  server.add(Echo, (request) => request);
  server.add(
    Hang,
    (_request, call) =>
      new Promise((_resolve, reject) => {
        call.onCancel((reason) => {
          seen.cancelled++;
          reject(reason);
        });
      }),
  );
  server.add(Flood, async (request, call) => {
    const count = Buffer.from(request).readUInt32BE(0);
    for (let i = 0; i < count; i++) if (!call.send(request)) await call.writable();
  });
  server.add(Count, async (call) => {
    let bytes = 0;
    for await (const message of call) bytes += message.length;
    const response = Buffer.alloc(4);
    response.writeUInt32BE(bytes);
    return response;
  });
  server.add(Chat, async (call) => {
    for await (const message of call) if (!call.send(message)) await call.writable();
  });
  server.add(Ignore, () => {});
  const address = (await server.listen({ port: 0, host: "127.0.0.1" })) as AddressInfo;
  context.after(() => server.close());
  return { server, port: address.port, seen };
}

/** A client of that port, closed when the test ends. */
export function startClient(context: TestContext, port: number, options: Partial<RpcClientOptions> = {}): RpcClient {
  const client = new RpcClient({ endpoints: [`127.0.0.1:${port}`], ...options });
  context.after(() => client.close());
  return client;
}

/** Resolves when the condition holds, looked at once per turn of the event loop. Rejects after `timeoutMs`. */
export async function until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error("the condition did not come true");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
