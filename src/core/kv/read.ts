/**
 * What can be read: points, packed many to a batch and answered as of one revision, and ranges, asked for one by one.
 *
 *   reads     u32 keyBytes | key, for each
 *   answers   f64 revision, then for each read: u8 0 absent, 1 found, 2 left out | [kv if found]
 */
import { ByteWriter } from "./bytes.ts";
import { decodeKv, type UnpackedKv } from "./packed-kv.ts";
import type { KeyInterval } from "./table.ts";

export type { RangeReading } from "./range-reading.ts";

/** Which kvs, in which order, as of when. */
export interface RangeRequest {
  readonly interval: KeyInterval;
  /** 0: no limit. */
  readonly limit: number;
  readonly order: "ascending" | "descending";
  readonly sortBy: "key" | "version" | "createRevision" | "modRevision" | "value";
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  /** undefined: as of now. */
  readonly revision: number | undefined;
  /** Bounds are inclusive. They do not lower `count`. */
  readonly minModRevision?: number | undefined;
  readonly maxModRevision?: number | undefined;
  readonly minCreateRevision?: number | undefined;
  readonly maxCreateRevision?: number | undefined;
}

/** What a range found. */
export interface RangeAnswer {
  /** Packed, one behind another, in an ArrayBuffer of their own whose tail may be unused. */
  readonly kvs: Uint8Array<ArrayBuffer>;
  readonly returned: number;
  /** All live keys of the interval; -1 for a page, which does not count. */
  readonly count: number;
  readonly more: boolean;
  readonly revision: number;
}

/** Why there is no answer. */
export interface ReadRefused {
  /** tooLarge: the answer would pass its bound in bytes; ask with a limit, or page by page. pins: too many long reads are under way. */
  readonly refused: "compacted" | "future" | "tooLarge" | "pins";
  /** The first that can be read for "compacted", else the current one. */
  readonly revision: number;
}

/** Point reads of one batch: at most. */
export const READS_MAX = 65_536;
/** Answers of one batch or one range, together. */
export const ANSWER_BYTES_MAX = 67_108_864;

export const ANSWER_ABSENT = 0;
export const ANSWER_FOUND = 1;
export const ANSWER_LEFT_OUT = 2;

/** Packs point reads, in a caller's thread. A key that is empty or longer than any key can be is absent. */
export class ReadBatch {
  private readonly writer: ByteWriter = new ByteWriter();
  private reads = 0;

  /** At most READS_MAX, of which the caller takes care. */
  get count(): number {
    return this.reads;
  }

  get bytes(): number {
    return this.writer.length;
  }

  get(key: Uint8Array): void {
    this.writer.u32(key.length);
    this.writer.raw(key);
    this.reads++;
  }

  /** The reads, in an ArrayBuffer of their own whose tail may be unused. Begins a new batch. */
  finish(): Uint8Array<ArrayBuffer> {
    this.reads = 0;
    return this.writer.take();
  }
}

/** Walks over packed reads where they are answered. */
export class ReadReader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;

  constructor(reads: Uint8Array) {
    this.bytes = reads;
    this.view = new DataView(reads.buffer, reads.byteOffset, reads.byteLength);
  }

  /** The next key, a view; undefined where the bytes end or make no sense: then there is none behind it either. */
  next(): Uint8Array | undefined {
    const left = this.bytes.length - this.at - 4;
    if (left < 0) return undefined;
    const length = this.view.getUint32(this.at, true);
    if (length > left) return undefined;
    const keyAt = this.at + 4;
    this.at = keyAt + length;
    return this.bytes.subarray(keyAt, this.at);
  }
}

/** Walks over packed answers, in a caller's thread. */
export class AnswerReader {
  /** All answers are as of this revision. */
  readonly revision: number;
  private readonly bytes: Uint8Array;
  private at = 8;

  constructor(answers: Uint8Array) {
    this.bytes = answers;
    this.revision = new DataView(answers.buffer, answers.byteOffset, answers.byteLength).getFloat64(0, true);
  }

  /** The next answer. "leftOut": the answers before it filled the batch's bound; ask again for this key. Views of the answers. */
  next(): UnpackedKv | "leftOut" | undefined {
    const flag = this.bytes[this.at];
    if (flag === undefined || flag === ANSWER_LEFT_OUT) {
      this.at++;
      return "leftOut";
    }
    if (flag === ANSWER_ABSENT) {
      this.at++;
      return undefined;
    }
    const kv = decodeKv(this.bytes, this.at + 1);
    this.at = kv.next;
    return kv;
  }
}
