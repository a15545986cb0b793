/** A member of a test: a real transport on loopback, everything that it reported, and waiting for a report. */
import assert from "node:assert/strict";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createNodeClock } from "../../host/node-clock.ts";
import { createNodeRandom } from "../../host/node-random.ts";
import { encodeFrame, FrameReader, type FrameLane } from "../frame.ts";
import { decodeControl, encodeHello, type ControlFrame, type LinkPurpose } from "../hello.ts";
import { createTcpTransport, type TcpTransport, type TcpTransportOptions } from "../tcp-transport.ts";
import type { Hello, Lane, PeerAddress } from "../transport.ts";

export interface Received {
  readonly from: string;
  readonly lane: Lane;
  readonly text: string;
}

/** The id of the test's member with this number. */
export function idOf(number: number): string {
  return number.toString(16).padStart(16, "0");
}

export function helloOf(number: number, change: Partial<Hello> = {}): Hello {
  return {
    clusterId: "c".repeat(16),
    memberId: idOf(number),
    incarnation: "1".repeat(16),
    name: `n${number}`,
    bootId: 7,
    protocolMin: 1,
    protocolMax: 1,
    featureLevel: 1,
    electionTimeoutMs: 1000,
    ...change,
  };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function bytesOf(text: string): readonly Uint8Array[] {
  return [encoder.encode(text)];
}

export class TestMember {
  readonly number: number;
  readonly received: Received[] = [];
  /** "up ID", "down ID", "refused ID: REASON", in order. */
  readonly reports: string[] = [];
  /** By peer. */
  readonly hellos: Map<string, Hello> = new Map();
  hello: Hello;
  judge: (hello: Hello) => string | undefined = () => undefined;
  #transport: TcpTransport | undefined;
  #waiting: (() => void)[] = [];

  constructor(number: number, change: Partial<Hello> = {}) {
    this.number = number;
    this.hello = helloOf(number, change);
  }

  get id(): string {
    return this.hello.memberId;
  }

  get transport(): TcpTransport {
    assert.ok(this.#transport !== undefined);
    return this.#transport;
  }

  /** As a peer of others. */
  get address(): PeerAddress {
    assert.ok(this.transport.listening !== undefined);
    return { id: this.id, address: this.transport.listening };
  }

  async open(options: Partial<TcpTransportOptions> = {}): Promise<this> {
    this.#transport = await createTcpTransport({
      listen: "127.0.0.1:0",
      clock: createNodeClock(),
      random: createNodeRandom(),
      hello: () => this.hello,
      events: {
        judge: (hello) => this.judge(hello),
        onFrame: (from, lane, frame) => this.#note(() => this.received.push({ from, lane, text: decoder.decode(frame) })),
        onUp: (peer, hello) =>
          this.#note(() => {
            this.hellos.set(peer, hello);
            this.reports.push(`up ${peer}`);
          }),
        onDown: (peer) => this.#note(() => this.reports.push(`down ${peer}`)),
        onRefused: (peer, reason) => this.#note(() => this.reports.push(`refused ${peer}: ${reason}`)),
      },
      ...options,
    });
    return this;
  }

  /** Settles once it holds; looked at after each report. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  untilReport(pattern: RegExp | string): Promise<void> {
    return this.until(() => this.reports.some((report) => (typeof pattern === "string" ? report === pattern : pattern.test(report))));
  }

  send(to: TestMember, lane: Lane, text: string): boolean {
    return this.transport.send(to.id, lane, bytesOf(text));
  }

  texts(from: TestMember): string[] {
    return this.received.filter((frame) => frame.from === from.id).map(({ text }) => text);
  }

  #note(take: () => void): void {
    take();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }
}

/** Turns of the event loop: long enough for bytes on loopback to be read, answered and read again. */
export async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Settles once it holds; looked at after each turn of the event loop. The test's own timeout ends a wait in vain. */
export async function eventually(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** The other end of a link, spoken by hand: what a member must take from anybody. */
export class RawPeer {
  readonly socket: Socket;
  readonly frames: { readonly lane: FrameLane; readonly body: Uint8Array }[] = [];
  closed = false;
  readonly #reader = new FrameReader(16 << 20, (lane, body) => this.frames.push({ lane, body }));

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
    });
    socket.on("data", (chunk) => {
      assert.equal(this.#reader.read(chunk), undefined);
    });
  }

  static async dial(address: string): Promise<RawPeer> {
    const port = Number(address.slice(address.lastIndexOf(":") + 1));
    const socket = connect({ host: "127.0.0.1", port });
    const peer = new RawPeer(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return peer;
  }

  get controls(): (ControlFrame | undefined)[] {
    return this.frames.filter(({ lane }) => lane === "control").map(({ body }) => decodeControl(body));
  }

  say(lane: FrameLane, body: Uint8Array): void {
    this.socket.write(encodeFrame(lane, [body]));
  }

  sayHello(hello: Hello, purpose: LinkPurpose = "consensus"): void {
    this.say("control", encodeHello(hello, purpose));
  }
}

/** Listens like a member, and hands over each connection as it is accepted. */
export class RawListener {
  readonly peers: RawPeer[] = [];
  readonly #server: Server = createServer((socket) => {
    const peer = new RawPeer(socket);
    this.peers.push(peer);
    this.onPeer(peer);
  });
  onPeer: (peer: RawPeer) => void = () => {};

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen({ host: "127.0.0.1", port: 0 }, resolve));
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const peer of this.peers) peer.socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
