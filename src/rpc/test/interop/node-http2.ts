/** A gRPC client and server written as plainly as can be on node:http2: the oracle. */
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { gunzipSync, gzipSync } from "node:zlib";
import { decodeBytesValue, encodeBytesValue } from "../methods.ts";
import { InteropError, Mailbox, METHODS, numberAt, numbers, type Implementation, type InteropDuplex, type InteropOptions } from "./peer.ts";

function wrap(message: Uint8Array, compress: boolean): Buffer {
  const bytes = compress ? gzipSync(encodeBytesValue(message)) : encodeBytesValue(message);
  const head = Buffer.alloc(5);
  head[0] = compress ? 1 : 0;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** Calls back with each message of a stream. */
function readMessages(stream: http2.Http2Stream, onMessage: (message: Uint8Array) => void): void {
  let held: Buffer = Buffer.alloc(0);
  stream.on("data", (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    while (held.length >= 5 && held.length >= 5 + held.readUInt32BE(1)) {
      const bytes = held.subarray(5, 5 + held.readUInt32BE(1));
      onMessage(decodeBytesValue(held[0] === 1 ? gunzipSync(bytes) : bytes));
      held = held.subarray(5 + bytes.length);
    }
  });
}

function text(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : value?.[0];
}

class Handling {
  readonly #stream: http2.ServerHttp2Stream;
  readonly #requestHead: http2.IncomingHttpHeaders;
  #isCancelled = false;
  onCancel: (() => void) | undefined;

  constructor(stream: http2.ServerHttp2Stream, requestHead: http2.IncomingHttpHeaders) {
    this.#stream = stream;
    this.#requestHead = requestHead;
    stream.on("error", () => {});
    stream.on("aborted", () => {
      this.#isCancelled = true;
      this.onCancel?.();
    });
  }

  head(): void {
    const head: http2.OutgoingHttpHeaders = { ":status": 200, "content-type": "application/grpc" };
    const echo = text(this.#requestHead["x-head"]);
    if (echo !== undefined) head["x-head"] = echo;
    this.#stream.respond(head, { waitForTrailers: true });
  }

  send(message: Uint8Array): void {
    this.#stream.write(wrap(message, false));
  }

  end(): void {
    if (this.#isCancelled) return;
    const trailers: http2.OutgoingHttpHeaders = { "grpc-status": "0" };
    const echo = text(this.#requestHead["x-trailer-bin"]);
    if (echo !== undefined) trailers["x-trailer-bin"] = echo;
    this.#stream.on("wantTrailers", () => this.#stream.sendTrailers(trailers));
    this.#stream.end();
  }

  fail(code: number, message: string): void {
    if (this.#isCancelled) return;
    this.#stream.respond(
      { ":status": 200, "content-type": "application/grpc", "grpc-status": String(code), "grpc-message": encodeURIComponent(message) },
      { endStream: true },
    );
  }
}

/** Client and server on node:http2. */
export const nodeHttp2: Implementation = {
  name: "node:http2",
  startServer: async () => {
    let cancellations = 0;
    const sessions = new Set<http2.ServerHttp2Session>();
    const server = http2.createServer();
    server.on("session", (session: http2.ServerHttp2Session) => {
      sessions.add(session);
      session.on("close", () => sessions.delete(session));
    });
    server.on("stream", (stream: http2.ServerHttp2Stream, requestHead: http2.IncomingHttpHeaders) => {
      const handling = new Handling(stream, requestHead);
      const method = (requestHead[":path"] ?? "").slice("/test.Interop/".length);
      const requests: Uint8Array[] = [];
      if (method === "Bidi") {
        handling.onCancel = () => cancellations++;
        handling.head();
        readMessages(stream, (message) => handling.send(message));
        stream.on("end", () => handling.end());
        return;
      }
      readMessages(stream, (message) => requests.push(message));
      stream.on("end", () => {
        const request = requests[0] ?? new Uint8Array(0);
        const answer = (response: Uint8Array): void => {
          handling.head();
          handling.send(response);
          handling.end();
        };
        switch (method) {
          case "Unary":
            return answer(request);
          case "Sized":
            return answer(new Uint8Array(numberAt(request, 0)).fill(7));
          case "Fail":
            return handling.fail(request[0]!, Buffer.from(request.subarray(1)).toString("utf8"));
          case "Sleep":
            handling.onCancel = () => cancellations++;
            return;
          case "Slow":
            return void setTimeout(() => answer(request), 30);
          case "Cancellations":
            return answer(numbers(cancellations));
          case "ServerStream":
            handling.head();
            for (let i = 0; i < numberAt(request, 0); i++) handling.send(new Uint8Array(numberAt(request, 1)).fill(i & 0xff));
            return handling.end();
          case "ClientStream":
            return answer(numbers(requests.reduce((bytes, one) => bytes + one.length, 0)));
          default:
            return handling.fail(12, METHODS[method] === undefined ? "unknown method" : "");
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return {
      port: (server.address() as AddressInfo).port,
      drain: async () => {
        await Promise.all([...sessions].map((session) => new Promise<void>((resolve) => session.close(resolve))));
      },
      close: async () => {
        for (const session of sessions) session.destroy();
        server.close();
      },
    };
  },
  startClient: (port, { compress }) => {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const open = (method: string, options: InteropOptions | undefined): InteropDuplex & { heads: http2.IncomingHttpHeaders[] } => {
      const head: http2.OutgoingHttpHeaders = {
        ":method": "POST",
        ":path": `/test.Interop/${method}`,
        "content-type": "application/grpc",
        te: "trailers",
        "grpc-accept-encoding": "gzip",
      };
      if (compress) head["grpc-encoding"] = "gzip";
      if (options?.timeoutMs !== undefined) head["grpc-timeout"] = `${options.timeoutMs}m`;
      for (const [name, value] of Object.entries(options?.metadata ?? {}))
        head[name] = typeof value === "string" ? value : Buffer.from(value).toString("base64");
      const stream = session.request(head);
      const mailbox = new Mailbox();
      const heads: http2.IncomingHttpHeaders[] = [];
      let status: InteropError | undefined | null = null;
      const onTrailers = (found: http2.IncomingHttpHeaders): void => {
        heads.push(found);
        const code = Number(found["grpc-status"] ?? 2);
        status = code === 0 ? undefined : new InteropError(code, decodeURIComponent(text(found["grpc-message"]) ?? ""));
      };
      stream.on("response", (found) => {
        if (found["grpc-status"] !== undefined) onTrailers(found);
        else heads.push(found);
      });
      stream.on("trailers", onTrailers);
      stream.on("error", () => {});
      stream.on("close", () =>
        mailbox.put(status === null ? new InteropError(stream.rstCode === 8 ? 1 : 13, `reset with ${stream.rstCode}`) : status),
      );
      readMessages(stream, (message) => mailbox.put(message));
      const cancel = (): void => stream.close(http2.constants.NGHTTP2_CANCEL);
      options?.signal?.addEventListener("abort", cancel);
      return {
        heads,
        send: (message) => void stream.write(wrap(message, compress)),
        end: () => void stream.end(),
        next: () => mailbox.next(),
        cancel,
      };
    };
    return {
      unary: async (method, request, options) => {
        const call = open(method, options);
        call.send(request);
        call.end();
        const response = await call.next();
        await call.next();
        const trailer = text(call.heads[1]?.["x-trailer-bin"]);
        return {
          response: response!,
          head: text(call.heads[0]?.["x-head"]),
          trailer: trailer === undefined ? undefined : Uint8Array.from(Buffer.from(trailer, "base64")),
        };
      },
      serverStream: (method, request, options) => {
        const call = open(method, options);
        call.send(request);
        call.end();
        return call;
      },
      clientStream: async (method, requests, options) => {
        const call = open(method, options);
        for (const request of requests) call.send(request);
        call.end();
        const response = await call.next();
        await call.next();
        return response!;
      },
      bidi: open,
      close: async () => session.destroy(),
    };
  },
};
