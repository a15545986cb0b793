/**
 * The frames that wait to be written to one socket. Frames are built in place in chunks from a pool; all that a turn of the event loop
 * produced leaves in one write. A connection with nothing to say holds no chunk. Large payloads are not copied: they go to the socket as
 * pieces of their own, between the chunks.
 */
import type { Socket } from "node:net";
import { FRAME_BYTES_DEFAULT, FRAME_HEADER_BYTES, FrameType } from "./protocol.ts";

const CHUNK_BYTES = 32_768;
/** Free chunks kept for reuse, 2 MiB in all. */
const FREE_CHUNKS_MAX = 64;
/** What is written at once, without waiting for the end of the turn. */
const EARLY_WRITE_BYTES = 65_536;
/** Payloads up to this size are copied into the chunk, since a piece of its own costs more than the copy. */
export const COPIED_BYTES_MAX = 8192;

interface Chunk {
  readonly buffer: Buffer;
  /** Regions of it that the socket still reads. */
  inFlight: number;
}

/** The free chunks of one server or client. */
export class ChunkPool {
  readonly #free: Chunk[] = [];

  /** A chunk with room for `bytes`. */
  take(bytes: number): Chunk {
    if (bytes > CHUNK_BYTES) return { buffer: Buffer.allocUnsafeSlow(bytes), inFlight: 0 };
    return this.#free.pop() ?? { buffer: Buffer.allocUnsafeSlow(CHUNK_BYTES), inFlight: 0 };
  }

  /** Gives back a chunk that nobody reads any more. */
  give(chunk: Chunk): void {
    if (chunk.buffer.length === CHUNK_BYTES && this.#free.length < FREE_CHUNKS_MAX) this.#free.push(chunk);
  }
}

const NO_BUFFER: Buffer = Buffer.alloc(0);

/** The frames that wait for one socket. */
export class Output {
  /** The chunk in which the next frame is built. Call `reserve` first. */
  buffer: Buffer = NO_BUFFER;
  /** Where in `buffer` the next byte goes. */
  position = 0;
  readonly #socket: Socket;
  readonly #pool: ChunkPool;
  #chunk: Chunk | undefined;
  /** buffer[#start, position) is not yet given to the socket. */
  #start = 0;
  #pieces: Buffer[] | undefined;
  #pieceChunks: (Chunk | undefined)[] | undefined;
  #pieceBytes = 0;
  /** Chunks of the writes that the socket has not finished, in order. */
  readonly #inFlight: (Chunk | undefined)[] = [];
  /** The last frame, if it is a DATA frame that may still grow: its place in `buffer`, length and stream. */
  #dataAt = -1;
  #dataLength = 0;
  #dataStreamId = 0;
  readonly #onWritten: (error?: Error | null) => void;
  /** Counts the writes that the socket finished: no progress shows a peer that does not read. */
  writesDone = 0;

  constructor(socket: Socket, pool: ChunkPool) {
    this.#socket = socket;
    this.#pool = pool;
    this.#onWritten = (error) => this.#written(error);
  }

  /** Bytes not yet given to the socket. */
  get pendingBytes(): number {
    return this.#pieceBytes + this.position - this.#start;
  }

  /** Bytes given to the socket that the kernel has not taken. */
  get unsentBytes(): number {
    return this.pendingBytes + this.#socket.writableLength;
  }

  /** True while the socket has writes that are not finished. */
  get isWriting(): boolean {
    return this.#inFlight.length > 0;
  }

  /** Makes room for so many bytes at `position` and closes the DATA frame that was open for growth. */
  reserve(bytes: number): void {
    this.#dataAt = -1;
    if (this.buffer.length - this.position < bytes) this.#nextChunk(bytes);
  }

  /** Writes a frame header. `reserve` comes first. */
  header(length: number, type: number, flags: number, streamId: number): void {
    const { buffer } = this;
    const at = this.position;
    buffer[at] = length >>> 16;
    buffer[at + 1] = length >>> 8;
    buffer[at + 2] = length;
    buffer[at + 3] = type;
    buffer[at + 4] = flags;
    buffer[at + 5] = streamId >>> 24;
    buffer[at + 6] = streamId >>> 16;
    buffer[at + 7] = streamId >>> 8;
    buffer[at + 8] = streamId;
    this.position = at + FRAME_HEADER_BYTES;
  }

  /**
   * Room for `length` bytes of data of a stream, at the returned place in `buffer`: in the last frame, if it is one of the same stream that
   * can grow, else in a new one. At most FRAME_BYTES_DEFAULT.
   */
  data(streamId: number, length: number, flags: number): number {
    const at = this.#dataAt;
    if (
      at >= 0 &&
      this.#dataStreamId === streamId &&
      this.#dataLength + length <= FRAME_BYTES_DEFAULT &&
      this.buffer.length - this.position >= length
    ) {
      const { buffer } = this;
      const grown = this.#dataLength + length;
      buffer[at] = grown >>> 16;
      buffer[at + 1] = grown >>> 8;
      buffer[at + 2] = grown;
      buffer[at + 4]! |= flags;
      this.#dataLength = grown;
      if (flags !== 0) this.#dataAt = -1;
    } else {
      this.reserve(FRAME_HEADER_BYTES + length);
      const start = this.position;
      this.header(length, FrameType.data, flags, streamId);
      if (flags === 0) {
        this.#dataAt = start;
        this.#dataLength = length;
        this.#dataStreamId = streamId;
      }
    }
    const place = this.position;
    this.position = place + length;
    return place;
  }

  /** Sets flags on the last frame if it is an open DATA frame of the stream. */
  flagData(streamId: number, flags: number): boolean {
    if (this.#dataAt < 0 || this.#dataStreamId !== streamId) return false;
    this.buffer[this.#dataAt + 4]! |= flags;
    this.#dataAt = -1;
    return true;
  }

  /** Adds bytes as a piece of their own. They must not change until they are written. */
  piece(bytes: Uint8Array): void {
    this.#dataAt = -1;
    this.#closeRegion();
    this.#addPiece(bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), undefined);
  }

  /** True if so much waits that it should be written before the turn ends. */
  get wantsEarlyWrite(): boolean {
    return this.pendingBytes >= EARLY_WRITE_BYTES;
  }

  /** Gives all that waits to the socket, in one system call. */
  flush(): void {
    this.#dataAt = -1;
    const pieces = this.#pieces;
    const chunk = this.#chunk;
    if (pieces === undefined) {
      if (chunk === undefined || this.position === this.#start) return;
      const region = this.buffer.subarray(this.#start, this.position);
      this.#start = this.position;
      chunk.inFlight++;
      this.#inFlight.push(chunk);
      this.#socket.write(region, this.#onWritten);
      return;
    }
    this.#closeRegion();
    const chunks = this.#pieceChunks!;
    this.#pieces = undefined;
    this.#pieceChunks = undefined;
    this.#pieceBytes = 0;
    this.#socket.cork();
    for (let i = 0; i < pieces.length; i++) {
      this.#inFlight.push(chunks[i]);
      this.#socket.write(pieces[i]!, this.#onWritten);
    }
    this.#socket.uncork();
  }

  /** Forgets what waits. Chunks that the socket may still read go to the garbage collector, not to the pool. */
  drop(): void {
    this.#chunk = undefined;
    this.buffer = NO_BUFFER;
    this.position = 0;
    this.#start = 0;
    this.#dataAt = -1;
    this.#pieces = undefined;
    this.#pieceChunks = undefined;
    this.#pieceBytes = 0;
  }

  #nextChunk(bytes: number): void {
    this.#closeRegion();
    const old = this.#chunk;
    const chunk = this.#pool.take(bytes);
    this.#chunk = chunk;
    this.buffer = chunk.buffer;
    this.position = 0;
    this.#start = 0;
    if (old !== undefined && old.inFlight === 0) this.#pool.give(old);
  }

  #closeRegion(): void {
    const chunk = this.#chunk;
    if (chunk === undefined || this.position === this.#start) return;
    chunk.inFlight++;
    this.#addPiece(this.buffer.subarray(this.#start, this.position), chunk);
    this.#start = this.position;
  }

  #addPiece(bytes: Buffer, chunk: Chunk | undefined): void {
    (this.#pieces ??= []).push(bytes);
    (this.#pieceChunks ??= []).push(chunk);
    this.#pieceBytes += bytes.length;
  }

  #written(error: Error | null | undefined): void {
    this.writesDone++;
    const chunk = this.#inFlight.shift();
    // After an error nobody can say whether the kernel still reads the chunk: leave it to the garbage collector.
    if (error !== undefined && error !== null) return;
    if (chunk === undefined || --chunk.inFlight > 0) return;
    if (chunk !== this.#chunk) {
      this.#pool.give(chunk);
    } else if (this.position === this.#start) {
      this.#chunk = undefined;
      this.buffer = NO_BUFFER;
      this.position = 0;
      this.#start = 0;
      this.#dataAt = -1;
      this.#pool.give(chunk);
    }
  }
}
