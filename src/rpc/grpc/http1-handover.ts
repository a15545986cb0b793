/**
 * Hands connections that speak HTTP/1.1 to a server of node:http that does not listen itself. Node starts the timers behind
 * `headersTimeout` and `requestTimeout` only when a server listens, so without help a client that never ends its request's head would
 * stay for ever: here the listener that starts them is called.
 */
import type { Server as HttpServer } from "node:http";
import type { Socket } from "node:net";

/** Starts what node:http starts when a server begins to listen. Once for each server. */
export function startHttp1Timeouts(http1: HttpServer): void {
  if (http1.listening) return;
  for (const listener of http1.listeners("listening")) {
    if (listener.name === "setupConnectionsTracking") listener.call(http1);
  }
}

/** Gives the socket to the server, as if it had accepted it. `read`: what has been read of it already. */
export function handOverToHttp1(http1: HttpServer, socket: Socket, read: Buffer | undefined): void {
  if (read !== undefined) {
    socket.pause();
    socket.unshift(read);
  }
  http1.emit("connection", socket);
  if (read !== undefined) socket.resume();
}
