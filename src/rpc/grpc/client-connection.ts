/** One connection as the gRPC client sees it: connecting, the heads of requests that repeat, and the memory of its calls. */
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { createHeaderTemplate, type HeaderTemplate } from "../hpack/encoder.ts";
import { Connection } from "../http2/connection.ts";
import { ConnectionClock } from "../http2/connection-clock.ts";
import type { Http2Error } from "../http2/errors.ts";
import type { Http2Limits } from "../http2/limits.ts";
import { ErrorCode } from "../http2/protocol.ts";
import type { Turn } from "../http2/turn.ts";
import type { Address } from "./address.ts";
import { ACCEPTED_ENCODINGS } from "./compression.ts";
import { MemoryBudget } from "../http2/memory-budget.ts";

/** Templates kept per connection: a service has fewer methods. */
const TEMPLATES_MAX = 1024;

/** What all connections of a client share. */
export interface ConnectionSettings {
  readonly limits: Http2Limits;
  readonly turn: Turn;
  readonly tls: ConnectionOptions | undefined;
  readonly lookup: LookupFunction | undefined;
  readonly connectTimeoutMs: number;
  readonly userAgent: string;
  readonly memory: MemoryBudget;
  readonly connectionMemoryBytesMax: number;
}

/** What a connection tells its endpoint. */
export interface ClientConnectionEvents {
  /** The server's settings have come: calls may start. Once. */
  onReady(): void;
  /** The server wants no more calls here. */
  onGoaway(code: number, reason: string): void;
  /** A call has ended: there may be room for another. */
  onRoom(): void;
  /** It is over, or never began. Once. */
  onEnd(error: Error | undefined): void;
}

/** A connection of the client, from the first attempt to its end. */
export class ClientConnection {
  readonly memory: MemoryBudget;
  readonly #address: Address;
  readonly #settings: ConnectionSettings;
  readonly #events: ClientConnectionEvents;
  readonly #templates = new Map<string, HeaderTemplate>();
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;
  #connection: Connection | undefined;
  #clock: ConnectionClock | undefined;
  #isReady = false;
  #isEnded = false;

  /** Begins to connect. keepaliveTimeMs overrides the limit, as servers may ask for fewer pings. */
  constructor(address: Address, settings: ConnectionSettings, keepaliveTimeMs: number, events: ClientConnectionEvents) {
    this.#address = address;
    this.#settings = settings;
    this.#events = events;
    this.memory = new MemoryBudget(settings.connectionMemoryBytesMax, settings.memory);
    this.#socket = openSocket(address, settings);
    const onFailure = (error: Error): void => this.#onEnd(error);
    const onClose = (): void => this.#onEnd(new Error("the connection was closed"));
    this.#socket.once("error", onFailure);
    this.#socket.once("close", onClose);
    this.#socket.once(address.isTls ? "secureConnect" : "connect", () => {
      if (this.#isEnded) return;
      if (address.isTls && (this.#socket as TLSSocket).alpnProtocol !== "h2") {
        this.#onEnd(new Error("the server does not speak HTTP/2"));
        return;
      }
      this.#socket.removeListener("error", onFailure);
      this.#socket.removeListener("close", onClose);
      this.#begin(keepaliveTimeMs);
    });
    this.#timer = setTimeout(
      () => this.#onEnd(new Error(`no connection within ${settings.connectTimeoutMs} ms`)),
      settings.connectTimeoutMs,
    );
  }

  /** The HTTP/2 connection; only after onReady. */
  get http2(): Connection {
    return this.#connection!;
  }

  /** True if the server has answered a call. */
  get hasAnswered(): boolean {
    return this.#connection !== undefined && this.#connection.hasAnswered;
  }

  /** True if a call can start now. */
  get hasRoom(): boolean {
    return this.#isReady && this.#connection!.hasRoom && !this.#connection!.sender.isCongested;
  }

  /** The head of requests of a method, without what differs from call to call. */
  headOf(path: string): HeaderTemplate {
    let template = this.#templates.get(path);
    if (template === undefined) {
      if (this.#templates.size >= TEMPLATES_MAX) this.#templates.clear();
      const { authority, isTls } = this.#address;
      // prettier-ignore
      template = createHeaderTemplate([
        ":method", "POST", ":scheme", isTls ? "https" : "http", ":path", path, ":authority", authority,
        "content-type", "application/grpc", "te", "trailers", "user-agent", this.#settings.userAgent, "grpc-accept-encoding", ACCEPTED_ENCODINGS,
      ]);
      this.#templates.set(path, template);
    }
    return template;
  }

  /** Looks at the timeouts. */
  check(nowMs: number): void {
    this.#clock?.check(nowMs);
  }

  /** Ends all calls now. */
  close(reason: string): void {
    if (this.#connection === undefined) this.#onEnd(undefined);
    else this.#connection.close(ErrorCode.NO_ERROR, reason);
  }

  #begin(keepaliveTimeMs: number): void {
    const { limits, turn } = this.#settings;
    const connection = new Connection({
      socket: this.#socket,
      isServer: false,
      limits,
      turn,
      events: {
        onRequest: () => {
          throw new Error("a server opens no streams");
        },
        onReady: () => this.#onSettings(),
        onGoaway: (code, reason) => this.#events.onGoaway(code, reason),
        onStreamEnd: () => {
          if (this.#isReady) this.#events.onRoom();
        },
        onEnd: (error: Http2Error | undefined) => this.#onEnd(error),
      },
    });
    this.#connection = connection;
    this.#clock = new ConnectionClock(connection, performance.now(), keepaliveTimeMs);
    this.#socket.on("drain", () => {
      if (this.#isReady) this.#events.onRoom();
    });
    connection.flush();
  }

  #onSettings(): void {
    if (this.#isEnded) return;
    if (this.#isReady) {
      this.#events.onRoom();
      return;
    }
    this.#isReady = true;
    clearTimeout(this.#timer);
    this.#events.onReady();
  }

  #onEnd(error: Error | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    clearTimeout(this.#timer);
    if (this.#connection !== undefined && !this.#isReady && error !== undefined) {
      const reason =
        "the server ended the connection before its settings came; does it speak HTTP/2, and TLS if and only if the client does?";
      error = new Error(`${reason} (${error.message})`, { cause: error });
    }
    if (this.#connection === undefined) {
      // Errors after the end are nobody's.
      this.#socket.on("error", () => {});
      this.#socket.destroy();
    } else if (!this.#isReady) {
      this.#connection.destroy(ErrorCode.CANCEL, "us", "never ready");
    }
    this.#isReady = false;
    this.#events.onEnd(error);
  }
}

function openSocket(address: Address, settings: ConnectionSettings): Socket {
  const { host, port, path } = address;
  const { lookup } = settings;
  const target = path === undefined ? { host, port, ...(lookup === undefined ? {} : { lookup }) } : { path };
  if (!address.isTls) return connectTcp({ ...target, noDelay: true });
  const named = path === undefined && isIP(host) === 0 ? { servername: host } : {};
  return connectTls({ ...named, ...settings.tls, ...target, ALPNProtocols: ["h2"] });
}
