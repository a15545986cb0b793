/**
 * The timeouts of one connection: handshake, incomplete frames, writes and windows without progress, keepalive, idleness. There is no
 * timer per connection: the server or client looks at all of them now and then, so each may fire late by one interval.
 */
import type { Connection } from "./connection.ts";
import { ErrorCode } from "./protocol.ts";

/** The second GOAWAY of a draining server does not wait longer for the answer to its PING. */
const DRAIN_PING_MS = 2000;

/** Watches over the timeouts of one connection. */
export class ConnectionClock {
  readonly #connection: Connection;
  readonly #startedAtMs: number;
  #activeAtMs: number;
  #pingSentAtMs = 0;
  #frameSinceMs = 0;
  #framesDone = 0;
  #writeSinceMs = 0;
  #writesDone = 0;
  #idleSinceMs = 0;
  #drainingSinceMs = 0;
  /** Client: pings only while there are calls. */
  readonly #pingsWhenIdle: boolean;
  readonly keepaliveTimeMs: number;

  constructor(connection: Connection, nowMs: number, keepaliveTimeMs: number = connection.limits.keepaliveTimeMs) {
    this.#connection = connection;
    this.#startedAtMs = nowMs;
    this.#activeAtMs = nowMs;
    this.#pingsWhenIdle = connection.isServer;
    this.keepaliveTimeMs = keepaliveTimeMs;
  }

  /** Ends the connection, or a stream of it, if a timeout has passed. */
  check(nowMs: number): void {
    const connection = this.#connection;
    this.#checkHandshake(nowMs);
    if (!connection.isClosed) this.#checkFrame(nowMs);
    if (!connection.isClosed) this.#checkWrite(nowMs);
    if (!connection.isClosed) this.#checkWindows(nowMs);
    if (!connection.isClosed) this.#checkKeepalive(nowMs);
    if (!connection.isClosed) this.#checkIdle(nowMs);
  }

  #checkHandshake(nowMs: number): void {
    const connection = this.#connection;
    if (connection.settingsReceived && connection.settingsAcknowledged) return;
    if (nowMs - this.#startedAtMs < connection.limits.handshakeTimeoutMs) return;
    connection.close(ErrorCode.SETTINGS_TIMEOUT, "no settings, or no acknowledgement of ours");
  }

  #checkFrame(nowMs: number): void {
    const connection = this.#connection;
    if (!connection.isInFrame || connection.framesDone !== this.#framesDone) {
      this.#framesDone = connection.framesDone;
      this.#frameSinceMs = connection.isInFrame ? nowMs : 0;
    } else if (this.#frameSinceMs === 0) {
      this.#frameSinceMs = nowMs;
    } else if (nowMs - this.#frameSinceMs >= connection.limits.frameTimeoutMs) {
      connection.close(ErrorCode.ENHANCE_YOUR_CALM, "a frame or header block that does not end");
    }
  }

  #checkWrite(nowMs: number): void {
    const connection = this.#connection;
    const { output } = connection.sender;
    if (!output.isWriting || output.writesDone !== this.#writesDone) {
      this.#writesDone = output.writesDone;
      this.#writeSinceMs = output.isWriting ? nowMs : 0;
    } else if (this.#writeSinceMs === 0) {
      this.#writeSinceMs = nowMs;
    } else if (nowMs - this.#writeSinceMs >= connection.limits.writeTimeoutMs) {
      connection.destroy(ErrorCode.ENHANCE_YOUR_CALM, "us", "the peer does not read");
    }
  }

  #checkWindows(nowMs: number): void {
    const connection = this.#connection;
    if (connection.sender.queuedBytes === 0) return;
    for (const stream of connection.streams.values()) {
      if (stream.queue === undefined) continue;
      if (stream.stalledAtMs === 0) {
        stream.stalledAtMs = nowMs;
      } else if (nowMs - stream.stalledAtMs >= connection.limits.windowTimeoutMs) {
        connection.failStream(stream, ErrorCode.CANCEL, "the peer grants no window");
      }
    }
  }

  #checkKeepalive(nowMs: number): void {
    const connection = this.#connection;
    if (connection.wasActive) {
      connection.wasActive = false;
      this.#activeAtMs = nowMs;
      this.#pingSentAtMs = 0;
      return;
    }
    if (this.#pingSentAtMs > 0) {
      if (nowMs - this.#pingSentAtMs >= connection.limits.keepaliveTimeoutMs) {
        connection.destroy(ErrorCode.CONNECT_ERROR, "network", "the peer answers no ping");
      }
      return;
    }
    if (this.keepaliveTimeMs === 0 || nowMs - this.#activeAtMs < this.keepaliveTimeMs) return;
    if (!this.#pingsWhenIdle && connection.streams.size === 0) return;
    this.#pingSentAtMs = nowMs;
    connection.ping(() => {});
  }

  #checkIdle(nowMs: number): void {
    const connection = this.#connection;
    if (connection.isDraining) {
      if (this.#drainingSinceMs === 0) this.#drainingSinceMs = nowMs;
      else if (nowMs - this.#drainingSinceMs >= DRAIN_PING_MS) connection.finishDrain();
      return;
    }
    const { idleTimeoutMs } = connection.limits;
    if (idleTimeoutMs === 0 || connection.streams.size > 0) {
      this.#idleSinceMs = 0;
    } else if (this.#idleSinceMs === 0) {
      this.#idleSinceMs = nowMs;
    } else if (nowMs - this.#idleSinceMs >= idleTimeoutMs) {
      connection.drain();
    }
  }
}
