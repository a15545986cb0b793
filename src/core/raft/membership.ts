/**
 * Changes of membership (Raft 6, thesis 4) as pure functions from one configuration to the next, and the configurations that a log
 * holds. Any change of voters passes through a joint configuration; learners and records change in one step. Who proposes, and when
 * the joint state is left, is decided in commit.ts and raft.ts.
 */
import { assert } from "../assert.ts";
import type { Configuration, MemberId, MemberRecord } from "./configuration.ts";
import { decodeConfiguration, isMemberId, isMemberRecord, isWellFormed, MEMBERS_MAX } from "./configuration-codec.ts";
import { entryPayload, type Entry } from "./entry.ts";

export { decodeConfiguration, encodeConfiguration } from "./configuration-codec.ts";

/** What the membership is to be. Every id of voters and learners has one record. */
export interface ConfigurationChange {
  readonly voters: readonly MemberId[];
  readonly learners: readonly MemberId[];
  readonly members: readonly MemberRecord[];
}

export function isJoint(configuration: Configuration): boolean {
  return configuration.outgoing.length > 0;
}

/**
 * The configuration to append for a change: joint where the voters differ, final otherwise. A text says why there is none.
 * An id stays with the incarnation that it was recorded with for as long as it is a member.
 */
export function changeConfiguration(current: Configuration, change: ConfigurationChange): Configuration | string {
  if (isJoint(current)) return "a change of membership is under way";
  if (change.voters.length === 0) return "a cluster needs a voter";
  const wanted = [...change.voters, ...change.learners];
  if (wanted.length > MEMBERS_MAX) return `more than ${MEMBERS_MAX} members`;
  if (!wanted.every(isMemberId)) return "a member id is not 16 lower-case hex digits";
  if (new Set(wanted).size !== wanted.length) return "a member is named twice";
  const recordOf = new Map<MemberId, MemberRecord>();
  for (const member of change.members) {
    if (!isMemberRecord(member)) return `the record of member ${String(member.id)} is too long or malformed`;
    if (recordOf.has(member.id)) return `member ${member.id} has two records`;
    recordOf.set(member.id, member);
  }
  if (recordOf.size !== wanted.length || !wanted.every((id) => recordOf.has(id))) return "members and records do not match";
  for (const member of current.members) {
    const next = recordOf.get(member.id);
    if (next !== undefined && next.incarnation !== member.incarnation) return `member ${member.id} is of another incarnation`;
  }

  const incoming = [...change.voters].sort();
  const sameVoters = incoming.length === current.incoming.length && incoming.every((id, i) => id === current.incoming[i]);
  const outgoing = sameVoters ? [] : current.incoming;
  // A voter that becomes a learner stays a voter for as long as C_old counts.
  const learnersNext = change.learners.filter((id) => outgoing.includes(id)).sort();
  const learners = change.learners.filter((id) => !outgoing.includes(id)).sort();
  for (const member of current.members) {
    if (outgoing.includes(member.id) && !recordOf.has(member.id)) recordOf.set(member.id, member);
  }
  if (recordOf.size > MEMBERS_MAX) return `more than ${MEMBERS_MAX} members`;
  const members = [...recordOf.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const next: Configuration = { incoming, outgoing, learners, learnersNext, members };
  assert(isWellFormed(next), "a change leads to a well-formed configuration");
  return next;
}

/** Where a member is reached; what is left out stays as it is. */
export interface AddressChange {
  readonly peerAddress?: string;
  readonly clientAddresses?: readonly string[];
}

/**
 * The configuration with other addresses of one member, and with nothing else another: whoever asks for it, and however old what they
 * know is, no quorum changes. A text says why there is none.
 */
export function changeAddresses(current: Configuration, id: MemberId, change: AddressChange): Configuration | string {
  if (isJoint(current)) return "a change of membership is under way";
  const member = current.members.find((record) => record.id === id);
  if (member === undefined) return `member ${id} is not a member`;
  const next = { ...member, ...change };
  if (!isMemberRecord(next)) return `the record of member ${id} is too long or malformed`;
  return { ...current, members: current.members.map((record) => (record.id === id ? next : record)) };
}

/** C_new of a joint configuration. */
export function leaveJoint(joint: Configuration): Configuration {
  assert(isJoint(joint), "only a joint configuration is left");
  const learners = [...joint.learners, ...joint.learnersNext].sort();
  const members = joint.members.filter((member) => joint.incoming.includes(member.id) || learners.includes(member.id));
  return { incoming: joint.incoming, outgoing: [], learners, learnersNext: [], members };
}

interface Held {
  readonly index: number;
  readonly configuration: Configuration;
}

/** The configurations of a log: one for the base, then one for each configuration entry above it. The last one is in force. */
export class ConfigurationHistory {
  /** Ascending, never empty. Bounded by the configuration entries that the log holds. */
  #held: Held[];

  constructor(base: Held) {
    this.#held = [base];
  }

  get latest(): Configuration {
    return (this.#held[this.#held.length - 1] as Held).configuration;
  }

  /** Where the one in force stands in the log. */
  get latestIndex(): number {
    return (this.#held[this.#held.length - 1] as Held).index;
  }

  /** The one before the one in force, while both are held. */
  get previous(): Configuration | undefined {
    return this.#held[this.#held.length - 2]?.configuration;
  }

  append(index: number, configuration: Configuration): void {
    assert(index > this.latestIndex, "configurations are appended in order");
    this.#held.push({ index, configuration });
  }

  /** Takes back what stood at `from` and behind it (Raft 6: a server uses the latest configuration in its log). */
  truncate(from: number): void {
    while (this.#held.length > 1 && this.latestIndex >= from) this.#held.pop();
    assert(this.latestIndex < from, "the base configuration is never truncated");
  }

  /** The one in force at an index; of an index before the oldest that is known, the oldest. */
  at(index: number): Configuration {
    for (let i = this.#held.length - 1; i > 0; i--) {
      const held = this.#held[i] as Held;
      if (held.index <= index) return held.configuration;
    }
    return (this.#held[0] as Held).configuration;
  }

  /** Forgets what no index at or behind `through` needs. */
  discard(through: number): void {
    let first = 0;
    while (first + 1 < this.#held.length && (this.#held[first + 1] as Held).index <= through) first++;
    if (first > 0) this.#held = this.#held.slice(first);
  }

  reset(base: Held): void {
    this.#held = [base];
  }
}

/** The configuration that an entry carries; undefined where its payload is none. */
export function configurationOf(entry: Entry): Configuration | undefined {
  return decodeConfiguration(entryPayload(entry));
}
