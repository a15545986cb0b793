/**
 * WatchResponses with events: the events of a revision are encoded once, however many watches of however many clients they go to; a response is
 * a header, the watch's id, and a copy of that.
 */
import type { PackedEvents } from "./backend.ts";
import { packedEnd, packedKvBytes, writePackedKv, type ResponseHeads } from "./kv-responses.ts";
import { varintBytes, wordsBytes, writeVarint, writeWords } from "./proto-writer.ts";

/** Of a packed event (core/kv/watch-event.ts). */
const FLAG_DELETE = 1;
const FLAG_PREV_KV = 4;

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

/** The response that brings these events to a watch, whose id's field this is. */
export function encodeEvents(heads: ResponseHeads, idField: Uint8Array, events: PackedEvents): Uint8Array {
  const encoded = encodedEvents(events);
  const buffer = Buffer.allocUnsafe(heads.size(events.revision) + idField.length + encoded.length);
  const at = heads.write(buffer, 0, events.revision);
  buffer.set(idField, at);
  buffer.set(encoded, at + idField.length);
  return buffer;
}

/** The same in several responses, none much above FRAGMENT_BYTES_MAX unless one event is. All but the last say that more follow. */
export function encodeFragments(heads: ResponseHeads, idField: Uint8Array, events: PackedEvents): Uint8Array[] {
  const encoded = encodedEvents(events);
  if (encoded.length <= FRAGMENT_BYTES_MAX) return [encodeEvents(heads, idField, events)];
  const parts: Uint8Array[] = [];
  let from = 0;
  let at = 0;
  while (at < encoded.length) {
    const next = eventEnd(encoded, at);
    if (next - from > FRAGMENT_BYTES_MAX && at > from) {
      parts.push(encoded.subarray(from, at));
      from = at;
    }
    at = next;
  }
  parts.push(encoded.subarray(from));
  return parts.map((part, i) => {
    const isLast = i === parts.length - 1;
    const buffer = Buffer.allocUnsafe(heads.size(events.revision) + idField.length + (isLast ? 0 : 2) + part.length);
    let end = heads.write(buffer, 0, events.revision);
    buffer.set(idField, end);
    end += idField.length;
    if (!isLast) {
      buffer[end++] = 0x38;
      buffer[end++] = 1;
    }
    buffer.set(part, end);
    return buffer;
  });
}

/** Where the encoded event at `at` ends. */
function eventEnd(encoded: Uint8Array, at: number): number {
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

function encodedEvents(events: PackedEvents): Uint8Array {
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
