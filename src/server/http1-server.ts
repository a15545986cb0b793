/**
 * The HTTP/1.1 server behind the gRPC port: node:http, which is handed connections and listens nowhere itself. It gives no connection more than a while
 * to send its request.
 */
import { createServer, type RequestListener, type Server } from "node:http";

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
  server.on("clientError", (_error, socket) => socket.destroy());
  // It looks at its connections from the moment that it listens, which it never does.
  server.emit("listening");
  return server;
}
