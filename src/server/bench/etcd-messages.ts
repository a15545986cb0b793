/** The few messages that the benchmark sends, written by hand so that neither side's codec is measured: field numbers are etcd's. */
import type { Method } from "../../rpc/index.ts";

const asIs = (bytes: Uint8Array): Uint8Array => bytes;
const copy = (bytes: Uint8Array): Uint8Array => bytes.slice();

const unary = (path: string): Method<Uint8Array, Uint8Array, "unary"> => ({
  path,
  kind: "unary",
  encodeRequest: asIs,
  decodeRequest: asIs,
  encodeResponse: asIs,
  decodeResponse: copy,
});

export const PUT: Method<Uint8Array, Uint8Array, "unary"> = unary("/etcdserverpb.KV/Put");
export const RANGE: Method<Uint8Array, Uint8Array, "unary"> = unary("/etcdserverpb.KV/Range");
export const STATUS: Method<Uint8Array, Uint8Array, "unary"> = unary("/etcdserverpb.Maintenance/Status");

/** Its responses are how many events each message holds. */
export const WATCH: Method<Uint8Array, number, "bidi"> = {
  path: "/etcdserverpb.Watch/Watch",
  kind: "bidi",
  encodeRequest: asIs,
  decodeRequest: asIs,
  encodeResponse: () => new Uint8Array(0),
  decodeResponse: countEvents,
};

function field(number: number, value: Uint8Array): Uint8Array {
  const head = [(number << 3) | 2];
  let length = value.length;
  for (; length > 127; length >>>= 7) head.push((length & 127) | 128);
  head.push(length);
  return Uint8Array.from([...head, ...value]);
}

const join = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

export function putRequest(key: string, value: Uint8Array): Uint8Array {
  return join(field(1, text(key)), field(2, value));
}

export function rangeRequest(key: string, serializable: boolean): Uint8Array {
  return join(field(1, text(key)), serializable ? Uint8Array.of((7 << 3) | 0, 1) : new Uint8Array(0));
}

/** WatchRequest with a WatchCreateRequest of one key. */
export function watchRequest(key: string): Uint8Array {
  return field(1, field(1, text(key)));
}

/** Walks the fields of a message: calls back with each varint, or each length and the offset of its bytes. */
function walk(bytes: Uint8Array, onField: (number: number, value: bigint, at: number) => void): void {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? 0;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const value = varint();
    onField(tag >>> 3, value, at);
    if ((tag & 7) === 2) at += Number(value);
  }
}

/** WatchResponse.events is field 11. Not a BigInt for each of them: a million come in a second. */
function countEvents(bytes: Uint8Array): number {
  let events = 0;
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const value = varint();
    if (tag === ((11 << 3) | 2)) events += 1;
    if ((tag & 7) === 2) at += value;
  }
  return events;
}

/** Of a StatusResponse: header (1) with member_id (2), and leader (4). */
export function leaderAndSelf(status: Uint8Array): { readonly leader: bigint; readonly self: bigint } {
  let leader = 0n;
  let self = 0n;
  walk(status, (number, value, at) => {
    if (number === 4) leader = value;
    if (number === 1)
      walk(status.subarray(at, at + Number(value)), (inner, id) => {
        if (inner === 2) self = id;
      });
  });
  return { leader, self };
}

/** Of a RangeResponse with one pair: kvs (2) with version (4). 0 if there is none. */
export function versionOf(range: Uint8Array): number {
  let version = 0;
  walk(range, (number, value, at) => {
    if (number === 2)
      walk(range.subarray(at, at + Number(value)), (inner, found) => {
        if (inner === 4) version = Number(found);
      });
  });
  return version;
}
