/** @grpc/grpc-js. */
import * as grpc from "@grpc/grpc-js";
import { decodeBytesValue, encodeBytesValue } from "../methods.ts";
import { InteropError, Mailbox, METHODS, numberAt, numbers, type Implementation, type InteropDuplex, type InteropOptions } from "./peer.ts";

const encode = (message: Uint8Array): Buffer => Buffer.from(encodeBytesValue(message));
const decode = (bytes: Buffer): Uint8Array => decodeBytesValue(bytes);

function definition(): grpc.ServiceDefinition {
  return Object.fromEntries(
    Object.entries(METHODS).map(([name, kind]) => [
      name,
      {
        path: `/test.Interop/${name}`,
        requestStream: kind === "clientStream" || kind === "bidi",
        responseStream: kind === "serverStream" || kind === "bidi",
        requestSerialize: encode,
        requestDeserialize: decode,
        responseSerialize: encode,
        responseDeserialize: decode,
      },
    ]),
  );
}

type Unary = grpc.handleUnaryCall<Uint8Array, Uint8Array>;

function grpcJsHandlers(): grpc.UntypedServiceImplementation {
  let cancellations = 0;
  const unary: Unary = (call, callback) => {
    const head = call.metadata.get("x-head")[0];
    if (head !== undefined) {
      const metadata = new grpc.Metadata();
      metadata.set("x-head", head);
      call.sendMetadata(metadata);
    }
    const trailers = new grpc.Metadata();
    const trailer = call.metadata.get("x-trailer-bin")[0];
    if (trailer !== undefined) trailers.set("x-trailer-bin", trailer);
    callback(null, call.request, trailers);
  };
  const sized: Unary = (call, callback) => callback(null, new Uint8Array(numberAt(call.request, 0)).fill(7));
  const fail: Unary = (call, callback) =>
    callback({ code: call.request[0]!, details: Buffer.from(call.request.subarray(1)).toString("utf8") });
  const sleep: Unary = (call) => void call.on("cancelled", () => cancellations++);
  const slow: Unary = (call, callback) => void setTimeout(() => callback(null, call.request), 30);
  const count: Unary = (_call, callback) => callback(null, numbers(cancellations));
  const serverStream: grpc.handleServerStreamingCall<Uint8Array, Uint8Array> = (call) => {
    const [messages, size] = [numberAt(call.request, 0), numberAt(call.request, 1)];
    let i = 0;
    const send = (): void => {
      while (i < messages) {
        if (!call.write(new Uint8Array(size).fill(i++ & 0xff))) {
          call.once("drain", send);
          return;
        }
      }
      call.end();
    };
    send();
  };
  const clientStream: grpc.handleClientStreamingCall<Uint8Array, Uint8Array> = (call, callback) => {
    let bytes = 0;
    call.on("data", (message: Uint8Array) => (bytes += message.length));
    call.on("end", () => callback(null, numbers(bytes)));
  };
  const bidi: grpc.handleBidiStreamingCall<Uint8Array, Uint8Array> = (call) => {
    call.on("cancelled", () => cancellations++);
    call.on("data", (message: Uint8Array) => call.write(message));
    call.on("end", () => call.end());
  };
  return {
    Unary: unary,
    Sized: sized,
    Fail: fail,
    Sleep: sleep,
    Slow: slow,
    Cancellations: count,
    ServerStream: serverStream,
    ClientStream: clientStream,
    Bidi: bidi,
  };
}

function metadataOf(options: InteropOptions | undefined): grpc.Metadata {
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(options?.metadata ?? {}))
    metadata.set(name, typeof value === "string" ? value : Buffer.from(value));
  return metadata;
}

function callOptionsOf(options: InteropOptions | undefined): grpc.CallOptions {
  return options?.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs };
}

function asInterop(error: grpc.ServiceError): InteropError {
  return new InteropError(error.code, error.details);
}

/** `write` is absent where only the response streams. */
interface Readable {
  on(event: "data", listener: (message: Uint8Array) => void): unknown;
  on(event: "end", listener: () => void): unknown;
  on(event: "error", listener: (error: grpc.ServiceError) => void): unknown;
  cancel(): void;
  write?: (message: Uint8Array) => unknown;
  end?: () => unknown;
}

function duplexOf(call: Readable): InteropDuplex {
  const mailbox = new Mailbox();
  call.on("data", (message: Uint8Array) => mailbox.put(message));
  call.on("end", () => mailbox.put(undefined));
  call.on("error", (error: grpc.ServiceError) => mailbox.put(asInterop(error)));
  return {
    send: (message) => void call.write?.(message),
    end: () => void call.end?.(),
    cancel: () => call.cancel(),
    next: () => mailbox.next(),
  };
}

/** Client and server of @grpc/grpc-js. */
export const grpcJs: Implementation = {
  name: "@grpc/grpc-js",
  startServer: async () => {
    const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.default_compression_algorithm": 2 });
    server.addService(definition(), grpcJsHandlers());
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, found) =>
        error === null ? resolve(found) : reject(error),
      );
    });
    return {
      port,
      drain: () => new Promise((resolve) => server.tryShutdown(() => resolve())),
      close: async () => server.forceShutdown(),
    };
  },
  startClient: (port, { compress }) => {
    const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
      ...(compress ? { "grpc.default_compression_algorithm": 2 } : {}),
    });
    const path = (method: string): string => `/test.Interop/${method}`;
    return {
      unary: (method, request, options) =>
        new Promise((resolve, reject) => {
          let head: grpc.Metadata | undefined;
          let response: Uint8Array | undefined;
          const call = client.makeUnaryRequest(
            path(method),
            encode,
            decode,
            request,
            metadataOf(options),
            callOptionsOf(options),
            (error, value) => {
              if (error !== null) reject(asInterop(error));
              else response = value;
            },
          );
          call.on("metadata", (found) => (head = found));
          call.on("status", (status) => {
            if (response === undefined) return;
            const trailer = status.metadata.get("x-trailer-bin")[0];
            const found = head?.get("x-head")[0];
            resolve({
              response,
              head: typeof found === "string" ? found : undefined,
              trailer: trailer instanceof Buffer ? Uint8Array.from(trailer) : undefined,
            });
          });
          options?.signal?.addEventListener("abort", () => call.cancel());
        }),
      serverStream: (method, request, options) =>
        duplexOf(client.makeServerStreamRequest(path(method), encode, decode, request, metadataOf(options), callOptionsOf(options))),
      clientStream: (method, requests, options) =>
        new Promise((resolve, reject) => {
          const call = client.makeClientStreamRequest(
            path(method),
            encode,
            decode,
            metadataOf(options),
            callOptionsOf(options),
            (error, value) => {
              if (error !== null) reject(asInterop(error));
              else resolve(value!);
            },
          );
          for (const request of requests) call.write(request);
          call.end();
        }),
      bidi: (method, options) =>
        duplexOf(client.makeBidiStreamRequest(path(method), encode, decode, metadataOf(options), callOptionsOf(options))),
      close: async () => client.close(),
    };
  },
};
