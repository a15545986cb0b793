/**
 * The encoding of a configuration, as the payload of a "configuration" entry and inside snapshots and offers of them. Little-endian:
 *
 *   u8 version, u8 0, then five lists (incoming, outgoing, learners, learnersNext, members), each a u16 count and its items.
 *   An id is its 8 bytes. A member is id, u8 flags (1: promotable), name, peer address, incarnation, u16 count and client addresses.
 *   A text is a u16 count of UTF-16 code units and the units: whatever a string may hold comes back as it was.
 *
 * Decoding is total: undefined for anything but exactly one well-formed configuration.
 */
import { assert } from "../assert.ts";
import type { Configuration, MemberId, MemberRecord } from "./configuration.ts";

const CONFIGURATION_VERSION = 1;
/** More members than any quorum should have; bounds every loop over them. */
export const MEMBERS_MAX = 64;
const CLIENT_ADDRESSES_MAX = 16;
const TEXT_UNITS_MAX = 1_024;

/** Whether the text is a member's id: 16 lower-case hex digits. */
export function isMemberId(id: unknown): id is MemberId {
  return typeof id === "string" && /^[0-9a-f]{16}$/.test(id);
}

/** The payload alone; a log entry has its header in front. The configuration must be well-formed. */
export function encodeConfiguration(configuration: Configuration): Uint8Array {
  assert(isWellFormed(configuration), "only a well-formed configuration is encoded");
  const writer = new Writer(new Uint8Array(encodedBytes(configuration)));
  writer.u8(CONFIGURATION_VERSION);
  writer.u8(0);
  for (const ids of [configuration.incoming, configuration.outgoing, configuration.learners, configuration.learnersNext]) {
    writer.u16(ids.length);
    for (const id of ids) writer.id(id);
  }
  writer.u16(configuration.members.length);
  for (const member of configuration.members) {
    writer.id(member.id);
    writer.u8(member.promotable ? 1 : 0);
    writer.text(member.name);
    writer.text(member.peerAddress);
    writer.text(member.incarnation);
    writer.u16(member.clientAddresses.length);
    for (const address of member.clientAddresses) writer.text(address);
  }
  return writer.bytes;
}

/** undefined where the bytes are not one whole, well-formed configuration of a known version. */
export function decodeConfiguration(bytes: Uint8Array): Configuration | undefined {
  const reader = new Reader(bytes);
  if (reader.u8() !== CONFIGURATION_VERSION || reader.u8() !== 0) return undefined;
  const incoming = reader.ids();
  const outgoing = reader.ids();
  const learners = reader.ids();
  const learnersNext = reader.ids();
  const members: MemberRecord[] = [];
  const count = Math.min(reader.u16(), MEMBERS_MAX + 1);
  for (let i = 0; i < count && !reader.failed; i++) {
    const id = reader.id();
    const flags = reader.u8();
    if (flags > 1) return undefined;
    const name = reader.text();
    const peerAddress = reader.text();
    const incarnation = reader.text();
    const clientAddresses: string[] = [];
    const addresses = Math.min(reader.u16(), CLIENT_ADDRESSES_MAX + 1);
    for (let j = 0; j < addresses && !reader.failed; j++) clientAddresses.push(reader.text());
    members.push({ id, name, peerAddress, clientAddresses, incarnation, promotable: flags === 1 });
  }
  if (reader.failed || !reader.atEnd) return undefined;
  const configuration: Configuration = { incoming, outgoing, learners, learnersNext, members };
  return isWellFormed(configuration) ? configuration : undefined;
}

/** Whether the lists are sorted, keep apart what must be apart, and every id has one member's record. */
export function isWellFormed(configuration: Configuration): boolean {
  const { incoming, outgoing, learners, learnersNext, members } = configuration;
  if (members.length > MEMBERS_MAX) return false;
  for (const ids of [incoming, outgoing, learners, learnersNext]) {
    if (!ids.every(isMemberId) || !isAscending(ids)) return false;
  }
  // Members without voters are those of a node that waits to be told; a joint state always has voters on both sides.
  if (incoming.length === 0 && outgoing.length > 0) return false;
  if (learners.some((id) => incoming.includes(id) || outgoing.includes(id))) return false;
  if (learnersNext.some((id) => incoming.includes(id) || !outgoing.includes(id))) return false;
  if (!isAscending(members.map((member) => member.id)) || !members.every(isMemberRecord)) return false;
  const named = new Set([...incoming, ...outgoing, ...learners]);
  return named.size === members.length && members.every((member) => named.has(member.id));
}

/** Whether the record can be encoded. */
export function isMemberRecord(member: MemberRecord): boolean {
  const texts = [member.name, member.peerAddress, member.incarnation, ...member.clientAddresses];
  return (
    isMemberId(member.id) &&
    member.clientAddresses.length <= CLIENT_ADDRESSES_MAX &&
    texts.every((text) => typeof text === "string" && text.length <= TEXT_UNITS_MAX)
  );
}

function isAscending(ids: readonly MemberId[]): boolean {
  return ids.every((id, i) => i === 0 || (ids[i - 1] as MemberId) < id);
}

function encodedBytes(configuration: Configuration): number {
  const { incoming, outgoing, learners, learnersNext, members } = configuration;
  let bytes = 2 + 5 * 2 + 8 * (incoming.length + outgoing.length + learners.length + learnersNext.length);
  for (const member of members) {
    bytes += 8 + 1 + 2;
    for (const text of [member.name, member.peerAddress, member.incarnation, ...member.clientAddresses]) bytes += 2 + 2 * text.length;
  }
  return bytes;
}

class Writer {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(value: number): void {
    this.#view.setUint8(this.#at, value);
    this.#at += 1;
  }

  u16(value: number): void {
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
  }

  id(id: MemberId): void {
    this.#view.setUint32(this.#at, Number.parseInt(id.slice(8), 16), true);
    this.#view.setUint32(this.#at + 4, Number.parseInt(id.slice(0, 8), 16), true);
    this.#at += 8;
  }

  text(text: string): void {
    this.u16(text.length);
    for (let i = 0; i < text.length; i++) this.u16(text.charCodeAt(i));
  }
}

/** Reads past the end answer zeros and set `failed`, so that the caller asks once. */
class Reader {
  readonly #view: DataView;
  #at = 0;
  failed = false;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get atEnd(): boolean {
    return this.#at === this.#view.byteLength;
  }

  u8(): number {
    return this.#has(1) ? this.#view.getUint8(this.#at++) : 0;
  }

  u16(): number {
    if (!this.#has(2)) return 0;
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2, true);
  }

  id(): MemberId {
    if (!this.#has(8)) return "";
    const low = this.#view.getUint32(this.#at, true);
    const high = this.#view.getUint32(this.#at + 4, true);
    this.#at += 8;
    return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
  }

  ids(): readonly MemberId[] {
    const ids: MemberId[] = [];
    const count = this.u16();
    if (count > MEMBERS_MAX) this.failed = true;
    for (let i = 0; i < count && !this.failed; i++) ids.push(this.id());
    return ids;
  }

  text(): string {
    const units = this.u16();
    if (units > TEXT_UNITS_MAX || !this.#has(2 * units)) {
      this.failed = true;
      return "";
    }
    let text = "";
    for (let i = 0; i < units; i++) text += String.fromCharCode(this.u16());
    return text;
  }

  #has(bytes: number): boolean {
    if (this.#at + bytes > this.#view.byteLength) this.failed = true;
    return !this.failed;
  }
}
