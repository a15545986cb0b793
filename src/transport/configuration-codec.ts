/**
 * The encoding of a configuration where one travels between members outside the log: in the offer of a snapshot. JSON in UTF-8, since
 * configurations are small and rare. What comes in is checked field by field, and against what makes a configuration one.
 */
import type { Configuration, MemberId, MemberRecord } from "../core/raft/configuration.ts";

const CONFIGURATION_BYTES_MAX = 1 << 20;
const CONFIGURATION_MEMBERS_MAX = 64;
const TEXT_LENGTH_MAX = 1024;
const CLIENT_ADDRESSES_MAX = 64;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function encodeConfiguration(configuration: Configuration): Uint8Array {
  return encoder.encode(JSON.stringify(configuration));
}

/** undefined where the bytes are no configuration that could be in force: malformed, unsorted, over a bound, or with a member too many or too few. */
export function decodeConfiguration(bytes: Uint8Array): Configuration | undefined {
  if (bytes.byteLength > CONFIGURATION_BYTES_MAX) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch {
    return undefined; // Not UTF-8, or not JSON: malformed either way.
  }
  const fields = asObject(value);
  if (fields === undefined) return undefined;
  const incoming = asIds(fields["incoming"]);
  const outgoing = asIds(fields["outgoing"]);
  const learners = asIds(fields["learners"]);
  const learnersNext = asIds(fields["learnersNext"]);
  const members = asMembers(fields["members"]);
  if (incoming === undefined || outgoing === undefined || learners === undefined) return undefined;
  if (learnersNext === undefined || members === undefined) return undefined;
  const configuration = { incoming, outgoing, learners, learnersNext, members };
  return isCoherent(configuration) ? configuration : undefined;
}

/** The sentences of core/raft/configuration.ts about who may be in which list. */
function isCoherent({ incoming, outgoing, learners, learnersNext, members }: Configuration): boolean {
  if (learners.some((id) => incoming.includes(id) || outgoing.includes(id))) return false;
  if (learnersNext.some((id) => incoming.includes(id) || !outgoing.includes(id))) return false;
  const ids = [...new Set([...incoming, ...outgoing, ...learners])].sort();
  return ids.length === members.length && members.every((member, place) => member.id === ids[place]);
}

function asObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}

function isId(value: unknown): value is MemberId {
  return typeof value === "string" && /^[0-9a-f]{16}$/.test(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= TEXT_LENGTH_MAX;
}

/** Sorted, without repeats. */
function asIds(value: unknown): readonly MemberId[] | undefined {
  if (!Array.isArray(value) || value.length > CONFIGURATION_MEMBERS_MAX) return undefined;
  const ids: MemberId[] = [];
  for (const id of value as readonly unknown[]) {
    if (!isId(id)) return undefined;
    const before = ids.at(-1);
    if (before !== undefined && before >= id) return undefined;
    ids.push(id);
  }
  return ids;
}

function asMembers(value: unknown): readonly MemberRecord[] | undefined {
  if (!Array.isArray(value) || value.length > CONFIGURATION_MEMBERS_MAX) return undefined;
  const members: MemberRecord[] = [];
  for (const item of value as readonly unknown[]) {
    const fields = asObject(item);
    if (fields === undefined) return undefined;
    const { id, name, peerAddress, clientAddresses, incarnation, promotable } = fields;
    if (!isId(id) || !isText(name) || !isText(peerAddress) || !isText(incarnation) || typeof promotable !== "boolean") return undefined;
    if (!Array.isArray(clientAddresses) || clientAddresses.length > CLIENT_ADDRESSES_MAX) return undefined;
    if (!clientAddresses.every(isText)) return undefined;
    members.push({ id, name, peerAddress, clientAddresses: [...clientAddresses], incarnation, promotable });
  }
  return members;
}
