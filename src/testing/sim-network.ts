/**
 * Links between simulated members. A member sends to a peer over a link that it dialled itself, as the real transport does, so that
 * each direction lives and fails by itself; and one that waits to dial again does so when the other side has dialled. Bytes are copied when they are sent, as a wire does; the sender's are compared with the copy
 * when they are let go of, so that a buffer that is used again too early is found.
 *
 * Within a lane frames arrive in order, unless reordering is on. Loss, repetition and reordering of single frames are harsher than TCP;
 * Raft allows for them, and so must everything else that travels here. It models no bandwidth.
 */
import type { Hello, Lane, PeerAddress, Transport, TransportEvents } from "../transport/transport.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimScheduler } from "./sim-scheduler.ts";

/** What a direction between two members does to frames. */
export interface LinkFaults {
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  readonly lossRate: number;
  readonly duplicateRate: number;
  /** The share of frames that others may overtake, by up to reorderMs. */
  readonly reorderRate: number;
  readonly reorderMs: number;
  /** Nothing passes. */
  readonly cut: boolean;
}

/** A local network on a good day. */
export const HEALTHY_LINK: LinkFaults = {
  delayMinMs: 0.1,
  delayMaxMs: 0.6,
  lossRate: 0,
  duplicateRate: 0,
  reorderRate: 0,
  reorderMs: 0,
  cut: false,
};

/** What happened to frames and links. */
export interface NetworkCounts {
  sent: number;
  lost: number;
  duplicated: number;
  reordered: number;
  resets: number;
}

/** Bytes in flight on a lane before send() refuses: the bounds of the real transport. */
const PENDING_BYTES_MAX: Readonly<Record<Lane, number>> = { urgent: 1 << 20, bulk: 16 << 20, snapshot: 4 << 20 };
const REDIAL_MIN_MS = 50;
const REDIAL_MAX_MS = 2_000;
const REDIAL_REFUSED_MS = 5_000;
/** How soon a sender learns that the other side's process is gone, or its link was reset. */
const RESET_DELAY_MS = 5;
/** How soon it learns that a machine vanished without a word. */
const SILENCE_MS = 10_000;

export class SimNetwork {
  readonly counts: NetworkCounts = { sent: 0, lost: 0, duplicated: 0, reordered: 0, resets: 0 };
  /** Sees every frame as it is sent, before any fault. The frame is not the observer's to keep. */
  observe: ((from: Hello, to: string, lane: Lane, frame: Uint8Array) => void) | undefined;
  readonly #scheduler: SimScheduler;
  readonly #random: SimRandom;
  readonly #endpoints = new Map<string, SimEndpoint>();
  #faults: LinkFaults;
  readonly #linkFaults = new Map<string, LinkFaults>();

  constructor(options: { readonly scheduler: SimScheduler; readonly random: SimRandom; readonly faults?: LinkFaults }) {
    this.#scheduler = options.scheduler;
    this.#random = options.random;
    this.#faults = options.faults ?? HEALTHY_LINK;
  }

  /** A process's end, which is reached at `address`. An endpoint there before it must be dead or closed. */
  open(options: {
    readonly process: SimProcess;
    readonly address: string;
    readonly hello: () => Hello;
    readonly events: TransportEvents;
  }): Transport {
    const endpoint = new SimEndpoint(this, this.#scheduler, this.#random, options);
    this.#endpoints.set(options.address, endpoint);
    return endpoint;
  }

  /** For every link that has no faults of its own. */
  setFaults(faults: LinkFaults): void {
    this.#faults = faults;
  }

  /** One direction, by machine names. undefined: as all the others. */
  setLinkFaults(from: string, to: string, faults: LinkFaults | undefined): void {
    const name = `${from}>${to}`;
    if (faults === undefined) this.#linkFaults.delete(name);
    else this.#linkFaults.set(name, faults);
  }

  linkFaults(from: string, to: string): LinkFaults {
    return this.#linkFaults.get(`${from}>${to}`) ?? this.#faults;
  }

  /** Groups that reach each other and nobody else; names left out of all groups are alone. Replaces cuts made before. */
  partition(names: readonly string[], groups: readonly (readonly string[])[]): void {
    for (const from of names) {
      for (const to of names) {
        if (from === to) continue;
        const together = groups.some((group) => group.includes(from) && group.includes(to));
        this.setLinkFaults(from, to, { ...this.linkFaults(from, to), cut: !together });
      }
    }
  }

  /** No faults of any kind from now on. */
  heal(): void {
    this.#faults = HEALTHY_LINK;
    this.#linkFaults.clear();
  }

  /** Breaks the links from one machine to another: what is in flight is lost, and both dial again. */
  reset(from: string, to: string): void {
    for (const endpoint of this.#endpoints.values()) {
      if (endpoint.machineName === from) endpoint.resetTo(to);
    }
  }

  /** @internal */
  endpointAt(address: string): SimEndpoint | undefined {
    return this.#endpoints.get(address);
  }
}

interface SimLink {
  readonly peer: PeerAddress;
  state: "down" | "waiting" | "dialling" | "up";
  /** Counts the link's lives: what was sent in an earlier one never arrives. */
  life: number;
  redialMs: number;
  remote: SimEndpoint | undefined;
  /** Of the process that it leads to. */
  bootId: number;
  readonly pendingBytes: Record<Lane, number>;
  /** When the last frame of the lane arrives: the next one does not overtake it. */
  readonly arrival: Record<Lane, number>;
}

/** @internal One process's transport. */
export class SimEndpoint implements Transport {
  readonly listening: string;
  readonly machineName: string;
  readonly #network: SimNetwork;
  readonly #scheduler: SimScheduler;
  readonly #random: SimRandom;
  readonly #process: SimProcess;
  readonly #hello: () => Hello;
  readonly #events: TransportEvents;
  #links = new Map<string, SimLink>();
  /** Who holds a link to this end. */
  readonly #onGone: (() => void)[] = [];
  #closed = false;

  constructor(
    network: SimNetwork,
    scheduler: SimScheduler,
    random: SimRandom,
    options: {
      readonly process: SimProcess;
      readonly address: string;
      readonly hello: () => Hello;
      readonly events: TransportEvents;
    },
  ) {
    this.#network = network;
    this.#scheduler = scheduler;
    this.#random = random;
    this.#process = options.process;
    this.#hello = options.hello;
    this.#events = options.events;
    this.listening = options.address;
    this.machineName = options.process.machine.name;
    this.#process.onKill(() => this.#tellGone());
  }

  get isOpen(): boolean {
    return !this.#closed && this.#process.alive;
  }

  setPeers(peers: readonly PeerAddress[]): void {
    const links = new Map<string, SimLink>();
    for (const peer of peers) {
      const kept = this.#links.get(peer.id);
      if (kept !== undefined && kept.peer.address === peer.address) {
        links.set(peer.id, kept);
        continue;
      }
      const link: SimLink = {
        peer,
        state: "down",
        life: 0,
        redialMs: REDIAL_MIN_MS,
        remote: undefined,
        bootId: 0,
        pendingBytes: { urgent: 0, bulk: 0, snapshot: 0 },
        arrival: { urgent: 0, bulk: 0, snapshot: 0 },
      };
      links.set(peer.id, link);
      this.#dialAfter(link, 0);
    }
    const dropped = [...this.#links.values()].filter((link) => links.get(link.peer.id) !== link);
    this.#links = links;
    for (const link of dropped) {
      this.#take(link, "no longer a peer");
      this.#network.endpointAt(link.peer.address)?.resetTo(this.machineName);
    }
  }

  send(to: string, lane: Lane, frame: readonly Uint8Array[], written?: () => void): boolean {
    const link = this.#links.get(to);
    const copy = concatenate(frame);
    const refused =
      !this.isOpen || link === undefined || link.state !== "up" || link.pendingBytes[lane] + copy.byteLength > PENDING_BYTES_MAX[lane];
    if (refused) {
      if (written !== undefined) this.#later(0, written);
      return false;
    }
    this.#network.counts.sent++;
    this.#network.observe?.(this.#hello(), to, lane, copy);
    if (written !== undefined) {
      this.#later(this.#random.fraction() * 0.3, () => {
        assertUnchanged(frame, copy);
        written();
      });
    }
    const remote = link.remote as SimEndpoint;
    const faults = this.#network.linkFaults(this.machineName, remote.machineName);
    link.pendingBytes[lane] += copy.byteLength;
    this.#transmit(link, lane, copy, faults, true);
    if (faults.duplicateRate > 0 && this.#random.chance(faults.duplicateRate)) {
      this.#network.counts.duplicated++;
      this.#transmit(link, lane, copy.slice(), faults, false);
    }
    return true;
  }

  flush(): void {}

  pendingBytes(to: string, lane: Lane): number {
    return this.#links.get(to)?.pendingBytes[lane] ?? 0;
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const link of this.#links.values()) this.#take(link, "closed");
    this.#links.clear();
    this.#tellGone();
    return Promise.resolve();
  }

  /** @internal */
  resetTo(machineName: string): void {
    for (const link of this.#links.values()) {
      if (link.state !== "up" || link.remote?.machineName !== machineName) continue;
      this.#network.counts.resets++;
      this.#loseAfter(link, RESET_DELAY_MS * this.#random.fraction(), "connection reset");
    }
  }

  #transmit(link: SimLink, lane: Lane, bytes: Uint8Array, faults: LinkFaults, isCounted: boolean): void {
    const life = link.life;
    const remote = link.remote as SimEndpoint;
    const from = this.#hello().memberId;
    const delayMs = this.#random.between(faults.delayMinMs, faults.delayMaxMs);
    let arrival = Math.max(this.#scheduler.now + delayMs, link.arrival[lane]);
    if (faults.reorderRate > 0 && this.#random.chance(faults.reorderRate)) {
      this.#network.counts.reordered++;
      arrival += this.#random.fraction() * faults.reorderMs;
    } else {
      link.arrival[lane] = arrival;
    }
    const isLost = faults.cut || (faults.lossRate > 0 && this.#random.chance(faults.lossRate));
    if (isLost) this.#network.counts.lost++;
    this.#scheduler.at(arrival, () => {
      if (isCounted) link.pendingBytes[lane] -= bytes.byteLength;
      if (isLost || link.life !== life || !remote.isOpen) return;
      // A cut that was made while the frame was under way stops it too.
      if (this.#network.linkFaults(this.machineName, remote.machineName).cut) {
        this.#network.counts.lost++;
        return;
      }
      remote.receive(from, lane, bytes);
    });
  }

  /** @internal */
  receive(from: string, lane: Lane, frame: Uint8Array): void {
    this.#process.deliver(() => {
      if (!this.#closed) this.#events.onFrame(from, lane, frame);
    });
  }

  #dialAfter(link: SimLink, delayMs: number): void {
    const life = ++link.life;
    link.state = "waiting";
    link.remote = undefined;
    this.#scheduler.after(delayMs + this.#delay(), () => {
      if (link.life === life && this.isOpen) this.#dial(link);
    });
  }

  /** The other side has dialled, and been let in. */
  #onAccepted({ memberId, bootId }: Hello): void {
    const link = this.#links.get(memberId);
    if (link === undefined) return;
    const isStale = link.state === "up" && link.bootId !== bootId;
    if (isStale || link.state === "waiting") this.#dialAfter(link, 0);
    if (isStale) this.#events.onDown(memberId, "the other side has begun anew");
  }

  /** The other side's answer takes another event, and its process must run to give it. */
  #dial(link: SimLink): void {
    const life = link.life;
    link.state = "dialling";
    const remote = this.#network.endpointAt(link.peer.address);
    if (remote === undefined || !remote.isOpen || !this.#passes(remote)) {
      this.#redial(link);
      return;
    }
    const hello = this.#hello();
    remote.#process.deliver(() => {
      if (!remote.isOpen) return;
      const refusal = remote.#events.judge(hello);
      const answer = remote.#hello();
      if (refusal === undefined) remote.#onAccepted(hello);
      this.#scheduler.after(this.#delay(), () => {
        this.#process.deliver(() => {
          if (link.life !== life || !this.isOpen) return;
          if (!remote.isOpen || !this.#passes(remote)) this.#redial(link);
          else this.#conclude(link, remote, answer, refusal);
        });
      });
    });
    // Whoever gets no answer, from a stopped process for one, gives up and dials again.
    this.#scheduler.after(5_000, () => {
      if (link.life === life && link.state === "dialling" && this.isOpen) this.#redial(link);
    });
  }

  #conclude(link: SimLink, remote: SimEndpoint, answer: Hello, refusal: string | undefined): void {
    if (refusal !== undefined) {
      this.#dialAfter(link, REDIAL_REFUSED_MS);
      this.#events.onRefused(link.peer.id, refusal);
      return;
    }
    const ours = answer.memberId === link.peer.id ? this.#events.judge(answer) : `this address is member ${answer.memberId}`;
    if (ours !== undefined) {
      this.#dialAfter(link, REDIAL_REFUSED_MS);
      const from = this.#hello().memberId;
      remote.#process.deliver(() => remote.#events.onRefused(from, ours));
      return;
    }
    link.state = "up";
    link.remote = remote;
    link.bootId = answer.bootId;
    link.redialMs = REDIAL_MIN_MS;
    for (const lane of ["urgent", "bulk", "snapshot"] as const) link.arrival[lane] = this.#scheduler.now;
    this.#watchRemote(link);
    this.#events.onUp(link.peer.id, answer);
  }

  /** Notices that the other side is gone: soon when its machine still answers, late when it vanished. */
  #watchRemote(link: SimLink): void {
    const life = link.life;
    const remote = link.remote as SimEndpoint;
    remote.#onGone.push(() => {
      if (link.life === life)
        this.#loseAfter(link, this.#random.chance(0.7) ? RESET_DELAY_MS * this.#random.fraction() : SILENCE_MS, "gone");
    });
  }

  #tellGone(): void {
    for (const gone of this.#onGone.splice(0)) gone();
  }

  #loseAfter(link: SimLink, delayMs: number, reason: string): void {
    const life = link.life;
    this.#scheduler.after(delayMs, () => {
      if (link.life !== life || link.state !== "up" || !this.isOpen) return;
      this.#dialAfter(link, link.redialMs);
      this.#process.deliver(() => {
        if (!this.#closed) this.#events.onDown(link.peer.id, reason);
      });
    });
  }

  #redial(link: SimLink): void {
    const delayMs = link.redialMs * this.#random.between(0.5, 1);
    link.redialMs = Math.min(REDIAL_MAX_MS, link.redialMs * 2);
    this.#dialAfter(link, delayMs);
  }

  #take(link: SimLink, reason: string): void {
    const wasUp = link.state === "up";
    link.life++;
    link.state = "down";
    if (wasUp && this.isOpen) this.#later(0, () => this.#events.onDown(link.peer.id, reason));
  }

  #passes(remote: SimEndpoint): boolean {
    return (
      !this.#network.linkFaults(this.machineName, remote.machineName).cut &&
      !this.#network.linkFaults(remote.machineName, this.machineName).cut
    );
  }

  #delay(): number {
    return this.#random.between(HEALTHY_LINK.delayMinMs, HEALTHY_LINK.delayMaxMs);
  }

  #later(delayMs: number, run: () => void): void {
    this.#scheduler.after(delayMs, () => this.#process.deliver(run));
  }
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  let bytes = 0;
  for (const part of parts) bytes += part.byteLength;
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

function assertUnchanged(parts: readonly Uint8Array[], copy: Uint8Array): void {
  let at = 0;
  for (const part of parts) {
    if (Buffer.compare(part, copy.subarray(at, at + part.byteLength)) !== 0) {
      throw new Error("broken invariant: a sender changed the bytes of a frame before it was written");
    }
    at += part.byteLength;
  }
}
