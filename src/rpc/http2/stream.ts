/**
 * One stream of a connection (RFC 9113 section 5), seen by the layer above: what it may send, what it is told. States are two bits,
 * whether each side has ended; flow control of what is sent lives in `Sender`, of what is received in `Connection`.
 */
import type { HeaderTemplate } from "../hpack/encoder.ts";
import type { HeaderBlock } from "../hpack/header-field.ts";
import type { Connection } from "./connection.ts";
import { FLAG_END_STREAM } from "./protocol.ts";
import type { SendQueue } from "./send-queue.ts";

/** What a stream tells the layer above. Calls come in the order of the frames and never after the stream has ended. */
export interface StreamListener {
  /** A response head (client), or trailers. `end`: nothing follows. */
  onHeaders(block: HeaderBlock, end: boolean): void;
  /** Data at source[start, end), which may be empty at the end. It counts against the windows until `consumed` is called with as many bytes. */
  onData(source: Buffer, start: number, end: number, last: boolean): void;
  /** What waited has mostly been sent: `send` again. Only after `wantsWritable` was set. */
  onWritable(): void;
  /** The stream ended out of order: reset by the peer or by us for what the peer did, or lost with the connection. */
  onReset(reset: StreamReset): void;
}

/** Why a stream ended out of order. */
export interface StreamReset {
  /** A code of RFC 9113 section 7. */
  readonly code: number;
  readonly by: "us" | "peer" | "network";
  /** True: the peer promises that it has not looked at the request (REFUSED_STREAM, or beyond the last id of a GOAWAY). */
  readonly unprocessed: boolean;
  readonly reason: string;
}

/** One stream. */
export class Stream {
  readonly id: number;
  readonly connection: Connection;
  listener: StreamListener;
  /** What the peer lets us send; may be negative after a change of its settings. */
  sendWindow: number;
  /** What the peer may still send. */
  receiveWindow: number;
  /** We sent END_STREAM. */
  localEnded = false;
  /** The peer sent END_STREAM. */
  remoteEnded = false;
  isClosed = false;
  /** A response head or request head was received: the next HEADERS are trailers. */
  headReceived = false;
  /** What content-length still promises, or -1. */
  contentLeft = -1;
  /** Received and not yet consumed; consumed and not yet granted again. */
  unconsumed = 0;
  ungranted = 0;
  queue: SendQueue | undefined = undefined;
  /** In the sender's list of streams that can send. */
  isScheduled = false;
  nextScheduled: Stream | undefined = undefined;
  wantsWritable = false;
  /** When the sweep first saw its data waiting without progress; 0: not waiting. */
  stalledAtMs = 0;

  constructor(connection: Connection, id: number, listener: StreamListener, windows: { readonly send: number; readonly receive: number }) {
    this.connection = connection;
    this.id = id;
    this.listener = listener;
    this.sendWindow = windows.send;
    this.receiveWindow = windows.receive;
  }

  /** Bytes given to `write` that are not yet in a frame. */
  get queuedBytes(): number {
    return this.queue === undefined ? 0 : this.queue.bytes;
  }

  /** Sends a header block: a head, or with `end` a head that is all. `fields`: names and values in turn, behind those of the template. */
  sendHeaders(template: HeaderTemplate | undefined, fields: readonly string[] | undefined, end: boolean): void {
    if (this.isClosed || this.localEnded) return;
    this.connection.sender.headers(this.id, template, fields, end);
    if (end) this.connection.onLocalEnd(this);
  }

  /**
   * Room for `length` bytes of data, one frame at most, in the output, at the returned place in `connection.sender.output.buffer`; -1 if they must
   * wait: call `write`. Fill it at once, before anything else is sent; with `end`, then call `filledToEnd`. There is no room for the last `referenced`
   * ones, which follow as a piece of their own (Output.piece) when the others are filled.
   */
  room(length: number, end: boolean, referenced = 0): number {
    if (this.isClosed || this.localEnded) return -1;
    return this.connection.sender.room(this, length, end ? FLAG_END_STREAM : 0, referenced);
  }

  /** The room given by `room(length, true)` is filled: our side has ended. */
  filledToEnd(): void {
    this.connection.onLocalEnd(this);
  }

  /** Sends data when windows and socket allow. It must not change afterwards. */
  write(bytes: Uint8Array): void {
    if (this.isClosed || this.localEnded) return;
    this.connection.sender.enqueue(this, bytes);
  }

  /** Ends our side behind what waits, with trailers if given. */
  end(template?: HeaderTemplate, fields?: readonly string[]): void {
    if (this.isClosed || this.localEnded) return;
    const hasTrailers = template !== undefined || fields !== undefined;
    if (this.queue !== undefined) {
      this.queue.ended = true;
      this.queue.trailers = hasTrailers ? { template, fields } : undefined;
      return;
    }
    if (hasTrailers) this.connection.sender.headers(this.id, template, fields, true);
    else this.connection.sender.endOfStream(this.id);
    this.connection.onLocalEnd(this);
  }

  /** The layer above has done with so many bytes of data: the peer may send as many more. */
  consumed(bytes: number): void {
    this.connection.onConsumed(this, bytes);
  }

  /** Ends the stream out of order from our side. The listener is not told. */
  reset(code: number): void {
    this.connection.resetStream(this, code);
  }
}
