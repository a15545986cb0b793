/**
 * Quorums: the one place where every question of a majority is asked, for elections, pre-votes, commitment, read rounds, leader leases,
 * check-quorum and the targets of a transfer (Raft 5.2, 5.3, 6). While a configuration is joint, each answer needs a majority of both
 * of its halves. Who is asked and what is counted lie with the callers; nothing here keeps state.
 */
import type { Configuration, MemberId } from "./configuration.ts";

/** open: the votes still missing decide. */
export type Tally = "won" | "lost" | "open";

/**
 * The largest value that a quorum has reached: some majority of each half has at least this. -Infinity where nobody votes.
 * Members outside both halves count for nothing, whatever `valueOf` says about them.
 */
export function agreedValue(configuration: Configuration, valueOf: (id: MemberId) => number): number {
  const incoming = agreedInHalf(configuration.incoming, valueOf);
  if (configuration.outgoing.length === 0) return incoming;
  return Math.min(incoming, agreedInHalf(configuration.outgoing, valueOf));
}

/** How an election stands. `voteOf` answers undefined for a voter that has not answered yet. */
export function tally(configuration: Configuration, voteOf: (id: MemberId) => boolean | undefined): Tally {
  const incoming = tallyHalf(configuration.incoming, voteOf);
  const outgoing = configuration.outgoing.length === 0 ? "won" : tallyHalf(configuration.outgoing, voteOf);
  if (incoming === "lost" || outgoing === "lost") return "lost";
  return incoming === "won" && outgoing === "won" ? "won" : "open";
}

/** Whether the member votes, in whichever half. */
export function isVoter(configuration: Configuration, id: MemberId): boolean {
  return configuration.incoming.includes(id) || configuration.outgoing.includes(id);
}

/** Whether the member makes every quorum alone. */
export function isSoleVoter(configuration: Configuration, id: MemberId): boolean {
  const { incoming, outgoing } = configuration;
  return incoming.length === 1 && incoming[0] === id && (outgoing.length === 0 || (outgoing.length === 1 && outgoing[0] === id));
}

/** Whether leadership may be handed to the member: it will still vote when a joint configuration has ended. */
export function isTransferTarget(configuration: Configuration, id: MemberId): boolean {
  return configuration.incoming.includes(id);
}

/** The voters of both halves, each once. */
export function voters(configuration: Configuration): readonly MemberId[] {
  if (configuration.outgoing.length === 0) return configuration.incoming;
  return [...new Set([...configuration.incoming, ...configuration.outgoing])].sort();
}

/** Descending values of one half while they are being ranked: as long as the largest half that was ever asked about. */
const ranked: number[] = [];

function agreedInHalf(half: readonly MemberId[], valueOf: (id: MemberId) => number): number {
  const majority = Math.floor(half.length / 2) + 1;
  if (half.length === 0) return -Infinity;
  for (let count = 0; count < half.length; count++) {
    const value = valueOf(half[count] as MemberId);
    let place = count;
    while (place > 0 && (ranked[place - 1] as number) < value) {
      ranked[place] = ranked[place - 1] as number;
      place--;
    }
    ranked[place] = value;
  }
  return ranked[majority - 1] as number;
}

function tallyHalf(half: readonly MemberId[], voteOf: (id: MemberId) => boolean | undefined): Tally {
  const majority = Math.floor(half.length / 2) + 1;
  let granted = 0;
  let missing = 0;
  for (const id of half) {
    const vote = voteOf(id);
    if (vote === true) granted++;
    else if (vote === undefined) missing++;
  }
  if (granted >= majority) return "won";
  return granted + missing >= majority ? "open" : "lost";
}
