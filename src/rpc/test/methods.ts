/** Methods with the simplest codec: messages are bytes, or bytes in field 1 of a protobuf message (google.protobuf.BytesValue). */
import type { Method, MethodKind } from "../grpc/method.ts";

/** A method whose messages are the bytes on the wire. */
export function rawMethod<Kind extends MethodKind>(name: string, kind: Kind): Method<Uint8Array, Uint8Array, Kind> {
  const same = (bytes: Uint8Array): Uint8Array => bytes;
  const copy = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);
  return { path: `/test.Raw/${name}`, kind, encodeRequest: same, decodeRequest: copy, encodeResponse: same, decodeResponse: copy };
}

/** google.protobuf.BytesValue. */
export function encodeBytesValue(value: Uint8Array): Uint8Array {
  if (value.length === 0) return new Uint8Array(0);
  const head: number[] = [0x0a];
  let length = value.length;
  while (length >= 0x80) {
    head.push((length & 0x7f) | 0x80);
    length >>>= 7;
  }
  head.push(length);
  const bytes = new Uint8Array(head.length + value.length);
  bytes.set(head);
  bytes.set(value, head.length);
  return bytes;
}

/** google.protobuf.BytesValue, as encoders that know no other field write it. Throws on anything else. */
export function decodeBytesValue(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return new Uint8Array(0);
  if (bytes[0] !== 0x0a) throw new Error("not a BytesValue");
  let length = 0;
  let at = 1;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    if (byte === undefined || shift > 28) throw new Error("not a BytesValue");
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  if (at + length !== bytes.length) throw new Error("not a BytesValue");
  return Uint8Array.from(bytes.subarray(at));
}

/** A method of the interoperability service: its messages are BytesValues. */
export function interopMethod<Kind extends MethodKind>(name: string, kind: Kind): Method<Uint8Array, Uint8Array, Kind> {
  return {
    path: `/test.Interop/${name}`,
    kind,
    encodeRequest: encodeBytesValue,
    decodeRequest: decodeBytesValue,
    encodeResponse: encodeBytesValue,
    decodeResponse: decodeBytesValue,
  };
}
