/**
 * What makes the data grow, and how that is refused. Whether there is room is for the leader to say when it proposes, by its own limits, and
 * members may have different ones; so a command that finds none is replaced in its batch by OP_NO_SPACE, which every member applies to
 * the same nothing, and the member that the batch came from answers its caller from it. The commands beside it keep their places.
 *
 *   OP_NO_SPACE's value:  f64 which of SHORTAGES, from 1 | f64 used | f64 max
 */
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import {
  COMMAND_HEADER_BYTES,
  FLAG_SESSION,
  NO_SPACE_BYTES,
  OP_COMPARE_AND_SWAP,
  OP_NO_SPACE,
  OP_PUT,
  OP_TXN,
  type RefusalCode,
} from "./command.ts";
import { readTxn } from "./txn-codec.ts";
import { SESSION_BYTES } from "./session-bounds.ts";
import type { TxnCommand, TxnOp } from "./txn-command.ts";
import { EVENT_BYTES, RECORD_OVERHEAD_BYTES } from "./history-ledger.ts";

/** What there is no room in: the quota on logical bytes, the number of keys, the disk. */
export type Shortage = "quota" | "keys" | "disk";

/** Why growth is refused. `used` and `max` are bytes, or keys. */
export interface SpaceRefusal {
  readonly of: Shortage;
  readonly used: number;
  readonly max: number;
}

const SHORTAGES: readonly Shortage[] = ["quota", "keys", "disk"];
const CODES: readonly RefusalCode[] = ["quotaFull", "keysFull", "diskFull"];
const STUB_BYTES: number = COMMAND_HEADER_BYTES + NO_SPACE_BYTES;

/** What a command can add to the logical bytes beyond those that it has itself: of a record that stays in history, and of an event. */
export const GROWTH_OVERHEAD_BYTES: number = RECORD_OVERHEAD_BYTES + EVENT_BYTES;

/** undefined: a code that is about something else. */
export function shortageOf(code: RefusalCode): Shortage | undefined {
  const at = CODES.indexOf(code);
  return at < 0 ? undefined : SHORTAGES[at];
}

/** Of a batch's commands, which begin at BATCH_PREFIX_BYTES of its record: how many could make the data grow. */
export function growth(record: Uint8Array, count: number): "none" | "some" | "all" {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  let growing = 0;
  let others = 0;
  let at = BATCH_PREFIX_BYTES;
  for (let left = count; left > 0; left--) {
    const length = lengthAt(view, at);
    if (length === 0) break;
    if (grows(view, at)) growing++;
    else others++;
    at += length;
  }
  if (growing === 0) return "none";
  return others === 0 ? "all" : "some";
}

/** The same batch with each of those commands replaced by its refusal. Its header is as it was. */
export function withoutGrowth(record: Uint8Array, count: number, refusal: SpaceRefusal): Uint8Array<ArrayBuffer> {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  // A stub may be longer than what it stands for; the count is its sender's word.
  const most = Math.min(count, Math.floor(record.byteLength / COMMAND_HEADER_BYTES));
  const out = new Uint8Array(record.byteLength + most * (STUB_BYTES + SESSION_BYTES));
  const outView = new DataView(out.buffer);
  out.set(record.subarray(0, BATCH_PREFIX_BYTES));
  let from = BATCH_PREFIX_BYTES;
  let to = BATCH_PREFIX_BYTES;
  for (let left = count; left > 0; left--) {
    const length = lengthAt(view, from);
    if (length === 0) break;
    if (grows(view, from)) {
      // The refusal is its answer for as long as its session remembers: what comes again is not to be applied after it was refused.
      const sessionBytes = sessionBytesAt(view, from);
      writeStub(outView, to, refusal, sessionBytes);
      out.set(record.subarray(from + COMMAND_HEADER_BYTES, from + COMMAND_HEADER_BYTES + sessionBytes), to + COMMAND_HEADER_BYTES);
      to += STUB_BYTES + sessionBytes;
    } else {
      out.set(record.subarray(from, from + length), to);
      to += length;
    }
    from += length;
  }
  // An array of its own: the record becomes the log's.
  return out.slice(0, to);
}

/** What the value of an OP_NO_SPACE says; undefined where it says nothing that is known. */
export function readNoSpace(value: Uint8Array): { readonly code: RefusalCode; readonly used: number; readonly max: number } | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const code = CODES[view.getFloat64(0, true) - 1];
  return code === undefined ? undefined : { code, used: view.getFloat64(8, true), max: view.getFloat64(16, true) };
}

function writeStub(view: DataView, at: number, { of, used, max }: SpaceRefusal, sessionBytes: number): void {
  view.setUint32(at, STUB_BYTES + sessionBytes, true);
  view.setUint32(at + 4, OP_NO_SPACE | (sessionBytes > 0 ? FLAG_SESSION << 8 : 0), true);
  view.setUint32(at + 12, NO_SPACE_BYTES, true);
  const valueAt = at + COMMAND_HEADER_BYTES + sessionBytes;
  view.setFloat64(valueAt, SHORTAGES.indexOf(of) + 1, true);
  view.setFloat64(valueAt + 8, used, true);
  view.setFloat64(valueAt + 16, max, true);
}

/** Of the command at this place: how long the part is that says its session. */
function sessionBytesAt(view: DataView, at: number): number {
  if ((view.getUint8(at + 5) & FLAG_SESSION) === 0) return 0;
  return Math.min(SESSION_BYTES, view.getUint32(at, true) - COMMAND_HEADER_BYTES);
}

/** Of the command at this place; 0 where none can be found. */
function lengthAt(view: DataView, at: number): number {
  const left = view.byteLength - at;
  if (left < COMMAND_HEADER_BYTES) return 0;
  const length = view.getUint32(at, true);
  return length < COMMAND_HEADER_BYTES || length > left ? 0 : length;
}

function grows(view: DataView, at: number): boolean {
  const op = view.getUint8(at + 4);
  if (op !== OP_TXN) return op === OP_PUT || op === OP_COMPARE_AND_SWAP;
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, view.getUint32(at, true));
  const txn = readTxn(bytes.subarray(COMMAND_HEADER_BYTES + sessionBytesAt(view, at)));
  return typeof txn !== "string" && puts(txn);
}

/** Whether either branch could put anything. */
function puts(txn: TxnCommand): boolean {
  const couldPut = (op: TxnOp): boolean => op.kind === "put" || (op.kind === "txn" && puts(op.txn));
  return txn.success.some(couldPut) || txn.failure.some(couldPut);
}
