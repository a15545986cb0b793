/**
 * A call as the server sees it: from the request's head to the trailers. Unary handlers that return a value, not a promise, are
 * answered without any allocation for waiting. A call settles once: with its trailers, or by cancellation (reset, deadline, lost
 * connection), after which whatever its handler does is ignored.
 */
import type { HeaderBlock } from "../hpack/header-field.ts";
import { ErrorCode } from "../http2/protocol.ts";
import { WRITABLE_BYTES } from "../http2/sender.ts";
import type { Stream, StreamListener, StreamReset } from "../http2/stream.ts";
import type { Timed } from "./deadlines.ts";
import { Inbox, type MessageListener } from "./inbox.ts";
import { MessageReader, writeMessage, type MessageSink } from "./message-framing.ts";
import { encodeBinaryValue, Metadata, type MetadataInit } from "./metadata.ts";
import type { Method } from "./method.ts";
import { requestHeadOf } from "./request-head.ts";
import type { ServerSession } from "./server-session.ts";
import { encodeStatusMessage, errorOfReset, RpcError, Status } from "./status.ts";

/** Data waiting on the stream, beyond which `send` says to wait. */
const SEND_BYTES_HIGH = 65_536;
/** A longer message would only risk the peer's header limit. */
const STATUS_MESSAGE_MAX = 2048;

/** A registered method with its handler. */
export interface Registration {
  // Requests and responses of one registration agree; the table of all of them cannot say so.
  readonly method: Method<any, any>;
  readonly handler: (first: any, call: any) => any;
}

/** What a handler can know and do about its call. */
export interface CallContext {
  readonly path: string;
  /** What the client sent with the call. */
  readonly metadata: Metadata;
  /** Milliseconds left until the client's deadline; Infinity if it has none. */
  readonly timeLeftMs: number;
  /** Address and port of the client, and its certificate's owner if it was verified. */
  readonly peer: Peer;
  /** True once nobody waits for an answer: cancelled, deadline passed, connection lost. */
  readonly isCancelled: boolean;
  /** Aborted when the call is cancelled; its reason is an RpcError. */
  readonly signal: AbortSignal;
  /** Sent with the status. */
  readonly trailers: Metadata;
  /** Compress what is sent from now on, if the client accepts it. */
  compress: boolean;
  /** Runs once when the call is cancelled, at once if it already is. */
  onCancel(callback: (reason: RpcError) => void): void;
  /** Sends the response's head now, with metadata. It can be sent once, before the first message. */
  sendMetadata(metadata: MetadataInit): void;
}

/** Who calls. */
export interface Peer {
  readonly address: string;
  readonly port: number;
  /** Under TLS: the subject's common name of a verified client certificate. */
  readonly commonName: string | undefined;
}

/** The sending side of a streaming response. */
export interface ResponseStream<Response> extends CallContext {
  /** Sends a message. False: much waits already, better wait for `writable()`. After a cancellation it does nothing and returns false. */
  send(message: Response): boolean;
  /** Resolves when little waits. Rejects with the RpcError if the call is cancelled. */
  writable(): Promise<void>;
  /** Ends the call with OK. Not needed in handlers that return a promise. */
  end(): void;
  /** Ends the call with an error. */
  fail(error: unknown): void;
}

/** The receiving side of a streaming request: iterate over it, or `listen`. Leaving an iteration early means that the rest is of no interest. */
export interface RequestStream<Request> extends CallContext, AsyncIterable<Request> {
  listen(listener: MessageListener<Request>): void;
}

/** Both sides. */
export interface DuplexStream<Request, Response> extends RequestStream<Request>, ResponseStream<Response> {}

export class ServerCall implements StreamListener, MessageSink, Timed, DuplexStream<unknown, unknown> {
  compress = false;
  deadlineAtMs: number = Number.POSITIVE_INFINITY;
  heapIndex = -1;
  readonly #stream: Stream;
  readonly #session: ServerSession;
  readonly #registration: Registration;
  readonly #block: HeaderBlock;
  readonly #reader: MessageReader;
  #headSent = false;
  /** Trailers were sent, or the call was cancelled. */
  #isSettled = false;
  #cancellation: RpcError | undefined = undefined;
  #request: unknown = undefined;
  #hasRequest = false;
  /** The handler has started and not ended; it ends with its promise, or with the call if it returned none. */
  #isHandling = false;
  #returnedPromise = false;
  /** The response's head announced gzip. */
  #isGzip = false;
  #inbox: Inbox<unknown> | undefined = undefined;
  /** Bytes of the frame being read whose messages wait in the inbox. */
  #deferred = 0;
  /** When the sweep first saw the request incomplete, and how many messages it had then. */
  #incompleteSinceMs = 0;
  #incompleteMessages = 0;
  #metadata: Metadata | undefined = undefined;
  #trailers: Metadata | undefined = undefined;
  #controller: AbortController | undefined = undefined;
  #cancelCallbacks: ((reason: RpcError) => void)[] | undefined = undefined;
  #writableWaiters: { resolve: () => void; reject: (error: RpcError) => void }[] | undefined = undefined;

  constructor(stream: Stream, session: ServerSession, registration: Registration, block: HeaderBlock) {
    this.#stream = stream;
    this.#session = session;
    this.#registration = registration;
    this.#block = block;
    this.#reader = new MessageReader(this, session.messageBytesMax, session.memory);
    this.#reader.isCompressed = requestHeadOf(block).encoding === "gzip";
  }

  /** Starts what does not wait for the request. `end`: the request is already over. */
  begin(end: boolean): void {
    const { kind } = this.#registration.method;
    if (kind === "clientStream" || kind === "bidi") {
      this.#inbox = new Inbox(
        (bytes) => this.#stream.consumed(bytes),
        () => {},
      );
      if (end) this.#inbox.end(undefined);
      this.#run(this);
    } else if (end) {
      this.#reject(new RpcError(Status.INTERNAL, "the request ended without a message"));
    }
  }

  /** Ends the call if its request, or a message of a streaming request, has been incomplete for too long. */
  checkRequest(nowMs: number, timeoutMs: number): void {
    const isStreaming = this.#inbox !== undefined;
    const isIncomplete = isStreaming ? !this.#reader.isBetweenMessages : !this.#isHandling;
    if (!isIncomplete || this.#isSettled) {
      this.#incompleteSinceMs = 0;
    } else if (this.#incompleteSinceMs === 0 || this.#incompleteMessages !== this.#reader.messagesDone) {
      this.#incompleteSinceMs = nowMs;
      this.#incompleteMessages = this.#reader.messagesDone;
    } else if (nowMs - this.#incompleteSinceMs >= timeoutMs) {
      this.#reject(new RpcError(Status.DEADLINE_EXCEEDED, "the request took too long to arrive"));
    }
  }

  // ---- What the stream tells -----------------------------------------------------------------------------------------------------------

  onHeaders(_block: HeaderBlock, _end: boolean): void {
    // gRPC defines no trailers of requests: they only end the request.
    this.#onRequestEnd();
  }

  onData(source: Buffer, start: number, end: number, last: boolean): void {
    this.#deferred = 0;
    if (this.#isSettled) {
      this.#stream.consumed(end - start);
      return;
    }
    const problem = this.#reader.push(source, start, end);
    this.#stream.consumed(end - start - this.#deferred);
    if (problem !== undefined) this.#reject(problem);
    else if (last) this.#onRequestEnd();
  }

  onMessage(bytes: Uint8Array, frameBytes: number): boolean {
    let message: unknown;
    try {
      message = this.#registration.method.decodeRequest(bytes);
    } catch (error) {
      this.#reject(RpcError.is(error) ? error : new RpcError(Status.INTERNAL, "the request message cannot be decoded", { cause: error }));
      return false;
    }
    if (this.#inbox !== undefined) {
      if (!this.#inbox.add(message, frameBytes)) this.#deferred += frameBytes;
      return !this.#isSettled;
    }
    if (this.#hasRequest) {
      this.#reject(new RpcError(Status.INTERNAL, "more than one message in the request"));
      return false;
    }
    this.#hasRequest = true;
    this.#request = message;
    return true;
  }

  onWritable(): void {
    const waiters = this.#writableWaiters;
    this.#writableWaiters = undefined;
    if (waiters !== undefined) for (const waiter of waiters) waiter.resolve();
  }

  onReset(reset: StreamReset): void {
    const error = errorOfReset(reset);
    this.#cancel(reset.by === "network" || reset.code === ErrorCode.NO_ERROR ? new RpcError(Status.CANCELLED, reset.reason) : error);
  }

  onDeadline(): void {
    this.#reject(new RpcError(Status.DEADLINE_EXCEEDED, "deadline exceeded"));
  }

  /** Ends the call for what the client did or did not do; for the handler that is a cancellation. */
  #reject(error: RpcError): void {
    if (this.#isSettled) return;
    this.#sendStatus(error);
    this.#cancel(error);
  }

  #onRequestEnd(): void {
    if (this.#isSettled) return;
    if (!this.#reader.isBetweenMessages) {
      this.#reject(new RpcError(Status.INTERNAL, "the request ended within a message"));
    } else if (this.#inbox !== undefined) {
      this.#inbox.end(undefined);
    } else if (!this.#hasRequest) {
      this.#reject(new RpcError(Status.INTERNAL, "the request ended without a message"));
    } else {
      const request = this.#request;
      this.#request = undefined;
      this.#run(request);
    }
  }

  // ---- The handler ---------------------------------------------------------------------------------------------------------------------

  #run(first: unknown): void {
    this.#isHandling = true;
    this.#session.onHandlerStart();
    let result: unknown;
    try {
      result = this.#registration.handler(first, this);
    } catch (error) {
      this.#onHandlerError(error);
      return;
    }
    if (typeof result === "object" && result !== null && typeof (result as PromiseLike<unknown>).then === "function") {
      this.#returnedPromise = true;
      (result as PromiseLike<unknown>).then(
        (value) => this.#onHandlerResult(value, true),
        (error: unknown) => this.#onHandlerError(error),
      );
    } else {
      this.#onHandlerResult(result, false);
    }
  }

  #onHandlerResult(value: unknown, wasPromise: boolean): void {
    const { kind } = this.#registration.method;
    if (kind === "unary" || kind === "clientStream") {
      this.#onHandlerEnd();
      this.#respond(value);
    } else if (wasPromise) {
      this.#onHandlerEnd();
      this.end();
    } else if (this.#isSettled) {
      this.#onHandlerEnd();
    }
    // Else a handler that returned nothing: the call is open until end(), fail() or its cancellation.
  }

  #onHandlerError(error: unknown): void {
    this.#onHandlerEnd();
    this.fail(error);
  }

  #onHandlerEnd(): void {
    if (!this.#isHandling) return;
    this.#isHandling = false;
    this.#session.onHandlerEnd();
  }

  #respond(response: unknown): void {
    if (this.#isSettled) return;
    const bytes = this.#encode(response);
    if (bytes === undefined) return;
    this.#sendHead(undefined);
    writeMessage(this.#stream, bytes, this.compress && this.#isGzip, false);
    this.end();
  }

  #encode(message: unknown): Uint8Array | undefined {
    try {
      return this.#registration.method.encodeResponse(message);
    } catch (error) {
      this.fail(new RpcError(Status.INTERNAL, "the response message cannot be encoded", { cause: error }));
      return undefined;
    }
  }

  #sendHead(metadata: Metadata | undefined): void {
    if (this.#headSent) return;
    this.#headSent = true;
    // Compression is announced in the head: what follows cannot turn it on later.
    this.#isGzip = this.compress && requestHeadOf(this.#block).acceptsGzip;
    const template = this.#isGzip ? this.#session.compressedHead : this.#session.head;
    this.#stream.sendHeaders(template, metadata?.fields, false);
  }

  // ---- What handlers use -----------------------------------------------------------------------------------------------------------------

  get path(): string {
    return this.#registration.method.path;
  }

  get metadata(): Metadata {
    return (this.#metadata ??= Metadata.ofBlock(this.#block));
  }

  get trailers(): Metadata {
    return (this.#trailers ??= new Metadata());
  }

  get timeLeftMs(): number {
    return Math.max(0, this.deadlineAtMs - performance.now());
  }

  get peer(): Peer {
    return this.#session.peer;
  }

  get isCancelled(): boolean {
    return this.#cancellation !== undefined;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#cancellation !== undefined) this.#controller.abort(this.#cancellation);
    }
    return this.#controller.signal;
  }

  onCancel(callback: (reason: RpcError) => void): void {
    if (this.#cancellation !== undefined) callback(this.#cancellation);
    else if (!this.#isSettled) (this.#cancelCallbacks ??= []).push(callback);
  }

  sendMetadata(metadata: MetadataInit): void {
    if (this.#isSettled) return;
    if (this.#headSent) throw new Error("the response's head was already sent");
    this.#sendHead(Metadata.from(metadata));
  }

  send(message: unknown): boolean {
    if (this.#isSettled) return false;
    const bytes = this.#encode(message);
    if (bytes === undefined) return false;
    if (!this.#headSent) this.#sendHead(undefined);
    writeMessage(this.#stream, bytes, this.compress && this.#isGzip, false);
    return this.#stream.queuedBytes < SEND_BYTES_HIGH;
  }

  writable(): Promise<void> {
    if (this.#cancellation !== undefined) return Promise.reject(this.#cancellation);
    if (this.#isSettled || this.#stream.queuedBytes < WRITABLE_BYTES) return Promise.resolve();
    this.#stream.wantsWritable = true;
    return new Promise((resolve, reject) => (this.#writableWaiters ??= []).push({ resolve, reject }));
  }

  end(): void {
    if (this.#isSettled) return;
    if (!this.#headSent) this.#sendHead(undefined);
    const trailers = this.#trailers?.fields;
    this.#settle(undefined);
    this.#stream.end(this.#session.okTrailers, trailers);
  }

  fail(error: unknown): void {
    if (this.#isSettled) return;
    let failure: RpcError;
    if (RpcError.is(error)) {
      failure = error;
    } else {
      this.#session.onHandlerFailure(error, this.path);
      failure = new RpcError(Status.UNKNOWN, "the handler failed");
    }
    this.#sendStatus(failure);
    this.#settle(failure);
  }

  listen(listener: MessageListener<unknown>): void {
    this.#inbox?.listen(listener);
  }

  [Symbol.asyncIterator](): AsyncIterator<unknown, undefined> {
    if (this.#inbox === undefined) throw new Error("the request of this method is not a stream");
    return this.#inbox;
  }

  // ---- The end ---------------------------------------------------------------------------------------------------------------------------

  #sendStatus(error: RpcError): void {
    // An OK thrown as an error, or a code that is none, would confuse the client.
    const code = Number.isInteger(error.code) && error.code > 0 ? error.code : Status.UNKNOWN;
    const fields = ["grpc-status", String(code), "grpc-message", encodeStatusMessage(error.message.slice(0, STATUS_MESSAGE_MAX))];
    if (error.details !== undefined) fields.push("grpc-status-details-bin", encodeBinaryValue(error.details));
    if (error.metadata !== undefined) fields.push(...error.metadata.fields);
    if (this.#trailers !== undefined) fields.push(...this.#trailers.fields);
    if (this.#headSent) {
      this.#stream.end(undefined, fields);
    } else {
      this.#headSent = true;
      this.#stream.sendHeaders(this.#session.head, fields, true);
    }
  }

  #cancel(reason: RpcError): void {
    if (this.#isSettled) return;
    this.#cancellation = reason;
    const callbacks = this.#cancelCallbacks;
    const waiters = this.#writableWaiters;
    this.#writableWaiters = undefined;
    this.#settle(reason);
    this.#controller?.abort(reason);
    if (waiters !== undefined) for (const waiter of waiters) waiter.reject(reason);
    if (callbacks === undefined) return;
    for (const callback of callbacks) {
      try {
        callback(reason);
      } catch (error) {
        this.#session.onHandlerFailure(error, this.path);
      }
    }
  }

  /** error: what a reader of the request is told, so that it does not take a broken request for a whole one. */
  #settle(error: RpcError | undefined): void {
    this.#isSettled = true;
    if (this.heapIndex >= 0) this.#session.deadlines.remove(this);
    this.#reader.release();
    this.#cancelCallbacks = undefined;
    const waiters = this.#writableWaiters;
    this.#writableWaiters = undefined;
    if (waiters !== undefined) for (const waiter of waiters) waiter.resolve();
    this.#inbox?.end(error);
    if (!this.#returnedPromise) this.#onHandlerEnd();
  }
}
