/**
 * Interactions that a random schedule would take long to find, told step by step. Each throws where the implementation that it is given
 * breaks a promise: the shipped one in paper.test.ts, planted bugs in canary.test.ts.
 */
import assert from "node:assert/strict";
import type { MemberRecord } from "../configuration.ts";
import type { Message } from "../message.ts";
import type { Raft } from "../raft.ts";
import { commandEntry, configurationOfLetters, idOf, letterOf, recordOf, TestCluster, type TestDisk, type TestMember } from "./cluster.ts";
import { Invariants } from "./invariants.ts";

export type Story = (raft?: typeof Raft) => void;

/** A disk that holds entries of these terms, from index 1 on. */
export function diskOf(terms: readonly number[], vote: { readonly term: number; readonly votedFor?: string }): (disk: TestDisk) => void {
  return (disk) => {
    disk.vote = { term: vote.term, votedFor: vote.votedFor === undefined ? undefined : idOf(vote.votedFor) };
    disk.entries = terms.map((term, i) => commandEntry({ index: i + 1, term }, `${i + 1}/${term}`));
  };
}

export function changeTo(voters: string, learners = ""): { voters: string[]; learners: string[]; members: MemberRecord[] } {
  const ids = (letters: string): string[] => [...letters].map(idOf);
  return { voters: ids(voters), learners: ids(learners), members: [...voters, ...learners].map((letter) => recordOf(letter)) };
}

const between =
  (from: string, to: string) =>
  (message: Message): boolean =>
    message.from === idOf(from) && message.to === idOf(to);

const involving =
  (...letters: string[]) =>
  (message: Message): boolean =>
    letters.includes(letterOf(message.from)) || letters.includes(letterOf(message.to));

const notAmong =
  (letters: string) =>
  (message: Message): boolean =>
    !letters.includes(letterOf(message.from)) || !letters.includes(letterOf(message.to));

/** Everything but the disks of the named members moves on. */
function settleWithoutDisks(cluster: TestCluster, stuck: string, cut: (message: Message) => boolean = () => false): void {
  for (let steps = 0; steps < 5_000; steps++) {
    let worked = false;
    for (const member of cluster.members.values()) {
      if (member.up && !stuck.includes(member.letter)) worked = member.persist() || worked;
    }
    cluster.drop(cut);
    worked = cluster.deliverOne() !== undefined || worked;
    if (!worked) return;
  }
}

/** So much time that nobody is bound to a leader any more, and so little that no timer has run out. */
function lapse(cluster: TestCluster): void {
  for (const member of cluster.members.values()) member.now += 1_000;
}

function timeOut(member: TestMember): void {
  member.advance(Math.max(0, member.raft.nextDeadline() - member.now));
}

/** Raft 5.2: a vote that a crash forgets is given twice. */
export const voteOutlivesCrash: Story = (raft) => {
  const cluster = new TestCluster({ letters: "ABC", raft });
  new Invariants(cluster);
  lapse(cluster);
  // A campaigns and hears from B alone; B crashes before its disk has the vote.
  timeOut(cluster.member("A"));
  settleWithoutDisks(cluster, "B", involving("C"));
  cluster.member("B").crash();
  cluster.settle(involving("C"));
  cluster.member("B").restart();
  cluster.member("B").now += 1_000;
  timeOut(cluster.member("C"));
  cluster.settle(involving("A"));
};

/** Raft figure 8: an entry of an earlier term is on a majority, and is overwritten after all. */
export const figure8: Story = (raft) => {
  // (b) S1 = A led term 2 and replicated index 2 to B; E led term 3 and has another entry there.
  const cluster = new TestCluster({ letters: "", raft });
  const invariants = new Invariants(cluster);
  const configuration = configurationOfLetters({ voters: "ABCDE" });
  cluster.add("A", configuration, diskOf([1, 2], { term: 3 }));
  cluster.add("B", configuration, diskOf([1, 2], { term: 3 }));
  cluster.add("C", configuration, diskOf([1], { term: 3 }));
  cluster.add("D", configuration, diskOf([1], { term: 3 }));
  cluster.add("E", configuration, diskOf([1, 3], { term: 3 }));
  lapse(cluster);
  // (c) A leads term 4 and brings 2/2 to C, but its own 3/4 to nobody.
  const cutD = involving("D", "E");
  timeOut(cluster.member("A"));
  for (let steps = 0; steps < 200; steps++) {
    for (const letter of "ABC") cluster.member(letter).persist();
    cluster.drop(cutD);
    const message = cluster.messages.shift();
    if (message === undefined) continue;
    if (message.kind === "AppendEntries" && message.entries.some(({ term }) => term === 4)) {
      // What is replicated first is the old entry alone.
      cluster.deliver({ ...message, entries: message.entries.filter(({ term }) => term < 4) });
    } else {
      cluster.deliver(message);
    }
  }
  assert.equal(cluster.member("C").disk.termAt(2), 2, "2/2 is on a majority");
  assert.equal(cluster.member("A").raft.role, "leader");
  // (d) A crashes; E is elected, since its last term is the latest of those that are left.
  cluster.member("A").crash();
  cluster.messages = [];
  // E's own term is behind those of the others: its first campaign may only tell it so.
  for (let i = 0; i < 5 && cluster.member("E").raft.role !== "leader"; i++) {
    lapse(cluster);
    timeOut(cluster.member("E"));
    cluster.settle();
  }
  assert.equal(cluster.member("E").raft.role, "leader", "E is elected");
  cluster.settle();
  assert.equal(cluster.member("C").disk.termAt(2), 3, "2/2 was replaced on C");
  invariants.logMatching();
};

/** Raft 6: while the configuration is joint, no half elects alone. */
export const jointElection: Story = (raft) => {
  const configuration = configurationOfLetters({ voters: "CDE", outgoing: "ABC" });
  const cluster = new TestCluster({ letters: "ABCDE", configuration, raft });
  new Invariants(cluster);
  lapse(cluster);
  timeOut(cluster.member("D"));
  cluster.settle(notAmong("CDE"));
  assert.notEqual(cluster.member("D").raft.role, "leader", "a majority of C_new alone elects nobody");
  lapse(cluster);
  timeOut(cluster.member("A"));
  cluster.settle(notAmong("ABC"));
  assert.notEqual(cluster.member("A").raft.role, "leader", "a majority of C_old alone elects nobody");
};

/** Thesis 6.4.1: a restarted follower may not break what it promised before. */
export const restartKeepsPromise: Story = (raft) => {
  const cluster = new TestCluster({ letters: "ABC", raft });
  new Invariants(cluster);
  const a = cluster.elect("A");
  // C hears nothing any more and its timer is about to run out, while B goes on confirming A's rounds.
  for (let i = 0; i < 11; i++) {
    cluster.advance(100);
    cluster.settle(involving("C"));
  }
  assert.ok(a.raft.leaseUntil() > a.now);
  const b = cluster.member("B");
  b.crash();
  b.restart();
  cluster.advance(150);
  for (let i = 0; i < 4; i++) {
    timeOutWithin(cluster, "C", 100);
    cluster.settle(involving("A"));
  }
  const c = cluster.member("C");
  c.propose("x");
  cluster.settle(involving("A"));
  a.begin();
  a.turn();
};

/** Lets everyone's time pass, up to `ms`, to the moment when the member's timer runs out. */
function timeOutWithin(cluster: TestCluster, letter: string, ms: number): void {
  const member = cluster.member(letter);
  const wait = Math.min(ms, Math.max(0, member.raft.nextDeadline() - member.now));
  for (const each of cluster.members.values()) each.now += wait;
  member.advance(0);
}

/** Thesis 6.4.1: a machine that was suspended counted no time; what was confirmed before it says nothing about now. */
export const suspensionEndsLease: Story = (raft) => {
  const cluster = new TestCluster({ letters: "ABC", raft });
  new Invariants(cluster);
  const a = cluster.elect("A");
  cluster.advance(100);
  cluster.settle();
  assert.ok(a.raft.leaseUntil() > a.now, "a confirmed leader has a lease");
  // A stands still; the others elect B and commit.
  a.wallOffset += 5_000;
  for (const letter of "BC") cluster.member(letter).now += 1_000;
  timeOut(cluster.member("B"));
  cluster.settle(involving("A"));
  cluster.member("B").propose("x");
  cluster.settle(involving("A"));
  assert.equal(cluster.member("B").raft.role, "leader");
  // A wakes up.
  a.begin();
  a.turn();
};

/** Thesis 6.4.1: the lease begins when the round was sent, not when the last answer came in. */
export const leaseFromSendTime: Story = (raft) => {
  const cluster = new TestCluster({ letters: "ABC", raft });
  new Invariants(cluster);
  const a = cluster.elect("A");
  cluster.settle();
  // B confirms a round, but its answer is on its way for 900 ms.
  cluster.advance(100);
  const sentAt = a.now;
  cluster.drop(involving("C"));
  while (cluster.deliverOne(between("A", "B")) !== undefined);
  cluster.member("B").persist();
  const late = cluster.messages.filter(({ kind }) => kind === "HeartbeatReply");
  assert.equal(late.length, 1);
  cluster.messages = [];
  for (const member of cluster.members.values()) member.now += 850;
  cluster.deliver(late[0] as Message);
  assert.ok(a.raft.leaseUntil() <= sentAt + 900, `a lease until ${a.raft.leaseUntil()} of a round sent at ${sentAt}`);
};

/** Raft 6: a configuration that was truncated is in force no more. */
export const configurationRollsBack: Story = (raft) => {
  const cluster = new TestCluster({ letters: "ABC", raft });
  new Invariants(cluster);
  const a = cluster.elect("A");
  assert.equal(a.raft.proposeConfiguration(changeTo("ABC", "D")), undefined);
  a.turn();
  a.persist();
  cluster.messages = [];
  assert.deepEqual(a.raft.configuration.learners, [idOf("D")]);
  lapse(cluster);
  timeOut(cluster.member("B"));
  cluster.settle(involving("A"));
  const b = cluster.member("B");
  assert.equal(b.raft.role, "leader");
  b.propose("x");
  cluster.advance(100);
  cluster.settle();
  assert.equal(a.raft.role, "follower");
  assert.deepEqual(a.raft.configuration.learners, [], "the truncated configuration is taken back");
};

/** Raft 5.3: what is acknowledged must be there, entry by entry. */
export const lateCompletion: Story = (raft) => {
  const cluster = new TestCluster({ letters: "ABC", raft });
  const a = cluster.member("A");
  const append = (from: string, term: number, prevLogIndex: number, prevLogTerm: number, terms: readonly number[]): void => {
    const entries = terms.map((entryTerm, i) => commandEntry({ index: prevLogIndex + 1 + i, term: entryTerm }, `${from}${entryTerm}`));
    a.step({ kind: "AppendEntries", from: idOf(from), to: a.id, term, prevLogIndex, prevLogTerm, commitIndex: 0, entries });
  };
  append("B", 2, 0, 0, [1, 2]);
  append("C", 3, 1, 1, [3]);
  append("B", 4, 1, 1, [2]);
  // Three writes are under way, and the first ends with the same (2, term 2) as the last.
  assert.equal(a.disk.queue.length, 3);
  a.persist();
  assert.equal(a.raft.persistedIndex, 1, "the disk is about to lose what the first write brought");
  a.persist();
  assert.equal(a.raft.persistedIndex, 1, "a completion of what was replaced says nothing");
  a.persist();
  assert.equal(a.raft.persistedIndex, 2);
};

/** Raft 5.2: a sole voter leads once its own vote is on disk, and not before. */
export const ownVoteOnDisk: Story = (raft) => {
  const cluster = new TestCluster({ letters: "A", raft });
  const a = cluster.member("A");
  assert.equal(a.raft.role, "candidate");
  a.persist();
  assert.equal(a.raft.role, "leader");
  assert.equal(a.raft.ready, false, "its first entry is not on disk yet");
  a.persist();
  assert.equal(a.raft.ready, true);
};

/** Raft 5.3: a follower whose log is longer than what an append covers says nothing of the rest. */
export const acknowledgesWhatIsCovered: Story = (raft) => {
  const cluster = new TestCluster({ letters: "", raft });
  const a = cluster.add("A", configurationOfLetters({ voters: "ABC" }), diskOf([1, 1, 1], { term: 1 }));
  const entries = [commandEntry({ index: 1, term: 1 }, "1/1")];
  a.step({ kind: "AppendEntries", from: idOf("B"), to: a.id, term: 1, prevLogIndex: 0, prevLogTerm: 0, commitIndex: 0, entries });
  a.persist();
  const [reply] = cluster.messages;
  assert.ok(reply?.kind === "AppendEntriesReply" && reply.success && reply.index === 1, "what is acknowledged is what the message covers");
  assert.equal(a.raft.lastIndex, 3, "a repeated or delayed append removes nothing");
};

/** Thesis 6.4: only a round that was sent after a read came in tells that the leader still leads; a turn's reads share it. */
export const readNeedsItsOwnRound: Story = (raft) => {
  const cluster = new TestCluster({ letters: "ABC", raft });
  const a = cluster.elect("A");
  cluster.advance(100);
  const early: Message[] = [];
  for (let message = cluster.deliverOne(); message !== undefined; message = cluster.deliverOne()) {
    early.push(...cluster.messages.filter(({ kind }) => kind === "HeartbeatReply"));
    cluster.drop(({ kind }) => kind === "HeartbeatReply");
  }
  assert.equal(early.length, 2);
  let rounds = 0;
  cluster.onPost = ({ kind, to }) => {
    if (kind === "Heartbeat" && to === idOf("B")) rounds++;
  };
  for (let id = 1; id <= 3; id++) a.raft.requestRead(id);
  a.turn();
  for (const reply of early) cluster.deliver(reply);
  assert.deepEqual(a.reads, [], "answers to the round before say nothing");
  cluster.settle();
  assert.deepEqual(
    a.reads.map(({ requestId }) => requestId),
    [1, 2, 3],
  );
  assert.equal(rounds, 1);
};

/** Thesis 4.2.2: a member that C_new leaves out is needed until C_new is committed. */
export const leftOutStillCampaigns: Story = (raft) => {
  const cluster = new TestCluster({ letters: "AB", configuration: configurationOfLetters({ voters: "A" }), raft });
  new Invariants(cluster);
  cluster.settle();
  const a = cluster.member("A");
  a.raft.proposeConfiguration(changeTo("B"));
  a.turn();
  // B gets C_old,new and nothing behind it.
  cluster.settle((message) => message.kind === "AppendEntries" && message.entries.some(({ index }) => index > 2));
  assert.deepEqual(a.raft.configuration, configurationOfLetters({ voters: "B" }));
  a.crash();
  a.restart();
  for (let i = 0; i < 60; i++) {
    cluster.advance(100);
    cluster.settle();
  }
  const b = cluster.member("B");
  assert.equal(b.raft.role, "leader");
  assert.equal(b.raft.commitIndex, b.raft.lastIndex);
};

/** Thesis 4.1: a snapshot carries the configuration as of its index, joint or not, and not the latest. */
export const snapshotConfiguration: Story = (raft) => {
  const cluster = new TestCluster({ letters: "ABCD", configuration: configurationOfLetters({ voters: "ABC" }), raft });
  const a = cluster.elect("A");
  a.propose("x");
  cluster.settle();
  const index = a.raft.commitIndex;
  a.raft.proposeConfiguration(changeTo("ABD"));
  a.turn();
  cluster.settle();
  assert.deepEqual(a.raft.configurationAt(index), configurationOfLetters({ voters: "ABC" }));
  assert.deepEqual(a.raft.configurationAt(index + 1), configurationOfLetters({ voters: "ABD", outgoing: "ABC" }));
  a.snapshot(index + 1, index + 1);
  assert.deepEqual(a.disk.base.configuration, configurationOfLetters({ voters: "ABD", outgoing: "ABC" }));
  assert.deepEqual(a.raft.configuration, configurationOfLetters({ voters: "ABD" }));
};
