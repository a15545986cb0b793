/**
 * A call as the client sees it. It waits for a connection, has a stream, and settles once, with the server's status or with what went wrong before
 * it. A call whose request the server has promised not to have looked at is sent again, on another connection if there is one.
 */
import type { HeaderBlock } from "../hpack/header-field.ts";
import { headerFieldBytes } from "../hpack/header-field.ts";
import { ErrorCode } from "../http2/protocol.ts";
import { WRITABLE_BYTES } from "../http2/sender.ts";
import type { Stream, StreamListener, StreamReset } from "../http2/stream.ts";
import type { CallOptions, CallOwner } from "./call-options.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { Timed } from "./deadlines.ts";
import { Inbox, type MessageListener } from "./inbox.ts";
import type { MemoryBudget } from "../http2/memory-budget.ts";
import { bytesOf, MessageReader, WAITING_MESSAGE_BYTES, writeMessage, type MessageSink } from "./message-framing.ts";
import { Metadata } from "./metadata.ts";
import type { Method } from "./method.ts";
import { errorOfHead, responseHeadOf } from "./response-head.ts";
import { errorOfReset, RpcError, Status, statusOfHttp } from "./status.ts";
import { formatTimeout } from "./timeout.ts";

const SEND_BYTES_HIGH = 65_536;
/** How often a call that was not looked at is sent. */
const ATTEMPTS_MAX = 4;

/** A call in progress. Streams are read by iterating over it or with `listen`, and written with `send`. */
export class ClientCall<Request, Response> implements StreamListener, MessageSink, Timed, AsyncIterable<Response> {
  deadlineAtMs: number = Number.POSITIVE_INFINITY;
  heapIndex = -1;
  /** In the client's queue for a connection. */
  isWaiting = false;
  readonly method: Method<Request, Response>;
  readonly options: CallOptions | undefined;
  readonly #owner: CallOwner;
  readonly #metadata: Metadata | undefined;
  #stream: Stream | undefined = undefined;
  #reader: MessageReader | undefined = undefined;
  #headReceived = false;
  #isSettled = false;
  #error: RpcError | undefined = undefined;
  /** Encoded requests that wait for the stream; kept while the only request may have to be sent again. */
  #early: Uint8Array[] = [];
  #earlyBytes = 0;
  /** What of them counts in the client's memory: all while they wait for a connection, then nothing. */
  #earlyHeld = 0;
  /** Where messages count that wait to be read, and how many bytes of this call do. */
  #memory: MemoryBudget | undefined = undefined;
  #held = 0;
  #requestEnded = false;
  #attempts = 0;
  #inbox: Inbox<Response> | undefined = undefined;
  #deferred = 0;
  #response: Response | undefined = undefined;
  #hasResponse = false;
  #resolve: ((response: Response) => void) | undefined = undefined;
  #reject: ((error: RpcError) => void) | undefined = undefined;
  #onAbort: (() => void) | undefined = undefined;
  #writableWaiters: { resolve: () => void; reject: (error: RpcError) => void }[] | undefined = undefined;

  /** Made by the client. Throws TypeError for metadata that cannot be sent, RangeError for a timeout that is no number. */
  constructor(owner: CallOwner, method: Method<Request, Response>, options: CallOptions | undefined) {
    if (Number.isNaN(options?.timeoutMs)) throw new RangeError("timeoutMs must be a number");
    this.#owner = owner;
    this.method = method;
    this.options = options;
    this.#metadata = options?.metadata === undefined ? undefined : Metadata.from(options.metadata);
    if (method.kind === "serverStream" || method.kind === "bidi") {
      this.#inbox = new Inbox(
        (windowBytes, messageBytes) => {
          this.#stream?.consumed(windowBytes);
          // After the end nothing counts any more: what is still unread is the caller's.
          if (this.#held === 0) return;
          this.#held -= messageBytes;
          this.#memory!.give(messageBytes);
        },
        () => this.cancel(),
      );
    }
    const signal = options?.signal;
    if (signal !== undefined) {
      this.#onAbort = () =>
        this.#settle(
          new RpcError(Status.CANCELLED, "the call was aborted", { cause: signal.reason, mayHaveRun: this.#stream !== undefined }),
        );
      if (signal.aborted) this.#onAbort();
      else signal.addEventListener("abort", this.#onAbort, { once: true });
    }
  }

  /** True once the call has its result, whatever it is. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  /**
   * Sends a request message. False: much waits already, better wait for `writable()`. After the call's end, see `isSettled`, it does nothing and
   * returns false. Throws what the encoder throws.
   */
  send(message: Request): boolean {
    if (this.#isSettled || this.#requestEnded) return false;
    this.#write(this.method.encodeRequest(message), false);
    if (this.#isSettled) return false;
    return (this.#stream === undefined ? this.#earlyBytes : this.#stream.queuedBytes) < SEND_BYTES_HIGH;
  }

  /** Resolves when little waits, or the call has ended with OK. Rejects with the RpcError if the call has failed. */
  writable(): Promise<void> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    // Not at once: a sender that goes on after the end would never let the event loop turn again.
    if (this.#isSettled) return new Promise((resolve) => setImmediate(resolve));
    const queued = this.#stream === undefined ? this.#earlyBytes : this.#stream.queuedBytes;
    if (queued < WRITABLE_BYTES) return Promise.resolve();
    if (this.#stream !== undefined) this.#stream.wantsWritable = true;
    return new Promise((resolve, reject) => (this.#writableWaiters ??= []).push({ resolve, reject }));
  }

  /** Ends the request. */
  end(): void {
    if (this.#requestEnded) return;
    this.#requestEnded = true;
    this.#stream?.end();
  }

  /** Cancels the call: it fails with CANCELLED, and the server is told. */
  cancel(): void {
    this.#settle(new RpcError(Status.CANCELLED, "the call was cancelled", { mayHaveRun: this.#stream !== undefined }));
  }

  /** The only response of a method that has one. Rejects with an RpcError. To be called once. */
  response(): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) {
        reject(this.#error);
      } else if (this.#isSettled) {
        resolve(this.#response as Response);
      } else {
        this.#resolve = resolve;
        this.#reject = reject;
      }
    });
  }

  /** Gives the responses to a listener as they come. */
  listen(listener: MessageListener<Response>): void {
    this.#inbox?.listen(listener);
  }

  /** The responses, once. Ends when the server ends with OK, else it throws the RpcError; leaving it early cancels the call. */
  [Symbol.asyncIterator](): AsyncIterator<Response, undefined> {
    if (this.#inbox === undefined) throw new Error("the response of this method is not a stream");
    return this.#inbox;
  }

  /** The whole request of a method that has one. */
  sendOnly(message: Request): void {
    this.#write(this.method.encodeRequest(message), true);
  }

  /** Opens the stream on a connection that has room. */
  start(connection: ClientConnection): void {
    this.#attempts++;
    const fields = this.#headFields();
    if (fields !== undefined && listBytes(fields) > connection.http2.sender.headerListBytesMax - 512) {
      this.#settle(new RpcError(Status.RESOURCE_EXHAUSTED, "the metadata is larger than the server accepts", { mayHaveRun: false }));
      return;
    }
    this.#giveEarly();
    this.#memory = connection.memory;
    const stream = connection.http2.openStream(this);
    this.#stream = stream;
    this.#reader = new MessageReader(this, this.#owner.messageBytesMax, connection.memory);
    stream.sendHeaders(connection.headOf(this.method.path), fields, false);
    const messages = this.#early;
    const compress = this.options?.compress === true;
    for (let i = 0; i < messages.length; i++) {
      writeMessage(stream, messages[i]!, compress, this.#requestEnded && i === messages.length - 1);
    }
    if (this.#requestEnded) {
      if (messages.length === 0) stream.end();
      if (this.#hasOneRequest) return;
    }
    this.#early = [];
    this.#earlyBytes = 0;
    if (this.#writableWaiters === undefined) return;
    if (stream.queuedBytes < WRITABLE_BYTES) this.onWritable();
    else stream.wantsWritable = true;
  }

  /** The call ends without having been sent, or is lost. */
  fail(error: RpcError): void {
    this.#settle(error);
  }

  onHeaders(block: HeaderBlock, end: boolean): void {
    if (this.#isSettled) return;
    const head = responseHeadOf(block);
    if (end) {
      // A failure stays what it is; an OK whose trailers are cut off is none.
      if (block.oversized && head.status <= 0) {
        this.#settle(new RpcError(Status.RESOURCE_EXHAUSTED, "the response's trailers are larger than the limit"));
        return;
      }
      this.#onTrailers(block);
      return;
    }
    if (head.httpStatus !== 200) {
      this.#settle(new RpcError(statusOfHttp(head.httpStatus), `the server answered with HTTP status ${head.httpStatus}`));
    } else if (!head.isGrpc) {
      this.#settle(new RpcError(Status.UNKNOWN, "the server's answer is not gRPC"));
    } else if (block.oversized) {
      this.#settle(new RpcError(Status.RESOURCE_EXHAUSTED, "the response's headers are larger than the limit"));
    } else if (head.encoding !== "identity" && head.encoding !== "gzip") {
      this.#settle(new RpcError(Status.INTERNAL, `the server sends an encoding that was not offered: ${head.encoding.slice(0, 64)}`));
    } else {
      this.#headReceived = true;
      this.#forgetRequest();
      this.#reader!.isCompressed = head.encoding === "gzip";
      this.#tell(this.options?.onMetadata, block);
    }
  }

  onData(source: Buffer, start: number, end: number, last: boolean): void {
    this.#deferred = 0;
    const stream = this.#stream;
    if (this.#isSettled) return;
    if (!this.#headReceived) {
      this.#settle(new RpcError(Status.INTERNAL, "data before the response's head"));
      return;
    }
    const problem = this.#reader!.push(source, start, end);
    stream!.consumed(end - start - this.#deferred);
    if (problem !== undefined) this.#settle(problem);
    else if (last) this.#settle(new RpcError(Status.INTERNAL, "the response ended without trailers"));
  }

  onInflated(compressedBytes: number, inflatedBytes: number): boolean {
    return this.#stream!.connection.chargeInflation(compressedBytes, inflatedBytes);
  }

  onMessage(bytes: Uint8Array, frameBytes: number): boolean {
    let message: Response;
    try {
      message = this.method.decodeResponse(bytes);
    } catch (error) {
      this.#settle(RpcError.is(error) ? error : new RpcError(Status.INTERNAL, "the response message cannot be decoded", { cause: error }));
      return false;
    }
    if (this.#inbox !== undefined) {
      try {
        if (!this.#inbox.add(message, frameBytes, bytes.length + WAITING_MESSAGE_BYTES)) {
          this.#deferred += frameBytes;
          this.#hold(bytes.length + WAITING_MESSAGE_BYTES);
        }
      } catch (error) {
        this.#settle(callbackFailed(error));
      }
      return !this.#isSettled;
    }
    if (this.#hasResponse) {
      this.#settle(new RpcError(Status.INTERNAL, "more than one message in the response"));
      return false;
    }
    this.#hasResponse = true;
    this.#response = message;
    return this.#hold(bytes.length);
  }

  /** Counts a message that waits to be read, as it is after decompression, or for the end of its call. */
  #hold(bytes: number): boolean {
    if (this.#memory!.take(bytes)) {
      this.#held += bytes;
      return true;
    }
    this.#settle(new RpcError(Status.RESOURCE_EXHAUSTED, "too many messages wait at the same time"));
    return false;
  }

  onWritable(): void {
    const waiters = this.#writableWaiters;
    this.#writableWaiters = undefined;
    if (waiters !== undefined) for (const waiter of waiters) waiter.resolve();
  }

  onReset(reset: StreamReset): void {
    if (this.#isSettled) return;
    this.#reader?.release();
    if (reset.unprocessed && !this.#headReceived && this.#hasOneRequest && this.#attempts < ATTEMPTS_MAX) {
      this.#stream = undefined;
      this.#owner.sendMemory.takeAnyway(this.#earlyBytes);
      this.#earlyHeld = this.#earlyBytes;
      this.#owner.dispatch(this);
      return;
    }
    this.#settle(errorOfReset(reset, this.#headReceived));
  }

  onDeadline(): void {
    this.#settle(new RpcError(Status.DEADLINE_EXCEEDED, "deadline exceeded", { mayHaveRun: this.#attempts > 0 }));
  }

  #onTrailers(block: HeaderBlock): void {
    const head = responseHeadOf(block);
    const error = errorOfHead(head, block);
    if (error !== undefined) {
      this.#settle(error);
    } else if (!(this.#reader?.isBetweenMessages ?? true)) {
      this.#settle(new RpcError(Status.INTERNAL, "the response ended within a message"));
    } else if (this.#inbox === undefined && !this.#hasResponse) {
      this.#settle(new RpcError(Status.INTERNAL, "the response ended without a message"));
    } else {
      this.#tell(this.options?.onTrailers, block);
      this.#settle(undefined);
    }
  }

  /** A callback that throws fails its call, not the connection. */
  #tell(callback: ((metadata: Metadata) => void) | undefined, block: HeaderBlock): void {
    if (callback === undefined) return;
    try {
      callback(Metadata.ofBlock(block));
    } catch (error) {
      this.#settle(callbackFailed(error));
    }
  }

  get #hasOneRequest(): boolean {
    return this.method.kind === "unary" || this.method.kind === "serverStream";
  }

  #giveEarly(): void {
    if (this.#earlyHeld === 0) return;
    this.#owner.sendMemory.give(this.#earlyHeld);
    this.#earlyHeld = 0;
  }

  #forgetRequest(): void {
    this.#giveEarly();
    if (this.#early.length > 0) this.#early = [];
    this.#earlyBytes = 0;
  }

  #write(encoded: Uint8Array, end: boolean): void {
    const bytes = bytesOf(encoded);
    if (end) this.#requestEnded = true;
    if (this.#stream === undefined) {
      if (!this.#owner.sendMemory.take(bytes.length)) {
        this.#settle(new RpcError(Status.RESOURCE_EXHAUSTED, "too many bytes wait for a connection", { mayHaveRun: false }));
        return;
      }
      this.#earlyHeld += bytes.length;
      this.#early.push(bytes);
      this.#earlyBytes += bytes.length;
    } else {
      writeMessage(this.#stream, bytes, this.options?.compress === true, end);
    }
  }

  #headFields(): string[] | undefined {
    let fields: string[] | undefined;
    if (this.deadlineAtMs !== Number.POSITIVE_INFINITY) fields = ["grpc-timeout", formatTimeout(this.deadlineAtMs - performance.now())];
    if (this.options?.compress === true) (fields ??= []).push("grpc-encoding", "gzip");
    if (this.#metadata !== undefined) (fields ??= []).push(...this.#metadata.fields);
    return fields;
  }

  #settle(error: RpcError | undefined): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#error = error;
    this.#forgetRequest();
    if (this.#onAbort !== undefined) this.options?.signal?.removeEventListener("abort", this.#onAbort);
    const stream = this.#stream;
    if (stream !== undefined && !stream.isClosed && !(stream.localEnded && stream.remoteEnded)) {
      // After the server's trailers the rest of our request is of no use; NO_ERROR would be as good, but CANCEL is what peers know.
      stream.reset(ErrorCode.CANCEL);
    }
    this.#reader?.release();
    this.#memory?.give(this.#held);
    this.#held = 0;
    this.#owner.onSettled(this);
    const waiters = this.#writableWaiters;
    this.#writableWaiters = undefined;
    if (waiters !== undefined) {
      for (const waiter of waiters) {
        if (error === undefined) waiter.resolve();
        else waiter.reject(error);
      }
    }
    try {
      this.#inbox?.end(error);
    } catch (failure) {
      // There is no call left to fail: what the caller's onEnd throws is the caller's, outside of our stack.
      queueMicrotask(() => {
        throw failure;
      });
    }
    if (error === undefined) this.#resolve?.(this.#response as Response);
    else this.#reject?.(error);
  }
}

function callbackFailed(cause: unknown): RpcError {
  return new RpcError(Status.INTERNAL, "a callback of the caller threw", { cause });
}

function listBytes(fields: readonly string[]): number {
  let bytes = 0;
  for (let i = 0; i < fields.length; i += 2) bytes += headerFieldBytes(fields[i]!, fields[i + 1]!);
  return bytes;
}
