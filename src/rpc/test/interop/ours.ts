/** This package. */
import type { AddressInfo } from "node:net";
import { RpcClient } from "../../grpc/client.ts";
import type { ClientCall } from "../../grpc/client-call.ts";
import type { CallOptions } from "../../grpc/call-options.ts";
import { Metadata } from "../../grpc/metadata.ts";
import { RpcServer } from "../../grpc/server.ts";
import type { CallContext } from "../../grpc/handler.ts";
import { RpcError } from "../../grpc/status.ts";
import { interopMethod } from "../methods.ts";
import { InteropError, numberAt, numbers, type Implementation, type InteropDuplex, type InteropOptions } from "./peer.ts";

function echoMetadata(call: CallContext): void {
  call.compress = true;
  const head = call.metadata.get("x-head");
  if (head !== undefined) call.sendMetadata({ "x-head": head });
  const trailer = call.metadata.getBinary("x-trailer-bin");
  if (trailer !== undefined) call.trailers.set("x-trailer-bin", trailer);
}

function optionsOf(options: InteropOptions | undefined, compress: boolean, more: CallOptions = {}): CallOptions {
  return {
    ...more,
    compress,
    ...(options?.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options?.metadata === undefined ? {} : { metadata: options.metadata }),
    ...(options?.signal === undefined ? {} : { signal: options.signal }),
  };
}

function asInterop(error: unknown): unknown {
  return RpcError.is(error) ? new InteropError(error.code, error.message) : error;
}

function duplex(call: ClientCall<Uint8Array, Uint8Array>): InteropDuplex {
  const iterator = call[Symbol.asyncIterator]();
  return {
    send: (message) => void call.send(message),
    end: () => call.end(),
    cancel: () => call.cancel(),
    next: async () => {
      try {
        const result = await iterator.next();
        return result.done === true ? undefined : result.value;
      } catch (error) {
        throw asInterop(error);
      }
    },
  };
}

/** Our client and server. */
export const ours: Implementation = {
  name: "ours",
  startServer: async () => {
    let cancellations = 0;
    const server = new RpcServer();
    server.add(interopMethod("Unary", "unary"), (request, call) => {
      echoMetadata(call);
      return request;
    });
    server.add(interopMethod("Sized", "unary"), (request, call) => {
      call.compress = true;
      return new Uint8Array(numberAt(request, 0)).fill(7);
    });
    server.add(interopMethod("Fail", "unary"), (request) => {
      throw new RpcError(request[0]!, Buffer.from(request.subarray(1)).toString("utf8"));
    });
    server.add(interopMethod("Sleep", "unary"), (_request, call) => {
      return new Promise((_resolve, reject) =>
        call.onCancel((reason) => {
          cancellations++;
          reject(reason);
        }),
      );
    });
    server.add(interopMethod("Slow", "unary"), (request) => new Promise((resolve) => setTimeout(() => resolve(request), 30)));
    server.add(interopMethod("Cancellations", "unary"), () => numbers(cancellations));
    server.add(interopMethod("ServerStream", "serverStream"), async (request, call) => {
      call.compress = true;
      const [count, size] = [numberAt(request, 0), numberAt(request, 1)];
      for (let i = 0; i < count; i++) if (!call.send(new Uint8Array(size).fill(i & 0xff))) await call.writable();
    });
    server.add(interopMethod("ClientStream", "clientStream"), async (call) => {
      let bytes = 0;
      for await (const message of call) bytes += message.length;
      return numbers(bytes);
    });
    server.add(interopMethod("Bidi", "bidi"), async (call) => {
      call.onCancel(() => cancellations++);
      for await (const message of call) if (!call.send(message)) await call.writable();
    });
    const address = (await server.listen({ port: 0, host: "127.0.0.1" })) as AddressInfo;
    return { port: address.port, drain: () => server.close({ graceMs: 5000 }), close: () => server.close() };
  },
  startClient: (port, { compress }) => {
    const client = new RpcClient({ endpoints: [`127.0.0.1:${port}`], messageBytesMax: 16_777_216 });
    return {
      unary: async (method, request, options) => {
        let head: Metadata | undefined;
        let trailers: Metadata | undefined;
        const callOptions = optionsOf(options, compress, {
          onMetadata: (found) => (head = found),
          onTrailers: (found) => (trailers = found),
        });
        try {
          const response = await client.unary(interopMethod(method, "unary"), request, callOptions);
          return { response, head: head?.get("x-head"), trailer: trailers?.getBinary("x-trailer-bin") };
        } catch (error) {
          throw asInterop(error);
        }
      },
      serverStream: (method, request, options) =>
        duplex(client.serverStream(interopMethod(method, "serverStream"), request, optionsOf(options, compress))),
      clientStream: async (method, requests, options) => {
        const call = client.stream(interopMethod(method, "clientStream"), optionsOf(options, compress));
        const response = call.response();
        for (const request of requests) if (!call.send(request)) await call.writable();
        call.end();
        return response.catch((error: unknown) => Promise.reject(asInterop(error)));
      },
      bidi: (method, options) => duplex(client.stream(interopMethod(method, "bidi"), optionsOf(options, compress))),
      close: () => client.close(),
    };
  },
};
