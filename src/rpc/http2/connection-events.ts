/** What a connection tells the layer above it. */
import type { HeaderBlock } from "../hpack/header-field.ts";
import type { Http2Error } from "./errors.ts";
import type { Stream, StreamListener } from "./stream.ts";

/** What a connection tells its server or client. */
export interface ConnectionEvents {
  /** Server: a well-formed request head opened a stream. Returns who listens to it. */
  onRequest(stream: Stream, block: HeaderBlock, end: boolean): StreamListener;
  /** Client: the peer's settings arrived or changed; calls may start. */
  onReady(): void;
  /** Client: the peer wants no new streams on this connection. */
  onGoaway(code: number, reason: string): void;
  /** A stream has ended: there is room for another. */
  onStreamEnd(stream: Stream): void;
  /** No streams can be opened or continued any more. Once. `error` is undefined after an orderly close. */
  onEnd(error: Http2Error | undefined): void;
}

/** Listens to a stream for which nobody cares any more. */
export const NOBODY: StreamListener = {
  onHeaders() {},
  onData() {},
  onWritable() {},
  onReset() {},
};
