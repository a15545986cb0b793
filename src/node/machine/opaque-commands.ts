/**
 * Commands, queries and answers of users' state machines, packed one behind another. What is in them is their machine's affair.
 *
 *   command, query   u32 bytes | bytes
 *   answer           u8 outcome | u32 bytes | bytes     outcome 0: an answer; 1: refused, the bytes are a text; 2: left out for space
 *
 * The answers of a batch of commands come behind f64, the index of its entry.
 */
import { BATCH_PREFIX_BYTES } from "../../core/batch.ts";

const LENGTH_BYTES = 4;
const ANSWER_HEADER_BYTES = 5;

/** Of one batch. */
export const OPAQUE_COMMANDS_MAX = 65_536;
/** Of the answers of one batch: what does not fit is left out, and its caller told so. */
export const OPAQUE_ANSWERS_BYTES_MAX: number = 64 << 20;

/** The least room that a buffer of commands begins with. */
const CAPACITY_BYTES = 4_096;

/** Packs commands, or queries, into a buffer that can be handed over. */
export class OpaqueBatch {
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(CAPACITY_BYTES);
  #view: DataView = new DataView(this.#buffer.buffer);
  #length: number;
  count = 0;

  /** `prefixBytes`: what is left free in front. */
  constructor(prefixBytes: number = BATCH_PREFIX_BYTES) {
    this.#length = prefixBytes;
  }

  get bytes(): number {
    return this.#length;
  }

  add(bytes: Uint8Array): void {
    const needed = this.#length + LENGTH_BYTES + bytes.byteLength;
    if (needed > this.#buffer.byteLength) {
      const grown = new Uint8Array(Math.max(needed, this.#buffer.byteLength * 2));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#view.setUint32(this.#length, bytes.byteLength, true);
    this.#buffer.set(bytes, this.#length + LENGTH_BYTES);
    this.#length = needed;
    this.count++;
  }

  /**
   * A view of a buffer of its own, from its start, less than half of which is unused: the log keeps entries in memory as they are, and
   * bounds them by their length. Nothing is added any more.
   */
  finish(): Uint8Array<ArrayBuffer> {
    const length = this.#length;
    return 2 * length > this.#buffer.byteLength ? this.#buffer.subarray(0, length) : this.#buffer.slice(0, length);
  }
}

/** Reads packed commands or queries. Hostile bytes end it early. */
export class OpaqueReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The next one, as a view; undefined: there is no whole one left. */
  next(): Uint8Array | undefined {
    const left = this.#bytes.byteLength - this.#at - LENGTH_BYTES;
    if (left < 0) return undefined;
    const length = this.#view.getUint32(this.#at, true);
    if (length > left) return undefined;
    const start = this.#at + LENGTH_BYTES;
    this.#at = start + length;
    return this.#bytes.subarray(start, this.#at);
  }
}

export type AnswerOutcome = "answer" | "refused" | "leftOut";
const OUTCOMES: readonly AnswerOutcome[] = ["answer", "refused", "leftOut"];

/** Reads packed answers, of which there are as many as there were commands. */
export class OpaqueAnswers {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, offset = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = offset;
  }

  /** The index in front of the answers of a batch of commands, which then begin 8 bytes behind it. */
  static indexOf(results: Uint8Array): number {
    return new DataView(results.buffer, results.byteOffset, results.byteLength).getFloat64(0, true);
  }

  /** The bytes are a view; undefined: there is none left. */
  next(): { readonly outcome: AnswerOutcome; readonly bytes: Uint8Array } | undefined {
    if (this.#at + ANSWER_HEADER_BYTES > this.#bytes.byteLength) return undefined;
    const outcome = OUTCOMES[this.#view.getUint8(this.#at)] ?? "refused";
    const start = this.#at + ANSWER_HEADER_BYTES;
    this.#at = start + this.#view.getUint32(this.#at + 1, true);
    return { outcome, bytes: this.#bytes.subarray(start, this.#at) };
  }
}

/** What answers are packed into (core/kv/bytes.ts has one that fits). */
export interface AnswerSink {
  readonly length: number;
  u8(value: number): void;
  u32(value: number): void;
  raw(bytes: Uint8Array): void;
}

const NOTHING = new Uint8Array(0);

/** Packs one answer; left out where all together would exceed what a batch may answer. */
export function writeAnswer(sink: AnswerSink, outcome: "answer" | "refused", bytes: Uint8Array): void {
  const fits = sink.length + bytes.byteLength <= OPAQUE_ANSWERS_BYTES_MAX;
  const told = fits ? bytes : NOTHING;
  sink.u8(OUTCOMES.indexOf(fits ? outcome : "leftOut"));
  sink.u32(told.byteLength);
  sink.raw(told);
}
