/**
 * A gRPC stack on plain sockets: HTTP/2 (RFC 9113), HPACK (RFC 7541), gRPC server and client. It knows no schema: each method brings its
 * own encoders and decoders.
 *
 *     const encode = (text: string) => Buffer.from(text);
 *     const decode = (bytes: Uint8Array) => Buffer.from(bytes).toString();
 *     const codecs = { encodeRequest: encode, decodeRequest: decode, encodeResponse: encode, decodeResponse: decode };
 *     const Greet: Method<string, string, "unary"> = { path: "/demo.Demo/Greet", kind: "unary", ...codecs };
 *     const Spell: Method<string, string, "serverStream"> = { path: "/demo.Demo/Spell", kind: "serverStream", ...codecs };
 *
 *     const server = new RpcServer();
 *     server.add(Greet, (name) => {
 *       if (name === "") throw new RpcError(Status.INVALID_ARGUMENT, "who are you?");
 *       return `Hello, ${name}!`;
 *     });
 *     server.add(Spell, async (name, call) => {
 *       for (const letter of name) if (!call.send(letter)) await call.writable();
 *     });
 *     await server.listen({ port: 50051, host: "127.0.0.1" });
 *
 *     const client = new RpcClient({ endpoints: ["127.0.0.1:50051"] });
 *     await client.unary(Greet, "Ada", { timeoutMs: 1000 });
 *     for await (const letter of client.serverStream(Spell, "Ada")) console.log(letter);
 *     await client.close();
 *     await server.close({ graceMs: 5000 });
 */
export type { Method, MethodKind } from "./grpc/method.ts";
export { RpcServer, type RpcServerOptions } from "./grpc/server.ts";
export type { CallContext, DuplexStream, Handlers, Peer, RequestStream, ResponseStream } from "./grpc/handler.ts";
export type { HttpExchange, HttpRequestListener } from "./grpc/http-exchange.ts";
export { Later, type LaterListener } from "./grpc/later.ts";
export { RpcClient, type RpcClientOptions } from "./grpc/client.ts";
export type { CallOptions } from "./grpc/call-options.ts";
export type { ClientCall } from "./grpc/client-call.ts";
export type { Backoff } from "./grpc/endpoint.ts";
export type { MessageListener } from "./grpc/inbox.ts";
export { Metadata, type MetadataInit } from "./grpc/metadata.ts";
export { RpcError, Status, statusName, type RpcErrorOptions, type StatusCode } from "./grpc/status.ts";
export { HTTP2_LIMITS, type Http2Limits } from "./http2/limits.ts";
