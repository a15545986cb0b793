/**
 * Takes a backup (backup-format.ts) apart again, from pieces of any length, and verifies it on the way: each slice before it is handed on, and the whole
 * at the end. The bytes are not trusted, and no more than a slice of them is held. What was handed on counts only once end() has come.
 */
// oxlint-disable-next-line no-restricted-imports -- a digest, which draws nothing
import { createHash } from "node:crypto";
import { types } from "node:util";
import { EngineError, invalidArgument } from "../errors.ts";
import {
  BACKUP_DESCRIPTION_BYTES_MAX,
  BACKUP_DIGEST_BYTES,
  BACKUP_END_BYTES,
  BACKUP_HEADER_BYTES,
  BACKUP_MAGIC,
  BACKUP_SLICE_BYTES_MAX,
  BACKUP_SLICE_HEADER_BYTES,
  BACKUP_VERSION,
  backupHeaderChecksum,
  backupPaddingBytes,
  backupSliceChecksum,
  readBackupDescription,
  type BackupDescription,
} from "./backup-format.ts";
import { parseJson } from "./log-format.ts";

/** What a backup is made of, as it is read. */
export interface BackupParts {
  begin(description: BackupDescription): void;
  /** `offset` is that of the slice's bytes in the backup. May take its time: nothing is read ahead. */
  slice(bytes: Uint8Array, offset: number): void | Promise<void>;
}

/** What was read and found whole. */
export interface ReadBackup {
  readonly description: BackupDescription;
  readonly bytes: number;
  /** SHA-256 of all but itself, as hex. */
  readonly digest: string;
}

/** What is wrong, and where. */
export function corruptBackup(offset: number, expected: string, found: string): EngineError<"CORRUPT"> {
  return new EngineError("CORRUPT", `the backup is corrupt at byte ${offset}: expected ${expected}, found ${found}`, {
    path: "backup",
    offset,
    expected,
    found,
  });
}

/**
 * Rejects with CORRUPT, with INCOMPATIBLE for what a later version wrote or another program, with what `from` or `parts` throw, and, while it waits for
 * bytes, with what `stop` rejects with.
 */
export async function readBackup(from: AsyncIterable<Uint8Array>, parts: BackupParts, stop?: Promise<never>): Promise<ReadBackup> {
  const source = new ByteSource(from, stop);
  try {
    const description = await readHeader(source);
    parts.begin(description);
    await readSlices(source, parts);
    const padding = await source.take(backupPaddingBytes(source.offset));
    if (padding.some((byte) => byte !== 0)) throw corruptBackup(source.offset - padding.byteLength, "zeros", "other bytes");
    const digest = source.digest();
    const stored = await source.takeAll(BACKUP_DIGEST_BYTES, "the digest");
    if (!digest.equals(stored)) throw corruptBackup(source.offset - BACKUP_DIGEST_BYTES, "the digest of what comes before", "another");
    if ((await source.take(1)).byteLength > 0) throw corruptBackup(source.offset - 1, "the end", "further bytes");
    return { description, bytes: source.offset, digest: digest.toString("hex") };
  } finally {
    source.close();
  }
}

async function readHeader(source: ByteSource): Promise<BackupDescription> {
  const header = await source.takeAll(BACKUP_HEADER_BYTES, "a header");
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (view.getUint32(0, true) !== BACKUP_MAGIC) {
    const next = await source.take(4);
    // A database file of etcd's has this at its sixteenth byte, wherever it was made.
    if (next.byteLength === 4 && new DataView(next.buffer, next.byteOffset).getUint32(0, true) === 0xed0cdaed) {
      throw new EngineError("INCOMPATIBLE", "this is a snapshot of etcd's, not a backup of d-engine", {
        what: "backup",
        found: "a snapshot of etcd's",
        supported: "a backup of d-engine",
      });
    }
    throw corruptBackup(0, "the beginning of a backup", "other bytes");
  }
  const bytes = view.getUint32(8, true);
  if (bytes > BACKUP_DESCRIPTION_BYTES_MAX) throw corruptBackup(8, `at most ${BACKUP_DESCRIPTION_BYTES_MAX} bytes`, `${bytes}`);
  const json = await source.takeAll(bytes, "a description");
  if (view.getUint32(12, true) !== backupHeaderChecksum(header, json)) throw corruptBackup(0, "a header", "a bad checksum");
  const version = view.getUint32(4, true);
  if (version !== BACKUP_VERSION) {
    throw new EngineError("INCOMPATIBLE", `the backup has format ${version}, this program reads ${BACKUP_VERSION}`, {
      what: "backup",
      found: String(version),
      supported: String(BACKUP_VERSION),
    });
  }
  const description = readBackupDescription(parseJson(json));
  if (description === undefined) throw corruptBackup(BACKUP_HEADER_BYTES, "a description", "something else");
  return description;
}

async function readSlices(source: ByteSource, parts: BackupParts): Promise<void> {
  let streamBytes = 0;
  for (let number = 0; ; number++) {
    const at = source.offset;
    const header = await source.takeAll(BACKUP_SLICE_HEADER_BYTES, `slice ${number}`);
    const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
    const bytes = view.getUint32(0, true);
    const crc = view.getUint32(4, true);
    if (bytes > BACKUP_SLICE_BYTES_MAX) throw corruptBackup(at, `a slice of at most ${BACKUP_SLICE_BYTES_MAX} bytes`, `one of ${bytes}`);
    const isEnd = bytes === 0;
    const slice = await source.takeAll(isEnd ? BACKUP_END_BYTES - BACKUP_SLICE_HEADER_BYTES : bytes, `slice ${number}`);
    if (crc !== backupSliceChecksum(number, slice)) throw corruptBackup(at, `slice ${number}`, "a bad checksum");
    if (isEnd) {
      const said = new DataView(slice.buffer, slice.byteOffset, slice.byteLength).getFloat64(0, true);
      if (said !== streamBytes) throw corruptBackup(at, `the end of ${streamBytes} bytes`, `that of ${said}`);
      return;
    }
    streamBytes += bytes;
    await parts.slice(slice, at + BACKUP_SLICE_HEADER_BYTES);
  }
}

/** The pieces as one sequence of bytes, with the digest of what was taken. */
class ByteSource {
  /** Of the next byte. */
  offset = 0;
  readonly #pieces: AsyncIterator<Uint8Array>;
  readonly #digest = createHash("sha256");
  #isDigested = false;
  #piece: Uint8Array = new Uint8Array(0);
  #isOver = false;
  readonly #stop: Promise<never> | undefined;

  constructor(from: AsyncIterable<Uint8Array>, stop: Promise<never> | undefined) {
    this.#pieces = iteratorOf(from);
    this.#stop = stop;
  }

  /** So many bytes, fewer only at the end; good until the next call. */
  async take(bytes: number): Promise<Uint8Array> {
    while (this.#piece.byteLength === 0 && bytes > 0 && (await this.#next()));
    let taken = this.#piece.subarray(0, bytes);
    this.#piece = this.#piece.subarray(taken.byteLength);
    if (taken.byteLength < bytes) {
      const gathered = new Uint8Array(bytes);
      gathered.set(taken);
      let filled = taken.byteLength;
      while (filled < bytes && (this.#piece.byteLength > 0 || (await this.#next()))) {
        const part = this.#piece.subarray(0, bytes - filled);
        gathered.set(part, filled);
        filled += part.byteLength;
        this.#piece = this.#piece.subarray(part.byteLength);
      }
      taken = gathered.subarray(0, filled);
    }
    this.offset += taken.byteLength;
    if (!this.#isDigested) this.#digest.update(taken);
    return taken;
  }

  /** Throws CORRUPT where they are not all there. */
  async takeAll(bytes: number, what: string): Promise<Uint8Array> {
    const taken = await this.take(bytes);
    if (taken.byteLength < bytes) throw corruptBackup(this.offset, what, "the end of the bytes");
    return taken;
  }

  /** Of all that was taken until now. Once. */
  digest(): Buffer {
    this.#isDigested = true;
    return this.#digest.digest();
  }

  /** Lets go of the pieces that were not read. Nobody waits for it: a source that hangs would hang here too. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    Promise.resolve()
      .then(() => this.#pieces.return?.())
      .catch(() => {}); // What is told is why the reading ended.
  }

  /** False at the end. */
  async #next(): Promise<boolean> {
    if (this.#isOver) return false;
    const { done, value } = await (this.#stop === undefined ? this.#pieces.next() : Promise.race([this.#pieces.next(), this.#stop]));
    if (done === true) {
      this.#isOver = true;
      return false;
    }
    if (!types.isUint8Array(value)) throw invalidArgument("from", "pieces of bytes (Uint8Array) are wanted");
    this.#piece = value;
    return true;
  }
}

function iteratorOf(from: AsyncIterable<Uint8Array>): AsyncIterator<Uint8Array> {
  const pieces = typeof from === "object" && from !== null ? from[Symbol.asyncIterator]?.() : undefined;
  if (pieces === undefined) throw invalidArgument("from", "an async iterable of bytes is wanted, such as createReadStream(file)");
  return pieces;
}
