/**
 * What members say to each other of their cluster: where clients reach one, and who is to lead. Beside the frames of peer-frames.ts, of the
 * same kind: the first byte is the type, and decoding is total, undefined for anything malformed.
 */
import type { MemberId } from "../core/raft/configuration.ts";

export const FRAME_ANNOUNCE = 34;
export const FRAME_MOVE_LEADER = 35;
export const FRAME_MOVE_LEADER_ANSWER = 36;

/** Of one member. */
export const CLIENT_ADDRESSES_MAX = 16;
/** Of one address, in UTF-8. */
export const CLIENT_ADDRESS_BYTES_MAX = 256;

/** To the leader of `term`: this member, or whoever is furthest, is to lead in its place. `bootId` and `request` name the call at its sender. */
export interface MoveLeaderFrame {
  readonly bootId: number;
  readonly term: number;
  readonly request: number;
  readonly to: MemberId | undefined;
}

/** In the order of their numbers on the wire. */
export const MOVE_OUTCOMES = ["begun", "unknown", "learner", "unreachable", "lagging", "nobody"] as const;

/** What becomes of a wish for another leader. All but "begun" are refusals, and nothing was done. */
export type MoveOutcome = (typeof MOVE_OUTCOMES)[number];

export interface MoveLeaderAnswerFrame {
  readonly bootId: number;
  readonly term: number;
  readonly request: number;
  readonly outcome: MoveOutcome;
}

const utf8 = { encoder: new TextEncoder(), decoder: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }) };
const MOVE_BYTES = 32;
const ANSWER_BYTES = 24;

/** Whether clients can be told this address: 1 to 256 bytes without blanks or control characters. */
export function isClientAddress(address: unknown): address is string {
  if (typeof address !== "string" || address.length > CLIENT_ADDRESS_BYTES_MAX) return false;
  return /^[^\p{Cc}\p{Cs}\p{Z}]+$/u.test(address) && utf8.encoder.encode(address).byteLength <= CLIENT_ADDRESS_BYTES_MAX;
}

/** Whether a member may say so of itself. */
export function areClientAddresses(addresses: readonly unknown[]): addresses is readonly string[] {
  return addresses.length <= CLIENT_ADDRESSES_MAX && addresses.every(isClientAddress);
}

/** Where clients reach the sender; areClientAddresses() holds. */
export function encodeAnnounce(addresses: readonly string[]): readonly Uint8Array[] {
  const parts: Uint8Array[] = [Uint8Array.of(FRAME_ANNOUNCE, addresses.length)];
  for (const address of addresses) {
    const bytes = utf8.encoder.encode(address);
    parts.push(Uint8Array.of(bytes.byteLength & 0xff, bytes.byteLength >> 8), bytes);
  }
  return parts;
}

export function decodeAnnounce(frame: Uint8Array): readonly string[] | undefined {
  const count = frame[1];
  if (count === undefined || count > CLIENT_ADDRESSES_MAX) return undefined;
  const addresses: string[] = [];
  let at = 2;
  for (let i = 0; i < count; i++) {
    const [low, high] = [frame[at], frame[at + 1]];
    if (low === undefined || high === undefined) return undefined;
    const end = at + 2 + low + (high << 8);
    const address = end > frame.byteLength ? undefined : decodeText(frame.subarray(at + 2, end));
    if (!isClientAddress(address)) return undefined;
    addresses.push(address);
    at = end;
  }
  return at === frame.byteLength ? addresses : undefined;
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decoder.decode(bytes);
  } catch {
    return undefined; // Not UTF-8.
  }
}

export function encodeMoveLeader(move: MoveLeaderFrame): readonly Uint8Array[] {
  const frame = new Uint8Array(MOVE_BYTES);
  const view = new DataView(frame.buffer);
  frame[0] = FRAME_MOVE_LEADER;
  frame[1] = move.to === undefined ? 0 : 1;
  view.setUint32(4, move.bootId, true);
  view.setFloat64(8, move.term, true);
  view.setFloat64(16, move.request, true);
  if (move.to !== undefined) {
    view.setUint32(24, Number.parseInt(move.to.slice(8), 16), true);
    view.setUint32(28, Number.parseInt(move.to.slice(0, 8), 16), true);
  }
  return [frame];
}

export function decodeMoveLeader(frame: Uint8Array): MoveLeaderFrame | undefined {
  if (frame.byteLength !== MOVE_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const named = view.getUint8(1);
  const term = view.getFloat64(8, true);
  const request = view.getFloat64(16, true);
  if (named > 1 || !isCount(term) || !isCount(request)) return undefined;
  const to = hex(view.getUint32(28, true)) + hex(view.getUint32(24, true));
  return { bootId: view.getUint32(4, true), term, request, to: named === 1 ? to : undefined };
}

export function encodeMoveLeaderAnswer(answer: MoveLeaderAnswerFrame): readonly Uint8Array[] {
  const frame = new Uint8Array(ANSWER_BYTES);
  const view = new DataView(frame.buffer);
  frame[0] = FRAME_MOVE_LEADER_ANSWER;
  frame[1] = MOVE_OUTCOMES.indexOf(answer.outcome);
  view.setUint32(4, answer.bootId, true);
  view.setFloat64(8, answer.term, true);
  view.setFloat64(16, answer.request, true);
  return [frame];
}

export function decodeMoveLeaderAnswer(frame: Uint8Array): MoveLeaderAnswerFrame | undefined {
  if (frame.byteLength !== ANSWER_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const outcome = MOVE_OUTCOMES[view.getUint8(1)];
  const term = view.getFloat64(8, true);
  const request = view.getFloat64(16, true);
  if (outcome === undefined || !isCount(term) || !isCount(request)) return undefined;
  return { bootId: view.getUint32(4, true), term, request, outcome };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function hex(word: number): string {
  return word.toString(16).padStart(8, "0");
}
