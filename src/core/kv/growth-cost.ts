/**
 * What a batch may add to the data at most, by its bytes and by what is there: reckoned by a leader before it proposes, since a small command can
 * stand for much. A transaction may put many keys, and a put that keeps its key's value adds that value again, as history. Nothing is unpacked, and
 * the bytes are not trusted: what makes no sense costs what its bytes do.
 */
import { BATCH_PREFIX_BYTES } from "../batch.ts";
import {
  COMMAND_HEADER_BYTES,
  FLAG_IGNORE_VALUE,
  FLAG_LEASE,
  FLAG_SESSION,
  FLAG_TTL,
  OP_COMPARE_AND_SWAP,
  OP_PUT,
  OP_TXN,
  TXN_DEPTH_MAX,
} from "./command.ts";
import { GROWTH_OVERHEAD_BYTES } from "./growth.ts";
import { SESSION_BYTES } from "./session-bounds.ts";
import { COMPARE_HEADER_BYTES, KIND_PUT, KIND_TXN, OP_HEADER_BYTES, TXN_HEADER_BYTES } from "./txn-codec.ts";

/** Logical bytes and keys. */
export interface GrowthCost {
  bytes: number;
  keys: number;
}

/** The data, as far as it matters here. */
export interface GrowthBasis {
  /** Of the key's value; 0 where there is none. */
  valueBytes(key: Uint8Array): number;
}

/** Of a batch's record with its prefix. The count is its sender's word. */
export function growthCost(record: Uint8Array, count: number, data: GrowthBasis): GrowthCost {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const cost = { bytes: record.byteLength + Math.min(count, record.byteLength) * GROWTH_OVERHEAD_BYTES, keys: 0 };
  let at = BATCH_PREFIX_BYTES;
  for (let left = count; left > 0 && record.byteLength - at >= COMMAND_HEADER_BYTES; left--) {
    const length = view.getUint32(at, true);
    if (length < COMMAND_HEADER_BYTES || length > record.byteLength - at) break;
    const op = view.getUint8(at + 4);
    if (op === OP_PUT || op === OP_COMPARE_AND_SWAP) {
      cost.keys++;
      if ((view.getUint8(at + 5) & FLAG_IGNORE_VALUE) !== 0) cost.bytes += keptBytes(record, view, at, length, data);
    } else if (op === OP_TXN) {
      const from = at + COMMAND_HEADER_BYTES + ((view.getUint8(at + 5) & FLAG_SESSION) === 0 ? 0 : SESSION_BYTES);
      addTxn({ record, view, data }, from, at + length, 1, cost);
    }
    at += length;
  }
  return cost;
}

interface Packed {
  readonly record: Uint8Array;
  readonly view: DataView;
  readonly data: GrowthBasis;
}

/** The value that a put of its own keeps. */
function keptBytes(record: Uint8Array, view: DataView, at: number, length: number, data: GrowthBasis): number {
  const flags = view.getUint8(at + 5);
  const session = (flags & FLAG_SESSION) === 0 ? 0 : SESSION_BYTES;
  const keyAt = at + COMMAND_HEADER_BYTES + session + ((flags & FLAG_TTL) === 0 ? 0 : 8) + ((flags & FLAG_LEASE) === 0 ? 0 : 8);
  return data.valueBytes(record.subarray(Math.min(keyAt, at + length), Math.min(keyAt + view.getUint32(at + 8, true), at + length)));
}

/** The dearer branch. */
function addTxn(packed: Packed, at: number, end: number, depth: number, cost: GrowthCost): void {
  const { view } = packed;
  if (end - at < TXN_HEADER_BYTES || depth > TXN_DEPTH_MAX) return;
  let next = at + TXN_HEADER_BYTES;
  for (let left = view.getUint32(at, true); left > 0; left--) {
    if (end - next < COMPARE_HEADER_BYTES) return;
    next += COMPARE_HEADER_BYTES + view.getUint32(next + 4, true) + view.getUint32(next + 8, true) + view.getUint32(next + 12, true);
  }
  const success = { bytes: 0, keys: 0 };
  next = addOps(packed, next, end, view.getUint32(at + 4, true), depth, success);
  const failure = { bytes: 0, keys: 0 };
  addOps(packed, next, end, view.getUint32(at + 8, true), depth, failure);
  cost.bytes += Math.max(success.bytes, failure.bytes);
  cost.keys += Math.max(success.keys, failure.keys);
}

/** Answers where they end. */
function addOps(packed: Packed, from: number, end: number, count: number, depth: number, cost: GrowthCost): number {
  const { record, view, data } = packed;
  let at = from;
  for (let left = count; left > 0; left--) {
    if (end - at < OP_HEADER_BYTES) return end;
    const length = view.getUint32(at, true);
    if (length < OP_HEADER_BYTES || length > end - at) return end;
    const kind = view.getUint8(at + 4);
    if (kind === KIND_PUT && length >= OP_HEADER_BYTES + 8) {
      cost.keys++;
      cost.bytes += GROWTH_OVERHEAD_BYTES;
      const flags = view.getUint8(at + 5);
      if ((flags & FLAG_IGNORE_VALUE) !== 0) {
        const keyAt = at + OP_HEADER_BYTES + 8 + ((flags & FLAG_TTL) === 0 ? 0 : 8) + ((flags & FLAG_LEASE) === 0 ? 0 : 8);
        cost.bytes += data.valueBytes(
          record.subarray(Math.min(keyAt, at + length), Math.min(keyAt + view.getUint32(at + OP_HEADER_BYTES, true), at + length)),
        );
      }
    } else if (kind === KIND_TXN) addTxn(packed, at + OP_HEADER_BYTES, at + length, depth + 1, cost);
    at += length;
  }
  return at;
}
