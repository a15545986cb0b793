/**
 * A gRPC stack on plain sockets: HTTP/2 (RFC 9113), HPACK (RFC 7541), gRPC server and client. It knows no schema: each method brings its
 * own encoders and decoders.
 */
export type { Method, MethodKind } from "./grpc/method.ts";
export { RpcServer, type RpcServerOptions } from "./grpc/server.ts";
export type { CallContext, DuplexStream, Handlers, Peer, RequestStream, ResponseStream } from "./grpc/handler.ts";
export type { HttpExchange, HttpRequestListener } from "./grpc/http-exchange.ts";
export { RpcClient, type RpcClientOptions } from "./grpc/client.ts";
export type { CallOptions, ClientCall } from "./grpc/client-call.ts";
export type { Backoff } from "./grpc/endpoint.ts";
export type { MessageListener } from "./grpc/inbox.ts";
export { Metadata, type MetadataInit } from "./grpc/metadata.ts";
export { RpcError, Status, statusName, type RpcErrorOptions, type StatusCode } from "./grpc/status.ts";
export { HTTP2_LIMITS, type Http2Limits } from "./http2/limits.ts";
