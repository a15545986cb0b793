/**
 * The snapshot stream of a user's state machine: what the machine gave, in whatever pieces, between a head and a checksum, so that a machine is
 * never handed less than it gave, or what was another kind's.
 *
 *   u32 magic "duss" | u32 version 1 | the machine's bytes | u32 CRC of them
 */
import { crc32 } from "../../core/kv/checksum.ts";
import type { SnapshotSource } from "../snapshot-maker.ts";
import type { StateRestoring } from "../snapshot-transfer.ts";

export const USER_SNAPSHOT_HEAD_BYTES = 8;
export const USER_SNAPSHOT_FOOT_BYTES = 4;
export const USER_SNAPSHOT_VERSION = 1;
/** "duss". */
const MAGIC = 0x73737564;
/** A source that has been at it for this long answers with what it has, so that the node's turns go on. */
const SLICE_MS_MAX = 2;

/** A machine's own iterator, of either kind. */
interface PieceIterator {
  next(): IteratorResult<Uint8Array, unknown> | Promise<IteratorResult<Uint8Array, unknown>>;
  return?(): unknown;
}

/** What a machine's image is read from, in slices of what a disk takes at a time: small pieces are gathered, large ones cut. */
export class UserSnapshotSource implements SnapshotSource {
  readonly #pieces: PieceIterator;
  readonly #now: () => number;
  #first: IteratorResult<Uint8Array, unknown> | Promise<IteratorResult<Uint8Array, unknown>> | undefined;
  /** What is left of a piece that did not fit into a slice. */
  #rest: Uint8Array | undefined;
  #crc = 0;
  #begun = false;
  #exhausted = false;
  #ended = false;

  /** Asks for the first piece at once. Throws what the machine throws. */
  constructor(image: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, now: () => number) {
    this.#now = now;
    this.#pieces = iteratorOf(image);
    this.#first = this.#pieces.next();
    // Its failure is told by the read that comes to it; until then it is nobody's.
    if (this.#first instanceof Promise) this.#first.catch(() => {});
  }

  async read(bytesMax: number): Promise<Uint8Array | undefined> {
    if (this.#ended) return undefined;
    const slice = new Uint8Array(bytesMax);
    let at = 0;
    if (!this.#begun) {
      this.#begun = true;
      writeHead(slice);
      at = USER_SNAPSHOT_HEAD_BYTES;
    }
    const until = this.#now() + SLICE_MS_MAX;
    while (!this.#exhausted && at < bytesMax) {
      let piece = this.#rest;
      if (piece === undefined) {
        // oxlint-disable-next-line no-await-in-loop -- a piece is asked for when the one before it was read
        piece = await this.#next();
        if (piece === undefined) continue;
      }
      const taken = piece.subarray(0, bytesMax - at);
      slice.set(taken, at);
      at += taken.byteLength;
      this.#rest = taken.byteLength < piece.byteLength ? piece.subarray(taken.byteLength) : undefined;
      this.#crc = crc32(taken, this.#crc);
      if (this.#now() >= until) break;
    }
    if (this.#exhausted && bytesMax - at >= USER_SNAPSHOT_FOOT_BYTES) {
      new DataView(slice.buffer).setUint32(at, this.#crc, true);
      at += USER_SNAPSHOT_FOOT_BYTES;
      this.#ended = true;
    }
    return slice.subarray(0, at);
  }

  /** The next piece that holds something; undefined at the end. */
  async #next(): Promise<Uint8Array | undefined> {
    const first = this.#first;
    this.#first = undefined;
    const { done, value } = await (first ?? this.#pieces.next());
    if (done === true) {
      this.#exhausted = true;
      return undefined;
    }
    if (!(value instanceof Uint8Array)) throw new TypeError("snapshot() gave a piece that is not a Uint8Array");
    return value;
  }

  cancel(): void {
    if (this.#exhausted) return;
    this.#ended = this.#exhausted = true;
    try {
      const returned = this.#pieces.return?.();
      if (returned instanceof Promise) returned.catch(() => {}); // Nobody wants the image any more.
    } catch {
      // The same.
    }
  }
}

function iteratorOf(image: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): PieceIterator {
  // A machine is written by others: what it gives is looked at.
  const given = image as Partial<Iterable<Uint8Array> & AsyncIterable<Uint8Array>> | null | undefined;
  const iterator = given?.[Symbol.asyncIterator]?.() ?? given?.[Symbol.iterator]?.();
  if (iterator === undefined) throw new TypeError("snapshot() gave nothing that can be iterated");
  return iterator;
}

function writeHead(slice: Uint8Array<ArrayBuffer>): void {
  const view = new DataView(slice.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, USER_SNAPSHOT_VERSION, true);
}

/** Follows a stream, tells what of it is the machine's, and says at the end whether it was whole. */
export class UserSnapshotReader {
  /** The last bytes so far: they may be the checksum. */
  #held: Uint8Array = new Uint8Array(0);
  #headed = false;
  #crc = 0;

  /** The machine's bytes that are certain to be no checksum, or what is wrong. They are a view or a copy. */
  write(bytes: Uint8Array): Uint8Array | string {
    let all = bytes;
    if (this.#held.byteLength > 0) {
      all = new Uint8Array(this.#held.byteLength + bytes.byteLength);
      all.set(this.#held);
      all.set(bytes, this.#held.byteLength);
    }
    if (!this.#headed) {
      if (all.byteLength < USER_SNAPSHOT_HEAD_BYTES) {
        this.#held = new Uint8Array(all);
        return all.subarray(0, 0);
      }
      const view = new DataView(all.buffer, all.byteOffset, all.byteLength);
      if (view.getUint32(0, true) !== MAGIC) return "it is no snapshot of a user's state machine";
      const version = view.getUint32(4, true);
      if (version !== USER_SNAPSHOT_VERSION) return `its version is ${version}, this program reads ${USER_SNAPSHOT_VERSION}`;
      this.#headed = true;
      all = all.subarray(USER_SNAPSHOT_HEAD_BYTES);
    }
    const certain = all.subarray(0, Math.max(0, all.byteLength - USER_SNAPSHOT_FOOT_BYTES));
    this.#held = new Uint8Array(all.subarray(certain.byteLength));
    this.#crc = crc32(certain, this.#crc);
    return certain;
  }

  /** All is written. */
  finish(): string | undefined {
    const held = this.#held;
    if (!this.#headed || held.byteLength < USER_SNAPSHOT_FOOT_BYTES) return "it ends too early";
    const stored = new DataView(held.buffer, held.byteOffset, held.byteLength).getUint32(0, true);
    return stored === this.#crc ? undefined : "its checksum does not fit";
  }
}

/** A stream on its way to the disk: looked at, and given to the machine only once the log names the file. */
export class UserRestoring implements StateRestoring {
  readonly #reader = new UserSnapshotReader();

  write(bytes: Uint8Array): string | undefined {
    const told = this.#reader.write(bytes);
    return typeof told === "string" ? told : undefined;
  }

  finish(): string | undefined {
    return this.#reader.finish();
  }
}
