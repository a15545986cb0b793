/**
 * What the operations of a transaction answered, packed behind the header of its result, in the order of the branch that was taken.
 *
 *   results  u32 operations | answer ...
 *   answer   u8 kind | u8 flags | u16 0 | u32 items | f64 revision | f64 number | item ...
 *
 * The items are kvs: what a put or deletion met, what a get or range found; of a nested transaction they are answers. The number is how many
 * keys a deletion removed, or how many a range has in all. The revision is that of the data after the operation: before the first change of the
 * transaction the old one, from then on the one that it makes.
 */
import type { ByteWriter } from "./bytes.ts";
import { decodeKv, type UnpackedKv } from "./packed-kv.ts";
import { KIND_TXN } from "./txn-codec.ts";

export const ANSWER_HEADER_BYTES = 24;
/** A range: others match beyond the limit. */
export const ANSWER_MORE = 1;
/** A nested transaction: every comparison held. */
export const ANSWER_SUCCEEDED = 2;

/** Begins an answer; answers where it begins. closeAnswer() fills it in. */
export function openAnswer(writer: ByteWriter, kind: number): number {
  const at = writer.length;
  writer.u32(kind);
  writer.reserve(ANSWER_HEADER_BYTES);
  writer.length = at + ANSWER_HEADER_BYTES;
  return at;
}

export function closeAnswer(
  writer: ByteWriter,
  at: number,
  answer: { readonly flags: number; readonly items: number; readonly revision: number; readonly number: number },
): void {
  writer.setU8(at + 1, answer.flags);
  writer.setU32(at + 4, answer.items);
  writer.setF64(at + 8, answer.revision);
  writer.setF64(at + 16, answer.number);
}

/** Walks over packed answers, in a caller's thread. One object for all: its fields speak of the answer last read. */
export class TxnAnswerReader {
  /** KIND_PUT and so on, of txn-codec.ts. */
  kind = 0;
  /** Of a nested transaction: how many answers follow that are its own. Else: kvs. */
  items = 0;
  revision = 0;
  /** Keys that a deletion removed, or that a range has in all. */
  number = 0;
  more = false;
  succeeded = false;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at: number;
  private kvsAt = 0;

  /** Operations of the branch that was taken. */
  readonly operations: number;

  /** Made by ResultReader.answers(). `view` is of all the bytes. */
  constructor(bytes: Uint8Array, view: DataView, at: number) {
    this.bytes = bytes;
    this.view = view;
    this.operations = view.getUint32(at, true);
    this.at = at + 4;
  }

  /** Goes on to the next answer; those of a nested transaction come behind its own. */
  next(): void {
    const { view, at } = this;
    const flags = view.getUint8(at + 1);
    this.kind = view.getUint8(at);
    this.items = view.getUint32(at + 4, true);
    this.revision = view.getFloat64(at + 8, true);
    this.number = view.getFloat64(at + 16, true);
    this.more = (flags & ANSWER_MORE) !== 0;
    this.succeeded = (flags & ANSWER_SUCCEEDED) !== 0;
    this.kvsAt = at + ANSWER_HEADER_BYTES;
    this.at = this.kvsAt;
    if (this.kind === KIND_TXN) return;
    for (let i = 0; i < this.items; i++) this.at = decodeKv(this.bytes, this.at).next;
  }

  /** Views of the results. */
  kvs(): UnpackedKv[] {
    const kvs: UnpackedKv[] = [];
    let at = this.kvsAt;
    for (let i = 0; i < this.items; i++) {
      const kv = decodeKv(this.bytes, at);
      kvs.push(kv);
      at = kv.next;
    }
    return kvs;
  }

  /** The same, packed as they are. Not of a nested transaction. */
  packedKvs(): Uint8Array {
    return this.bytes.subarray(this.kvsAt, this.at);
  }

  /** The only kv, if there is one. */
  kv(): UnpackedKv | undefined {
    return this.items === 0 ? undefined : decodeKv(this.bytes, this.kvsAt);
  }
}
