/**
 * Snapshot files: a stream in slices, each with its own CRC, between a header that says what it is a snapshot of and a footer that says how
 * long it is. A file is written under a temporary name and renamed when whole; it counts only once the log names it. What is in the stream is
 * the state machine's.
 *
 *   header   u32 magic "dsnp" | u32 version | u32 bytes of meta | u32 CRC | meta as JSON | zeros to the next sector
 *   slice    u32 bytes | u32 CRC, salted with the slice's number | its bytes: 256 KiB, in the last slice what is left
 *   footer   u32 magic "dend" | u32 CRC | f64 bytes of the stream
 */
import { crc32 } from "node:zlib";
import type { SnapshotMeta } from "../core/raft/message.ts";
import { assert, invalidArgument } from "../errors.ts";
import type { FileHandle, FileSystem } from "../host/file-system.ts";
import { randomId } from "../host/random.ts";
import type { Random } from "../host/random.ts";
import { parseJson, roundUpToSector } from "./log-format.ts";
import { isSnapshotMeta } from "./log-state.ts";
import { corrupt, newerFormat } from "./storage-failure.ts";

/** Bytes of the stream in one slice. */
export const SNAPSHOT_SLICE_BYTES: number = 256 * 1024;
/** How many may be written at once. */
export const SNAPSHOT_WRITERS_MAX = 4;

/** What this program calls its snapshots and its temporary files; what else lies in the directory is not its own to remove. */
const OWN_NAME = /^(?:[0-9a-f]{16}|head|identity)\.tmp$|^\d{16}-\d+-[0-9a-f]{16}\.snapshot$/;

const MAGIC = 0x706e7364;
const FOOTER_MAGIC = 0x646e6564;
const VERSION = 1;
const HEADER_BYTES = 16;
const SLICE_HEADER_BYTES = 8;
const FOOTER_BYTES = 16;
const META_BYTES_MAX = 16 * 1024 * 1024;
const OPEN_FILES_MAX = 8;

interface Writer {
  readonly meta: SnapshotMeta;
  readonly temporary: string;
  readonly file: FileHandle;
  position: number;
  slices: number;
  streamBytes: number;
  /** A slice that is not full is the last. */
  ended: boolean;
}

interface OpenFile {
  readonly path: string;
  readonly file: FileHandle;
  readonly meta: SnapshotMeta;
  readonly dataFrom: number;
  readonly streamBytes: number;
  readonly fileBytes: number;
}

/** A finished file. */
export interface StoredSnapshot {
  readonly file: string;
  readonly meta: SnapshotMeta;
  /** Of the stream. */
  readonly bytes: number;
}

export class SnapshotStore {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #random: Random;
  readonly #writers = new Map<number, Writer>();
  readonly #open = new Map<string, OpenFile>();
  readonly #fileBytes = new Map<string, number>();
  #nextWriter = 1;

  constructor(options: { readonly fileSystem: FileSystem; readonly directory: string; readonly random: Random }) {
    this.#fileSystem = options.fileSystem;
    this.#directory = options.directory;
    this.#random = options.random;
  }

  get diskBytes(): number {
    let bytes = 0;
    for (const size of this.#fileBytes.values()) bytes += size;
    for (const writer of this.#writers.values()) bytes += writer.position;
    return bytes;
  }

  /** Removes every snapshot but `keep`, leftovers of writers included. Called when nothing is open. */
  removeOthers(keep: string | null): void {
    for (const name of this.#fileSystem.list(this.#directory)) {
      if (name !== keep && OWN_NAME.test(name)) this.#fileSystem.remove(this.#path(name));
    }
    this.#fileSystem.syncDirectory(this.#directory);
  }

  /** Looks at header, footer and length; the slices are verified as they are read. Throws CORRUPT or INCOMPATIBLE. */
  inspect(name: string): StoredSnapshot {
    const open = this.#opened(name);
    this.#fileBytes.set(name, open.fileBytes);
    return { file: name, meta: open.meta, bytes: open.streamBytes };
  }

  create(meta: SnapshotMeta): number {
    if (this.#writers.size >= SNAPSHOT_WRITERS_MAX) throw invalidArgument("snapshot", `${SNAPSHOT_WRITERS_MAX} are being written already`);
    const id = this.#nextWriter++;
    const temporary = this.#path(`${randomId(this.#random)}.tmp`);
    const file = this.#fileSystem.open(temporary, "create");
    const json = new TextEncoder().encode(JSON.stringify(meta));
    const header = new Uint8Array(roundUpToSector(HEADER_BYTES + json.byteLength));
    const view = new DataView(header.buffer);
    view.setUint32(0, MAGIC, true);
    view.setUint32(4, VERSION, true);
    view.setUint32(8, json.byteLength, true);
    header.set(json, HEADER_BYTES);
    view.setUint32(12, headerChecksum(header, json.byteLength), true);
    const writer: Writer = { meta, temporary, file, position: header.byteLength, slices: 0, streamBytes: 0, ended: false };
    this.#writers.set(id, writer);
    this.#orAbandon(id, () => file.write(header, 0));
    return id;
  }

  /** One slice: full unless it is the last. Written and synced, so that the last sync of all is short. */
  write(id: number, bytes: Uint8Array): void {
    const writer = this.#writer(id);
    assert(
      !writer.ended && bytes.byteLength > 0 && bytes.byteLength <= SNAPSHOT_SLICE_BYTES,
      "a snapshot's slices are full but for the last",
    );
    const header = new Uint8Array(SLICE_HEADER_BYTES);
    const view = new DataView(header.buffer);
    view.setUint32(0, bytes.byteLength, true);
    view.setUint32(4, sliceChecksum(writer.slices, bytes), true);
    this.#orAbandon(id, () => {
      writer.file.write(header, writer.position);
      writer.file.write(bytes, writer.position + SLICE_HEADER_BYTES);
      writer.file.dataSync();
    });
    writer.position += SLICE_HEADER_BYTES + bytes.byteLength;
    writer.slices++;
    writer.streamBytes += bytes.byteLength;
    writer.ended = bytes.byteLength < SNAPSHOT_SLICE_BYTES;
  }

  /** Makes the file whole and durable under its own name. It counts once the log names it. */
  finish(id: number): StoredSnapshot {
    const writer = this.#writer(id);
    const { lastIncludedIndex, lastIncludedTerm } = writer.meta;
    const name = `${String(lastIncludedIndex).padStart(16, "0")}-${lastIncludedTerm}-${randomId(this.#random)}.snapshot`;
    const footer = new Uint8Array(FOOTER_BYTES);
    const view = new DataView(footer.buffer);
    view.setUint32(0, FOOTER_MAGIC, true);
    view.setFloat64(8, writer.streamBytes, true);
    view.setUint32(4, crc32(footer.subarray(8)), true);
    this.#orAbandon(id, () => {
      writer.file.write(footer, writer.position);
      writer.file.dataSync();
      this.#fileSystem.rename(writer.temporary, this.#path(name));
      this.#fileSystem.syncDirectory(this.#directory);
    });
    writer.file.close();
    this.#writers.delete(id);
    this.#fileBytes.set(name, writer.position + FOOTER_BYTES);
    return { file: name, meta: writer.meta, bytes: writer.streamBytes };
  }

  /** Removes what was written so far. An unknown writer is not an error: it may have failed and been removed. */
  abandon(id: number): void {
    const writer = this.#writers.get(id);
    if (writer === undefined) return;
    this.#writers.delete(id);
    writer.file.close();
    this.#fileSystem.remove(writer.temporary);
  }

  remove(name: string): void {
    this.#open.get(name)?.file.close();
    this.#open.delete(name);
    this.#fileBytes.delete(name);
    this.#fileSystem.remove(this.#path(name));
    this.#fileSystem.syncDirectory(this.#directory);
  }

  /** Bytes of the stream from `offset`, at most a slice's worth; fewer than asked for only at the end. Throws CORRUPT. */
  read(name: string, range: { readonly offset: number; readonly bytesMax: number }): Uint8Array {
    const open = this.#opened(name);
    const end = Math.min(open.streamBytes, range.offset + Math.min(range.bytesMax, SNAPSHOT_SLICE_BYTES));
    const bytes = new Uint8Array(Math.max(0, end - range.offset));
    for (let done = 0; done < bytes.byteLength;) {
      const at = range.offset + done;
      const slice = this.#slice(open, Math.floor(at / SNAPSHOT_SLICE_BYTES));
      const piece = slice.subarray(at % SNAPSHOT_SLICE_BYTES, (at % SNAPSHOT_SLICE_BYTES) + bytes.byteLength - done);
      bytes.set(piece, done);
      done += piece.byteLength;
    }
    return bytes;
  }

  close(): void {
    for (const open of this.#open.values()) open.file.close();
    for (const writer of this.#writers.values()) writer.file.close();
    this.#open.clear();
    this.#writers.clear();
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }

  #writer(id: number): Writer {
    const writer = this.#writers.get(id);
    if (writer === undefined) throw invalidArgument("snapshot", "its writing has ended or failed");
    return writer;
  }

  /** A writer that failed leaves nothing behind, if the disk lets it. */
  #orAbandon(id: number, run: () => void): void {
    try {
      run();
    } catch (error) {
      const writer = this.#writers.get(id);
      this.#writers.delete(id);
      try {
        writer?.file.close();
        if (writer !== undefined) this.#fileSystem.remove(writer.temporary);
      } catch {
        // The first error is the one to report; the leftover is removed at the next opening.
      }
      throw error;
    }
  }

  #slice(open: OpenFile, number: number): Uint8Array {
    const from = number * SNAPSHOT_SLICE_BYTES;
    const length = Math.min(SNAPSHOT_SLICE_BYTES, open.streamBytes - from);
    const offset = open.dataFrom + number * (SNAPSHOT_SLICE_BYTES + SLICE_HEADER_BYTES);
    const stored = new Uint8Array(SLICE_HEADER_BYTES + length);
    open.file.read(stored, offset);
    const view = new DataView(stored.buffer);
    const bytes = stored.subarray(SLICE_HEADER_BYTES);
    if (view.getUint32(0, true) !== length || view.getUint32(4, true) !== sliceChecksum(number, bytes)) {
      throw corrupt({ path: open.path, offset, expected: `slice ${number}`, found: "a bad checksum" });
    }
    return bytes;
  }

  #opened(name: string): OpenFile {
    const known = this.#open.get(name);
    if (known !== undefined) return known;
    const path = this.#path(name);
    if (!this.#fileSystem.exists(path)) throw corrupt({ path, offset: 0, expected: "the snapshot that the log names", found: "no file" });
    if (this.#open.size >= OPEN_FILES_MAX) {
      const [oldest, open] = this.#open.entries().next().value!;
      open.file.close();
      this.#open.delete(oldest);
    }
    const file = this.#fileSystem.open(path, "read");
    try {
      const opened = readEnds(path, file);
      this.#open.set(name, opened);
      return opened;
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

function readEnds(path: string, file: FileHandle): OpenFile {
  const fileBytes = file.size();
  const start = new Uint8Array(HEADER_BYTES);
  file.read(start, 0);
  const view = new DataView(start.buffer);
  const metaBytes = view.getUint32(8, true);
  const bad = (offset: number, expected: string): Error => corrupt({ path, offset, expected, found: "other bytes" });
  if (view.getUint32(0, true) !== MAGIC || metaBytes > META_BYTES_MAX || HEADER_BYTES + metaBytes > fileBytes) {
    throw bad(0, "the header of a snapshot");
  }
  const header = new Uint8Array(HEADER_BYTES + metaBytes);
  file.read(header, 0);
  if (view.getUint32(12, true) !== headerChecksum(header, metaBytes)) throw bad(0, "the header of a snapshot");
  const version = view.getUint32(4, true);
  if (version !== VERSION) throw newerFormat(path, { found: version, supported: VERSION });
  const meta = parseJson(header.subarray(HEADER_BYTES));
  if (!isSnapshotMeta(meta)) throw bad(HEADER_BYTES, "what the snapshot is of");

  const footer = new Uint8Array(FOOTER_BYTES);
  const footerAt = fileBytes - FOOTER_BYTES;
  if (footerAt < 0 || file.read(footer, footerAt) < FOOTER_BYTES) throw bad(fileBytes, "the footer of a snapshot");
  const footerView = new DataView(footer.buffer);
  const streamBytes = footerView.getFloat64(8, true);
  const dataFrom = roundUpToSector(HEADER_BYTES + metaBytes);
  const slices = Math.ceil(streamBytes / SNAPSHOT_SLICE_BYTES);
  const whole = dataFrom + streamBytes + slices * SLICE_HEADER_BYTES + FOOTER_BYTES === fileBytes;
  if (footerView.getUint32(0, true) !== FOOTER_MAGIC || footerView.getUint32(4, true) !== crc32(footer.subarray(8)) || !whole) {
    throw bad(footerAt, "the footer of a snapshot");
  }
  return { path, file, meta, dataFrom, streamBytes, fileBytes };
}

function headerChecksum(header: Uint8Array, metaBytes: number): number {
  return crc32(header.subarray(HEADER_BYTES, HEADER_BYTES + metaBytes), crc32(header.subarray(0, 12)));
}

const salt = new Uint8Array(4);

function sliceChecksum(number: number, bytes: Uint8Array): number {
  new DataView(salt.buffer).setUint32(0, number, true);
  return crc32(bytes, crc32(salt));
}
