/** @connectrpc/connect-node, speaking gRPC. */
import { createServer, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { create, createFileRegistry, type DescService } from "@bufbuild/protobuf";
import { BytesValueSchema, file_google_protobuf_wrappers, FileDescriptorProtoSchema, type BytesValue } from "@bufbuild/protobuf/wkt";
import {
  Code,
  ConnectError,
  createClient,
  encodeBinaryHeader,
  decodeBinaryHeader,
  type HandlerContext,
  type ServiceImpl,
} from "@connectrpc/connect";
import { compressionGzip, connectNodeAdapter, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { InteropError, Mailbox, METHODS, numberAt, numbers, type Implementation, type InteropDuplex, type InteropOptions } from "./peer.ts";

const BYTES_VALUE = ".google.protobuf.BytesValue";

function serviceOf(): DescService {
  const file = create(FileDescriptorProtoSchema, {
    name: "interop.proto",
    package: "test",
    syntax: "proto3",
    dependency: ["google/protobuf/wrappers.proto"],
    service: [
      {
        name: "Interop",
        method: Object.entries(METHODS).map(([name, kind]) => ({
          name,
          inputType: BYTES_VALUE,
          outputType: BYTES_VALUE,
          clientStreaming: kind === "clientStream" || kind === "bidi",
          serverStreaming: kind === "serverStream" || kind === "bidi",
        })),
      },
    ],
  });
  const registry = createFileRegistry(file, (name) =>
    name === "google/protobuf/wrappers.proto" ? file_google_protobuf_wrappers : undefined,
  );
  return registry.getService("test.Interop")!;
}

const service = serviceOf();

function message(value: Uint8Array): BytesValue {
  return create(BytesValueSchema, { value });
}

function handlers(): Partial<ServiceImpl<DescService>> {
  let cancellations = 0;
  const table = {
    unary: (request: BytesValue, context: HandlerContext) => {
      const head = context.requestHeader.get("x-head");
      if (head !== null) context.responseHeader.set("x-head", head);
      const trailer = context.requestHeader.get("x-trailer-bin");
      if (trailer !== null) context.responseTrailer.set("x-trailer-bin", trailer);
      return message(request.value);
    },
    sized: (request: BytesValue) => message(new Uint8Array(numberAt(request.value, 0)).fill(7)),
    fail: (request: BytesValue) => {
      throw new ConnectError(Buffer.from(request.value.subarray(1)).toString("utf8"), request.value[0]! as Code);
    },
    sleep: (_request: BytesValue, context: HandlerContext) =>
      new Promise((_resolve, reject) => {
        context.signal.addEventListener("abort", () => {
          cancellations++;
          reject(new ConnectError("cancelled", Code.Canceled));
        });
      }),
    slow: (request: BytesValue) => new Promise((resolve) => setTimeout(() => resolve(message(request.value)), 30)),
    cancellations: () => message(numbers(cancellations)),
    serverStream: async function* (request: BytesValue) {
      const [count, size] = [numberAt(request.value, 0), numberAt(request.value, 1)];
      for (let i = 0; i < count; i++) yield message(new Uint8Array(size).fill(i & 0xff));
    },
    clientStream: async (requests: AsyncIterable<BytesValue>) => {
      let bytes = 0;
      for await (const request of requests) bytes += request.value.length;
      return message(numbers(bytes));
    },
    bidi: async function* (requests: AsyncIterable<BytesValue>, context: HandlerContext) {
      context.signal.addEventListener("abort", () => cancellations++);
      for await (const request of requests) yield message(request.value);
    },
  };
  return table as unknown as Partial<ServiceImpl<DescService>>;
}

interface CallSettings {
  signal?: AbortSignal;
  timeoutMs?: number;
  headers?: Record<string, string>;
  onHeader?: (headers: Headers) => void;
  onTrailer?: (headers: Headers) => void;
}

function settingsOf(options: InteropOptions | undefined): CallSettings {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options?.metadata ?? {}))
    headers[name] = typeof value === "string" ? value : encodeBinaryHeader(value);
  return {
    headers,
    ...(options?.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options?.signal === undefined ? {} : { signal: options.signal }),
  };
}

function asInterop(error: unknown): InteropError {
  const found = ConnectError.from(error);
  return new InteropError(found.code, found.rawMessage);
}

function localName(method: string): string {
  return method[0]!.toLowerCase() + method.slice(1);
}

/** Client and server of Connect. */
export const connectNode: Implementation = {
  name: "@connectrpc/connect-node",
  startServer: async () => {
    const server: Http2Server = createServer(
      connectNodeAdapter({
        routes: (router) => void router.service(service, handlers()),
        acceptCompression: [compressionGzip],
        compressMinBytes: 0,
      }),
    );
    const sessions = new Set<ServerHttp2Session>();
    server.on("session", (session: ServerHttp2Session) => {
      sessions.add(session);
      session.on("close", () => sessions.delete(session));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const close = async (): Promise<void> => {
      for (const session of sessions) session.destroy();
      server.close();
    };
    return {
      port: (server.address() as AddressInfo).port,
      drain: async () => {
        await Promise.all([...sessions].map((session) => new Promise<void>((resolve) => session.close(resolve))));
      },
      close,
    };
  },
  startClient: (port, { compress }) => {
    const baseUrl = `http://127.0.0.1:${port}`;
    const sessions = new Http2SessionManager(baseUrl);
    const transport = createGrpcTransport({
      baseUrl,
      sessionManager: sessions,
      acceptCompression: [compressionGzip],
      compressMinBytes: 0,
      ...(compress ? { sendCompression: compressionGzip } : {}),
    });
    // The service was made at run time, so its methods have no types.
    const client = createClient(service, transport) as unknown as Record<string, (request: unknown, settings: CallSettings) => unknown>;
    const stream = (responses: AsyncIterable<BytesValue>, mailbox: Mailbox): void => {
      void (async () => {
        try {
          for await (const response of responses) mailbox.put(response.value);
          mailbox.put(undefined);
        } catch (error) {
          mailbox.put(asInterop(error));
        }
      })();
    };
    return {
      unary: async (method, request, options) => {
        let head: string | undefined;
        let trailer: Uint8Array | undefined;
        const settings = settingsOf(options);
        settings.onHeader = (headers) => (head = headers.get("x-head") ?? undefined);
        settings.onTrailer = (headers) => {
          const text = headers.get("x-trailer-bin");
          if (text !== null) trailer = decodeBinaryHeader(text);
        };
        try {
          const response = (await client[localName(method)]!(message(request), settings)) as BytesValue;
          return { response: response.value, head, trailer };
        } catch (error) {
          throw asInterop(error);
        }
      },
      serverStream: (method, request, options) => {
        const controller = new AbortController();
        const mailbox = new Mailbox();
        stream(
          client[localName(method)]!(message(request), { ...settingsOf(options), signal: controller.signal }) as AsyncIterable<BytesValue>,
          mailbox,
        );
        return { send() {}, end() {}, cancel: () => controller.abort(), next: () => mailbox.next() };
      },
      clientStream: async (method, requests, options) => {
        const generate = async function* (): AsyncGenerator<BytesValue> {
          for (const request of requests) yield message(request);
        };
        try {
          return ((await client[localName(method)]!(generate(), settingsOf(options))) as BytesValue).value;
        } catch (error) {
          throw asInterop(error);
        }
      },
      bidi: (method, options): InteropDuplex => {
        const controller = new AbortController();
        const outgoing = new Mailbox();
        const incoming = new Mailbox();
        const generate = async function* (): AsyncGenerator<BytesValue> {
          for (let next = await outgoing.next(); next !== undefined; next = await outgoing.next()) yield message(next);
        };
        stream(
          client[localName(method)]!(generate(), { ...settingsOf(options), signal: controller.signal }) as AsyncIterable<BytesValue>,
          incoming,
        );
        return {
          send: (one) => outgoing.put(one),
          end: () => outgoing.put(undefined),
          cancel: () => controller.abort(),
          next: () => incoming.next(),
        };
      },
      close: async () => sessions.abort(),
    };
  },
};
