/**
 * The gRPC server: a listening socket, its connections, the table of methods. HTTP/1.1 on the same port goes to a server of node:http, plain HTTP/2
 * requests to a callback. It writes nothing, catches no signal and keeps no state outside of itself.
 */
import type { Server as HttpServer } from "node:http";
import { createServer, type AddressInfo, type ListenOptions, type Server as NetServer, type Socket } from "node:net";
import { createServer as createTlsServer, TLSSocket, type TlsOptions } from "node:tls";
import { Connection, LINGER_MS } from "../http2/connection.ts";
import type { ConnectionEvents } from "../http2/connection-events.ts";
import { ConnectionClock } from "../http2/connection-clock.ts";
import { resolveLimits, sweepIntervalMs, TIMER_MS_MAX, wholeNumber, type Http2Limits } from "../http2/limits.ts";
import { ErrorCode } from "../http2/protocol.ts";
import { Turn } from "../http2/turn.ts";
import { Deadlines } from "./deadlines.ts";
import { handOverToHttp1, startHttp1Timeouts } from "./http1-handover.ts";
import type { HttpRequestListener } from "./http-exchange.ts";
import { MemoryBudget } from "../http2/memory-budget.ts";
import type { Method, MethodKind } from "./method.ts";
import { sniffProtocol } from "./protocol-sniffer.ts";
import type { Handlers, Peer, Registration } from "./handler.ts";
import { ServerSession, type SessionOwner } from "./server-session.ts";

/** What a server can be told. */
export interface RpcServerOptions {
  /** Certificate and key, and what else node:tls knows. Without it the server speaks in clear text. */
  readonly tls?: TlsOptions;
  /** Limits of each connection. */
  readonly limits?: Partial<Http2Limits>;
  /** Connections at the same time; more are closed at once. Default 20,000. */
  readonly connectionsMax?: number;
  /** Running handlers at the same time; more calls fail with RESOURCE_EXHAUSTED. Default 100,000. */
  readonly callsMax?: number;
  /**
   * From the head of a request to its end, if it has one message, else from the beginning of each message to its end. The call fails with
   * DEADLINE_EXCEEDED. 0: no limit. Default 60,000.
   */
  readonly requestTimeoutMs?: number;
  /** The largest message received. Larger ones fail with RESOURCE_EXHAUSTED. Default 4 MiB. */
  readonly messageBytesMax?: number;
  /**
   * Memory for open calls with their headers, and for requests that are incomplete or not yet read by their handlers, of one connection and of
   * all. Calls beyond fail with RESOURCE_EXHAUSTED. Defaults 32 MiB and 256 MiB.
   */
  readonly connectionMemoryBytesMax?: number;
  readonly memoryBytesMax?: number;
  /**
   * Memory for responses that clients do not take, of all connections. Calls beyond are reset with ENHANCE_YOUR_CALM. If more than that waits for
   * the sockets, which is looked at once a second, connections with more than outputBytesHigh are destroyed. Default 512 MiB.
   */
  readonly sendMemoryBytesMax?: number;
  /**
   * Takes the connections that do not speak HTTP/2, and holds them to its own timeouts. Not listening itself, it belongs to the caller, who closes
   * it. Without it they are closed.
   */
  readonly http1?: HttpServer;
  /** Takes HTTP/2 requests that are not gRPC. Without it they are answered with 415. */
  readonly onHttpRequest?: HttpRequestListener;
  /** A handler threw something else than an RpcError; the client is told UNKNOWN. What it throws itself is thrown outside of all calls. */
  readonly onHandlerFailure?: (error: unknown, path: string) => void;
}

/** A gRPC server. `add` methods, then `listen`; `close` settles always. */
export class RpcServer {
  readonly #limits: Http2Limits;
  readonly #options: RpcServerOptions;
  readonly #registrations = new Map<string, Registration>();
  readonly #owner: SessionOwner;
  readonly #turn: Turn;
  readonly #connections = new Map<Connection, { readonly clock: ConnectionClock; readonly session: ServerSession }>();
  /** Sockets whose protocol is not yet known, with the time of their arrival. */
  readonly #undecided = new Map<Socket, number>();
  readonly #http1Sockets = new Set<Socket>();
  /** All sockets that are not closed, those in a TLS handshake among them. */
  readonly #sockets = new Set<Socket>();
  /** Sockets of connections that have ended in order and whose clients have not read to the end. */
  readonly #lingering = new Set<Socket>();
  #listener: NetServer | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #isClosing = false;
  readonly #onEmpty: (() => void)[] = [];
  readonly #connectionsMax: number;

  /** Throws RangeError for a limit out of range. */
  constructor(options: RpcServerOptions = {}) {
    this.#options = options;
    this.#limits = resolveLimits(options.limits);
    this.#connectionsMax = wholeNumber("connectionsMax", options.connectionsMax, 20_000, 1);
    this.#turn = new Turn(wholeNumber("sendMemoryBytesMax", options.sendMemoryBytesMax, 536_870_912));
    const { onHandlerFailure } = options;
    this.#owner = {
      registrations: this.#registrations,
      deadlines: new Deadlines({ keepsAlive: false }),
      messageBytesMax: wholeNumber("messageBytesMax", options.messageBytesMax, 4_194_304, 0, MESSAGE_BYTES_MAX),
      connectionMemoryBytesMax: wholeNumber("connectionMemoryBytesMax", options.connectionMemoryBytesMax, 33_554_432),
      memory: new MemoryBudget(wholeNumber("memoryBytesMax", options.memoryBytesMax, 268_435_456)),
      callsMax: wholeNumber("callsMax", options.callsMax, 100_000),
      requestTimeoutMs: wholeNumber("requestTimeoutMs", options.requestTimeoutMs, 60_000),
      onHttpRequest: options.onHttpRequest,
      running: 0,
      onHandlerFailure: (error, path) => {
        try {
          onHandlerFailure?.(error, path);
        } catch (failure) {
          // Thrown here it would break off the reading of a connection that other calls share.
          queueMicrotask(() => {
            throw failure;
          });
        }
      },
    };
  }

  /** Serves a method. Throws if its path is malformed or already served. */
  add<Request, Response, Kind extends MethodKind>(
    method: Method<Request, Response, Kind>,
    handler: Handlers<Request, Response>[Kind],
  ): this {
    if (!/^\/[^/]+\/[^/]+$/.test(method.path)) throw new TypeError(`not a method's path: ${method.path}`);
    if (this.#registrations.has(method.path)) throw new TypeError(`served twice: ${method.path}`);
    this.#registrations.set(method.path, { method, handler: handler as Registration["handler"] });
    return this;
  }

  /** HTTP/2 connections that are open. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Handlers that are running. */
  get runningCalls(): number {
    return this.#owner.running;
  }

  /** Bytes that incomplete and unread requests hold. */
  get memoryBytes(): number {
    return this.#owner.memory.bytes;
  }

  /**
   * Listens. Resolves with where it listens, as `address()` of node:net says it. Rejects with the system's error, such as EADDRINUSE, with what
   * node:tls has against the options, and if the server listens already or is closed.
   */
  async listen(options: ListenOptions): Promise<AddressInfo | string> {
    if (this.#isClosing) throw new Error("the server is closed");
    if (this.#listener !== undefined) throw new Error("the server already listens");
    const { tls } = this.#options;
    const listener =
      tls === undefined
        ? createServer({ noDelay: true })
        : createTlsServer({
            handshakeTimeout: this.#limits.handshakeTimeoutMs,
            ...tls,
            ALPNProtocols: this.#options.http1 === undefined ? ["h2"] : ["h2", "http/1.1"],
          });
    this.#listener = listener;
    listener.maxConnections = this.#connectionsMax;
    if (this.#options.http1 !== undefined) startHttp1Timeouts(this.#options.http1);
    listener.on("connection", (socket: Socket) => {
      this.#track(socket);
      if (tls === undefined) this.#onSocket(socket);
    });
    if (tls !== undefined) {
      listener.on("secureConnection", (socket: TLSSocket) => this.#onSocket(socket));
      listener.on("tlsClientError", (_error: Error, socket: TLSSocket) => socket.destroy());
    }
    return new Promise((resolve, reject) => {
      const onError = (error: Error): void => {
        this.#listener = undefined;
        reject(error);
      };
      listener.once("error", onError);
      // Closed while a name is looked up, it neither listens nor fails.
      listener.once("close", () => reject(new Error("the server is closed")));
      listener.listen(options, () => {
        listener.removeListener("error", onError);
        // Running out of file descriptors while accepting must not end the process.
        listener.on("error", () => {});
        if (this.#isClosing) {
          listener.close();
          reject(new Error("the server is closed"));
        } else {
          resolve(listener.address()!);
        }
      });
    });
  }

  /** Serves a connection that was accepted elsewhere. */
  accept(socket: Socket): void {
    this.#track(socket);
    this.#onSocket(socket);
  }

  /**
   * Stops listening, lets open calls finish and their clients read the answers for up to `graceMs` (default 0: none), then ends them. HTTP/1.1
   * connections are destroyed at the end of that. Clients without a call have half a second of it, and half a second more to read the end. Settles
   * always: at most half a second after the time of grace.
   */
  async close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#isClosing = true;
    const listener = this.#listener;
    const closed = listener === undefined ? undefined : new Promise<void>((resolve) => listener.close(() => resolve()));
    for (const socket of this.#undecided.keys()) socket.destroy();
    const graceMs = Math.min(options.graceMs ?? 0, TIMER_MS_MAX);
    if (graceMs > 0 && !this.#isEmpty) {
      const idle = [...this.#connections.keys()]
        .filter(isIdle)
        .map((connection) => ({ connection, lastStreamId: connection.lastStreamId }));
      for (const connection of [...this.#connections.keys()]) connection.drain();
      // Nothing is owed to clients without a call: grace is not spent on those of them that say nothing any more.
      const timer = setTimeout(() => {
        for (const { connection, lastStreamId } of idle) if (connection.lastStreamId === lastStreamId) endIdle(connection);
      }, LINGER_MS);
      await this.#emptyWithin(graceMs);
      clearTimeout(timer);
    }
    for (const socket of this.#lingering) socket.destroy();
    for (const connection of [...this.#connections.keys()]) connection.close(ErrorCode.NO_ERROR, "the server is closing");
    for (const socket of this.#http1Sockets) socket.destroy();
    this.#owner.deadlines.clear();
    // What is then still there are clients in a TLS handshake.
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, LINGER_MS);
    await closed;
    clearTimeout(timer);
    clearInterval(this.#sweep);
  }

  get #isEmpty(): boolean {
    return this.#connections.size === 0 && this.#lingering.size === 0;
  }

  #emptyWithin(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#onEmpty.push(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#tellIfEmpty();
    });
  }

  #tellIfEmpty(): void {
    if (this.#isEmpty) for (const onEmpty of this.#onEmpty.splice(0)) onEmpty();
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #onSocket(socket: Socket): void {
    if (this.#isClosing) {
      socket.destroy();
      return;
    }
    if (this.#sweep === undefined) {
      this.#sweep = setInterval(() => this.#checkTimeouts(), sweepIntervalMs(this.#limits, this.#owner.requestTimeoutMs));
      this.#sweep.unref();
    }
    if (socket instanceof TLSSocket && socket.alpnProtocol === "http/1.1") {
      this.#toHttp1(socket, undefined);
      return;
    }
    this.#undecided.set(socket, performance.now());
    const onClose = (): void => {
      this.#undecided.delete(socket);
    };
    socket.once("close", onClose);
    const decide = (): void => {
      this.#undecided.delete(socket);
      socket.removeListener("close", onClose);
    };
    sniffProtocol(
      socket,
      (rest) => {
        decide();
        this.#toHttp2(socket, rest);
      },
      (read) => {
        decide();
        this.#toHttp1(socket, read);
      },
    );
  }

  #toHttp1(socket: Socket, read: Buffer | undefined): void {
    const { http1 } = this.#options;
    if (http1 === undefined) {
      socket.destroy();
      return;
    }
    this.#http1Sockets.add(socket);
    socket.once("close", () => this.#http1Sockets.delete(socket));
    handOverToHttp1(http1, socket, read);
  }

  #toHttp2(socket: Socket, rest: Buffer): void {
    let session: ServerSession | undefined = undefined;
    const events: ConnectionEvents = {
      onRequest: (stream, block, end) => session!.onRequest(stream, block, end),
      onReady() {},
      onGoaway() {},
      onStreamEnd() {},
      onEnd: (error) => {
        this.#connections.delete(connection);
        if (error === undefined && !socket.destroyed) {
          this.#lingering.add(socket);
          socket.once("close", () => {
            this.#lingering.delete(socket);
            this.#tellIfEmpty();
          });
        }
        this.#tellIfEmpty();
      },
    };
    const connection = new Connection({ socket, isServer: true, limits: this.#limits, turn: this.#turn, events });
    session = new ServerSession(connection, this.#owner, peerOf(socket));
    this.#connections.set(connection, { clock: new ConnectionClock(connection, performance.now()), session });
    if (rest.length > 0) connection.receive(rest);
    if (this.#isClosing) connection.drain();
  }

  #checkTimeouts(): void {
    const nowMs = performance.now();
    for (const [socket, sinceMs] of this.#undecided) {
      if (nowMs - sinceMs >= this.#limits.handshakeTimeoutMs) socket.destroy();
    }
    let unsentBytes = 0;
    for (const [connection, { clock, session }] of this.#connections) {
      clock.check(nowMs);
      session.check(nowMs);
      unsentBytes += connection.sender.output.unsentBytes;
    }
    if (unsentBytes > this.#turn.sendMemory.bytesMax) this.#relieve(unsentBytes - this.#turn.sendMemory.bytesMax);
  }

  /** Many connections, each within its limit, have too much to write together: those that hold much go. */
  #relieve(excessBytes: number): void {
    for (const connection of [...this.#connections.keys()]) {
      if (excessBytes <= 0) return;
      if (!connection.sender.isCongested) continue;
      excessBytes -= connection.sender.output.unsentBytes;
      connection.destroy(ErrorCode.ENHANCE_YOUR_CALM, "us", "the peer does not read, and memory is short");
    }
  }
}

/** No call is open, and no answer is on its way. */
function isIdle({ streams, sender, socket }: Connection): boolean {
  return streams.size === 0 && sender.queuedBytes === 0 && sender.output.unsentBytes === 0 && socket.writableLength === 0;
}

function endIdle(connection: Connection): void {
  if (connection.isClosed) connection.socket.destroy();
  else connection.close(ErrorCode.NO_ERROR, "the server is closing");
}

/** What the length before a message can say. */
const MESSAGE_BYTES_MAX = 4_294_967_295;

function peerOf(socket: Socket): Peer {
  let commonName: string | undefined;
  if (socket instanceof TLSSocket && socket.authorized) {
    const subject: unknown = socket.getPeerCertificate().subject?.CN;
    if (typeof subject === "string") commonName = subject;
  }
  return { address: socket.remoteAddress ?? "", port: socket.remotePort ?? 0, commonName };
}
