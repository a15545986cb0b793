/**
 * What a link itself says, on the control lane: the two hellos of the handshake, a refusal, and the beats by which a dead peer is told
 * from a silent one. The layout of hello and refusal is the same in every version of the protocol, or versions could not be negotiated;
 * bytes behind the known fields are ignored, so that later versions can add to them.
 */
import type { Hello } from "./transport.ts";

/** Which of a member's two connections this is. */
export type LinkPurpose = "consensus" | "snapshot";

export type ControlFrame =
  | { readonly kind: "hello"; readonly purpose: LinkPurpose; readonly hello: Hello }
  | { readonly kind: "refusal"; readonly reason: string }
  | { readonly kind: "ping" }
  | { readonly kind: "pong" }
  /** Of a later version: to be ignored once the handshake is over. */
  | { readonly kind: "unknown" };

const HELLO = 1;
const REFUSAL = 2;
const PING = 3;
const PONG = 4;
/** "d-eng" and the layout's number: an accident will not look like this. */
const MAGIC = [0x64, 0x2d, 0x65, 0x6e, 0x67, 0x01] as const;
const PURPOSES: readonly LinkPurpose[] = ["consensus", "snapshot"];
const FIXED_BYTES = 40;
const TEXT_BYTES_MAX = 4096;
const REASON_LENGTH_MAX = 1000;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function encodeHello(hello: Hello, purpose: LinkPurpose): Uint8Array {
  const texts = [hello.clusterId, hello.memberId, hello.incarnation, hello.name].map((text) => encoder.encode(text));
  let length = FIXED_BYTES;
  for (const text of texts) {
    if (text.byteLength > TEXT_BYTES_MAX) throw new RangeError(`a hello with a text of ${text.byteLength} bytes`);
    length += 2 + text.byteLength;
  }
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  bytes[0] = HELLO;
  bytes.set(MAGIC, 1);
  bytes[7] = PURPOSES.indexOf(purpose);
  view.setUint32(8, hello.protocolMin, true);
  view.setUint32(12, hello.protocolMax, true);
  view.setFloat64(16, hello.featureLevel, true);
  view.setFloat64(24, hello.bootId, true);
  view.setFloat64(32, hello.electionTimeoutMs, true);
  let at = FIXED_BYTES;
  for (const text of texts) {
    view.setUint16(at, text.byteLength, true);
    bytes.set(text, at + 2);
    at += 2 + text.byteLength;
  }
  return bytes;
}

/** Reasons longer than 1,000 characters are cut. */
export function encodeRefusal(reason: string): Uint8Array {
  const text = encoder.encode(reason.slice(0, REASON_LENGTH_MAX));
  const bytes = new Uint8Array(1 + text.byteLength);
  bytes[0] = REFUSAL;
  bytes.set(text, 1);
  return bytes;
}

export const PING_BODY: Uint8Array = Uint8Array.of(PING);
export const PONG_BODY: Uint8Array = Uint8Array.of(PONG);

/** undefined for bytes that no version says. */
export function decodeControl(body: Uint8Array): ControlFrame | undefined {
  switch (body[0]) {
    case undefined:
      return undefined;
    case HELLO:
      return decodeHello(body);
    case REFUSAL: {
      const text = decodeText(body.subarray(1));
      if (text === undefined) return undefined;
      // It will be shown to people: one line of bounded length.
      return { kind: "refusal", reason: text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ").slice(0, REASON_LENGTH_MAX) };
    }
    case PING:
      return { kind: "ping" };
    case PONG:
      return { kind: "pong" };
    default:
      return { kind: "unknown" };
  }
}

/** The highest version that both speak; undefined if there is none. */
export function commonProtocol(one: Hello, other: Hello): number | undefined {
  const highest = Math.min(one.protocolMax, other.protocolMax);
  return highest >= Math.max(one.protocolMin, other.protocolMin) ? highest : undefined;
}

function decodeHello(body: Uint8Array): ControlFrame | undefined {
  if (body.byteLength < FIXED_BYTES) return undefined;
  for (const [place, byte] of MAGIC.entries()) if (body[1 + place] !== byte) return undefined;
  const purpose = PURPOSES[body[7] as number];
  if (purpose === undefined) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const protocolMin = view.getUint32(8, true);
  const protocolMax = view.getUint32(12, true);
  const featureLevel = view.getFloat64(16, true);
  const bootId = view.getFloat64(24, true);
  const electionTimeoutMs = view.getFloat64(32, true);
  if (protocolMin > protocolMax || !isCount(featureLevel) || !isCount(bootId) || !(electionTimeoutMs >= 0)) return undefined;
  const texts: string[] = [];
  let at = FIXED_BYTES;
  while (texts.length < 4) {
    if (body.byteLength - at < 2) return undefined;
    const length = view.getUint16(at, true);
    if (length > TEXT_BYTES_MAX || body.byteLength - at - 2 < length) return undefined;
    const text = decodeText(body.subarray(at + 2, at + 2 + length));
    if (text === undefined) return undefined;
    texts.push(text);
    at += 2 + length;
  }
  const [clusterId, memberId, incarnation, name] = texts as [string, string, string, string];
  if (!/^[0-9a-f]{16}$/.test(memberId)) return undefined;
  const hello = { clusterId, memberId, incarnation, name, bootId, protocolMin, protocolMax, featureLevel, electionTimeoutMs };
  return { kind: "hello", purpose, hello };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined; // Not UTF-8.
  }
}
