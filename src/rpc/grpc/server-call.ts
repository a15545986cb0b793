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
import { Later, type LaterListener } from "./later.ts";
import { bytesOf, MessageReader, WAITING_MESSAGE_BYTES, writeMessage, writeMessageParts, type MessageSink } from "./message-framing.ts";
import { Metadata, type MetadataInit } from "./metadata.ts";
import type { DuplexStream, Peer, Registration } from "./handler.ts";
import { requestHeadOf } from "./request-head.ts";
import type { ServerSession } from "./server-session.ts";
import { errorOfReset, RpcError, Status } from "./status.ts";
import { statusFields } from "./status-fields.ts";

/** Data waiting on the stream, beyond which `send` says to wait. */
const SEND_BYTES_HIGH = 65_536;
/** A call of any kind; handlers see it through the interfaces of their kind. */
export class ServerCall implements StreamListener, MessageSink, Timed, LaterListener, DuplexStream<unknown, unknown> {
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
  /** The handler failed, or what it sent could not be encoded. */
  #failure: RpcError | undefined = undefined;
  /** What the open call counts for in the memory of its connection, until it is settled and its handler has ended. */
  #heldBytes: number;
  #request: unknown = undefined;
  #requestBytes = 0;
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

  /** heldBytes: already taken of the session's memory, given back at the end. */
  constructor(stream: Stream, session: ServerSession, registration: Registration, block: HeaderBlock, heldBytes: number) {
    this.#heldBytes = heldBytes;
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
        (windowBytes, messageBytes) => {
          this.#session.memory.give(messageBytes);
          this.#stream.consumed(windowBytes);
        },
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

  onInflated(compressedBytes: number, inflatedBytes: number): boolean {
    return this.#stream.connection.chargeInflation(compressedBytes, inflatedBytes);
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
      try {
        if (this.#inbox.add(message, frameBytes, bytes.length + WAITING_MESSAGE_BYTES)) return !this.#isSettled;
      } catch (error) {
        this.fail(error);
        return false;
      }
      this.#deferred += frameBytes;
      return this.#hold(bytes.length + WAITING_MESSAGE_BYTES);
    }
    if (this.#hasRequest) {
      this.#reject(new RpcError(Status.INTERNAL, "more than one message in the request"));
      return false;
    }
    this.#hasRequest = true;
    this.#request = message;
    this.#requestBytes = bytes.length;
    return this.#hold(bytes.length);
  }

  /** Counts a message that waits for its handler, or for the end of its request. */
  #hold(bytes: number): boolean {
    if (this.#session.memory.take(bytes)) return true;
    // What was not taken is given back with the rest: so it is taken in spite of the bound, for the moment.
    this.#session.memory.takeAnyway(bytes);
    this.#reject(new RpcError(Status.RESOURCE_EXHAUSTED, "too many messages wait at the same time"));
    return false;
  }

  /** The handler's listener may throw: its failure is told, and nothing else disturbed. */
  #endInbox(error: RpcError | undefined): void {
    try {
      this.#inbox?.end(error);
    } catch (failure) {
      this.#session.onHandlerFailure(failure, this.path);
    }
  }

  #releaseRequest(): void {
    this.#request = undefined;
    if (this.#requestBytes === 0) return;
    this.#session.memory.give(this.#requestBytes);
    this.#requestBytes = 0;
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
    // A handler that runs for nothing, through the client's fault, is what rapid resets are about.
    const isCharged = this.#isHandling && error.code !== Status.DEADLINE_EXCEEDED;
    const { connection, remoteEnded } = this.#stream;
    this.#sendStatus(error);
    this.#cancel(error);
    if (!isCharged) return;
    connection.chargeReset();
    // To HTTP/2 a request that has ended ended in order, and earned what this costs.
    if (remoteEnded) connection.chargeReset();
  }

  #onRequestEnd(): void {
    if (this.#isSettled) return;
    if (!this.#reader.isBetweenMessages) {
      this.#reject(new RpcError(Status.INTERNAL, "the request ended within a message"));
    } else if (this.#inbox !== undefined) {
      this.#endInbox(undefined);
    } else if (!this.#hasRequest) {
      this.#reject(new RpcError(Status.INTERNAL, "the request ended without a message"));
    } else {
      const request = this.#request;
      this.#releaseRequest();
      this.#run(request);
    }
  }

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
    if (result instanceof Later) {
      this.#returnedPromise = true;
      result.listen(this);
    } else if (typeof result === "object" && result !== null && typeof (result as PromiseLike<unknown>).then === "function") {
      this.#returnedPromise = true;
      (result as PromiseLike<unknown>).then(
        (value) => this.#onHandlerResult(value, true),
        (error: unknown) => this.#onHandlerError(error),
      );
    } else {
      this.#onHandlerResult(result, false);
    }
  }

  /** Of a Later. */
  onResponse(response: unknown): void {
    this.#onHandlerResult(response, true);
  }

  /** Of a Later. */
  onError(error: unknown): void {
    this.#onHandlerError(error);
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
    if (this.#isSettled) this.#releaseCall();
  }

  #releaseCall(): void {
    this.#session.memory.give(this.#heldBytes);
    this.#heldBytes = 0;
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
      return bytesOf(this.#registration.method.encodeResponse(message));
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

  sendParts(first: Uint8Array, second: Uint8Array, third: Uint8Array): boolean {
    if (this.#isSettled) return false;
    if (!this.#headSent) this.#sendHead(undefined);
    this.#registration.method.onEncoded?.(first.length + second.length + third.length);
    if (this.compress && this.#isGzip) writeMessage(this.#stream, Buffer.concat([first, second, third]), true, false);
    else writeMessageParts(this.#stream, first, second, third);
    return this.#stream.queue === undefined;
  }

  writable(): Promise<void> {
    return this.#whenQueued(WRITABLE_BYTES);
  }

  drained(): Promise<void> {
    return this.#whenQueued(1);
  }

  #whenQueued(belowBytes: number): Promise<void> {
    const error = this.#cancellation ?? this.#failure;
    if (error !== undefined) return Promise.reject(error);
    // Not at once: a handler that goes on sending after the end would never let the event loop turn again.
    if (this.#isSettled) return new Promise((resolve) => setImmediate(resolve));
    if (this.#stream.queuedBytes < belowBytes) return Promise.resolve();
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
    this.#failure = failure;
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

  #sendStatus(error: RpcError): void {
    const fields = statusFields(error, this.#trailers);
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
    this.#releaseRequest();
    this.#endInbox(error);
    this.#inbox?.drop();
    if (!this.#returnedPromise) this.#onHandlerEnd();
    if (!this.#isHandling) this.#releaseCall();
  }
}
