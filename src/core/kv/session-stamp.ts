/**
 * Which session each command of a packed batch belongs to: filled in where a batch was built with room for it, without unpacking anything.
 * For batches whose commands are of several sessions; one that is of one says so in its header (batch.ts). What makes no sense is left as it is.
 */
import { BATCH_PREFIX_BYTES, type BatchSession } from "../batch.ts";
import { COMMAND_HEADER_BYTES, FLAG_SESSION } from "./command.ts";
import { SESSION_BYTES } from "./session-bounds.ts";

/** Gives the numbers to those commands of a record that have room for them and no session yet. Answers how many. */
export function stampSession(record: Uint8Array, count: number, { high, low, sequence, acked }: BatchSession): number {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  let stamped = 0;
  let at = BATCH_PREFIX_BYTES;
  for (let left = count; left > 0; left--) {
    const length = lengthAt(view, at);
    if (length === 0) break;
    const to = at + COMMAND_HEADER_BYTES;
    if (hasRoom(view, at, length) && view.getUint32(to, true) === 0 && view.getUint32(to + 4, true) === 0) {
      view.setUint32(to, high, true);
      view.setUint32(to + 4, low, true);
      view.setFloat64(to + 8, sequence + stamped, true);
      view.setFloat64(to + 16, acked, true);
      stamped++;
    }
    at += length;
  }
  return stamped;
}

function hasRoom(view: DataView, at: number, length: number): boolean {
  return (view.getUint8(at + 5) & FLAG_SESSION) !== 0 && length >= COMMAND_HEADER_BYTES + SESSION_BYTES;
}

/** Of the command at this place; 0 where none can be found. */
function lengthAt(view: DataView, at: number): number {
  const left = view.byteLength - at;
  if (left < COMMAND_HEADER_BYTES) return 0;
  const length = view.getUint32(at, true);
  return length < COMMAND_HEADER_BYTES || length > left ? 0 : length;
}
