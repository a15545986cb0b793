/** The two requests that come most often, decoded by hand: the same result as the table's decoder, with no look-ups. A test holds them together. */
import { MalformedMessage } from "./malformed-message.ts";
import { ProtoReader } from "./proto-reader.ts";
import { NO_ID, type Message } from "./schema/messages.ts";

const EMPTY = new Uint8Array(0);

type Writable<T> = { -readonly [Field in keyof T]: T[Field] };

/** Keys are views of the bytes. Throws MalformedMessage. */
export function decodeRangeRequest(bytes: Uint8Array): Message<"etcdserverpb.RangeRequest"> {
  const request: Writable<Message<"etcdserverpb.RangeRequest">> = {
    key: EMPTY,
    range_end: EMPTY,
    limit: 0,
    revision: 0,
    sort_order: 0,
    sort_target: 0,
    serializable: false,
    keys_only: false,
    count_only: false,
    min_mod_revision: 0,
    max_mod_revision: 0,
    min_create_revision: 0,
    max_create_revision: 0,
  };
  const reader = new ProtoReader(bytes);
  while (reader.at < reader.end) {
    const tag = reader.tag();
    switch (tag) {
      case 0x0a:
        request.key = reader.view();
        break;
      case 0x12:
        request.range_end = reader.view();
        break;
      case 0x18:
        request.limit = reader.int64();
        break;
      case 0x20:
        request.revision = reader.int64();
        break;
      case 0x28:
        request.sort_order = reader.int32();
        break;
      case 0x30:
        request.sort_target = reader.int32();
        break;
      case 0x38:
        request.serializable = reader.bool();
        break;
      case 0x40:
        request.keys_only = reader.bool();
        break;
      case 0x48:
        request.count_only = reader.bool();
        break;
      case 0x50:
        request.min_mod_revision = reader.int64();
        break;
      case 0x58:
        request.max_mod_revision = reader.int64();
        break;
      case 0x60:
        request.min_create_revision = reader.int64();
        break;
      case 0x68:
        request.max_create_revision = reader.int64();
        break;
      default:
        skipUnknown(reader, tag, 13);
    }
  }
  return request;
}

/** Key and value are views of the bytes. Throws MalformedMessage. */
export function decodePutRequest(bytes: Uint8Array): Message<"etcdserverpb.PutRequest"> {
  const request: Writable<Message<"etcdserverpb.PutRequest">> = {
    key: EMPTY,
    value: EMPTY,
    lease: NO_ID,
    prev_kv: false,
    ignore_value: false,
    ignore_lease: false,
  };
  const reader = new ProtoReader(bytes);
  while (reader.at < reader.end) {
    const tag = reader.tag();
    switch (tag) {
      case 0x0a:
        request.key = reader.view();
        break;
      case 0x12:
        request.value = reader.view();
        break;
      case 0x18:
        request.lease = reader.id();
        break;
      case 0x20:
        request.prev_kv = reader.bool();
        break;
      case 0x28:
        request.ignore_value = reader.bool();
        break;
      case 0x30:
        request.ignore_lease = reader.bool();
        break;
      default:
        skipUnknown(reader, tag, 6);
    }
  }
  return request;
}

/** A known field with another wire type is malformed; a field that nobody knows is skipped. */
function skipUnknown(reader: ProtoReader, tag: number, last: number): void {
  if (tag >>> 3 <= last) throw new MalformedMessage(`wrong wire type ${tag & 7} for field ${tag >>> 3}`);
  reader.skip(tag);
}
