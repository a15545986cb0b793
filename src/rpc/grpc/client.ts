/**
 * The gRPC client: endpoints, which of them a call goes to, and the calls that wait for one. Connections are made when calls need them, and many calls
 * share each.
 */
import type { LookupFunction } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { isHeaderValueValid } from "../hpack/header-field.ts";
import { resolveLimits, sweepIntervalMs, TIMER_MS_MAX, wholeNumber, type Http2Limits } from "../http2/limits.ts";
import { Turn } from "../http2/turn.ts";
import { parseEndpoint } from "./address.ts";
import type { AnyClientCall, CallOptions, CallOwner } from "./call-options.ts";
import { ClientCall } from "./client-call.ts";
import type { ClientConnection, ConnectionSettings } from "./client-connection.ts";
import { Deadlines } from "./deadlines.ts";
import { Endpoint, resolveBackoff, type Backoff } from "./endpoint.ts";
import { MemoryBudget } from "../http2/memory-budget.ts";
import type { Method } from "./method.ts";
import { RpcError, Status } from "./status.ts";

/** What a client can be told. */
export interface RpcClientOptions {
  /** "host:port", "http://host:port", "https://host:port", "[::1]:port", "unix:/path", or "unixs:/path" under TLS. At least one. */
  readonly endpoints: readonly string[];
  /**
   * "first": one connection, to the first endpoint that can be reached. "roundRobin": one to each, calls take turns, and an endpoint that was lost is
   * tried again when calls come. Default "first".
   */
  readonly balance?: "first" | "roundRobin";
  /** For https endpoints, or for all without a scheme: what node:tls knows. */
  readonly tls?: ConnectionOptions;
  readonly limits?: Partial<Http2Limits>;
  /** To the server's settings, name look-up and TLS included. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /** With "first": after so long without a connection the next endpoint is tried as well, and the fastest wins. Default 300. */
  readonly staggerMs?: number;
  /** Pauses of an endpoint that cannot be reached, or whose connections end before they answer a call. Default 100 ms, times 1.6, up to 10 s. */
  readonly backoff?: Partial<Backoff>;
  /** The largest message received, as it is after decompression. Default 4 MiB. */
  readonly messageBytesMax?: number;
  /**
   * Memory for responses that are incomplete or not yet read, as they are after decompression, of one connection and of all. Calls beyond fail with
   * RESOURCE_EXHAUSTED. Defaults 64 MiB and 256 MiB.
   */
  readonly connectionMemoryBytesMax?: number;
  readonly memoryBytesMax?: number;
  /** Memory for requests that wait for a connection, or that servers do not take. Calls beyond fail with RESOURCE_EXHAUSTED. Default 512 MiB. */
  readonly sendMemoryBytesMax?: number;
  /** Calls waiting for a connection with room; more fail with RESOURCE_EXHAUSTED. Default 100,000. */
  readonly waitingCallsMax?: number;
  /** Sent instead of the endpoint's name and port. */
  readonly authority?: string;
  readonly userAgent?: string;
  /** Looks up names instead of the system. */
  readonly lookup?: LookupFunction;
  /** For jitter. Default Math.random. */
  readonly random?: () => number;
}

/** A gRPC client of one or more endpoints. Calls need no preparation; `close` when done, or the process stays alive while connections are open. */
export class RpcClient implements CallOwner {
  readonly messageBytesMax: number;
  readonly sendMemory: MemoryBudget;
  readonly #endpoints: readonly Endpoint[];
  readonly #isRoundRobin: boolean;
  readonly #limits: Http2Limits;
  readonly #waitingCallsMax: number;
  readonly #deadlines = new Deadlines({ keepsAlive: true });
  readonly #connections = new Set<ClientConnection>();
  /** Calls in flight or waiting. */
  #calls = 0;
  #waiting: AnyClientCall[] = [];
  #waitingFirst = 0;
  #waitingCount = 0;
  #next = 0;
  #lastError: Error | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #staggerTimer: NodeJS.Timeout | undefined;
  readonly #staggerMs: number;
  #sweep: NodeJS.Timeout | undefined;
  /** No new calls are taken. */
  #isClosed = false;
  /** No connections are made any more. */
  #isOver = false;
  readonly #onIdle: (() => void)[] = [];

  /** Throws TypeError or RangeError for options that cannot be. */
  constructor(options: RpcClientOptions) {
    if (options.endpoints.length === 0) throw new TypeError("a client needs at least one endpoint");
    this.messageBytesMax = wholeNumber("messageBytesMax", options.messageBytesMax, 4_194_304, 0, 4_294_967_295);
    this.#limits = resolveLimits(options.limits);
    this.#staggerMs = wholeNumber("staggerMs", options.staggerMs, 300, 0, TIMER_MS_MAX);
    this.#isRoundRobin = options.balance === "roundRobin";
    this.#waitingCallsMax = wholeNumber("waitingCallsMax", options.waitingCallsMax, 100_000);
    const userAgent = options.userAgent ?? "grpc-typescript/1.0";
    for (const text of [userAgent, options.authority ?? ""]) {
      if (!isHeaderValueValid(text)) throw new TypeError(`not a header's value: ${JSON.stringify(text)}`);
    }
    const turn = new Turn(wholeNumber("sendMemoryBytesMax", options.sendMemoryBytesMax, 536_870_912));
    this.sendMemory = turn.sendMemory;
    const settings: ConnectionSettings = {
      limits: this.#limits,
      turn,
      tls: options.tls,
      lookup: options.lookup,
      connectTimeoutMs: wholeNumber("connectTimeoutMs", options.connectTimeoutMs, 10_000, 1, TIMER_MS_MAX),
      userAgent,
      memory: new MemoryBudget(wholeNumber("memoryBytesMax", options.memoryBytesMax, 268_435_456)),
      connectionMemoryBytesMax: wholeNumber("connectionMemoryBytesMax", options.connectionMemoryBytesMax, 67_108_864),
    };
    const backoff = resolveBackoff(options.backoff);
    this.#endpoints = options.endpoints.map(
      (text) =>
        new Endpoint(parseEndpoint(text, options.tls !== undefined, options.authority), settings, backoff, options.random ?? Math.random, {
          onReady: (endpoint) => this.#onReady(endpoint),
          onFailed: (_endpoint, error) => this.#onFailed(error),
          onLost: () => this.#onLost(),
          onRoom: () => {
            if (this.#waitingCount > 0) this.#drainWaiting();
          },
          onConnection: (connection) => this.#onConnection(connection),
          onConnectionEnd: (connection) => this.#onConnectionEnd(connection),
        }),
    );
  }

  /** Calls a method with one request and one response. Rejects with an RpcError. */
  unary<Request, Response>(method: Method<Request, Response, "unary">, request: Request, options?: CallOptions): Promise<Response> {
    const call = new ClientCall(this, method, options);
    const response = call.response();
    this.#begin(call, request);
    return response;
  }

  /** Calls a method with one request and a stream of responses. */
  serverStream<Request, Response>(
    method: Method<Request, Response, "serverStream">,
    request: Request,
    options?: CallOptions,
  ): ClientCall<Request, Response> {
    const call = new ClientCall(this, method, options);
    this.#begin(call, request);
    return call;
  }

  /** Calls a method whose requests stream. With "clientStream", the result is in `response()`. */
  stream<Request, Response>(
    method: Method<Request, Response, "clientStream" | "bidi">,
    options?: CallOptions,
  ): ClientCall<Request, Response> {
    const call = new ClientCall(this, method, options);
    this.#begin(call, undefined);
    return call;
  }

  /** Connections that are open or being opened. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Calls that have not settled. */
  get calls(): number {
    return this.#calls;
  }

  /**
   * No new calls; open and waiting ones may finish for up to `graceMs` (default 0: none), then they fail with CANCELLED. Settles always, within the time
   * of grace; sockets whose server does not close them follow within half a second.
   */
  async close(options: { readonly graceMs?: number } = {}): Promise<void> {
    const graceMs = Math.min(options.graceMs ?? 0, TIMER_MS_MAX);
    this.#isClosed = true;
    if (graceMs > 0 && this.#calls > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, graceMs);
        this.#onIdle.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    this.#isOver = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#staggerTimer);
    this.#failWaiting(() => new RpcError(Status.CANCELLED, "the client is closed", { mayHaveRun: false }), true);
    for (const connection of [...this.#connections]) connection.close("the client is closed");
    clearInterval(this.#sweep);
    this.#deadlines.clear();
  }

  /** See CallOwner. */
  dispatch(call: AnyClientCall): void {
    // Calls that waited longer go first.
    const connection = this.#waitingCount > 0 ? undefined : this.#pick();
    if (connection !== undefined) {
      call.start(connection);
      return;
    }
    if (this.#waitingCount >= this.#waitingCallsMax) {
      call.fail(new RpcError(Status.RESOURCE_EXHAUSTED, "too many calls wait for a connection", { mayHaveRun: false }));
      return;
    }
    call.isWaiting = true;
    this.#waiting.push(call);
    this.#waitingCount++;
    this.#connectForWaiting();
  }

  /** See CallOwner. */
  onSettled(call: AnyClientCall): void {
    this.#calls--;
    this.#deadlines.remove(call);
    if (call.isWaiting) {
      // It stays in the queue until its turn, as a husk.
      call.isWaiting = false;
      this.#waitingCount--;
      if (this.#waitingCount === 0) {
        this.#clearWaiting();
      } else if (this.#waiting.length - this.#waitingFirst > this.#waitingCount * 2 + 64) {
        this.#waiting = this.#waiting.slice(this.#waitingFirst).filter((waiting) => waiting.isWaiting);
        this.#waitingFirst = 0;
      }
    }
    if (this.#calls === 0 && this.#onIdle.length > 0) for (const onIdle of this.#onIdle.splice(0)) onIdle();
  }

  #begin<Request, Response>(call: ClientCall<Request, Response>, request: Request | undefined): void {
    this.#calls++;
    // Aborted before it began: it has been counted out already.
    if (call.isSettled) return;
    if (this.#isClosed) {
      call.fail(new RpcError(Status.CANCELLED, "the client is closed", { mayHaveRun: false }));
      return;
    }
    const timeoutMs = call.options?.timeoutMs;
    if (timeoutMs !== undefined && timeoutMs <= 0) {
      call.fail(new RpcError(Status.DEADLINE_EXCEEDED, "deadline exceeded", { mayHaveRun: false }));
      return;
    }
    if (timeoutMs !== undefined) {
      call.deadlineAtMs = performance.now() + timeoutMs;
      this.#deadlines.add(call);
    }
    const { kind } = call.method;
    if (kind === "unary" || kind === "serverStream") {
      try {
        call.sendOnly(request as Request);
      } catch (error) {
        call.fail(new RpcError(Status.INTERNAL, "the request message cannot be encoded", { cause: error, mayHaveRun: false }));
        return;
      }
      // Too large for what may wait.
      if (call.isSettled) return;
    }
    this.dispatch(call);
  }

  #pick(): ClientConnection | undefined {
    const { length } = this.#endpoints;
    for (let i = 0; i < length; i++) {
      const index = this.#isRoundRobin ? (this.#next + i) % length : i;
      const endpoint = this.#endpoints[index]!;
      const { connection } = endpoint;
      if (connection === undefined || !connection.hasRoom) {
        // With "roundRobin" an endpoint that was lost comes back though the others have room, so that calls are spread again.
        if (this.#isRoundRobin && connection === undefined && !endpoint.isConnecting && endpoint.retryAtMs <= performance.now()) {
          endpoint.connect();
        }
        continue;
      }
      if (this.#isRoundRobin) this.#next = index + 1;
      return connection;
    }
    return undefined;
  }

  #drainWaiting(): void {
    while (this.#waitingCount > 0) {
      const connection = this.#pick();
      if (connection === undefined) break;
      const call = this.#shiftWaiting();
      if (call === undefined) break;
      call.start(connection);
    }
  }

  #shiftWaiting(): AnyClientCall | undefined {
    while (this.#waitingFirst < this.#waiting.length) {
      const call = this.#waiting[this.#waitingFirst]!;
      this.#waitingFirst++;
      if (this.#waitingFirst >= 1024) {
        this.#waiting.splice(0, this.#waitingFirst);
        this.#waitingFirst = 0;
      }
      if (!call.isWaiting) continue;
      call.isWaiting = false;
      this.#waitingCount--;
      if (this.#waitingCount === 0) this.#clearWaiting();
      return call;
    }
    return undefined;
  }

  #clearWaiting(): void {
    this.#waiting = [];
    this.#waitingFirst = 0;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    clearTimeout(this.#staggerTimer);
    this.#staggerTimer = undefined;
  }

  /** Calls wait: sees to it that a connection is being made, if there is none and one may be. */
  #connectForWaiting(): void {
    if (this.#isOver || this.#waitingCount === 0) return;
    if (!this.#isRoundRobin && this.#endpoints.some((endpoint) => endpoint.connection !== undefined)) return;
    const nowMs = performance.now();
    for (const endpoint of this.#endpoints) {
      const isHopeful = endpoint.connection !== undefined || endpoint.isConnecting;
      // "first" tries one endpoint after the other.
      if (isHopeful && !this.#isRoundRobin) return;
      if (!isHopeful && endpoint.retryAtMs <= nowMs) {
        endpoint.connect();
        if (!this.#isRoundRobin) {
          this.#stagger();
          return;
        }
      }
    }
    if (this.#endpoints.some((endpoint) => endpoint.connection !== undefined || endpoint.isConnecting)) return;
    this.#onUnreachable(nowMs);
  }

  /** With "first": if the attempt takes long, the next endpoint is tried at the same time. */
  #stagger(): void {
    if (this.#staggerTimer !== undefined || this.#endpoints.length === 1) return;
    this.#staggerTimer = setTimeout(() => {
      this.#staggerTimer = undefined;
      if (this.#waitingCount === 0 || this.#endpoints.some((endpoint) => endpoint.connection !== undefined)) return;
      const nowMs = performance.now();
      const next = this.#endpoints.find((endpoint) => !endpoint.isConnecting && endpoint.retryAtMs <= nowMs);
      if (next === undefined) return;
      next.connect();
      this.#stagger();
    }, this.#staggerMs);
  }

  #onReady(ready: Endpoint): void {
    if (!this.#isRoundRobin) {
      for (const endpoint of this.#endpoints) if (endpoint !== ready && endpoint.isConnecting) endpoint.cancelConnect();
    }
    this.#drainWaiting();
  }

  /** All endpoints failed and pause: calls fail, but for those that wait for ready. */
  #onUnreachable(nowMs: number): void {
    const error = this.#lastError;
    this.#failWaiting(
      () => new RpcError(Status.UNAVAILABLE, `no endpoint can be reached: ${error?.message ?? ""}`, { cause: error, mayHaveRun: false }),
      false,
    );
    if (this.#waitingCount === 0 || this.#retryTimer !== undefined) return;
    const retryAtMs = Math.min(...this.#endpoints.map((endpoint) => endpoint.retryAtMs));
    this.#retryTimer = setTimeout(
      () => {
        this.#retryTimer = undefined;
        this.#connectForWaiting();
      },
      Math.max(1, Math.ceil(retryAtMs - nowMs)),
    );
  }

  /** Fails the waiting calls; those that wait for ready only if `all`. */
  #failWaiting(error: () => RpcError, all: boolean): void {
    const calls = this.#waiting.slice(this.#waitingFirst).filter((call) => call.isWaiting);
    for (const call of calls) {
      if (all || call.options?.waitForReady !== true) call.fail(error());
    }
  }

  #onFailed(error: Error): void {
    this.#lastError = error;
    this.#connectForWaiting();
  }

  #onLost(): void {
    this.#lastError = new Error("the connection ended before it answered a call");
    // Calls of the lost connection may be about to be sent again: they come through dispatch.
    this.#connectForWaiting();
  }

  #onConnection(connection: ClientConnection): void {
    this.#connections.add(connection);
    if (this.#sweep !== undefined) return;
    this.#sweep = setInterval(() => this.#checkTimeouts(), sweepIntervalMs(this.#limits));
    this.#sweep.unref();
  }

  #onConnectionEnd(connection: ClientConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #checkTimeouts(): void {
    const nowMs = performance.now();
    for (const connection of this.#connections) connection.check(nowMs);
  }
}
