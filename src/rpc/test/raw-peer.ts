/** A peer that sends whatever bytes a test wants, and reads frames back. It keeps no rule of HTTP/2 by itself. */
import { connect, type Socket } from "node:net";
import { HpackDecoder } from "../hpack/decoder.ts";
import { createHeaderTemplate, HpackEncoder } from "../hpack/encoder.ts";
import type { HeaderBlock } from "../hpack/header-field.ts";
import { CLIENT_PREFACE, FrameType } from "../http2/protocol.ts";

/** A frame as it was read. */
export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The bytes of a frame. */
export function frame(type: number, flags: number, streamId: number, payload: Uint8Array | readonly number[] = []): Buffer {
  const body = Buffer.from(payload);
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, body]);
}

/** A 32-bit number as a payload. */
export function number32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** The payload of SETTINGS: ids and values in turn. */
export function settingsPayload(...values: number[]): Buffer {
  const bytes = Buffer.alloc((values.length / 2) * 6);
  for (let i = 0; i < values.length; i += 2) {
    bytes.writeUInt16BE(values[i]!, i * 3);
    bytes.writeUInt32BE(values[i + 1]!, i * 3 + 2);
  }
  return bytes;
}

/** A gRPC message with its prefix. */
export function grpcMessage(bytes: Uint8Array, flag = 0): Buffer {
  return Buffer.concat([Buffer.from([flag]), number32(bytes.length), bytes]);
}

/** Encodes the header blocks of one connection. They must be sent in the order in which they are made. */
export class HeaderBlocks {
  readonly encoder: HpackEncoder = new HpackEncoder();

  /** The block of header fields, names and values in turn. */
  block(...fields: string[]): Buffer {
    const target = Buffer.alloc(fields.join("").length * 4 + 64);
    const at = this.encoder.begin(target, 0);
    return target.subarray(0, this.encoder.template(createHeaderTemplate(fields), target, at));
  }

  /** The header block of a gRPC request. */
  request(path: string, ...more: string[]): Buffer {
    return this.block(
      ":method",
      "POST",
      ":scheme",
      "http",
      ":path",
      path,
      ":authority",
      "test",
      "content-type",
      "application/grpc",
      "te",
      "trailers",
      ...more,
    );
  }
}

/** A connection in the hands of a test. */
export class RawPeer extends HeaderBlocks {
  readonly socket: Socket;
  readonly decoder: HpackDecoder = new HpackDecoder({ tableBytesMax: 4096, listBytesMax: 1 << 20 });
  /** Frames read and not yet taken. */
  readonly frames: RawFrame[] = [];
  isClosed = false;
  #held: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    super();
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.isClosed = true;
      this.#wake?.();
    });
  }

  /** Connects; with `greet`, sends the preface and empty SETTINGS, and acknowledges the server's. */
  static async connect(port: number, greet = true): Promise<RawPeer> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const peer = new RawPeer(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    if (greet) {
      peer.send(CLIENT_PREFACE, frame(FrameType.settings, 0, 0));
      await peer.next((found) => found.type === FrameType.settings && found.flags === 0);
      peer.send(frame(FrameType.settings, 1, 0));
      await peer.next((found) => found.type === FrameType.settings && found.flags === 1);
      // An end that was said already is what some tests wait for.
      peer.frames.splice(0, peer.frames.length, ...peer.frames.filter((found) => found.type === FrameType.goaway));
    }
    return peer;
  }

  send(...parts: Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** The first frame, of those read and to be read, for which the test holds; it and those before are taken. Undefined if the connection ends before. */
  async next(test: (found: RawFrame) => boolean = () => true): Promise<RawFrame | undefined> {
    for (;;) {
      while (this.frames.length > 0) {
        const found = this.frames.shift()!;
        if (test(found)) return found;
      }
      if (this.isClosed) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** The code of the GOAWAY with which the connection ends, or "closed" if there was none. */
  async goawayCode(): Promise<number | "closed"> {
    const found = await this.next((candidate) => candidate.type === FrameType.goaway);
    return found === undefined ? "closed" : found.payload.readUInt32BE(4);
  }

  /** The code with which the stream is reset, or undefined if the connection ends. */
  async resetCode(streamId: number): Promise<number | undefined> {
    const found = await this.next((candidate) => candidate.type === FrameType.rstStream && candidate.streamId === streamId);
    return found?.payload.readUInt32BE(0);
  }

  /** The next header block on the stream. */
  async headers(streamId: number): Promise<HeaderBlock | undefined> {
    for (;;) {
      const found = await this.next((candidate) => candidate.type === FrameType.headers);
      if (found === undefined) return undefined;
      const block = this.decoder.decode(found.payload, 0, found.payload.length);
      if (found.streamId === streamId) return block;
    }
  }

  /** Sends a PING and waits for its answer: all that was sent before has then been handled. False if the connection ended. */
  async sync(): Promise<boolean> {
    this.send(frame(FrameType.ping, 0, 0, [9, 9, 9, 9, 9, 9, 9, 9]));
    const found = await this.next((candidate) => candidate.type === FrameType.ping && candidate.payload[0] === 9);
    return found !== undefined;
  }

  /** Resolves when the connection is closed. */
  async closed(): Promise<void> {
    while (!this.isClosed) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  destroy(): void {
    this.socket.destroy();
  }

  #onData(chunk: Buffer): void {
    let held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    while (held.length >= 9) {
      const length = held.readUIntBE(0, 3);
      if (held.length < 9 + length) break;
      this.frames.push({
        type: held[3]!,
        flags: held[4]!,
        streamId: held.readUInt32BE(5) & 0x7fff_ffff,
        payload: Buffer.from(held.subarray(9, 9 + length)),
      });
      held = held.subarray(9 + length);
    }
    this.#held = held;
    this.#wake?.();
  }
}
