/**
 * Which protocol a new connection speaks, by its first bytes: the preface of HTTP/2 (RFC 9113 section 3.4), or anything else, which is left to an
 * HTTP/1.1 server. Holds at most the preface's 24 bytes of an undecided connection.
 */
import type { Socket } from "node:net";
import { CLIENT_PREFACE } from "../http2/protocol.ts";

/** Calls back once with what was read: behind the preface for HTTP/2, everything for HTTP/1.1. Never if the connection ends before it is decided. */
export function sniffProtocol(socket: Socket, onHttp2: (rest: Buffer) => void, onHttp1: (read: Buffer) => void): void {
  let held: Buffer | undefined;
  const onData = (chunk: Buffer): void => {
    const read = held === undefined ? chunk : Buffer.concat([held, chunk]);
    const length = Math.min(read.length, CLIENT_PREFACE.length);
    const matches = CLIENT_PREFACE.compare(read, 0, length, 0, length) === 0;
    if (matches && length < CLIENT_PREFACE.length) {
      held = read;
      return;
    }
    socket.removeListener("data", onData);
    socket.removeListener("error", onError);
    if (matches) onHttp2(read.subarray(CLIENT_PREFACE.length));
    else onHttp1(read);
  };
  const onError = (): void => {
    socket.destroy();
  };
  socket.on("data", onData);
  socket.on("error", onError);
}
