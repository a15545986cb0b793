/** One connection as the gRPC server sees it: what its calls share, and how many of them have a running handler. */
import { createHeaderTemplate, type HeaderTemplate } from "../hpack/encoder.ts";
import type { HeaderBlock } from "../hpack/header-field.ts";
import type { Connection } from "../http2/connection.ts";
import { NOBODY } from "../http2/connection-events.ts";
import type { Stream, StreamListener } from "../http2/stream.ts";
import { ACCEPTED_ENCODINGS } from "./compression.ts";
import type { Deadlines } from "./deadlines.ts";
import { HttpExchange, type HttpRequestListener } from "./http-exchange.ts";
import { MemoryBudget } from "../http2/memory-budget.ts";
import { requestHeadOf } from "./request-head.ts";
import type { Peer, Registration } from "./handler.ts";
import { ServerCall } from "./server-call.ts";
import { encodeStatusMessage, Status } from "./status.ts";

const HEAD: readonly string[] = [":status", "200", "content-type", "application/grpc"];
const COMPRESSED_HEAD: readonly string[] = [...HEAD, "grpc-encoding", "gzip"];
const OK_TRAILERS: readonly string[] = ["grpc-status", "0"];
const NOT_GRPC_HEAD: readonly string[] = [":status", "415"];
const BUSY_HEAD: readonly string[] = [":status", "503"];
const TOO_LARGE_HEAD: readonly string[] = [":status", "431"];
/** About what a call holds beside its headers and messages, from its head to the end of its handler. */
const OPEN_CALL_BYTES = 1024;

/** What a session needs of its server. */
export interface SessionOwner {
  readonly registrations: ReadonlyMap<string, Registration>;
  readonly deadlines: Deadlines;
  readonly messageBytesMax: number;
  readonly connectionMemoryBytesMax: number;
  readonly memory: MemoryBudget;
  readonly callsMax: number;
  readonly requestTimeoutMs: number;
  readonly onHttpRequest: HttpRequestListener | undefined;
  /** Handlers that are running, on all connections. */
  running: number;
  onHandlerFailure(error: unknown, path: string): void;
}

/** What the calls of one connection share. */
export class ServerSession {
  readonly head: HeaderTemplate = createHeaderTemplate(HEAD);
  readonly compressedHead: HeaderTemplate = createHeaderTemplate(COMPRESSED_HEAD);
  readonly okTrailers: HeaderTemplate = createHeaderTemplate(OK_TRAILERS);
  readonly memory: MemoryBudget;
  readonly messageBytesMax: number;
  readonly deadlines: Deadlines;
  readonly peer: Peer;
  readonly #owner: SessionOwner;
  readonly #connection: Connection;
  readonly #handlersMax: number;
  #running = 0;

  constructor(connection: Connection, owner: SessionOwner, peer: Peer) {
    this.#owner = owner;
    this.#connection = connection;
    this.peer = peer;
    this.messageBytesMax = owner.messageBytesMax;
    this.deadlines = owner.deadlines;
    this.memory = new MemoryBudget(owner.connectionMemoryBytesMax, owner.memory);
    // Streams that the client has reset are no longer counted as open, but their handlers may still run.
    this.#handlersMax = connection.limits.concurrentStreamsMax * 2;
  }

  onHandlerStart(): void {
    this.#running++;
    this.#owner.running++;
  }

  onHandlerEnd(): void {
    this.#running--;
    this.#owner.running--;
  }

  onHandlerFailure(error: unknown, path: string): void {
    this.#owner.onHandlerFailure(error, path);
  }

  /** Ends calls whose requests do not arrive. */
  check(nowMs: number): void {
    const { requestTimeoutMs } = this.#owner;
    if (requestTimeoutMs === 0) return;
    for (const { listener } of this.#connection.streams.values()) {
      if (listener instanceof ServerCall || listener instanceof HttpExchange) listener.checkRequest(nowMs, requestTimeoutMs);
    }
  }

  /** A request arrives. Returns who listens to its stream. */
  onRequest(stream: Stream, block: HeaderBlock, end: boolean): StreamListener {
    const head = requestHeadOf(block);
    if (!head.isGrpc || head.method !== "POST") return this.#onOtherRequest(stream, block, end);
    const owner = this.#owner;
    if (this.#running >= this.#handlersMax) {
      this.#connection.refuseStream(stream);
      return NOBODY;
    }
    if (owner.running >= owner.callsMax) return this.#refuse(stream, Status.RESOURCE_EXHAUSTED, "too many calls at the same time");
    if (block.oversized) return this.#refuse(stream, Status.RESOURCE_EXHAUSTED, "the request's headers are larger than the limit");
    const registration = owner.registrations.get(head.path);
    if (registration === undefined) return this.#refuse(stream, Status.UNIMPLEMENTED, `unknown method ${head.path.slice(0, 256)}`);
    if (head.encoding !== "identity" && head.encoding !== "gzip") {
      const fields = ["grpc-accept-encoding", ACCEPTED_ENCODINGS];
      return this.#refuse(stream, Status.UNIMPLEMENTED, `grpc-encoding ${head.encoding.slice(0, 64)} is not supported`, fields);
    }
    const { timeoutMs } = head;
    if (timeoutMs !== undefined && Number.isNaN(timeoutMs)) return this.#refuse(stream, Status.INTERNAL, "a malformed grpc-timeout");
    const heldBytes = OPEN_CALL_BYTES + block.listBytes;
    if (!this.memory.take(heldBytes)) return this.#refuse(stream, Status.RESOURCE_EXHAUSTED, "too much is open at the same time");
    const call = new ServerCall(stream, this, registration, block, heldBytes);
    if (timeoutMs !== undefined) {
      call.deadlineAtMs = performance.now() + timeoutMs;
      this.deadlines.add(call);
    }
    // Calls whose requests stream start here, before the connection knows their listener: nothing is delivered until it does.
    stream.listener = call;
    call.begin(end);
    return call;
  }

  #refuse(stream: Stream, code: number, message: string, more: readonly string[] = []): StreamListener {
    stream.sendHeaders(this.head, ["grpc-status", String(code), "grpc-message", encodeStatusMessage(message), ...more], true);
    return NOBODY;
  }

  #onOtherRequest(stream: Stream, block: HeaderBlock, end: boolean): StreamListener {
    const { onHttpRequest, messageBytesMax } = this.#owner;
    // A listener must not take a request for whole whose headers are not.
    if (onHttpRequest === undefined || block.oversized) {
      stream.sendHeaders(createHeaderTemplate(block.oversized ? TOO_LARGE_HEAD : NOT_GRPC_HEAD), undefined, true);
      return NOBODY;
    }
    const heldBytes = OPEN_CALL_BYTES + block.listBytes;
    if (!this.memory.take(heldBytes)) {
      stream.sendHeaders(createHeaderTemplate(BUSY_HEAD), undefined, true);
      return NOBODY;
    }
    const exchange = new HttpExchange(
      stream,
      block,
      {
        bodyBytesMax: messageBytesMax,
        peer: this.peer,
        memory: this.memory,
        heldBytes,
        onFailure: (error, path) => this.onHandlerFailure(error, path),
      },
      onHttpRequest,
    );
    stream.listener = exchange;
    if (end) exchange.onData(NO_BYTES, 0, 0, true);
    return exchange;
  }
}

const NO_BYTES: Buffer = Buffer.alloc(0);
