/** The commit index and the term of a member never go back while it runs; its term not over restarts either, once it was told to others. */
import type { Message } from "../../core/raft/message.ts";
import type { Recovered } from "../../storage/storage.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";

export class IndexesRise implements Invariant {
  /** The highest term in which each member promised something, by name. */
  readonly #toldTerms = new Map<string, number>();

  onSend(member: MemberView, message: Message): void {
    const isPromise =
      (message.kind === "RequestVoteReply" && message.granted && !message.preVote) ||
      (message.kind === "AppendEntriesReply" && message.success);
    if (isPromise && message.term > (this.#toldTerms.get(member.name) ?? 0)) this.#toldTerms.set(member.name, message.term);
  }

  onRecovered(member: MemberView, recovered: Recovered): void {
    if (recovered.log === undefined) {
      // A new directory: what stood here before was wiped, and is another member now.
      this.#toldTerms.delete(member.name);
      return;
    }
    const told = this.#toldTerms.get(member.name) ?? 0;
    if (recovered.log.vote.term < told)
      throw new CheckFailure("term monotonic", `${member.name} comes back in term ${recovered.log.vote.term} after it promised in ${told}`);
  }

  onRole(member: MemberView, raft: RaftView, before: { readonly term: number } | undefined): void {
    if (before !== undefined && raft.term < before.term)
      throw new CheckFailure("term monotonic", `${member.name} goes from term ${before.term} to ${raft.term}`);
  }

  onCommit(member: MemberView, raft: RaftView, before: number): void {
    if (raft.commitIndex < before)
      throw new CheckFailure("commit index monotonic", `${member.name} goes from ${before} to ${raft.commitIndex}`);
    if (raft.commitIndex > raft.lastIndex)
      throw new CheckFailure("commit index monotonic", `${member.name} commits ${raft.commitIndex} of ${raft.lastIndex}`);
  }
}
