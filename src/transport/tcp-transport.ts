/**
 * Links over TCP, or TLS with certificates on both sides. Each member dials every other and sends on what it dialled; it receives on what
 * it accepted. Names of peers are resolved ahead of need (peer-resolver.ts); nothing here enters libuv's thread pool.
 * What the frames mean is the node's business, from the first byte of their bodies on.
 */
import { nextTick } from "node:process";
import type { MemberId } from "../core/raft/configuration.ts";
import { assert, invalidArgument } from "../errors.ts";
import type { Clock, Timer } from "../host/clock.ts";
import type { Random } from "../host/random.ts";
import { formatAddress, parseAddress, type Address } from "./address.ts";
import { TRANSPORT_LIMITS, type TransportLimits } from "./limits.ts";
import { Listener } from "./listener.ts";
import { OutgoingLink, type LinkContext } from "./outgoing-link.ts";
import { PeerResolver } from "./peer-resolver.ts";
import { createPeerContext, type DialTls, type TlsConfig } from "./peer-tls.ts";
import type { Hello, Lane, PeerAddress, Transport, TransportEvents } from "./transport.ts";

export interface TcpTransportOptions {
  /** "host:port"; port 0 lets the system choose. Absent: nothing listens, and the member only dials. */
  readonly listen?: string;
  /** Absent: not encrypted. Whether that is allowed beyond loopback is the caller's to judge (address.ts). */
  readonly tls?: TlsConfig;
  /** What this member says of itself; asked for at each handshake. `memberId` never changes. */
  readonly hello: () => Hello;
  readonly events: TransportEvents;
  readonly clock: Clock;
  readonly random: Random;
  /** Closed with the transport. Default: one without a hosts file. */
  readonly resolver?: PeerResolver;
  readonly limits?: Partial<TransportLimits>;
}

/** Whether the link that this member dials is up, and if not, why. */
export interface LinkCondition {
  readonly up: boolean;
  readonly lastFailure: string | undefined;
}

export interface TcpTransport extends Transport {
  /** Takes up renewed certificates, for connections from now on. Throws INVALID_ARGUMENT and keeps the old ones where they are none. */
  setTls(tls: TlsConfig): void;
  /** undefined for whom is no peer. */
  linkCondition(peer: MemberId): LinkCondition | undefined;
  /** Accepted connections, before and after their handshake. */
  readonly connections: { readonly strangers: number; readonly accepted: number };
}

/** How long the name of `listen` may take to resolve. */
const LISTEN_RESOLVE_MS = 5000;
const CLOSE_MS_MAX = 900;

/**
 * Rejects with IN_USE for a taken port, and with INVALID_ARGUMENT for an address that cannot be listened on or certificates that are none.
 * Of TransportEvents: onUp and onDown come in pairs, onDown also when a peer is removed (within setPeers) but not at close().
 * What judge() and the events throw is not caught: it ends up with the process.
 */
export async function createTcpTransport(options: TcpTransportOptions): Promise<TcpTransport> {
  const resolver = options.resolver ?? new PeerResolver({ clock: options.clock });
  try {
    const transport = new TcpLinks(options, resolver);
    await transport.listen(options.listen);
    return transport;
  } catch (error) {
    resolver.close();
    throw error;
  }
}

interface Peer {
  readonly address: string;
  readonly host: string | undefined;
  readonly consensus: OutgoingLink | undefined;
  readonly snapshot: OutgoingLink | undefined;
}

class TcpLinks implements TcpTransport {
  readonly #options: TcpTransportOptions;
  readonly #limits: TransportLimits;
  readonly #resolver: PeerResolver;
  readonly #context: LinkContext;
  readonly #listener: Listener | undefined;
  readonly #peers = new Map<MemberId, Peer>();
  /** Calls of setPeers. */
  #changes = 0;
  #tls: DialTls | undefined;
  #beat: Timer | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;
  #listening: string | undefined;

  constructor(options: TcpTransportOptions, resolver: PeerResolver) {
    this.#options = options;
    this.#limits = { ...TRANSPORT_LIMITS, ...options.limits };
    this.#resolver = resolver;
    if (options.tls !== undefined) this.#tls = { context: createPeerContext(options.tls), serverName: options.tls.serverName };
    this.#context = {
      clock: options.clock,
      random: options.random,
      limits: this.#limits,
      resolver,
      hello: options.hello,
      judge: (hello) => options.events.judge(hello),
      tls: () => this.#tls,
    };
    if (options.listen !== undefined) {
      this.#listener = new Listener(this.#context, options.tls, {
        onFrame: (from, lane, frame) => options.events.onFrame(from, lane, frame),
        onAccepted: ({ memberId, bootId }) => this.#peers.get(memberId)?.consensus?.nudge(bootId),
        onRefused: (member, reason) => options.events.onRefused(member, reason),
      });
    }
    resolver.onChange((host) => {
      for (const peer of this.#peers.values()) peer.consensus?.onResolved(host);
    });
  }

  async listen(text: string | undefined): Promise<void> {
    if (this.#listener !== undefined && text !== undefined) {
      const address = parseAddress(text);
      if (address === undefined) throw invalidArgument("peer.listen", `${JSON.stringify(text)} is not of the form "host:port"`);
      await this.#listener.listen(await this.#resolveListen(address), address.port);
      const bound = this.#listener.address;
      if (bound !== undefined) this.#listening = formatAddress({ host: address.host, port: bound.port });
    }
    this.#armBeat();
  }

  get listening(): string | undefined {
    return this.#closed ? undefined : this.#listening;
  }

  get connections(): { readonly strangers: number; readonly accepted: number } {
    return this.#listener?.counts ?? { strangers: 0, accepted: 0 };
  }

  setPeers(peers: readonly PeerAddress[]): void {
    if (this.#closed) return;
    const own = this.#options.hello().memberId;
    const wanted = new Map(peers.filter(({ id }) => id !== own).map(({ id, address }) => [id, address]));
    this.#changes += 1;
    const change = this.#changes;
    for (const [id, peer] of this.#peers) {
      if (wanted.get(id) === peer.address) continue;
      this.#peers.delete(id);
      const reason = wanted.has(id) ? "its address has changed" : "it is no peer any more";
      // What it dials stays while only the address changed.
      if (!wanted.has(id)) this.#listener?.closeMember(id, reason);
      peer.consensus?.close(reason);
      peer.snapshot?.close(reason);
      if (peer.host !== undefined) this.#resolver.release(peer.host);
      // onDown may have called setPeers() again: then that list is the newer one.
      if (this.#changes !== change) return;
    }
    for (const [id, address] of wanted) {
      if (!this.#peers.has(id)) this.#addPeer(id, address);
    }
  }

  send(to: MemberId, lane: Lane, frame: readonly Uint8Array[], written?: () => void): boolean {
    const peer = this.#peers.get(to);
    const link = lane === "snapshot" ? peer?.snapshot : peer?.consensus;
    let bytes = 0;
    for (const part of frame) bytes += part.byteLength;
    assert(bytes > 0, "a frame has at least its type");
    if (link !== undefined && bytes <= this.#limits.frameBytesMax && link.send(lane, frame, written)) return true;
    if (written !== undefined) nextTick(written);
    return false;
  }

  flush(): void {
    for (const { consensus } of this.#peers.values()) consensus?.flush();
  }

  pendingBytes(to: MemberId, lane: Lane): number {
    const peer = this.#peers.get(to);
    return (lane === "snapshot" ? peer?.snapshot : peer?.consensus)?.pendingBytes(lane) ?? 0;
  }

  setTls(tls: TlsConfig): void {
    assert(this.#tls !== undefined, "a transport is encrypted from its beginning or never");
    this.#tls = { context: createPeerContext(tls), serverName: tls.serverName };
    this.#listener?.setTls(tls);
  }

  linkCondition(peer: MemberId): LinkCondition | undefined {
    const known = this.#peers.get(peer);
    if (known === undefined) return undefined;
    if (known.consensus === undefined) return { up: false, lastFailure: `its address ${JSON.stringify(known.address)} cannot be dialled` };
    return { up: known.consensus.isUp, lastFailure: known.consensus.lastFailure };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#beat?.cancel();
    const peers = [...this.#peers.values()];
    this.#peers.clear();
    for (const peer of peers) {
      peer.consensus?.close("this side is closing");
      peer.snapshot?.close("this side is closing");
    }
    this.#resolver.close();
    const closed = this.#listener?.close();
    if (closed === undefined) return;
    // All sockets are destroyed, so this takes no longer than a turn of the event loop; the timer is for what nobody has seen yet.
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.setTimer(CLOSE_MS_MAX, resolve);
      void closed.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  #addPeer(id: MemberId, address: string): void {
    const parsed = parseAddress(address);
    if (parsed === undefined || parsed.port === 0) {
      // Nothing to dial, as for a member that listens nowhere. It may still dial us.
      this.#peers.set(id, { address, host: undefined, consensus: undefined, snapshot: undefined });
      return;
    }
    const { events } = this.#options;
    const target = { id, address: parsed };
    const consensus = new OutgoingLink(this.#context, target, "consensus", {
      onUp: (hello) => events.onUp(id, hello),
      onDown: (reason) => {
        if (!this.#closed) events.onDown(id, reason);
      },
      onRefused: (reason) => events.onRefused(id, reason),
    });
    const snapshot = new OutgoingLink(this.#context, target, "snapshot", {
      onUp: () => {},
      onDown: () => {},
      onRefused: (reason) => events.onRefused(id, reason),
    });
    this.#peers.set(id, { address, host: parsed.host, consensus, snapshot });
    this.#resolver.retain(parsed.host);
    consensus.start();
  }

  async #resolveListen({ host }: Address): Promise<string> {
    this.#resolver.retain(host);
    if (this.#resolver.addresses(host).length === 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#options.clock.setTimer(LISTEN_RESOLVE_MS, () => finish());
        const forget = this.#resolver.onChange((changed) => {
          if (changed === host) finish();
        });
        const finish = (): void => {
          timer.cancel();
          forget();
          resolve();
        };
      });
    }
    const [ip] = this.#resolver.addresses(host);
    const problem = this.#resolver.problem(host);
    this.#resolver.release(host);
    if (ip === undefined) throw invalidArgument("peer.listen", `the address of ${host} is not known: ${problem ?? "it has none"}`);
    return ip;
  }

  #armBeat(): void {
    this.#beat = this.#options.clock.setTimer(this.#limits.beatMs, () => {
      this.#armBeat();
      for (const peer of this.#peers.values()) {
        peer.consensus?.beat();
        peer.snapshot?.beat();
      }
      this.#listener?.beat();
    });
  }
}
