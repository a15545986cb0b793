/**
 * A process that serves an empty unary method and a stream of 64-byte messages, in one of three ways: ours, grpc-js or node-http2. Started by the
 * benchmark, which it tells its port, and its memory when asked.
 */
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import * as grpc from "@grpc/grpc-js";
import type { Method } from "../grpc/method.ts";
import { RpcServer } from "../grpc/server.ts";

/** The path of the method that answers an empty message with an empty message. */
export const EMPTY_PATH = "/bench.Bench/Empty";
/** The path of the method that answers with `STREAM_MESSAGES` messages of 64 bytes. */
export const STREAM_PATH = "/bench.Bench/Stream";
/** Messages of one stream. */
export const STREAM_MESSAGES = 200_000;

/** The ways to serve. */
export const SERVERS = ["ours", "grpc-js", "node-http2"] as const;
/** The name of one of them. */
export type ServerName = (typeof SERVERS)[number];

const EMPTY = new Uint8Array(0);
const MESSAGE: Buffer = Buffer.alloc(64, 7);

/** The method as ours takes it. */
export function emptyMethod(): Method<Uint8Array, Uint8Array, "unary"> {
  const same = (bytes: Uint8Array): Uint8Array => bytes;
  return { path: EMPTY_PATH, kind: "unary", encodeRequest: same, decodeRequest: same, encodeResponse: same, decodeResponse: same };
}

async function serveOurs(): Promise<number> {
  const server = new RpcServer();
  server.add(emptyMethod(), () => EMPTY);
  server.add({ ...emptyMethod(), path: STREAM_PATH, kind: "serverStream" }, async (_request, call) => {
    for (let i = 0; i < STREAM_MESSAGES; i++) if (!call.send(MESSAGE)) await call.writable();
  });
  return ((await server.listen({ port: 0, host: "127.0.0.1" })) as AddressInfo).port;
}

async function serveGrpcJs(): Promise<number> {
  const same = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
  const codec = {
    requestStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  const server = new grpc.Server();
  const unary: grpc.handleUnaryCall<Uint8Array, Uint8Array> = (_call, callback) => callback(null, EMPTY);
  const stream: grpc.handleServerStreamingCall<Uint8Array, Uint8Array> = (call) => {
    let i = 0;
    const send = (): void => {
      while (i++ < STREAM_MESSAGES) {
        if (!call.write(MESSAGE)) {
          call.once("drain", send);
          return;
        }
      }
      call.end();
    };
    send();
  };
  server.addService(
    { Empty: { path: EMPTY_PATH, responseStream: false, ...codec }, Stream: { path: STREAM_PATH, responseStream: true, ...codec } },
    { Empty: unary, Stream: stream },
  );
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

async function serveNodeHttp2(): Promise<number> {
  const server = http2.createServer();
  const frame = Buffer.alloc(5);
  server.on("stream", (stream: http2.ServerHttp2Stream) => {
    stream.on("data", () => {});
    stream.on("end", () => {
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(frame);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

if (process.send !== undefined) {
  const name = process.argv[2];
  const port = await (name === "ours" ? serveOurs() : name === "grpc-js" ? serveGrpcJs() : serveNodeHttp2());
  process.send({ port });
  process.on("message", () => {
    const collect = (globalThis as { gc?: () => void }).gc;
    collect?.();
    collect?.();
    const { rss, heapUsed, external } = process.memoryUsage();
    process.send!({ rss, used: heapUsed + external });
  });
  process.on("disconnect", () => process.exit());
}
