/**
 * The HTTP/1.1 server behind the gRPC port: node:http, which is handed connections and listens nowhere itself. It gives no connection more than a while
 * to send its request.
 */
import { createServer, STATUS_CODES, type RequestListener, type Server } from "node:http";
import type { Duplex } from "node:stream";

/** How long a client may take, in milliseconds. */
export interface Http1Timeouts {
  /** From the first byte to the end of the head, and of the body. */
  readonly headMs: number;
  readonly requestMs: number;
  /** How often that is looked at. */
  readonly checkMs: number;
}

const TIMEOUTS: Http1Timeouts = { headMs: 20_000, requestMs: 60_000, checkMs: 5_000 };
/** Between two requests of a connection. */
const IDLE_MS = 60_000;
const HEAD_BYTES_MAX = 16_384;
/** For the answer to what is no request. */
const LINGER_MS = 1_000;

/** The server. Connections come by its event "connection"; close() it, or its timer goes on. */
export function createHttp1Server(listener: RequestListener, timeouts: Http1Timeouts = TIMEOUTS): Server {
  const server = createServer(
    {
      headersTimeout: timeouts.headMs,
      requestTimeout: timeouts.requestMs,
      connectionsCheckingInterval: timeouts.checkMs,
      keepAliveTimeout: IDLE_MS,
      maxHeaderSize: HEAD_BYTES_MAX,
    },
    listener,
  );
  const asked = new WeakSet<Duplex>();
  server.on("request", ({ socket }) => asked.add(socket));
  server.on("clientError", (error, socket) => {
    // What is told behind a request would be taken for its answer.
    if (asked.has(socket) || !socket.writable) socket.destroy();
    else refuse(error, socket);
  });
  // It looks at its connections from the moment that it listens, which it never does.
  server.emit("listening");
  return server;
}

/** By node:http's codes. */
const STATUS: Readonly<Record<string, number>> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };

/** What is no request is told so; a client that does not take that is let go of all the same. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
  const status = STATUS[error.code ?? ""] ?? 400;
  socket.on("error", () => {});
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}
