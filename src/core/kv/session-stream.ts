/**
 * Sessions as the portable stream holds them (snapshot-format.ts). What is read is not trusted: only what a state could hold is taken.
 */
import type { ByteWriter } from "./bytes.ts";
import { REFUSALS } from "./command.ts";
import { ANSWER_BYTES_KEPT_MAX, areSessionBounds } from "./session-bounds.ts";
import { KEPT_BYTES, KEPT_NOT, SEQUENCE_MAX, type Answer, type Session, type SessionTable } from "./session-table.ts";
import { ANSWER_HEADER_BYTES, SESSION_HEADER_BYTES, SESSION_SLOT_BYTES, TAG_ANSWER, TAG_SESSION } from "./snapshot-format.ts";

/** A session with all that it remembers, but for the bytes of answers. */
export function writeSession(writer: ByteWriter, session: Readonly<Session>): void {
  const { what, revision, acked, highest } = session;
  const start = writer.length;
  writer.reserve(SESSION_HEADER_BYTES);
  writer.u32(TAG_SESSION);
  writer.u32(session.high);
  writer.u32(session.low);
  writer.u32(session.window);
  writer.f64(session.lifeMs);
  writer.f64(session.dueMs);
  writer.f64(acked);
  writer.u32(0);
  let answers = 0;
  for (let sequence = acked + 1; sequence <= highest; sequence++) {
    const at = sequence & (what.length - 1);
    if (what[at] === 0) continue;
    writer.u32(sequence - acked);
    writer.u32(what[at]!);
    writer.f64(revision[at]!);
    answers++;
  }
  writer.setU32(start + SESSION_HEADER_BYTES - 4, answers);
}

/** The bytes of an answer that is kept. */
export function writeAnswer(writer: ByteWriter, { session, sequence, bytes }: Answer): void {
  writer.u32(TAG_ANSWER);
  writer.u32(session.high);
  writer.u32(session.low);
  writer.f64(sequence);
  writer.u32(bytes.length);
  writer.raw(bytes);
}

/** Takes the session at this place, which is there to its end. False: no state could hold it. */
export function readSession(table: SessionTable, view: DataView, at: number): boolean {
  const high = view.getUint32(at + 4, true);
  const low = view.getUint32(at + 8, true);
  const window = view.getUint32(at + 12, true);
  const lifeMs = view.getFloat64(at + 16, true);
  const dueMs = view.getFloat64(at + 24, true);
  const acked = view.getFloat64(at + 32, true);
  if (view.getUint32(at, true) !== TAG_SESSION || !areSessionBounds({ window, lifeMs })) return false;
  if (!(dueMs >= 0 && dueMs <= Number.MAX_SAFE_INTEGER) || !(Number.isSafeInteger(acked) && acked >= 0 && acked < SEQUENCE_MAX))
    return false;
  const session = table.restore({ high, low, window, lifeMs, dueMs, acked });
  if (session === undefined) return false;
  const end = at + SESSION_HEADER_BYTES + view.getUint32(at + 40, true) * SESSION_SLOT_BYTES;
  for (let slot = at + SESSION_HEADER_BYTES; slot < end; slot += SESSION_SLOT_BYTES) {
    const what = view.getUint32(slot + 4, true);
    const revision = view.getFloat64(slot + 8, true);
    if (!isSlot(what, revision)) return false;
    if (!table.restoreSlot(session, acked + view.getUint32(slot, true), what, revision)) return false;
  }
  return true;
}

/** Takes the answer at this place, which is there to its end. False: no state could hold it. */
export function readAnswer(table: SessionTable, bytes: Uint8Array, view: DataView, at: number): boolean {
  const length = view.getUint32(at + 20, true);
  if (view.getUint32(at, true) !== TAG_ANSWER || length > ANSWER_BYTES_KEPT_MAX) return false;
  const from = at + ANSWER_HEADER_BYTES;
  const kept = bytes.slice(from, from + length);
  return table.restoreAnswer(view.getUint32(at + 4, true), view.getUint32(at + 8, true), view.getFloat64(at + 12, true), kept);
}

function isSlot(what: number, revision: number): boolean {
  const flags = what >>> 16;
  if (((what >>> 8) & 0xff) > REFUSALS.length || !Number.isSafeInteger(revision) || revision < 1) return false;
  return flags <= 0xff && (flags & (KEPT_BYTES | KEPT_NOT)) !== (KEPT_BYTES | KEPT_NOT);
}
