/**
 * A plain HTTP request over HTTP/2: what comes on a gRPC port and is not gRPC, such as the requests of a browser or of curl. The request's body is
 * collected, up to a limit; the response may be streamed.
 */
import type { HeaderBlock } from "../hpack/header-field.ts";
import { isHeaderNameValid, isHeaderValueValid } from "../hpack/header-field.ts";
import { messageHeadOf } from "../http2/message-head.ts";
import { ErrorCode } from "../http2/protocol.ts";
import type { Stream, StreamListener, StreamReset } from "../http2/stream.ts";
import type { MemoryBudget } from "../http2/memory-budget.ts";
import type { Peer } from "./handler.ts";

const SEND_BYTES_HIGH = 65_536;

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
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #isDelivered = false;
  #headSent = false;
  #incompleteSinceMs = 0;

  constructor(
    stream: Stream,
    block: HeaderBlock,
    options: {
      readonly bodyBytesMax: number;
      readonly peer: Peer;
      readonly memory: MemoryBudget;
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

  /** The request's body. */
  get body(): Buffer {
    return Buffer.concat(this.#body, this.#bodyBytes);
  }

  /** Sends the response's head; with a body, the whole response. Throws TypeError for a header that cannot be sent. */
  respond(status: number, headers: Readonly<Record<string, string>>, body?: Uint8Array): void {
    if (this.#headSent) throw new Error("the response's head was already sent");
    const fields = [":status", String(status)];
    for (const [name, value] of Object.entries(headers)) {
      const lower = name.toLowerCase();
      if (!isHeaderNameValid(lower) || lower.startsWith(":") || !isHeaderValueValid(value))
        throw new TypeError(`not a header that can be sent: ${lower}`);
      fields.push(lower, value);
    }
    this.#headSent = true;
    this.#stream.sendHeaders(undefined, fields, body !== undefined && body.length === 0);
    if (body === undefined || body.length === 0) return;
    this.#stream.write(body);
    this.#stream.end();
  }

  /** Sends a part of the body, which must not change afterwards. False: wait for `onDrain`. */
  write(bytes: Uint8Array): boolean {
    this.#stream.write(bytes);
    if (this.#stream.queuedBytes < SEND_BYTES_HIGH) return true;
    this.#stream.wantsWritable = true;
    return false;
  }

  /** Ends the response. */
  end(): void {
    this.#stream.end();
  }

  /** Ends the exchange if its request has been incomplete for too long. */
  checkRequest(nowMs: number, timeoutMs: number): void {
    if (this.#isDelivered) return;
    if (this.#incompleteSinceMs === 0) {
      this.#incompleteSinceMs = nowMs;
    } else if (nowMs - this.#incompleteSinceMs >= timeoutMs) {
      this.#release();
      this.respond(408, {}, new Uint8Array(0));
    }
  }

  onHeaders(): void {
    this.#deliver();
  }

  onData(source: Buffer, start: number, end: number, last: boolean): void {
    const length = end - start;
    if (length > 0) {
      this.#stream.consumed(length);
      if (this.#isDelivered) return;
      if (this.#bodyBytes + length > this.#bodyBytesMax || !this.#memory.take(length)) {
        this.#release();
        this.#isDelivered = true;
        this.respond(413, {}, new Uint8Array(0));
        return;
      }
      // Copied: the body must not pin the socket's read buffers.
      this.#body.push(Buffer.from(source.subarray(start, end)));
      this.#bodyBytes += length;
    }
    if (last) this.#deliver();
  }

  onWritable(): void {
    this.#run(this.onDrain);
  }

  onReset(_reset: StreamReset): void {
    this.#release();
    this.#run(this.onCancel);
  }

  #deliver(): void {
    if (this.#isDelivered) return;
    this.#isDelivered = true;
    this.#memory.give(this.#bodyBytes);
    this.#run(() => this.#onRequest(this));
  }

  /** What a callback throws ends its exchange, not the connection. */
  #run(callback: (() => void) | undefined): void {
    try {
      callback?.();
    } catch (error) {
      this.#onFailure(error, this.path);
      if (this.#headSent) this.#stream.reset(ErrorCode.INTERNAL_ERROR);
      else this.respond(500, {}, new Uint8Array(0));
    }
  }

  #release(): void {
    if (this.#isDelivered) return;
    this.#isDelivered = true;
    this.#memory.give(this.#bodyBytes);
    this.#body = [];
    this.#bodyBytes = 0;
  }
}
