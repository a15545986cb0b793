/**
 * A connection that this member dials, and keeps dialling: for consensus from the beginning, for snapshots when there is something to
 * send. Only the one who dialled sends, so that each direction of a pair of members fails and recovers by itself, and two dials that
 * cross are no conflict.
 *
 *   idle -> dialling -> up -> waiting -> dialling -> ...
 *
 * Dialling ends with both hellos accepted, or in waiting; waiting ends with time, with a sign that the peer is there (nudge), or, for
 * snapshots, in idle.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import type { Clock, Timer } from "../host/clock.ts";
import type { Random } from "../host/random.ts";
import type { Address } from "./address.ts";
import { Connection } from "./connection.ts";
import type { FrameLane } from "./frame.ts";
import { commonProtocol, decodeControl, type LinkPurpose } from "./hello.ts";
import type { TransportLimits } from "./limits.ts";
import type { PeerResolver } from "./peer-resolver.ts";
import { dial, type DialTls } from "./peer-tls.ts";
import type { Hello, Lane } from "./transport.ts";

/** What all links of a transport share. */
export interface LinkContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: TransportLimits;
  readonly resolver: PeerResolver;
  hello(): Hello;
  judge(hello: Hello): string | undefined;
  /** The current certificates; undefined: not encrypted. */
  tls(): DialTls | undefined;
}

export interface OutgoingLinkEvents {
  onUp(hello: Hello): void;
  /** After onUp, once. */
  onDown(reason: string): void;
  onRefused(reason: string): void;
}

/** Snapshots fill every buffer on the way, so their answers take longer. */
const SNAPSHOT_PATIENCE = 3;

export class OutgoingLink {
  readonly #context: LinkContext;
  readonly #peer: MemberId;
  readonly #address: Address;
  readonly #purpose: LinkPurpose;
  readonly #events: OutgoingLinkEvents;
  #state: "idle" | "dialling" | "up" | "waiting" | "closed" = "idle";
  #connection: Connection | undefined;
  #timer: Timer | undefined;
  /** Since the last connection that lived for a beat. */
  #failures = 0;
  #attempts = 0;
  /** Of the process that it leads to, while it is up. */
  #bootId = 0;
  #refused = false;
  #lacksAddress = false;
  #beatsIdle = 0;
  #lastFailure: string | undefined;

  constructor(
    context: LinkContext,
    peer: { readonly id: MemberId; readonly address: Address },
    purpose: LinkPurpose,
    events: OutgoingLinkEvents,
  ) {
    this.#context = context;
    this.#peer = peer.id;
    this.#address = peer.address;
    this.#purpose = purpose;
    this.#events = events;
  }

  get isUp(): boolean {
    return this.#state === "up";
  }

  /** Why the last dial failed or the last connection ended; undefined while one is up. */
  get lastFailure(): string | undefined {
    return this.#lastFailure;
  }

  /** false: dropped; then `written` is not called. */
  send(lane: Lane, parts: readonly Uint8Array[], written: (() => void) | undefined): boolean {
    if (this.#purpose === "snapshot") {
      if (this.#state === "idle") this.start();
      // What is offered while it is dialled goes out when it is up, or is dropped with the attempt.
      if (this.#state === "dialling" && this.#refused) return false;
    } else if (this.#state !== "up") return false;
    this.#beatsIdle = 0;
    return this.#connection?.queue.offer(lane, parts, written) ?? false;
  }

  flush(): void {
    this.#connection?.queue.flush();
  }

  pendingBytes(lane: Lane): number {
    return this.#connection?.queue.pendingBytes(lane) ?? 0;
  }

  /** Dials, unless that has been done. */
  start(): void {
    if (this.#state !== "idle") return;
    this.#dial();
  }

  /**
   * The peer has just shown that it is there: no reason to wait longer. Nor is there to wait for an answer on a connection to a process that
   * this one has followed: where its machine lost power, nobody says that the connection is gone, for seconds.
   */
  nudge(bootId: number): void {
    if (this.#state === "up" && bootId !== this.#bootId) this.#connection?.close("the other side has begun anew");
    this.#dialNow();
  }

  #dialNow(): void {
    if (this.#state !== "waiting" || this.#purpose === "snapshot") return;
    this.#timer?.cancel();
    this.#dial();
  }

  /** The name of a peer's address has been resolved. */
  onResolved(host: string): void {
    if (this.#lacksAddress && host === this.#address.host) this.#dialNow();
  }

  beat(): void {
    const connection = this.#connection;
    if (this.#state !== "up" || connection === undefined) return;
    this.#failures = 0;
    const { limits } = this.#context;
    if (this.#purpose === "snapshot") {
      this.#beatsIdle = connection.queue.pendingBytes("snapshot") === 0 ? this.#beatsIdle + 1 : 0;
      if (this.#beatsIdle > limits.beatsIdleMax) {
        connection.close("not in use");
        return;
      }
    }
    connection.beat(true, limits.beatsSilentMax * (this.#purpose === "snapshot" ? SNAPSHOT_PATIENCE : 1));
  }

  /** For good. */
  close(reason: string): void {
    const connection = this.#connection;
    const wasUp = this.#state === "up";
    this.#state = "closed";
    this.#timer?.cancel();
    this.#connection = undefined;
    connection?.close(reason);
    if (wasUp) this.#events.onDown(reason);
  }

  #dial(): void {
    const { clock, limits, resolver } = this.#context;
    const { host, port } = this.#address;
    const addresses = resolver.addresses(host);
    const ip = addresses[this.#attempts % Math.max(1, addresses.length)];
    this.#attempts += 1;
    this.#refused = false;
    this.#lacksAddress = ip === undefined;
    if (ip === undefined) {
      this.#wait(`the address of ${host} is not known: ${resolver.problem(host) ?? "it has none"}`);
      return;
    }
    this.#state = "dialling";
    const socket = dial({ ip, port, host }, this.#context.tls(), () => connection.sendHello(this.#context.hello(), this.#purpose));
    const connection: Connection = new Connection(socket, limits, {
      onFrame: (lane, body) => this.#onFrame(connection, lane, body),
      onClosed: (reason) => this.#onClosed(connection, reason),
    });
    this.#connection = connection;
    this.#timer = clock.setTimer(limits.handshakeTimeoutMs, () => connection.close(`no handshake within ${limits.handshakeTimeoutMs} ms`));
  }

  #onFrame(connection: Connection, lane: FrameLane, body: Uint8Array): void {
    const control = lane === "control" ? decodeControl(body) : undefined;
    switch (control?.kind) {
      case "refusal":
        this.#lastFailure = `refused by the other side: ${control.reason}`;
        this.#refused = true;
        connection.close(this.#lastFailure);
        this.#events.onRefused(control.reason);
        return;
      case "hello":
        if (this.#state === "dialling" && control.purpose === this.#purpose) this.#onHello(connection, control.hello);
        else connection.close("a hello out of turn");
        return;
      case "pong":
      case "ping":
      case "unknown":
        if (this.#state !== "up") connection.close("something other than a hello");
        return;
      case undefined:
        connection.close("a frame that nobody says on this connection");
    }
  }

  #onHello(connection: Connection, hello: Hello): void {
    const refusal = this.#judge(hello);
    // The judge may have changed the peers.
    if (this.#connection !== connection || this.#state !== "dialling") return;
    if (refusal !== undefined) {
      this.#refused = true;
      this.#lastFailure = `refused by this side: ${refusal}`;
      // The timer of the handshake ends the wait for the other side.
      connection.refuse(refusal);
      return;
    }
    this.#timer?.cancel();
    this.#state = "up";
    this.#bootId = hello.bootId;
    this.#lastFailure = undefined;
    this.#beatsIdle = 0;
    connection.open();
    this.#events.onUp(hello);
  }

  #judge(hello: Hello): string | undefined {
    const own = this.#context.hello();
    if (hello.memberId !== this.#peer) {
      return `member ${hello.memberId} (${hello.name}) answers at the address of member ${this.#peer}`;
    }
    return protocolRefusal(own, hello) ?? this.#context.judge(hello);
  }

  #onClosed(connection: Connection, reason: string): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#timer?.cancel();
    const wasUp = this.#state === "up";
    if (reason === "not in use") this.#state = "idle";
    else this.#wait(this.#refused ? (this.#lastFailure ?? reason) : reason);
    if (wasUp) this.#events.onDown(reason);
  }

  #wait(reason: string): void {
    const { clock, limits, random } = this.#context;
    this.#state = "waiting";
    this.#lastFailure = reason;
    this.#failures += 1;
    const doubled = limits.backoffMinMs * 2 ** Math.min(20, this.#failures - 1);
    const longestMs = this.#refused ? limits.backoffRefusedMs : Math.min(limits.backoffMaxMs, doubled);
    this.#timer = clock.setTimer((longestMs * (1 + random.uint32() / 2 ** 32)) / 2, () => {
      if (this.#purpose === "snapshot") this.#state = "idle";
      else this.#dial();
    });
  }
}

/** Why the two cannot talk at all; undefined if they can. */
export function protocolRefusal(own: Hello, other: Hello): string | undefined {
  if (commonProtocol(own, other) !== undefined) return undefined;
  const range = ({ protocolMin, protocolMax }: Hello): string => `${protocolMin} to ${protocolMax}`;
  return `no common protocol version: ${own.name} speaks ${range(own)}, ${other.name} ${range(other)}`;
}
