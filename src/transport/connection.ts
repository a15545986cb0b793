/**
 * One connection to another member, dialled or accepted: frames in, frames out, and the beats that find it dead. TCP alone notices a peer
 * that vanished only after many minutes while something waits to be acknowledged, so each side of a connection must hear from the other.
 * Who may be at the other end is not decided here (outgoing-link.ts, listener.ts).
 */
import type { Socket } from "node:net";
import { encodeFrame, FrameReader, type FrameLane } from "./frame.ts";
import { encodeHello, encodeRefusal, PING_BODY, PONG_BODY, type LinkPurpose } from "./hello.ts";
import type { TransportLimits } from "./limits.ts";
import { SendQueue } from "./send-queue.ts";
import type { Hello } from "./transport.ts";

/** What the owner of a connection is told. */
export interface ConnectionEvents {
  /** Control frames included. Not called once the connection is closed. */
  onFrame(lane: FrameLane, body: Uint8Array): void;
  /** Once, for whatever reason, close() included. */
  onClosed(reason: string): void;
}

/** TCP's own probes, for the long silences of a connection that nobody looks after; beats find the rest. */
export const KEEP_ALIVE_MS = 15_000;

export class Connection {
  readonly queue: SendQueue;
  readonly #socket: Socket;
  readonly #limits: TransportLimits;
  readonly #events: ConnectionEvents;
  readonly #reader: FrameReader;
  #closed = false;
  #refused = false;
  #error: string | undefined;
  #beatsSilent = 0;
  #beatsStuck = 0;
  #writesTakenBefore = 0;

  constructor(socket: Socket, limits: TransportLimits, events: ConnectionEvents) {
    this.#socket = socket;
    this.#limits = limits;
    this.#events = events;
    this.#reader = new FrameReader(limits.handshakeFrameBytesMax, (lane, body) => {
      events.onFrame(lane, body);
    });
    this.queue = new SendQueue(socket, limits);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on("data", this.#onData);
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#error = error.code === undefined ? error.message : `${error.code}: ${error.message}`;
    });
    socket.on("end", () => this.close("the other side closed the connection"));
    socket.on("close", () => this.close("the connection broke"));
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** To be sent before open(). */
  sendHello(hello: Hello, purpose: LinkPurpose): void {
    this.#socket.write(encodeFrame("control", [encodeHello(hello, purpose)]));
  }

  /** The handshake is over: frames of full size come in, and what waits goes out. */
  open(): void {
    this.#reader.bodyBytesMax = this.#limits.frameBytesMax;
    this.queue.open();
  }

  /** Tells the other side why not, and closes once it has closed. Whoever calls this must see to it that the wait ends. */
  refuse(reason: string): void {
    if (this.#closed || this.#refused) return;
    this.#refused = true;
    this.#reader.stop();
    this.#socket.end(encodeFrame("control", [encodeRefusal(reason)]));
  }

  /** Also settles everything that waits in the queue. */
  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reader.stop();
    // First the socket, then the queue: once `written` is called the bytes may change, and the socket must not read them any more.
    this.#socket.destroy();
    this.queue.close();
    this.#events.onClosed(this.#error ?? reason);
  }

  /**
   * Counts beats, not time: a process that was stopped for a minute finds one beat missed, not thirty, and first reads what has come in.
   * The side that dialled asks, the other answers.
   */
  beat(asks: boolean, beatsSilentMax: number): void {
    this.#beatsSilent += 1;
    const taken = this.queue.writesTaken;
    this.#beatsStuck = this.queue.isWriting && taken === this.#writesTakenBefore ? this.#beatsStuck + 1 : 0;
    this.#writesTakenBefore = taken;
    if (this.#beatsSilent > beatsSilentMax) {
      this.close("nothing was heard from the other side for too long");
    } else if (this.#beatsStuck > this.#limits.beatsSilentMax) {
      this.close("the other side reads nothing");
    } else if (asks) {
      this.#control(PING_BODY);
    }
  }

  answerPing(): void {
    this.#control(PONG_BODY);
  }

  #control(body: Uint8Array): void {
    // One at a time: whoever asks without reading the answers does not make us keep them.
    if (this.queue.pendingBytes("control") === 0) this.queue.offer("control", [body], undefined);
  }

  readonly #onData = (chunk: Uint8Array): void => {
    this.#beatsSilent = 0;
    const problem = this.#reader.read(chunk);
    if (problem !== undefined) this.close(problem);
  };
}
