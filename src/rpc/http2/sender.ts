/**
 * The sending half of a connection: frames, header blocks, and flow control of data (RFC 9113 section 5.2). Streams with waiting data
 * take turns, one frame each. Data is held back while the socket has more than `outputBytesHigh` to write; control frames and
 * headers are not, since the peer may need them to make progress.
 */
import type { Socket } from "node:net";
import { encodedBytesMax, HpackEncoder, type HeaderTemplate } from "../hpack/encoder.ts";
import type { AbuseBudget } from "./abuse-budget.ts";
import type { Http2Limits } from "./limits.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { COPIED_BYTES_MAX, Output } from "./output.ts";
import {
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FRAME_BYTES_DEFAULT,
  FRAME_HEADER_BYTES,
  FrameType,
  WINDOW_BYTES_DEFAULT,
  WINDOW_BYTES_MAX,
} from "./protocol.ts";
import { SendQueue } from "./send-queue.ts";
import type { Stream } from "./stream.ts";
import type { Turn } from "./turn.ts";

/** A waiting stream is told that it may write again when less than this waits. */
export const WRITABLE_BYTES = 32_768;

/** What the sender tells its connection. */
export interface SenderEvents {
  /** Something waits to be written: flush at the end of the turn. */
  onDirty(): void;
  /** The stream's last frame is in the output. */
  onLocalEnd(stream: Stream): void;
  /** More waits in the streams than `sendQueueBytesMax`, and this one wants more. */
  onQueueFull(stream: Stream): void;
}

/** The sending half of one connection. */
export class Sender {
  readonly output: Output;
  readonly encoder: HpackEncoder = new HpackEncoder();
  /** The connection's window, and the windows with which new streams start. */
  window: number = WINDOW_BYTES_DEFAULT;
  initialWindow: number = WINDOW_BYTES_DEFAULT;
  /** The largest header list that the peer accepts. */
  headerListBytesMax: number = Number.MAX_SAFE_INTEGER;
  /** Bytes waiting in the streams. */
  queuedBytes = 0;
  readonly #limits: Http2Limits;
  readonly #events: SenderEvents;
  readonly #controlBudget: AbuseBudget;
  readonly #memory: MemoryBudget;
  #first: Stream | undefined = undefined;
  #last: Stream | undefined = undefined;

  constructor(socket: Socket, turn: Turn, limits: Http2Limits, controlBudget: AbuseBudget, events: SenderEvents) {
    this.output = new Output(socket, turn.pool);
    this.#memory = turn.sendMemory;
    this.#limits = limits;
    this.#events = events;
    this.#controlBudget = controlBudget;
  }

  /** True if data must wait for the socket. */
  get isCongested(): boolean {
    return this.output.unsentBytes >= this.#limits.outputBytesHigh;
  }

  /** True if so much waits for the socket that only a peer that does not read can be the cause. */
  get isFlooded(): boolean {
    return this.output.unsentBytes >= this.#limits.outputBytesMax;
  }

  /** Our SETTINGS: numbers and values in turn. */
  settings(values: readonly number[]): void {
    const { output } = this;
    const length = (values.length / 2) * 6;
    output.reserve(FRAME_HEADER_BYTES + length);
    output.header(length, FrameType.settings, 0, 0);
    for (let i = 0; i < values.length; i += 2) {
      output.position = output.buffer.writeUInt16BE(values[i]!, output.position);
      output.position = output.buffer.writeUInt32BE(values[i + 1]!, output.position);
    }
    this.#events.onDirty();
  }

  settingsAck(): void {
    this.output.reserve(FRAME_HEADER_BYTES);
    this.output.header(0, FrameType.settings, FLAG_ACK, 0);
    this.#events.onDirty();
  }

  /** A PING or its answer. Eight bytes at source[at]. */
  ping(ack: boolean, source: Buffer, at: number): void {
    const { output } = this;
    output.reserve(FRAME_HEADER_BYTES + 8);
    output.header(8, FrameType.ping, ack ? FLAG_ACK : 0, 0);
    source.copy(output.buffer, output.position, at, at + 8);
    output.position += 8;
    this.#events.onDirty();
  }

  goaway(lastStreamId: number, code: number, reason: string): void {
    const { output } = this;
    const text = Buffer.from(reason.slice(0, 256), "latin1");
    output.reserve(FRAME_HEADER_BYTES + 8 + text.length);
    output.header(8 + text.length, FrameType.goaway, 0, 0);
    output.position = output.buffer.writeUInt32BE(lastStreamId, output.position);
    output.position = output.buffer.writeUInt32BE(code, output.position);
    output.position += text.copy(output.buffer, output.position);
    this.#events.onDirty();
  }

  rstStream(streamId: number, code: number): void {
    this.#number(FrameType.rstStream, streamId, code);
  }

  windowUpdate(streamId: number, increment: number): void {
    this.#number(FrameType.windowUpdate, streamId, increment);
  }

  /** An empty DATA frame with END_STREAM, or the flag on the stream's last frame if that is still here. */
  endOfStream(streamId: number): void {
    if (this.output.flagData(streamId, FLAG_END_STREAM)) return;
    this.output.reserve(FRAME_HEADER_BYTES);
    this.output.header(0, FrameType.data, FLAG_END_STREAM, streamId);
    this.#events.onDirty();
  }

  /** A header block: the fields of the template, then `fields`, names and values in turn. */
  headers(streamId: number, template: HeaderTemplate | undefined, fields: readonly string[] | undefined, end: boolean): void {
    const { output, encoder } = this;
    this.#events.onDirty();
    let bytesMax = 12;
    if (template !== undefined) bytesMax += encodedBytesMax(template.fields);
    if (fields !== undefined) bytesMax += encodedBytesMax(fields);
    if (bytesMax > FRAME_BYTES_DEFAULT) {
      const block = Buffer.allocUnsafe(bytesMax);
      this.#longHeaders(streamId, block, this.#encode(template, fields, block, 0), end);
      return;
    }
    output.reserve(FRAME_HEADER_BYTES + bytesMax);
    output.header(0, FrameType.headers, FLAG_END_HEADERS | (end ? FLAG_END_STREAM : 0), streamId);
    const { buffer, position } = output;
    const stop =
      fields === undefined && template !== undefined && template.version === encoder.version
        ? encoder.template(template, buffer, position)
        : this.#encode(template, fields, buffer, position);
    // At most 16,384 bytes: the first of the three length bytes stays 0.
    buffer[position - 8] = (stop - position) >>> 8;
    buffer[position - 7] = stop - position;
    output.position = stop;
  }

  /** See Stream.room. */
  room(stream: Stream, length: number, flags: number, referenced: number): number {
    const { output } = this;
    if (
      stream.queue !== undefined ||
      this.#first !== undefined ||
      length > stream.sendWindow ||
      length > this.window ||
      length > FRAME_BYTES_DEFAULT ||
      output.unsentBytes >= this.#limits.outputBytesHigh
    ) {
      return -1;
    }
    if (output.wantsEarlyWrite) output.flush();
    stream.sendWindow -= length;
    this.window -= length;
    this.#earn();
    this.#events.onDirty();
    if (referenced === 0) return output.data(stream.id, length, flags);
    output.reserve(FRAME_HEADER_BYTES + length - referenced);
    output.header(length, FrameType.data, flags, stream.id);
    const place = output.position;
    output.position = place + length - referenced;
    return place;
  }

  /** See Stream.write. */
  enqueue(stream: Stream, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    // One write may pass the limit, so that a single large message always goes.
    if (this.queuedBytes > this.#limits.sendQueueBytesMax || !this.#memory.take(bytes.length)) {
      this.#events.onQueueFull(stream);
      return;
    }
    const queue = (stream.queue ??= new SendQueue());
    queue.push(bytes);
    this.queuedBytes += bytes.length;
    if (stream.sendWindow > 0) this.#schedule(stream);
  }

  /** The peer changed SETTINGS_INITIAL_WINDOW_SIZE. False: a window overflows. */
  changeInitialWindow(streams: Iterable<Stream>, size: number): boolean {
    const change = size - this.initialWindow;
    this.initialWindow = size;
    for (const stream of streams) {
      stream.sendWindow += change;
      if (stream.sendWindow > WINDOW_BYTES_MAX) return false;
      if (stream.queue !== undefined && stream.sendWindow > 0) this.#schedule(stream);
    }
    return true;
  }

  /** The peer granted more to a stream. False: the window overflows. */
  grantStream(stream: Stream, increment: number): boolean {
    stream.sendWindow += increment;
    if (stream.sendWindow > WINDOW_BYTES_MAX) return false;
    if (stream.queue !== undefined && stream.sendWindow > 0) this.#schedule(stream);
    return true;
  }

  /** The peer granted more to the connection. False: the window overflows. */
  grantConnection(increment: number): boolean {
    this.window += increment;
    if (this.window > WINDOW_BYTES_MAX) return false;
    if (this.#first !== undefined) this.#events.onDirty();
    return true;
  }

  /** Forgets what waits in a stream that has ended. */
  forget(stream: Stream): void {
    if (stream.queue === undefined) return;
    this.#release(stream.queue.bytes);
    stream.queue = undefined;
    // A scheduled stream without a queue is skipped when its turn comes.
  }

  /** Moves waiting data into the output, as far as windows and socket allow. Called at the end of each turn in which something changed. */
  pump(): void {
    while (this.#first !== undefined && this.window > 0 && !this.isCongested) {
      const stream = this.#first;
      this.#first = stream.nextScheduled;
      if (this.#first === undefined) this.#last = undefined;
      stream.nextScheduled = undefined;
      stream.isScheduled = false;
      if (stream.queue !== undefined && stream.sendWindow > 0) this.#sendFrom(stream, stream.queue);
      if (this.output.wantsEarlyWrite) this.output.flush();
    }
  }

  #sendFrom(stream: Stream, queue: SendQueue): void {
    const { output } = this;
    const length = Math.min(queue.bytes, stream.sendWindow, this.window, FRAME_BYTES_DEFAULT);
    const last = length === queue.bytes;
    const flags = last && queue.ended && queue.trailers === undefined ? FLAG_END_STREAM : 0;
    stream.sendWindow -= length;
    this.window -= length;
    this.#release(length);
    stream.stalledAtMs = 0;
    // Frames cut short by a window earn the peer nothing, or tiny windows would pay for themselves.
    if (last || length === FRAME_BYTES_DEFAULT) this.#earn();
    if (length <= COPIED_BYTES_MAX) {
      const place = output.data(stream.id, length, flags);
      queue.copyTo(output.buffer, place, length);
    } else {
      output.reserve(FRAME_HEADER_BYTES);
      output.header(length, FrameType.data, flags, stream.id);
      for (let left = length; left > 0;) {
        const view = queue.take(left);
        output.piece(view);
        left -= view.length;
      }
    }
    if (!last) {
      if (stream.sendWindow > 0) this.#schedule(stream);
    } else {
      stream.queue = undefined;
      if (queue.ended) {
        const { trailers } = queue;
        if (trailers !== undefined) this.headers(stream.id, trailers.template, trailers.fields, true);
        this.#events.onLocalEnd(stream);
        return;
      }
    }
    if (stream.wantsWritable && stream.queuedBytes < WRITABLE_BYTES) {
      stream.wantsWritable = false;
      stream.listener.onWritable();
    }
  }

  #release(bytes: number): void {
    this.queuedBytes -= bytes;
    this.#memory.give(bytes);
  }

  #schedule(stream: Stream): void {
    this.#events.onDirty();
    if (stream.isScheduled) return;
    stream.isScheduled = true;
    if (this.#last === undefined) this.#first = stream;
    else this.#last.nextScheduled = stream;
    this.#last = stream;
  }

  /** A DATA frame of full use allows the peer a WINDOW_UPDATE for the stream and one for the connection. */
  #earn(): void {
    this.#controlBudget.earn();
    this.#controlBudget.earn();
  }

  #number(type: number, streamId: number, value: number): void {
    const { output } = this;
    output.reserve(FRAME_HEADER_BYTES + 4);
    output.header(4, type, 0, streamId);
    output.position = output.buffer.writeUInt32BE(value, output.position);
    this.#events.onDirty();
  }

  #encode(template: HeaderTemplate | undefined, fields: readonly string[] | undefined, target: Uint8Array, at: number): number {
    const { encoder } = this;
    at = encoder.begin(target, at);
    if (template !== undefined) at = encoder.template(template, target, at);
    if (fields !== undefined) {
      for (let i = 0; i < fields.length; i += 2) at = encoder.field(fields[i]!, fields[i + 1]!, false, target, at);
    }
    return at;
  }

  /** A block that may not fit into one frame: HEADERS and CONTINUATIONs, with nothing between them. */
  #longHeaders(streamId: number, block: Buffer, stop: number, end: boolean): void {
    const { output } = this;
    let type: number = FrameType.headers;
    for (let at = 0; at === 0 || at < stop;) {
      const length = Math.min(stop - at, FRAME_BYTES_DEFAULT);
      const flags = (at + length === stop ? FLAG_END_HEADERS : 0) | (at === 0 && end ? FLAG_END_STREAM : 0);
      output.reserve(FRAME_HEADER_BYTES + length);
      output.header(length, type, flags, streamId);
      block.copy(output.buffer, output.position, at, at + length);
      output.position += length;
      at += length;
      type = FrameType.continuation;
    }
  }
}
