/**
 * Nothing is promised before it is on disk (Raft 5.1 and figure 2: "persistent state ... updated on stable storage before responding"),
 * and what the disk has answered for is there after every restart.
 */
import type { Message } from "../../core/raft/message.ts";
import type { Recovered } from "../../storage/storage.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";
import { TermList } from "./member-log.ts";

export class DurableFirst implements Invariant {
  onSend(member: MemberView, message: Message): void {
    const { durable, durableVote } = member.log;
    if (message.kind === "AppendEntriesReply" && message.success) {
      const term = member.raft?.termAt(message.index);
      const isKnown = term !== undefined ? durable.holds(message.index, term) : message.index <= durable.lastIndex;
      if (!isKnown) {
        throw new CheckFailure(
          "durable first",
          `${member.name} acknowledges index ${message.index} of term ${term}; on disk is ${durable.lastIndex}`,
        );
      }
      if (durableVote.term < message.term)
        throw new CheckFailure("durable first", `${member.name} acknowledges in term ${message.term}; on disk is term ${durableVote.term}`);
    }
    if (message.kind === "RequestVoteReply" && message.granted && !message.preVote) {
      if (durableVote.term < message.term || (durableVote.term === message.term && durableVote.votedFor !== message.to)) {
        throw new CheckFailure(
          "durable first",
          `${member.name} tells ${message.to} of its vote in term ${message.term}; on disk is ${JSON.stringify(durableVote)}`,
        );
      }
    }
  }

  /** What a member counts as on its own disk, towards its own quorum. */
  onPersisted(member: MemberView, raft: RaftView): void {
    const { durable } = member.log;
    const term = raft.termAt(raft.persistedIndex);
    if (term === undefined || durable.holds(raft.persistedIndex, term)) return;
    throw new CheckFailure(
      "durable first",
      `${member.name} takes index ${raft.persistedIndex} of term ${term} to be on its disk, which has ${durable.lastIndex} of term ${durable.termAt(durable.lastIndex)}`,
    );
  }

  onRecovered(member: MemberView, recovered: Recovered): void {
    const { durable, durableVote, isFounded, resettingTo } = member.log;
    const { log } = recovered;
    if (!isFounded) return;
    if (log === undefined) throw new CheckFailure("durable first", `${member.name} lost its log`);
    const found = new TermList();
    found.restore(log);
    const foundVote = log.vote;
    if (
      foundVote.term < durableVote.term ||
      (foundVote.term === durableVote.term && durableVote.votedFor !== undefined && foundVote.votedFor !== durableVote.votedFor)
    ) {
      throw new CheckFailure(
        "durable first",
        `${member.name} had ${JSON.stringify(durableVote)} on disk and recovers ${JSON.stringify(foundVote)}`,
      );
    }
    if (resettingTo !== undefined && log.base.lastIncludedIndex >= resettingTo) return;
    for (let index = Math.max(found.baseIndex, durable.baseIndex) + 1; index <= durable.lastIndex; index++) {
      if (found.termAt(index) !== durable.termAt(index)) {
        throw new CheckFailure(
          "durable first",
          `${member.name} had index ${index} of term ${durable.termAt(index)} on disk and recovers ${found.termAt(index) ?? "nothing"}`,
        );
      }
    }
  }
}
