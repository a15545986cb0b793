/**
 * The side of the links that listens: other members' connections, on which this member receives. Until a connection has shown a hello that
 * is accepted it is a stranger's, and gets little: a bounded number of them, a short time, small frames, no memory beyond those.
 */
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer } from "node:tls";
import type { MemberId } from "../core/raft/configuration.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import type { Timer } from "../host/clock.ts";
import { formatAddress, type Address } from "./address.ts";
import { Connection, KEEP_ALIVE_MS } from "./connection.ts";
import type { FrameLane } from "./frame.ts";
import { decodeControl, type ControlFrame, type LinkPurpose } from "./hello.ts";
import { protocolRefusal, type LinkContext } from "./outgoing-link.ts";
import { contextOptions, type TlsConfig } from "./peer-tls.ts";
import type { Hello, Lane } from "./transport.ts";

export interface ListenerEvents {
  onFrame(from: MemberId, lane: Lane, frame: Uint8Array): void;
  /** A member's hello was accepted. */
  onAccepted(hello: Hello): void;
  /** A member refused our hello. */
  onRefused(member: MemberId, reason: string): void;
}

/** The dialling side asks on every beat; this side is in less of a hurry to give up. */
const ACCEPTED_PATIENCE = 3;

/** A connection before its handshake. */
interface Stranger {
  readonly socket: Socket;
  connection: Connection | undefined;
  timer: Timer | undefined;
  /** Where TLS finds it again. */
  readonly key: string;
}

/** A connection after its handshake. */
interface Accepted {
  readonly connection: Connection;
  readonly member: MemberId;
  readonly purpose: LinkPurpose;
}

export class Listener {
  readonly #context: LinkContext;
  readonly #events: ListenerEvents;
  readonly #server: Server;
  /** Does not listen itself: admitted connections are handed to it. */
  readonly #tlsServer: TlsServer | undefined;
  /** Oldest first. */
  readonly #strangers = new Set<Stranger>();
  readonly #strangersByKey = new Map<string, Stranger>();
  readonly #accepted = new Set<Accepted>();
  #closed = false;

  constructor(context: LinkContext, tls: TlsConfig | undefined, events: ListenerEvents) {
    this.#context = context;
    this.#events = events;
    this.#server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }, (socket) =>
      this.#onConnection(socket),
    );
    if (tls !== undefined) {
      this.#tlsServer = createTlsServer(
        { ...contextOptions(tls), requestCert: true, rejectUnauthorized: true, handshakeTimeout: context.limits.handshakeTimeoutMs },
        (socket) => this.#onSecure(socket),
      );
      this.#tlsServer.on("tlsClientError", (_, socket) => socket.destroy());
    }
  }

  /** Binds to an IP address. Rejects with IN_USE, or INVALID_ARGUMENT where it is not one of this machine's or not allowed. */
  listen(ip: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        const at = formatAddress({ host: ip, port });
        if (error.code !== "EADDRINUSE") reject(invalidArgument("peer.listen", `cannot listen on ${at}: ${error.code ?? error.message}`));
        else reject(new EngineError("IN_USE", `${at} is in use`, { what: "port", at }, { cause: error }));
      });
      // "exclusive": or a process of node:cluster would share the port with its siblings, and links would end at any of them.
      this.#server.listen({ host: ip, port, exclusive: true }, () => {
        this.#server.removeAllListeners("error");
        // Failures to accept, as when descriptors run out: the others' dials come again.
        this.#server.on("error", () => {});
        resolve();
      });
    });
  }

  /** undefined while nothing is listened on. */
  get address(): Address | undefined {
    const bound = this.#server.address() as AddressInfo | null;
    return bound === null ? undefined : { host: bound.address, port: bound.port };
  }

  /** Connections before and after their handshake. */
  get counts(): { readonly strangers: number; readonly accepted: number } {
    return { strangers: this.#strangers.size, accepted: this.#accepted.size };
  }

  /** For connections that are accepted from now on. */
  setTls(tls: TlsConfig): void {
    this.#tlsServer?.setSecureContext(contextOptions(tls));
  }

  closeMember(member: MemberId, reason: string): void {
    for (const accepted of this.#accepted) if (accepted.member === member) accepted.connection.close(reason);
  }

  beat(): void {
    for (const { connection } of this.#accepted) connection.beat(false, this.#context.limits.beatsSilentMax * ACCEPTED_PATIENCE);
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const stranger of this.#strangers) this.#drop(stranger, "this side is closing");
    for (const { connection } of this.#accepted) connection.close("this side is closing");
    return new Promise((resolve) => {
      // The error is that it never listened.
      this.#server.close(() => resolve());
    });
  }

  #onConnection(socket: Socket): void {
    // Without a listener an error would be thrown at the process.
    socket.on("error", () => {});
    const key = `${socket.remoteAddress}|${socket.remotePort}`;
    if (this.#closed || socket.remotePort === undefined) {
      socket.destroy();
      return;
    }
    // The oldest has had the most time. Refusing the newest instead would let a few idle strangers keep the members out.
    const [oldest] = this.#strangers;
    if (oldest !== undefined && this.#strangers.size >= this.#context.limits.strangersMax) this.#drop(oldest, "too many strangers");
    const stranger: Stranger = { socket, connection: undefined, timer: undefined, key };
    this.#strangers.add(stranger);
    this.#strangersByKey.set(key, stranger);
    socket.once("close", () => this.#drop(stranger, "the connection broke"));
    stranger.timer = this.#context.clock.setTimer(this.#context.limits.handshakeTimeoutMs, () =>
      this.#drop(stranger, "no handshake in time"),
    );
    if (this.#tlsServer !== undefined) this.#tlsServer.emit("connection", socket);
    else this.#converse(stranger, socket);
  }

  #onSecure(socket: Socket): void {
    const stranger = this.#strangersByKey.get(`${socket.remoteAddress}|${socket.remotePort}`);
    if (stranger === undefined || stranger.connection !== undefined) {
      socket.on("error", () => {});
      socket.destroy();
    } else this.#converse(stranger, socket);
  }

  #converse(stranger: Stranger, socket: Socket): void {
    let accepted: Accepted | undefined;
    const connection: Connection = new Connection(socket, this.#context.limits, {
      onFrame: (lane, body) => {
        if (accepted === undefined) {
          accepted = this.#onFirstFrame(stranger, connection, lane, body);
          // Closed by what its acceptance set off, before `accepted` was known to onClosed.
          if (accepted !== undefined && connection.isClosed) this.#accepted.delete(accepted);
        } else this.#onFrame(accepted, lane, body);
      },
      onClosed: () => {
        this.#forget(stranger);
        if (accepted !== undefined) this.#accepted.delete(accepted);
      },
    });
    stranger.connection = connection;
  }

  #onFirstFrame(stranger: Stranger, connection: Connection, lane: FrameLane, body: Uint8Array): Accepted | undefined {
    const control = lane === "control" ? decodeControl(body) : undefined;
    if (control?.kind !== "hello") {
      connection.close("something other than a hello");
      return undefined;
    }
    const refusal = this.#judge(control.hello);
    if (connection.isClosed) return undefined;
    if (refusal !== undefined) {
      // It stays a stranger, whose time is bounded.
      connection.refuse(refusal);
      return undefined;
    }
    this.#forget(stranger);
    const { purpose, hello } = control;
    const accepted: Accepted = { connection, member: hello.memberId, purpose };
    // The other side dials again only when it has given up the connection that it had.
    for (const older of this.#accepted) {
      if (older.member === accepted.member && older.purpose === purpose) older.connection.close("replaced by a newer connection");
    }
    this.#accepted.add(accepted);
    connection.sendHello(this.#context.hello(), purpose);
    connection.open();
    this.#events.onAccepted(hello);
    return accepted;
  }

  #judge(hello: Hello): string | undefined {
    const own = this.#context.hello();
    if (hello.memberId === own.memberId) return `${own.name} was dialled by a process of its own member id`;
    if (this.#accepted.size >= this.#context.limits.acceptedMax) return `${own.name} has too many connections`;
    return protocolRefusal(own, hello) ?? this.#context.judge(hello);
  }

  #onFrame(accepted: Accepted, lane: FrameLane, body: Uint8Array): void {
    if (lane === "control") this.#onControl(accepted, decodeControl(body));
    else if ((lane === "snapshot") === (accepted.purpose === "snapshot")) this.#events.onFrame(accepted.member, lane, body);
    else accepted.connection.close(`a frame on lane ${lane} of the connection for ${accepted.purpose}`);
  }

  #onControl({ connection, member }: Accepted, control: ControlFrame | undefined): void {
    switch (control?.kind) {
      case "ping":
        connection.answerPing();
        return;
      case "refusal":
        connection.close("refused by the other side");
        this.#events.onRefused(member, control.reason);
        return;
      case "pong":
      case "unknown":
        return;
      case "hello":
      case undefined:
        connection.close("a control frame out of turn");
    }
  }

  #drop(stranger: Stranger, reason: string): void {
    if (!this.#strangers.has(stranger)) return;
    this.#forget(stranger);
    if (stranger.connection !== undefined) stranger.connection.close(reason);
    // Under TLS this socket has given its handle away; destroying it ends the encrypted one too.
    stranger.socket.destroy();
  }

  #forget(stranger: Stranger): void {
    stranger.timer?.cancel();
    this.#strangers.delete(stranger);
    if (this.#strangersByKey.get(stranger.key) === stranger) this.#strangersByKey.delete(stranger.key);
  }
}
