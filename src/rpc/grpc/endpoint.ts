/** One address of a client: its connection, and the pauses between failed attempts to have one (exponential, with jitter). */
import type { Address } from "./address.ts";
import { ClientConnection, type ConnectionSettings } from "./client-connection.ts";
import { wholeNumber } from "../http2/limits.ts";
import { ErrorCode } from "../http2/protocol.ts";

/** Pauses between attempts. */
export interface Backoff {
  /** After the first failure, and at most. */
  readonly initialMs: number;
  readonly maxMs: number;
  /** Each pause is so many times the one before. */
  readonly factor: number;
  /** The pause is longer or shorter by up to this part of it. */
  readonly jitter: number;
}

/** The defaults with the given values in their place. Throws RangeError for those out of range. */
export function resolveBackoff(given: Partial<Backoff> | undefined): Backoff {
  const maxMs = wholeNumber("backoff.maxMs", given?.maxMs, 10_000, 1, 86_400_000);
  const initialMs = wholeNumber("backoff.initialMs", given?.initialMs, Math.min(100, maxMs), 1, 86_400_000);
  const { factor = 1.6, jitter = 0.2 } = given ?? {};
  if (!(factor >= 1 && factor <= 1000)) throw new RangeError(`backoff.factor must be a number from 1 to 1000, not ${factor}`);
  if (!(jitter >= 0 && jitter <= 1)) throw new RangeError(`backoff.jitter must be a number from 0 to 1, not ${jitter}`);
  return { initialMs, maxMs, factor, jitter };
}

/** What an endpoint tells its client. */
export interface EndpointEvents {
  onReady(endpoint: Endpoint): void;
  /** The attempt to connect failed. */
  onFailed(endpoint: Endpoint, error: Error): void;
  /** The connection is lost or going away; a new one may be made from `retryAtMs` on. */
  onLost(endpoint: Endpoint): void;
  onRoom(): void;
  onConnection(connection: ClientConnection): void;
  onConnectionEnd(connection: ClientConnection): void;
}

/** One address, with at most one connection that takes calls. */
export class Endpoint {
  readonly address: Address;
  /** Ready for calls, if it has room. */
  connection: ClientConnection | undefined = undefined;
  isConnecting = false;
  /** No attempt before this time, on the clock of performance.now(). */
  retryAtMs = 0;
  readonly #settings: ConnectionSettings;
  readonly #backoff: Backoff;
  readonly #events: EndpointEvents;
  readonly #random: () => number;
  #attempt: ClientConnection | undefined = undefined;
  #pauseMs = 0;
  #readyAtMs = 0;
  /** Connections since the last useful one that were ready, and soon ended without an answer to any call. */
  #useless = 0;
  #keepaliveTimeMs: number;

  constructor(address: Address, settings: ConnectionSettings, backoff: Backoff, random: () => number, events: EndpointEvents) {
    this.address = address;
    this.#settings = settings;
    this.#backoff = backoff;
    this.#random = random;
    this.#events = events;
    this.#keepaliveTimeMs = settings.limits.keepaliveTimeMs;
  }

  /** Begins to connect, unless it is connecting or connected. */
  connect(): void {
    if (this.isConnecting || this.connection !== undefined) return;
    this.isConnecting = true;
    try {
      this.#connect();
    } catch (error) {
      // Options that node:tls refuses, or a look-up that throws: like any attempt that fails.
      this.isConnecting = false;
      this.#pause();
      this.#events.onFailed(this, error as Error);
    }
  }

  #connect(): void {
    const connection: ClientConnection = new ClientConnection(this.address, this.#settings, this.#keepaliveTimeMs, {
      onReady: () => {
        this.isConnecting = false;
        this.#attempt = undefined;
        this.#readyAtMs = performance.now();
        this.connection = connection;
        this.#events.onReady(this);
      },
      onGoaway: (code, reason) => {
        // The server says that our pings come too often (gRFC A8): from now on half as many.
        if (code === ErrorCode.ENHANCE_YOUR_CALM && reason === "too_many_pings") this.#keepaliveTimeMs *= 2;
        this.#leave(connection);
      },
      onRoom: () => this.#events.onRoom(),
      onEnd: (error) => {
        this.#events.onConnectionEnd(connection);
        if (this.connection === connection) {
          this.#leave(connection);
        } else if (this.#attempt === connection) {
          this.#attempt = undefined;
          this.isConnecting = false;
          this.#pause();
          this.#events.onFailed(this, error ?? new Error("the connection was closed"));
        }
      },
    });
    this.#attempt = connection;
    this.#events.onConnection(connection);
  }

  /** Gives up an attempt to connect: another endpoint was faster. No failure of this one. */
  cancelConnect(): void {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    this.isConnecting = false;
    attempt?.close("another endpoint was faster");
  }

  #leave(connection: ClientConnection): void {
    if (this.connection !== connection) return;
    this.connection = undefined;
    if (connection.hasAnswered || performance.now() - this.#readyAtMs >= this.#backoff.maxMs) {
      this.#useless = 0;
      this.#pauseMs = 0;
      this.retryAtMs = 0;
    } else if (++this.#useless > 1) {
      // A server that lets us in and shows us out, again and again, must not be stormed. Once may be chance: a server that was just closing.
      this.#pause();
    }
    this.#events.onLost(this);
  }

  #pause(): void {
    const { initialMs, maxMs, factor, jitter } = this.#backoff;
    this.#pauseMs = this.#pauseMs === 0 ? initialMs : Math.min(maxMs, this.#pauseMs * factor);
    this.retryAtMs = performance.now() + this.#pauseMs * (1 + jitter * (this.#random() * 2 - 1));
  }
}
