/**
 * The five bytes before each gRPC message, a flag for compression and the length: reading messages out of DATA frames, and writing them.
 * A message that lies whole in a frame is given as it lies. One that does not is collected in memory that grows as its bytes arrive,
 * never by what the length merely claims, and counts against a budget.
 */
import type { Stream } from "../http2/stream.ts";
import { COPIED_BYTES_MAX } from "../http2/output.ts";
import { FRAME_BYTES_DEFAULT } from "../http2/protocol.ts";
import { compress, decompress } from "./compression.ts";
import type { MemoryBudget } from "../http2/memory-budget.ts";
import { RpcError, Status } from "./status.ts";

/** About what a decoded message that waits to be read holds beside its bytes, so that empty messages count as well. */
export const WAITING_MESSAGE_BYTES = 128;

const PREFIX_BYTES = 5;
/** What many are sent is not copied for each of them from this size on: what lies in the processor's cache is read from there again. */
const REFERENCED_BYTES_MIN = 3_072;
const COLLECTED_BYTES_MIN = 4096;

/** What takes the messages. */
export interface MessageSink {
  /** A message. `frameBytes`: how many bytes of it, prefix included, were in the frame being read. False: stop. */
  onMessage(bytes: Uint8Array, frameBytes: number): boolean;
  /** A message was decompressed and comes next, or could not be. False: stop. */
  onInflated(compressedBytes: number, inflatedBytes: number): boolean;
}

/** Reads the messages of one stream. */
export class MessageReader {
  /** True if the peer said grpc-encoding: gzip. */
  isCompressed = false;
  /** Messages read. */
  messagesDone = 0;
  readonly #sink: MessageSink;
  readonly #messageBytesMax: number;
  readonly #budget: MemoryBudget;
  /** The prefix as far as it has come, if it is split: its bytes as one number would lose the flag, so they are kept apart. */
  #prefixBytes = 0;
  #prefixFlag = 0;
  #prefixLength = 0;
  /** The message being collected. */
  #collected: Uint8Array | undefined = undefined;
  #collectedBytes = 0;

  constructor(sink: MessageSink, messageBytesMax: number, budget: MemoryBudget) {
    this.#sink = sink;
    this.#messageBytesMax = messageBytesMax;
    this.#budget = budget;
  }

  /** True if the data so far ends between messages. */
  get isBetweenMessages(): boolean {
    return this.#prefixBytes === 0;
  }

  /** Reads source[start, end). Returns why the call must fail, or undefined. */
  push(source: Buffer, start: number, end: number): RpcError | undefined {
    while (start < end) {
      const from = start;
      while (this.#prefixBytes < PREFIX_BYTES && start < end) {
        const byte = source[start++]!;
        if (this.#prefixBytes === 0) {
          this.#prefixFlag = byte;
          this.#prefixLength = 0;
        } else {
          this.#prefixLength = this.#prefixLength * 256 + byte;
        }
        this.#prefixBytes++;
      }
      if (this.#prefixBytes < PREFIX_BYTES) return undefined;
      const length = this.#prefixLength;
      if (this.#collected === undefined) {
        const problem = this.#prefixProblem();
        if (problem !== undefined) return problem;
        if (end - start >= length) {
          this.#prefixBytes = 0;
          const view = new Uint8Array(source.buffer, source.byteOffset + start, length);
          start += length;
          const failure = this.#emit(view, start - from);
          if (failure !== undefined) return failure === STOPPED ? undefined : failure;
          continue;
        }
      }
      const count = Math.min(end - start, length - this.#collectedBytes);
      const failure = this.#collect(source, start, count);
      if (failure !== undefined) return failure;
      start += count;
      if (this.#collectedBytes === length) {
        const whole = this.#collected!.subarray(0, length);
        this.#budget.give(this.#collected!.length);
        this.#collected = undefined;
        this.#collectedBytes = 0;
        this.#prefixBytes = 0;
        const stopped = this.#emit(whole, start - from);
        if (stopped !== undefined) return stopped === STOPPED ? undefined : stopped;
      }
    }
    return undefined;
  }

  /** Gives up what was collected. */
  release(): void {
    if (this.#collected === undefined) return;
    this.#budget.give(this.#collected.length);
    this.#collected = undefined;
  }

  #prefixProblem(): RpcError | undefined {
    if (this.#prefixFlag > 1) return new RpcError(Status.INTERNAL, `a message with the flag ${this.#prefixFlag}`);
    if (this.#prefixFlag === 1 && !this.isCompressed) return new RpcError(Status.INTERNAL, "a compressed message without grpc-encoding");
    if (this.#prefixLength > this.#messageBytesMax) return tooLarge(this.#prefixLength, this.#messageBytesMax);
    return undefined;
  }

  #collect(source: Buffer, start: number, count: number): RpcError | undefined {
    const needed = this.#collectedBytes + count;
    const held = this.#collected;
    if (held === undefined || held.length < needed) {
      const heldBytes = held === undefined ? 0 : held.length;
      const size = Math.min(this.#prefixLength, Math.max(needed, heldBytes * 2, COLLECTED_BYTES_MIN));
      if (!this.#budget.take(size - heldBytes)) {
        return new RpcError(Status.RESOURCE_EXHAUSTED, "too many incomplete messages at the same time");
      }
      const grown = new Uint8Array(new ArrayBuffer(size));
      if (held !== undefined) grown.set(held.subarray(0, this.#collectedBytes));
      this.#collected = grown;
    }
    this.#collected!.set(source.subarray(start, start + count), this.#collectedBytes);
    this.#collectedBytes = needed;
    return undefined;
  }

  #emit(bytes: Uint8Array, frameBytes: number): RpcError | typeof STOPPED | undefined {
    this.messagesDone++;
    if (this.#prefixFlag === 1) {
      const inflated = decompress(bytes, this.#messageBytesMax);
      // One that fails may have taken as long as the largest that does not.
      const inflatedBytes = typeof inflated === "string" ? this.#messageBytesMax : inflated.length;
      if (!this.#sink.onInflated(bytes.length, inflatedBytes)) return STOPPED;
      if (inflated === "malformed") return new RpcError(Status.INTERNAL, "a compressed message is malformed");
      if (inflated === "tooLarge") return tooLarge("more", this.#messageBytesMax);
      bytes = inflated;
    }
    return this.#sink.onMessage(bytes, frameBytes) ? undefined : STOPPED;
  }
}

const STOPPED = Symbol("stopped");

function tooLarge(bytes: number | "more", bytesMax: number): RpcError {
  return new RpcError(Status.RESOURCE_EXHAUSTED, `grpc: received message larger than max (${bytes} vs. ${bytesMax})`);
}

/** What an encoder returned. Throws TypeError if it is not bytes, before anything of it is sent. */
export function bytesOf(encoded: unknown): Uint8Array {
  if (!(encoded instanceof Uint8Array)) throw new TypeError("an encoder must return a Uint8Array");
  return encoded;
}

/** Sends a message on a stream, behind what waits there. `bytes` must not change afterwards. `end`: it is the last, and nothing follows. */
export function writeMessage(stream: Stream, bytes: Uint8Array, compressed: boolean, end: boolean): void {
  if (compressed) bytes = compress(bytes);
  const { length } = bytes;
  if (length + PREFIX_BYTES <= COPIED_BYTES_MAX) {
    const place = stream.room(length + PREFIX_BYTES, end);
    if (place >= 0) {
      const { buffer } = stream.connection.sender.output;
      writePrefix(buffer, place, compressed, length);
      if (length <= 32) for (let i = 0; i < length; i++) buffer[place + PREFIX_BYTES + i] = bytes[i]!;
      else buffer.set(bytes, place + PREFIX_BYTES);
      if (end) stream.filledToEnd();
      return;
    }
  }
  const prefix = Buffer.allocUnsafe(PREFIX_BYTES);
  writePrefix(prefix, 0, compressed, length);
  stream.write(prefix);
  stream.write(bytes);
  if (end) stream.end();
}

/** Sends a message that lies in three parts, on a stream that goes on. The last part, if it is large, is not copied but kept until it is sent. */
export function writeMessageParts(stream: Stream, first: Uint8Array, second: Uint8Array, third: Uint8Array): void {
  const length = first.length + second.length + third.length;
  const isReferenced = third.length >= REFERENCED_BYTES_MIN;
  const place =
    length + PREFIX_BYTES > FRAME_BYTES_DEFAULT ? -1 : stream.room(length + PREFIX_BYTES, false, isReferenced ? third.length : 0);
  if (place < 0) {
    const head = Buffer.allocUnsafe(PREFIX_BYTES + first.length + second.length);
    writePrefix(head, 0, false, length);
    head.set(first, PREFIX_BYTES);
    head.set(second, PREFIX_BYTES + first.length);
    stream.write(head);
    stream.write(third);
    return;
  }
  const { buffer } = stream.connection.sender.output;
  writePrefix(buffer, place, false, length);
  let at = place + PREFIX_BYTES;
  for (let i = 0; i < first.length; i++) buffer[at++] = first[i]!;
  for (let i = 0; i < second.length; i++) buffer[at++] = second[i]!;
  if (isReferenced) stream.connection.sender.output.piece(third);
  else buffer.set(third, at);
}

function writePrefix(target: Uint8Array, at: number, compressed: boolean, length: number): void {
  target[at] = compressed ? 1 : 0;
  target[at + 1] = length >>> 24;
  target[at + 2] = length >>> 16;
  target[at + 3] = length >>> 8;
  target[at + 4] = length;
}
