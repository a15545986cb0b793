/**
 * What WatchResponses with events are made of: the events of a revision, which are encoded once, however many watches of however many clients they
 * go to, and the watch's id. A response is a header (kv-responses.ts) and these.
 */
import type { PackedEvents } from "./backend.ts";
import { packedEnd, packedKvBytes, writePackedKv } from "./kv-responses.ts";
import { varintBytes, wordsBytes, writeVarint, writeWords } from "./proto-writer.ts";

/** Of a packed event (core/kv/watch-event.ts). */
const FLAG_DELETE = 1;
const FLAG_PREV_KV = 4;

/** The field fragment: the revision goes on in the next response. */
export const MORE_FOLLOWS: Uint8Array = Uint8Array.of(0x38, 1);

/** Responses above this are cut between events for those who ask for it: the largest request and 512 KiB. */
export const FRAGMENT_BYTES_MAX = 2_097_152;

/** The field watch_id, encoded: nothing for 0. */
export function watchIdField(id: string): Uint8Array {
  const high = Number.parseInt(id.slice(0, 8), 16);
  const low = Number.parseInt(id.slice(8), 16);
  if (high === 0 && low === 0) return new Uint8Array(0);
  const field = Buffer.allocUnsafe(1 + wordsBytes(high, low));
  field[0] = 0x10;
  writeWords(field, 1, high, low);
  return field;
}

/** Encoded events in parts, none much above FRAGMENT_BYTES_MAX unless it is one event: views. */
export function fragmentsOf(encoded: Uint8Array): Uint8Array[] {
  if (encoded.length <= FRAGMENT_BYTES_MAX) return [encoded];
  const parts: Uint8Array[] = [];
  let from = 0;
  let at = 0;
  while (at < encoded.length) {
    const next = encodedEventEnd(encoded, at);
    if (next - from > FRAGMENT_BYTES_MAX && at > from) {
      parts.push(encoded.subarray(from, at));
      from = at;
    }
    at = next;
  }
  parts.push(encoded.subarray(from));
  return parts;
}

/** Where the encoded event at `at` ends. */
export function encodedEventEnd(encoded: Uint8Array, at: number): number {
  let length = 0;
  let shift = 1;
  let next = at + 1;
  for (;;) {
    const byte = encoded[next++]!;
    length += (byte & 0x7f) * shift;
    if (byte < 0x80) return next + length;
    shift *= 128;
  }
}

/** Fields `events` of a WatchResponse, encoded once for all that ask. */
export function encodedEvents(events: PackedEvents): Uint8Array {
  events.encoded ??= encode(events.bytes, events.count);
  return events.encoded;
}

/** Fields 11 of a WatchResponse. */
function encode(bytes: Uint8Array, count: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let size = 0;
  for (let i = 0, offset = 0; i < count; i++) {
    const event = eventBytes(view, offset);
    size += 1 + varintBytes(event) + event;
    offset = nextEvent(view, offset);
  }
  const buffer = Buffer.allocUnsafe(size);
  let at = 0;
  for (let i = 0, offset = 0; i < count; i++) {
    const flags = view.getUint8(offset);
    buffer[at] = 0x5a;
    at = writeVarint(buffer, at + 1, eventBytes(view, offset));
    if ((flags & FLAG_DELETE) !== 0) {
      buffer[at++] = 0x08;
      buffer[at++] = 1;
    }
    at = writePackedKv(buffer, at, 0x12, bytes, view, offset + 1);
    if ((flags & FLAG_PREV_KV) !== 0) at = writePackedKv(buffer, at, 0x1a, bytes, view, packedEnd(view, offset + 1));
    offset = nextEvent(view, offset);
  }
  return buffer;
}

function eventBytes(view: DataView, offset: number): number {
  const flags = view.getUint8(offset);
  const kv = packedKvBytes(view, offset + 1);
  let size = ((flags & FLAG_DELETE) !== 0 ? 2 : 0) + 1 + varintBytes(kv) + kv;
  if ((flags & FLAG_PREV_KV) !== 0) {
    const before = packedKvBytes(view, packedEnd(view, offset + 1));
    size += 1 + varintBytes(before) + before;
  }
  return size;
}

function nextEvent(view: DataView, offset: number): number {
  const end = packedEnd(view, offset + 1);
  return (view.getUint8(offset) & FLAG_PREV_KV) !== 0 ? packedEnd(view, end) : end;
}
