/**
 * Who takes part (Raft 6, thesis 4). A configuration takes effect when its entry is appended, and is taken back when the entry is
 * truncated. `outgoing` is empty except in a joint configuration, in which every question of quorum needs a majority of both halves.
 */

/** 16 lower-case hex digits. */
export type MemberId = string;

export interface MemberRecord {
  readonly id: MemberId;
  readonly name: string;
  /** Where other members reach it: "host:port"; empty for a cluster of one that listens nowhere. */
  readonly peerAddress: string;
  readonly clientAddresses: readonly string[];
  /** Random, made with the data directory: a member whose disk was wiped has another. Only this one's votes and acknowledgements count. */
  readonly incarnation: string;
  /** A learner that is to become a voter. */
  readonly promotable: boolean;
}

export interface Configuration {
  /** The voters; in a joint configuration those of C_new. Sorted, no repeats. */
  readonly incoming: readonly MemberId[];
  /** The voters of C_old while the configuration is joint, else empty. */
  readonly outgoing: readonly MemberId[];
  /** Members that receive the log and vote for nothing. Never also in incoming or outgoing. */
  readonly learners: readonly MemberId[];
  /** Voters of C_old that become learners when the joint configuration ends. Each is in outgoing and not in incoming. */
  readonly learnersNext: readonly MemberId[];
  /** One for each id above, sorted by id. */
  readonly members: readonly MemberRecord[];
}
