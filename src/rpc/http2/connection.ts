/**
 * One HTTP/2 connection on a socket, of either role (RFC 9113): its life, its streams, what is received. Sending lies in `Sender`, cutting
 * bytes into frames in `FrameReader`, the rules of each frame type in `FrameRules`. Whatever a peer sends ends in a frame handled, a stream
 * reset, or the connection closed with a GOAWAY: nothing is thrown.
 */
import type { Socket } from "node:net";
import { HpackDecoder } from "../hpack/decoder.ts";
import type { HeaderBlock } from "../hpack/header-field.ts";
import { AbuseBudget } from "./abuse-budget.ts";
import { ClosedStreams } from "./closed-streams.ts";
import { Http2Error } from "./errors.ts";
import { FrameReader } from "./frame-reader.ts";
import { FrameRules } from "./frame-rules.ts";
import type { Http2Limits } from "./limits.ts";
import {
  CLIENT_PREFACE,
  ErrorCode,
  errorCodeName,
  HEADER_TABLE_BYTES_DEFAULT,
  Setting,
  STREAM_ID_MAX,
  WINDOW_BYTES_DEFAULT,
} from "./protocol.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { Sender } from "./sender.ts";
import { NOBODY, type ConnectionEvents } from "./connection-events.ts";
import { Stream, type StreamListener, type StreamReset } from "./stream.ts";
import type { Turn } from "./turn.ts";

/** What comes behind a GOAWAY that ends a connection at once is read and dropped for so long, so that the GOAWAY is not lost to a TCP reset. */
export const LINGER_MS = 500;

/** One connection. Made when the socket is connected, for a server behind the preface; it sends its settings at once. */
export class Connection {
  readonly socket: Socket;
  readonly isServer: boolean;
  readonly limits: Http2Limits;
  readonly sender: Sender;
  readonly decoder: HpackDecoder;
  readonly streams: Map<number, Stream> = new Map();
  readonly closedStreams: ClosedStreams = new ClosedStreams();
  readonly receiveWindow: ReceiveWindow;
  readonly controlBudget: AbuseBudget;
  readonly resetBudget: AbuseBudget;
  /** The highest stream that the peer opened (server), or that we opened (client). */
  lastStreamId = 0;
  /** The peer's SETTINGS_MAX_CONCURRENT_STREAMS. */
  peerStreamsMax: number = STREAM_ID_MAX;
  isClosed = false;
  /** No new streams: we or the peer sent GOAWAY. */
  isDraining = false;
  settingsReceived = false;
  settingsAcknowledged = false;
  /** A header block has begun and not ended. */
  isInBlock = false;
  /** Complete frames received; those of one header block count as one. */
  framesDone = 0;
  /** Something was received since the sweep last looked. */
  wasActive = false;
  /** Client: the server has answered a request. */
  hasAnswered = false;
  /** Data that may still be on its way for streams that we reset: what their windows allowed. */
  lateBytes = 0;
  readonly #events: ConnectionEvents;
  readonly #turn: Turn;
  readonly #reader: FrameReader;
  /** Streams start with this until the peer has acknowledged our settings: it may not know ours before. */
  #streamWindow: number;
  #isDirty = false;
  #finalStreamId = STREAM_ID_MAX;
  /** Why the peer is going away, if it said so with an error; "" if not. */
  #farewell = "";
  readonly #pings: (() => void)[] = [];
  #pingsSent = 0;

  constructor(options: {
    readonly socket: Socket;
    readonly isServer: boolean;
    readonly limits: Http2Limits;
    readonly turn: Turn;
    readonly events: ConnectionEvents;
  }) {
    const { socket, limits } = options;
    this.socket = socket;
    this.isServer = options.isServer;
    this.limits = limits;
    this.#turn = options.turn;
    this.#events = options.events;
    this.controlBudget = new AbuseBudget(limits.controlFramesBurst, limits.controlFramesPerSecond);
    this.resetBudget = new AbuseBudget(limits.resetsBurst, limits.resetsPerSecond);
    // Until the peer has seen our settings, its table has the initial size at least.
    const tableBytesMax = Math.max(limits.headerTableBytesMax, HEADER_TABLE_BYTES_DEFAULT);
    this.decoder = new HpackDecoder({ tableBytesMax, listBytesMax: limits.headerListBytesMax });
    this.sender = new Sender(socket, this.#turn, limits, this.controlBudget, {
      onDirty: () => this.#onDirty(),
      onLocalEnd: (stream) => this.onLocalEnd(stream),
      onQueueFull: (stream) => this.failStream(stream, ErrorCode.ENHANCE_YOUR_CALM, "more data waits to be sent than the limit"),
    });
    this.receiveWindow = new ReceiveWindow(limits);
    this.#streamWindow = Math.max(WINDOW_BYTES_DEFAULT, limits.streamWindowBytes);
    this.#reader = new FrameReader(new FrameRules(this), limits.frameBytesMax);
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.receive(chunk));
    socket.on("drain", () => this.#onDrain());
    socket.on("end", () => this.#onSocketEnd());
    socket.on("error", (error) => this.#lose(error));
    socket.on("close", () => this.#lose(undefined));
    this.#greet();
  }

  /** Takes bytes from the socket. Called by the listener too, with what it read to recognise the protocol. */
  receive(chunk: Buffer): void {
    this.wasActive = true;
    if (this.isClosed) return;
    this.#reader.push(chunk);
    if (this.sender.isFlooded) this.#onFlooded();
  }

  /** Client: true if a stream can be opened now. */
  get hasRoom(): boolean {
    return !this.isDraining && !this.isClosed && this.streams.size < this.peerStreamsMax && this.lastStreamId < STREAM_ID_MAX - 2;
  }

  /** Client: opens a stream. `hasRoom` must hold. The request head is to be sent at once, as ids must go out in order. */
  openStream(listener: StreamListener): Stream {
    this.lastStreamId = this.lastStreamId === 0 ? 1 : this.lastStreamId + 2;
    const stream = new Stream(this, this.lastStreamId, listener, { send: this.sender.initialWindow, receive: this.#streamWindow });
    this.streams.set(stream.id, stream);
    if (this.lastStreamId >= STREAM_ID_MAX - 2) {
      // The ids are used up (RFC 9113 section 5.1.1): this stream is the last, and a GOAWAY before it would stop it.
      this.isDraining = true;
      this.#events.onGoaway(ErrorCode.NO_ERROR, "the connection has no stream ids left");
    }
    return stream;
  }

  /** Sends a PING; the callback runs when it is answered. At most 16 wait, more are not sent. */
  ping(onAnswer: () => void): void {
    if (this.isClosed || this.#pings.length >= 16) return;
    this.#pings.push(onAnswer);
    const payload = Buffer.alloc(8);
    payload.writeUInt32BE(++this.#pingsSent % 0xffff_ffff, 4);
    this.sender.ping(false, payload, 0);
  }

  /**
   * Ends the connection gracefully: no new streams, open ones may finish. As a server, new streams that are already on their way are still served: a
   * first GOAWAY names no limit, a second one the last stream, when the peer has surely seen the first (RFC 9113 section 6.8).
   */
  drain(): void {
    if (this.isClosed || this.isDraining) return;
    this.isDraining = true;
    if (this.isServer) {
      this.sender.goaway(STREAM_ID_MAX, ErrorCode.NO_ERROR, "");
      this.ping(() => this.finishDrain());
    } else {
      this.sender.goaway(0, ErrorCode.NO_ERROR, "");
      this.closeIfDrained();
    }
  }

  /** Ends the connection now. Open streams are reset. */
  close(code: number, reason: string): void {
    this.#end(code, reason, code === ErrorCode.NO_ERROR ? undefined : new Http2Error(code, "us", reason));
  }

  /** Destroys the socket without a word. */
  destroy(code: number, by: "us" | "network", reason: string): void {
    if (!this.isClosed) this.#finish(new Http2Error(code, by, reason), by);
    this.socket.destroy();
  }

  /** Flushes now what was sent in this turn. */
  flush(): void {
    this.#isDirty = false;
    if (this.isClosed) return;
    this.sender.pump();
    this.sender.output.flush();
    this.#isDirty = false;
  }

  /** Resets a stream from our side; its listener is not told. */
  resetStream(stream: Stream, code: number): void {
    if (stream.isClosed || this.isClosed) return;
    this.sender.rstStream(stream.id, code);
    this.#removeStream(stream, true);
  }

  /** Server: refuses a stream just opened. The peer may try again, but not without end. */
  refuseStream(stream: Stream): void {
    this.resetStream(stream, ErrorCode.REFUSED_STREAM);
    this.chargeReset();
  }

  /** Counts a stream that ends because of what the peer did like one that it reset. Ends the connection if there are too many. */
  chargeReset(): void {
    if (!this.resetBudget.spend()) this.close(ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset");
  }

  /** Resets a stream for what happened on it, and tells its listener. */
  failStream(stream: Stream, code: number, reason: string): void {
    if (stream.isClosed) return;
    const { listener } = stream;
    this.resetStream(stream, code);
    listener.onReset({ code, by: "us", unprocessed: false, reason });
  }

  /**
   * Decompression takes time that few bytes of the peer can cost: each 256 KiB beyond 64 times what was sent counts like a frame that does no work.
   * False: there was too much of it, and the connection has ended.
   */
  chargeInflation(compressedBytes: number, inflatedBytes: number): boolean {
    for (let bytes = inflatedBytes - compressedBytes * 64; bytes >= 262_144; bytes -= 262_144) {
      if (!this.controlBudget.spend()) return this.fail(ErrorCode.ENHANCE_YOUR_CALM, "compressed messages that expand too much");
    }
    return true;
  }

  onLocalEnd(stream: Stream): void {
    stream.localEnded = true;
    if (stream.remoteEnded) {
      this.resetBudget.earn();
      this.#removeStream(stream, false);
    } else if (this.isServer) {
      // The response is complete: the rest of the request is of no use (RFC 9113 section 8.1).
      this.sender.rstStream(stream.id, ErrorCode.NO_ERROR);
      this.#removeStream(stream, true);
    }
  }

  onConsumed(stream: Stream, bytes: number): void {
    if (bytes === 0 || this.isClosed || stream.isClosed) return;
    stream.unconsumed -= bytes;
    this.onRead(bytes);
    if (stream.remoteEnded) return;
    stream.ungranted += bytes;
    if (stream.ungranted * 2 < this.limits.streamWindowBytes) return;
    this.sender.windowUpdate(stream.id, stream.ungranted);
    stream.receiveWindow += stream.ungranted;
    stream.ungranted = 0;
  }

  /** So many bytes were read, or will never be. */
  onRead(bytes: number): void {
    this.receiveWindow.read(bytes);
    this.grant();
  }

  /** Grants the connection what it may receive again. */
  grant(): void {
    const bytes = this.receiveWindow.grant();
    if (bytes > 0 && !this.isClosed) this.sender.windowUpdate(0, bytes);
  }

  /** Server: the peer opens a stream with a well-formed head. */
  onRequest(id: number, block: HeaderBlock, end: boolean): Stream {
    const stream = new Stream(this, id, NOBODY, { send: this.sender.initialWindow, receive: this.#streamWindow });
    stream.headReceived = true;
    stream.remoteEnded = end;
    this.streams.set(id, stream);
    this.controlBudget.earn();
    stream.listener = this.#events.onRequest(stream, block, end);
    return stream;
  }

  /** Server: true if the peer may open the stream with this id now. */
  mayOpen(id: number): boolean {
    return this.streams.size < this.limits.concurrentStreamsMax && id <= this.#finalStreamId;
  }

  /** The peer sent END_STREAM; the listener has been told or will be. */
  onRemoteEnd(stream: Stream): void {
    stream.remoteEnded = true;
    if (!stream.localEnded || stream.isClosed) return;
    this.resetBudget.earn();
    this.#removeStream(stream, false);
  }

  /** The peer reset a stream, or refused it with a GOAWAY. */
  onPeerReset(stream: Stream, code: number, unprocessed: boolean, reason: string): void {
    const { listener } = stream;
    this.#removeStream(stream, false);
    listener.onReset({ code, by: "peer", unprocessed, reason });
  }

  onSettingsAck(): void {
    if (this.settingsAcknowledged) return;
    this.settingsAcknowledged = true;
    this.decoder.limitTable(this.limits.headerTableBytesMax);
    const change = this.limits.streamWindowBytes - this.#streamWindow;
    this.#streamWindow = this.limits.streamWindowBytes;
    if (change !== 0) for (const stream of this.streams.values()) stream.receiveWindow += change;
  }

  onSettings(): void {
    this.settingsReceived = true;
    if (!this.isServer) this.#events.onReady();
  }

  onPingAnswer(): void {
    this.#pings.shift()?.();
  }

  onGoaway(lastStreamId: number, code: number, reason: string): void {
    this.isDraining = true;
    if (code !== ErrorCode.NO_ERROR)
      this.#farewell = `the peer said ${errorCodeName(code)}${reason === "" ? "" : ` ${JSON.stringify(reason)}`}`;
    if (!this.isServer) {
      for (const stream of [...this.streams.values()]) {
        if (stream.id > lastStreamId) this.onPeerReset(stream, ErrorCode.REFUSED_STREAM, true, "the server is going away");
      }
      this.#events.onGoaway(code, reason);
    }
    if (code !== ErrorCode.NO_ERROR && this.streams.size === 0) this.#end(ErrorCode.NO_ERROR, "", new Http2Error(code, "peer", reason));
    else this.closeIfDrained();
  }

  /** A peer that goes too far, or breaks the protocol. */
  fail(code: number, reason: string): false {
    this.close(code, reason);
    return false;
  }

  /** True while a frame or a header block is incomplete. */
  get isInFrame(): boolean {
    return this.isInBlock || this.#reader.isInFrame;
  }

  closeIfDrained(): void {
    if (
      this.isDraining &&
      this.streams.size === 0 &&
      (!this.isServer || this.#finalStreamId !== STREAM_ID_MAX || this.#pings.length === 0)
    ) {
      // The last responses may still lie in our buffers or the kernel's: a slow reader gets them, as long as it closes its side afterwards.
      this.#end(ErrorCode.NO_ERROR, "", undefined, this.isServer ? this.limits.writeTimeoutMs : LINGER_MS);
    }
  }

  #greet(): void {
    const { limits, sender } = this;
    if (!this.isServer) sender.output.piece(CLIENT_PREFACE);
    const settings: number[] = [];
    if (limits.headerTableBytesMax !== HEADER_TABLE_BYTES_DEFAULT) settings.push(Setting.headerTableSize, limits.headerTableBytesMax);
    if (this.isServer) settings.push(Setting.maxConcurrentStreams, limits.concurrentStreamsMax);
    else settings.push(Setting.enablePush, 0);
    settings.push(Setting.initialWindowSize, limits.streamWindowBytes);
    settings.push(Setting.maxFrameSize, limits.frameBytesMax, Setting.maxHeaderListSize, limits.headerListBytesMax);
    sender.settings(settings);
    const more = limits.connectionWindowBytes - WINDOW_BYTES_DEFAULT;
    if (more > 0) sender.windowUpdate(0, more);
  }

  #onDirty(): void {
    if (this.#isDirty || this.isClosed) return;
    this.#isDirty = true;
    this.#turn.add(this);
  }

  #onDrain(): void {
    if (this.isClosed) return;
    if (this.socket.isPaused()) this.socket.resume();
    this.#onDirty();
  }

  /** The peer makes us write but does not read. A server stops reading until it does; a client trusts no such server. */
  #onFlooded(): void {
    if (this.isClosed) return;
    this.flush();
    if (!this.sender.isFlooded) return;
    if (this.isServer) this.socket.pause();
    else this.destroy(ErrorCode.ENHANCE_YOUR_CALM, "us", "the server does not read");
  }

  /** Server: the peer has seen our first GOAWAY, or had time enough. */
  finishDrain(): void {
    if (this.isClosed || !this.isServer || this.#finalStreamId !== STREAM_ID_MAX) return;
    this.#finalStreamId = this.lastStreamId;
    this.sender.goaway(this.lastStreamId, ErrorCode.NO_ERROR, "");
    this.closeIfDrained();
  }

  #removeStream(stream: Stream, resetByUs: boolean): void {
    if (stream.isClosed) return;
    stream.isClosed = true;
    this.streams.delete(stream.id);
    if (this.isServer) this.closedStreams.add(stream.id, resetByUs);
    if (resetByUs && !stream.remoteEnded && stream.receiveWindow > 0) {
      // No more can be on its way than the connection's window: what we grant later, the peer sees behind our RST_STREAM.
      this.lateBytes = Math.min(this.lateBytes + stream.receiveWindow, this.limits.connectionWindowBytes);
    }
    if (stream.queue !== undefined) this.sender.forget(stream);
    if (stream.unconsumed > 0) {
      this.onRead(stream.unconsumed);
      stream.unconsumed = 0;
    }
    this.#events.onStreamEnd(stream);
    if (this.isDraining && this.streams.size === 0) this.closeIfDrained();
  }

  #onSocketEnd(): void {
    // Half-closed TCP: HTTP/2 has no use for it.
    if (this.isClosed) this.socket.destroy();
    else
      this.#end(ErrorCode.NO_ERROR, "", new Http2Error(ErrorCode.NO_ERROR, "network", this.#farewell || "the peer closed the connection"));
  }

  #lose(cause: Error | undefined): void {
    if (this.isClosed) return;
    const reason = this.#farewell || (cause === undefined ? "the connection was closed" : cause.message);
    this.#finish(new Http2Error(ErrorCode.CONNECT_ERROR, "network", reason, cause === undefined ? undefined : { cause }), "network");
    this.socket.destroy();
  }

  #end(code: number, reason: string, error: Http2Error | undefined, lingerMs: number = LINGER_MS): void {
    if (this.isClosed) return;
    if (error?.by !== "network") {
      this.sender.goaway(this.isServer ? this.lastStreamId : 0, code, reason);
      this.sender.output.flush();
    }
    this.#finish(error, error?.by ?? "us");
    const { socket } = this;
    socket.end();
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), lingerMs);
    timer.unref();
    socket.once("close", () => clearTimeout(timer));
  }

  #finish(error: Http2Error | undefined, by: StreamReset["by"]): void {
    this.isClosed = true;
    this.isDraining = true;
    this.#reader.stop();
    const code = error?.code ?? ErrorCode.NO_ERROR;
    let reason = "the connection was closed";
    if (error !== undefined) reason = error.by === "us" ? error.message : error.by === "peer" ? this.#farewell : error.reason;
    const streams = [...this.streams.values()];
    this.streams.clear();
    for (const stream of streams) {
      stream.isClosed = true;
      this.sender.forget(stream);
      this.#events.onStreamEnd(stream);
      stream.listener.onReset({ code, by, unprocessed: false, reason });
    }
    this.sender.output.drop();
    this.#pings.length = 0;
    this.#events.onEnd(error);
  }
}
