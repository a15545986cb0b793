/**
 * A plain HTTP request over HTTP/2: what comes on a gRPC port and is not gRPC, such as the requests of a browser or of curl. The request's body is
 * collected, up to a limit; the response may be streamed.
 */
import type { HeaderBlock } from "../hpack/header-field.ts";
import { HeaderName, headerNameOf, isHeaderNameValid, isHeaderValueValid } from "../hpack/header-field.ts";
import { messageHeadOf } from "../http2/message-head.ts";
import { ErrorCode } from "../http2/protocol.ts";
import type { Stream, StreamListener, StreamReset } from "../http2/stream.ts";
import type { MemoryBudget } from "../http2/memory-budget.ts";
import type { Peer } from "./handler.ts";

const SEND_BYTES_HIGH = 65_536;
const BODY_BYTES_MIN = 1024;
const NO_BODY: Buffer = Buffer.alloc(0);

/** Takes plain requests, complete with their bodies. */
export type HttpRequestListener = (exchange: HttpExchange) => void;

/** One plain request and its response. */
export class HttpExchange implements StreamListener {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly peer: Peer;
  /** Runs when the client is gone before the response has ended. */
  onCancel: (() => void) | undefined = undefined;
  /** Runs when `write` returned false and there is room again. */
  onDrain: (() => void) | undefined = undefined;
  readonly #stream: Stream;
  readonly #block: HeaderBlock;
  readonly #bodyBytesMax: number;
  readonly #memory: MemoryBudget;
  readonly #onRequest: HttpRequestListener;
  readonly #onFailure: (error: unknown, path: string) => void;
  /** The body, at the beginning of a buffer that grows as it comes. */
  #body: Buffer = NO_BODY;
  #bodyBytes = 0;
  /** What the exchange and its body count for in the memory of its connection. */
  #heldBytes: number;
  /** The listener has the request, or it was answered without it. */
  #isDelivered = false;
  #headSent = false;
  /** The response has ended, or its client is gone. */
  #isOver = false;
  #incompleteSinceMs = 0;

  constructor(
    stream: Stream,
    block: HeaderBlock,
    options: {
      readonly bodyBytesMax: number;
      readonly peer: Peer;
      readonly memory: MemoryBudget;
      /** Already taken of the memory, to be given back at the end. */
      readonly heldBytes: number;
      readonly onFailure: (error: unknown, path: string) => void;
    },
    onRequest: HttpRequestListener,
  ) {
    const head = messageHeadOf(block);
    this.method = head.method ?? "";
    this.path = head.path ?? "";
    this.authority = head.authority ?? block.get("host") ?? "";
    this.peer = options.peer;
    this.#stream = stream;
    this.#block = block;
    this.#bodyBytesMax = options.bodyBytesMax;
    this.#memory = options.memory;
    this.#heldBytes = options.heldBytes;
    this.#onFailure = options.onFailure;
    this.#onRequest = onRequest;
  }

  /** The first value of a request header; undefined if there is none. */
  header(name: string): string | undefined {
    return this.#block.get(name.toLowerCase());
  }

  /** The request's headers, without pseudo-headers. */
  get headers(): [string, string][] {
    return this.#block.fields.filter((field) => !field.name.startsWith(":")).map((field) => [field.name, field.value]);
  }

  /** The request's body. Not copied: it belongs to the listener. */
  get body(): Buffer {
    return this.#body.subarray(0, this.#bodyBytes);
  }

  /**
   * Sends the response's head; with a body, the whole response. Names are sent in lower case. Throws RangeError for a status that is not 200 to 599,
   * TypeError for a header that cannot be sent, those of HTTP/1.1 connections among them, such as `connection` or `transfer-encoding`.
   */
  respond(status: number, headers: Readonly<Record<string, string>>, body?: Uint8Array): void {
    if (this.#headSent) throw new Error("the response's head was already sent");
    if (!Number.isInteger(status) || status < 200 || status > 599) throw new RangeError(`not the status of a response: ${status}`);
    const fields = [":status", String(status)];
    for (const [name, value] of Object.entries(headers)) {
      const lower = name.toLowerCase();
      const isForbidden = lower.startsWith(":") || headerNameOf(lower) === HeaderName.connectionSpecific;
      if (isForbidden || !isHeaderNameValid(lower) || !isHeaderValueValid(value))
        throw new TypeError(`not a header that can be sent: ${lower}`);
      fields.push(lower, value);
    }
    this.#headSent = true;
    this.#stream.sendHeaders(undefined, fields, body !== undefined && body.length === 0);
    if (body === undefined) return;
    if (body.length > 0) {
      this.#stream.write(body);
      this.#stream.end();
    }
    this.#finish();
  }

  /** Sends a part of the body, which must not change afterwards. False: wait for `onDrain`; or the client is gone, and `onCancel` was told. */
  write(bytes: Uint8Array): boolean {
    if (this.#isOver) return false;
    this.#stream.write(bytes);
    if (this.#stream.isClosed) return false;
    if (this.#stream.queuedBytes < SEND_BYTES_HIGH) return true;
    this.#stream.wantsWritable = true;
    return false;
  }

  /** Ends the response. */
  end(): void {
    this.#stream.end();
    this.#finish();
  }

  /** Ends the exchange if its request has been incomplete for too long. */
  checkRequest(nowMs: number, timeoutMs: number): void {
    if (this.#isDelivered) return;
    if (this.#incompleteSinceMs === 0) this.#incompleteSinceMs = nowMs;
    else if (nowMs - this.#incompleteSinceMs >= timeoutMs) this.#answer(408);
  }

  onHeaders(): void {
    this.#deliver();
  }

  onData(source: Buffer, start: number, end: number, last: boolean): void {
    this.#stream.consumed(end - start);
    if (this.#isDelivered) return;
    if (!this.#collect(source, start, end)) this.#answer(413);
    else if (last) this.#deliver();
  }

  onWritable(): void {
    this.#run(this.onDrain);
  }

  onReset(_reset: StreamReset): void {
    this.#isDelivered = true;
    this.#finish();
    this.#run(this.onCancel);
  }

  #deliver(): void {
    if (this.#isDelivered) return;
    this.#isDelivered = true;
    this.#run(() => this.#onRequest(this));
  }

  /** Copies what came into the body: neither must it pin the socket's read buffers, nor may many small frames cost more than large ones. */
  #collect(source: Buffer, start: number, end: number): boolean {
    const needed = this.#bodyBytes + end - start;
    if (needed > this.#bodyBytesMax) return false;
    const held = this.#body;
    if (needed > held.length) {
      const size = Math.min(this.#bodyBytesMax, Math.max(needed, held.length * 2, BODY_BYTES_MIN));
      if (!this.#memory.take(size - held.length)) return false;
      this.#heldBytes += size - held.length;
      this.#body = Buffer.allocUnsafeSlow(size);
      held.copy(this.#body, 0, 0, this.#bodyBytes);
    }
    source.copy(this.#body, this.#bodyBytes, start, end);
    this.#bodyBytes = needed;
    return true;
  }

  /** Answers in place of the listener, for what the client did. */
  #answer(status: number): void {
    this.#isDelivered = true;
    this.respond(status, {}, NO_BODY);
  }

  /** What a callback throws ends its exchange, not the connection. */
  #run(callback: (() => void) | undefined): void {
    try {
      callback?.();
    } catch (error) {
      this.#onFailure(error, this.path);
      if (this.#headSent) {
        this.#stream.reset(ErrorCode.INTERNAL_ERROR);
        this.#finish();
      } else {
        this.respond(500, {}, NO_BODY);
      }
    }
  }

  #finish(): void {
    this.#isOver = true;
    this.#memory.give(this.#heldBytes);
    this.#heldBytes = 0;
  }
}
