/** Who leads a term was voted for by a majority of voters, of both halves while the configuration is joint (Raft 5.2, 6). */
import type { Message } from "../../core/raft/message.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";
import { isMajorityOfBoth } from "./majority.ts";

export class ElectedByQuorum implements Invariant {
  /** By term and candidate: who told it of a vote. */
  readonly #votes = new Map<string, Set<string>>();

  onSend(member: MemberView, message: Message): void {
    // A candidate's question carries its own vote.
    if (message.kind === "RequestVote" && !message.preVote) this.#note(message.term, member.id, member.id);
    if (message.kind === "RequestVoteReply" && !message.preVote && message.granted) this.#note(message.term, message.to, member.id);
  }

  onRole(member: MemberView, raft: RaftView): void {
    if (raft.role !== "leader") return;
    const votes = this.#votes.get(`${raft.term} ${member.id}`) ?? new Set<string>();
    // A sole voter asks nobody.
    if (member.log.durableVote.term === raft.term && member.log.durableVote.votedFor === member.id) votes.add(member.id);
    const { configuration } = raft;
    if (isMajorityOfBoth(configuration, votes)) return;
    const { incoming, outgoing } = configuration;
    throw new CheckFailure(
      "elected by quorum",
      `${member.name} leads term ${raft.term} by the votes of ${[...votes].join(", ")} among ${JSON.stringify({ incoming, outgoing })}`,
    );
  }

  #note(term: number, candidate: string, voter: string): void {
    const name = `${term} ${candidate}`;
    const votes = this.#votes.get(name) ?? new Set<string>();
    this.#votes.set(name, votes);
    votes.add(voter);
  }
}
