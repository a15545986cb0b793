/** A member votes for at most one candidate in a term, over all its restarts (Raft 5.2): as told to the candidates and as kept on disk. */
import type { Message } from "../../core/raft/message.ts";
import type { Vote } from "../../core/raft/ready.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView } from "./invariant.ts";

export class OneVote implements Invariant {
  readonly #votes = new Map<string, string>();

  onVotePersisted(member: MemberView, { term, votedFor }: Vote): void {
    if (votedFor !== undefined) this.#vote(member, term, votedFor);
  }

  onSend(member: MemberView, message: Message): void {
    if (message.kind === "RequestVoteReply" && message.granted && !message.preVote) this.#vote(member, message.term, message.to);
    if (message.kind === "RequestVote" && !message.preVote) this.#vote(member, message.term, member.id);
  }

  #vote(member: MemberView, term: number, candidate: string): void {
    const name = `${member.name}@${term}`;
    const other = this.#votes.get(name) ?? candidate;
    if (other !== candidate) throw new CheckFailure("one vote", `${member.name} votes in term ${term} for ${other} and for ${candidate}`);
    this.#votes.set(name, candidate);
  }
}
