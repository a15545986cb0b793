/**
 * One file of the log: its name, its first group (the head), and reading its groups back. A segment gets its name only after its head was
 * synced, so a segment whose head is bad is corrupt and never a torn tail.
 */
import type { FileHandle, FileSystem } from "../host/file-system.ts";
import {
  GROUP_HEADER_BYTES,
  LOG_FORMAT_VERSION,
  RECORD_HEAD,
  RECORD_HEADER_BYTES,
  SECTOR_BYTES,
  parseJson,
  readGroupHeader,
  roundUpToSector,
  verifyGroup,
} from "./log-format.ts";
import type { GroupHeader } from "./log-format.ts";
import { readSegmentHead } from "./log-state.ts";
import type { SegmentHead } from "./log-state.ts";
import { corrupt, newerFormat } from "./storage-failure.ts";

export interface Segment {
  readonly number: number;
  readonly path: string;
  readonly nonce: number;
  readonly head: SegmentHead;
  /** Where its first group of data lies. */
  readonly headBytes: number;
  /** Groups end here; the next begins here. */
  usedBytes: number;
  /** How long the file is. */
  fileBytes: number;
  /** false once an entry at or below head.lastIndex was written behind the head: then the log cannot begin with this segment. */
  mayBeFirst: boolean;
  file: FileHandle | undefined;
}

const NAME = /^(\d{12})\.log$/;

export function segmentPath(directory: string, number: number): string {
  return `${directory}/${String(number).padStart(12, "0")}.log`;
}

/** undefined for a name that is no segment's. */
export function segmentNumber(name: string): number | undefined {
  const match = NAME.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** For the message of a CORRUPT. */
export function groupNumberText(number: number): string {
  return `group ${number}`;
}

const WINDOW_BYTES = 1024 * 1024;

/** The memory that segments are read through; readers that take turns may share one. */
export class ReadWindow {
  buffer: Uint8Array = new Uint8Array(0);
  /** Who filled it. */
  owner: SegmentReader | undefined;
}

/** Reads a segment from front to back through a window, so that small groups do not cost a file call each. */
export class SegmentReader {
  readonly path: string;
  readonly number: number;
  readonly fileBytes: number;
  nonce = 0;
  readonly #file: FileHandle;
  /** Used again for each part of the file: reading it leaves no garbage of its size. */
  readonly #memory: ReadWindow;
  #window: Uint8Array = new Uint8Array(0);
  #windowFrom = 0;

  constructor(fileSystem: FileSystem, path: string, number: number, window: ReadWindow = new ReadWindow()) {
    this.path = path;
    this.number = number;
    this.#memory = window;
    this.#file = fileSystem.open(path, "read");
    this.fileBytes = this.#file.size();
  }

  close(): void {
    this.#file.close();
  }

  /** A view that lasts until the next call to a reader of its window; shorter at the end of the file. */
  view(offset: number, bytes: number): Uint8Array {
    const length = Math.max(0, Math.min(bytes, this.fileBytes - offset));
    const memory = this.#memory;
    const isOutside = offset < this.#windowFrom || offset + length > this.#windowFrom + this.#window.byteLength;
    if (isOutside || memory.owner !== this) {
      const size = Math.min(Math.max(length, WINDOW_BYTES), this.fileBytes - offset);
      if (size > memory.buffer.byteLength) memory.buffer = new Uint8Array(size);
      memory.owner = this;
      const window = memory.buffer.subarray(0, Math.max(0, size));
      const got = window.byteLength === 0 ? 0 : this.#file.read(window, offset);
      this.#window = window.subarray(0, got);
      this.#windowFrom = offset;
    }
    const from = offset - this.#windowFrom;
    return this.#window.subarray(from, from + length);
  }

  /** The verified group at `offset`, header included, as a view; undefined where there is none. Throws INCOMPATIBLE for a newer format. */
  group(offset: number): { readonly header: GroupHeader; readonly bytes: Uint8Array } | undefined {
    const header = readGroupHeader(this.view(offset, GROUP_HEADER_BYTES));
    if (header === undefined || (offset > 0 && header.nonce !== this.nonce)) return undefined;
    const length = GROUP_HEADER_BYTES + header.recordBytes;
    if (offset + length > this.fileBytes) return undefined;
    const bytes = this.view(offset, length);
    if (bytes.byteLength < length) return undefined;
    if (!verifyGroup({ segment: this.number, nonce: header.nonce, offset }, bytes)) return undefined;
    if (header.version > LOG_FORMAT_VERSION) {
      throw newerFormat(this.path, { found: header.version, supported: LOG_FORMAT_VERSION });
    }
    return { header, bytes };
  }

  /** The head, from which the reader takes the segment's nonce. */
  head(): { readonly head: SegmentHead; readonly number: number; readonly bytes: number } {
    const group = this.group(0);
    const head =
      group?.header.kind === "head"
        ? readSegmentHead(parseJson(group.bytes.subarray(GROUP_HEADER_BYTES + RECORD_HEADER_BYTES)))
        : undefined;
    const kind = group === undefined ? 0 : new DataView(group.bytes.buffer, group.bytes.byteOffset).getUint32(GROUP_HEADER_BYTES + 4, true);
    if (group === undefined || head === undefined || kind !== RECORD_HEAD || head.segment !== this.number) {
      throw corrupt({
        path: this.path,
        offset: 0,
        expected: `head of segment ${this.number}`,
        found: describe(this.view(0, GROUP_HEADER_BYTES)),
      });
    }
    this.nonce = group.header.nonce;
    return { head, number: group.header.number, bytes: roundUpToSector(group.bytes.byteLength) };
  }

  /**
   * Whether a valid group with a number above `number` lies at or behind `offset`. Each sector is tried, since the length of a bad group
   * cannot be followed. The nonce, which no caller knows, keeps this from checking sums over lengths that a stored value pretends.
   */
  hasGroupAfter(offset: number, number: number): boolean {
    for (let at = offset; at + GROUP_HEADER_BYTES <= this.fileBytes; at += SECTOR_BYTES) {
      const header = readGroupHeader(this.view(at, GROUP_HEADER_BYTES));
      if (header === undefined || header.nonce !== this.nonce || header.number <= number) continue;
      if (this.group(at) !== undefined) return true;
    }
    return false;
  }
}

/** For the message of a CORRUPT: what lies where a group should. */
export function describe(bytes: Uint8Array): string {
  if (bytes.byteLength < GROUP_HEADER_BYTES) return "the end of the file";
  const header = readGroupHeader(bytes);
  if (header !== undefined) return `a bad checksum or number (group ${header.number}, ${header.recordBytes} bytes)`;
  return bytes.every((byte) => byte === 0) ? "zeros" : "no group";
}

/** Marks the segments that the log can no longer begin with, an entry from before their head having been replaced behind it. */
export function noteFirstIndex(segments: readonly Segment[], first: number): void {
  for (let at = segments.length - 1; at >= 0; at--) {
    const segment = segments[at]!;
    if (segment.head.lastIndex >= first) segment.mayBeFirst = false;
  }
}
