/** The claims of the Raft paper, sections 5 to 8, and of the thesis where the paper leaves off; one test for each. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Configuration } from "./configuration.ts";
import type { AppendEntries, AppendEntriesReply, Message, RequestVoteReply } from "./message.ts";
import { COMMIT_DELAY_MS } from "./options.ts";
import { commandEntry, configurationOfLetters, idOf, letterOf, TestCluster, type TestMember, textOf } from "./test/cluster.ts";
import { Invariants } from "./test/invariants.ts";
import * as stories from "./test/stories.ts";
import { changeTo, diskOf } from "./test/stories.ts";

const T = 1_000;

function three(): TestCluster {
  const cluster = new TestCluster({ letters: "ABC" });
  new Invariants(cluster);
  return cluster;
}

/** A member alone with its messages: those it sends are taken from the cluster's list. */
function alone(
  terms: readonly number[] = [],
  vote: { readonly term: number; readonly votedFor?: string } = { term: terms.at(-1) ?? 0 },
): TestMember {
  const cluster = new TestCluster({ letters: "" });
  const member = cluster.add("A", configurationOfLetters({ voters: "ABC" }), diskOf(terms, vote));
  member.advance(T);
  return member;
}

function sent(member: TestMember): readonly Message[] {
  while (member.disk.queue.length > 0) member.persist();
  return member.cluster.messages.splice(0);
}

function requestVote(
  from: string,
  term: number,
  last: { readonly index: number; readonly term: number },
  more: { preVote?: boolean; transfer?: boolean } = {},
): Message {
  const { preVote = false, transfer = false } = more;
  return {
    kind: "RequestVote",
    from: idOf(from),
    to: idOf("A"),
    term,
    preVote,
    transfer,
    lastLogIndex: last.index,
    lastLogTerm: last.term,
  };
}

function appendEntries(
  from: string,
  term: number,
  prev: { readonly index: number; readonly term: number },
  terms: readonly number[],
  commitIndex = 0,
): AppendEntries {
  const entries = terms.map((entryTerm, i) =>
    commandEntry({ index: prev.index + 1 + i, term: entryTerm }, `${from}${prev.index + 1 + i}/${entryTerm}`),
  );
  return {
    kind: "AppendEntries",
    from: idOf(from),
    to: idOf("A"),
    term,
    prevLogIndex: prev.index,
    prevLogTerm: prev.term,
    commitIndex,
    entries,
  };
}

function replyTo(member: TestMember, message: Message): Message | undefined {
  sent(member);
  member.step(message);
  return sent(member)[0];
}

function termsOf(member: TestMember): readonly number[] {
  return member.disk.entries.map(({ term }) => term);
}

function texts(member: TestMember): readonly string[] {
  return member.disk.entries.filter(({ kind }) => kind === "command").map(textOf);
}

const involving = (letter: string) => (message: Message) => message.from === idOf(letter) || message.to === idOf(letter);

test("5.1: a member that hears of a later term updates its own and becomes follower", () => {
  const cluster = three();
  const a = cluster.elect("A");
  a.step({ kind: "HeartbeatReply", from: idOf("B"), to: a.id, term: 9, round: 0 });
  assert.equal(a.raft.role, "follower");
  assert.equal(a.raft.term, 9);
});

test("5.1: a request with a stale term is rejected, and its sender told of the current one", () => {
  const member = alone([1], { term: 5 });
  for (const message of [
    appendEntries("B", 4, { index: 1, term: 1 }, [4]),
    requestVote("B", 4, { index: 9, term: 4 }),
    { kind: "Heartbeat", from: idOf("B"), to: idOf("A"), term: 4, commitIndex: 1, round: 1, clockMs: 0 } as const,
  ]) {
    const reply = replyTo(member, message);
    assert.equal(reply?.term, 5);
    assert.ok(!("granted" in reply) || !reply.granted);
    assert.ok(!("success" in reply) || !reply.success);
  }
  assert.equal(member.raft.lastIndex, 1);
});

test("5.2: members begin as followers, and remain so while they hear from a leader", () => {
  const cluster = three();
  for (const { raft } of cluster.members.values()) assert.equal(raft.role, "follower");
  const a = cluster.elect("A");
  for (let i = 0; i < 50; i++) {
    cluster.advance(100);
    cluster.settle();
  }
  assert.equal(a.raft.term, 1);
  assert.equal(cluster.member("B").raft.leader, a.id);
});

test("5.2: a follower that hears nothing campaigns after T to 2T, drawn at random", () => {
  for (const [draw, timeout] of [
    [0, T],
    [2 ** 31, 1.5 * T],
    [2 ** 32 - 1, 2 * T],
  ] as const) {
    const cluster = new TestCluster({ letters: "ABC", random: () => () => draw });
    const a = cluster.member("A");
    a.advance(timeout - 1);
    assert.equal(a.raft.role, "follower");
    a.advance(1);
    assert.equal(a.raft.role, "preCandidate");
  }
});

test("5.2: a candidate increments its term, votes for itself and asks all others in parallel", () => {
  const cluster = three();
  for (const member of cluster.members.values()) member.now += T;
  const a = cluster.member("A");
  a.advance(T);
  cluster.settle((message) => message.kind === "RequestVote" && !message.preVote);
  assert.equal(a.raft.role, "candidate");
  assert.deepEqual(a.disk.vote, { term: 1, votedFor: a.id });
});

test("5.2: a candidate wins with a majority of the voters, and not with less", () => {
  const cluster = new TestCluster({ letters: "ABCDE" });
  for (const member of cluster.members.values()) member.now += T;
  const a = cluster.member("A");
  a.advance(T);
  cluster.settle((message) => message.kind === "RequestVoteReply" && !message.preVote);
  const vote = (letter: string): Message => {
    return { kind: "RequestVoteReply", from: idOf(letter), to: a.id, term: 1, preVote: false, granted: true };
  };
  a.step(vote("B"));
  a.step(vote("B"));
  assert.equal(a.raft.role, "candidate", "its own vote and B's, twice, are two of five");
  a.step(vote("C"));
  assert.equal(a.raft.role, "leader");
});

test("5.2: a member votes for at most one candidate in a term, first come first served", () => {
  const member = alone();
  assert.equal((replyTo(member, requestVote("B", 1, { index: 0, term: 0 })) as RequestVoteReply).granted, true);
  assert.equal((replyTo(member, requestVote("C", 1, { index: 0, term: 0 })) as RequestVoteReply).granted, false);
  assert.equal(
    (replyTo(member, requestVote("B", 1, { index: 0, term: 0 })) as RequestVoteReply).granted,
    true,
    "the same one again is the same vote",
  );
});

test("5.2: a vote that was given is not forgotten by a crash", () => stories.voteOutlivesCrash());

test("5.2: a candidate that hears from a leader of its term follows it", () => {
  const cluster = three();
  for (const member of cluster.members.values()) member.now += T;
  const a = cluster.member("A");
  a.advance(T);
  cluster.settle((message) => message.kind === "RequestVote" && !message.preVote);
  assert.equal(a.raft.role, "candidate");
  a.step(appendEntries("B", 1, { index: 0, term: 0 }, []));
  assert.equal(a.raft.role, "follower");
  assert.equal(a.raft.leader, idOf("B"));
});

test("5.2: a candidate that hears from a leader of an earlier term goes on", () => {
  const member = alone([1], { term: 1 });
  member.advance(2 * T);
  member.step({ kind: "RequestVoteReply", from: idOf("B"), to: member.id, term: 2, preVote: true, granted: true });
  sent(member);
  assert.equal(member.raft.role, "candidate");
  member.step(appendEntries("B", 1, { index: 1, term: 1 }, []));
  assert.equal(member.raft.role, "candidate");
});

test("5.2: a split vote ends with a new election in a new term", () => {
  const cluster = new TestCluster({ letters: "ABCD" });
  new Invariants(cluster);
  for (const member of cluster.members.values()) member.now += T;
  const [a, b] = [cluster.member("A"), cluster.member("B")];
  a.advance(T);
  b.advance(1.2 * T);
  // A gets C's vote, B gets D's.
  const split = (message: Message): boolean => {
    if (message.kind !== "RequestVote" || message.preVote) return false;
    const ends = letterOf(message.from) + letterOf(message.to);
    return ends !== "AC" && ends !== "BD";
  };
  cluster.settle(split);
  assert.deepEqual([a.raft.role, b.raft.role, a.raft.term, b.raft.term], ["candidate", "candidate", 1, 1]);
  a.advance(T);
  cluster.settle();
  assert.equal(a.raft.role, "leader");
  assert.equal(a.raft.term, 2);
});

test("5.2: a new leader tells everyone at once", () => {
  const cluster = three();
  cluster.elect("A");
  assert.equal(cluster.member("B").raft.leader, idOf("A"));
  assert.equal(cluster.member("C").raft.leader, idOf("A"));
});

test("5.2: a sole voter campaigns at once, and leads once its own vote is on disk", () => stories.ownVoteOnDisk());

test("5.3: an entry is committed once a majority has it on disk, and the followers learn of it", () => {
  const cluster = three();
  const a = cluster.elect("A");
  const before = a.raft.commitIndex;
  const entry = a.propose("x");
  assert.ok(entry !== undefined);
  assert.equal(a.raft.commitIndex, before);
  cluster.settle();
  assert.equal(a.raft.commitIndex, entry.index);
  // No append came by that would have told them; so they are told by themselves, a little later.
  cluster.advance(COMMIT_DELAY_MS);
  cluster.settle();
  for (const { raft } of cluster.members.values()) assert.equal(raft.commitIndex, entry.index);
});

test("5.3: a follower that waits for a commit is told of it at once", () => {
  const cluster = three();
  const a = cluster.elect("A");
  const b = cluster.member("B");
  const entry = a.propose("x");
  a.raft.awaitCommit(b.id, entry!.index);
  cluster.settle();
  assert.equal(b.raft.commitIndex, entry!.index);
  assert.ok(cluster.member("C").raft.commitIndex < entry!.index);
});

test("5.3: a majority may exclude the leader's own disk", () => {
  const cluster = three();
  const a = cluster.elect("A");
  const entry = a.propose("x");
  for (let i = 0; i < 20; i++) {
    cluster.deliverOne();
    cluster.member("B").persist();
    cluster.member("C").persist();
  }
  assert.equal(a.raft.persistedIndex, (entry?.index ?? 0) - 1);
  assert.equal(a.raft.commitIndex, entry?.index);
});

test("5.3: a sole voter commits only what its own disk has", () => {
  const cluster = new TestCluster({ letters: "A" });
  cluster.settle();
  const a = cluster.member("A");
  const entry = a.propose("x");
  assert.equal(a.raft.commitIndex, (entry?.index ?? 0) - 1);
  a.persist();
  assert.equal(a.raft.commitIndex, entry?.index);
});

test("5.3: the leader tries for ever to reach a follower that is slow or down", () => {
  const cluster = three();
  const a = cluster.elect("A");
  cluster.member("C").crash();
  for (let i = 0; i < 30; i++) {
    a.propose(`x${i}`);
    cluster.advance(100);
    cluster.settle();
  }
  cluster.member("C").restart();
  cluster.advance(100);
  cluster.settle();
  assert.deepEqual(texts(cluster.member("C")), texts(a));
});

test("5.3: a follower refuses entries whose predecessor it does not hold", () => {
  const member = alone([1, 1], { term: 2 });
  const gap = replyTo(member, appendEntries("B", 2, { index: 5, term: 2 }, [2])) as AppendEntriesReply;
  assert.deepEqual([gap.success, gap.index, gap.conflictIndex, gap.conflictTerm], [false, 5, 2, 1]);
  const other = replyTo(member, appendEntries("B", 2, { index: 2, term: 2 }, [2])) as AppendEntriesReply;
  assert.equal(other.success, false);
  assert.deepEqual(termsOf(member), [1, 1]);
});

test("5.3: entries that conflict with the leader's are replaced, with everything behind them", () => {
  const member = alone([1, 2, 2, 2], { term: 2 });
  const reply = replyTo(member, appendEntries("B", 3, { index: 1, term: 1 }, [3])) as AppendEntriesReply;
  assert.deepEqual([reply.success, reply.index], [true, 2]);
  assert.deepEqual(termsOf(member), [1, 3]);
});

test("5.3: an append that is repeated or delayed removes nothing", () => stories.acknowledgesWhatIsCovered());

test("5.3: what is committed is never touched, whatever an append says", () => {
  const member = alone([1, 1, 1], { term: 1 });
  sent(member);
  member.step(appendEntries("B", 1, { index: 3, term: 1 }, [], 3));
  assert.equal(member.raft.commitIndex, 3);
  const reply = replyTo(member, appendEntries("B", 1, { index: 0, term: 0 }, [1, 1])) as AppendEntriesReply;
  assert.deepEqual([reply.success, reply.index], [true, 3]);
});

test("5.3: an acknowledgement leaves only when the disk has the entries", () => {
  const member = alone();
  sent(member);
  member.step(appendEntries("B", 1, { index: 0, term: 0 }, [1, 1]));
  assert.deepEqual(member.cluster.messages, []);
  member.persist();
  assert.equal(member.cluster.messages.length, 1);
});

test("5.3: the completion of a write counts only for what the log still holds of it", () => stories.lateCompletion());

test("5.3: a follower applies up to the leader's commit index, and never beyond what the append covers", () => {
  const member = alone([1, 1, 1], { term: 1 });
  sent(member);
  member.step(appendEntries("B", 1, { index: 1, term: 1 }, [], 3));
  assert.equal(member.raft.commitIndex, 1);
});

const FIGURE_7: readonly (readonly [string, readonly number[]])[] = [
  ["B", [1, 1, 1, 4, 4, 5, 5, 6, 6]],
  ["C", [1, 1, 1, 4]],
  ["D", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
  ["E", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
  ["F", [1, 1, 1, 4, 4, 4, 4]],
  ["G", [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
];

for (const [letter, terms] of FIGURE_7) {
  test(`5.3, figure 7: the leader of term 8 brings the log of ${"abcdef"[letter.charCodeAt(0) - 66]} to agree with its own`, () => {
    const cluster = new TestCluster({ letters: "" });
    new Invariants(cluster);
    const configuration = configurationOfLetters({ voters: "ABCDEFG" });
    const leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    cluster.add("A", configuration, diskOf(leader, { term: 7 }));
    const follower = cluster.add(letter, configuration, diskOf(terms, { term: 7 }));
    // The others have the leader's log, so that it wins whatever this follower thinks of it.
    for (const other of "BCDEFG") if (other !== letter) cluster.add(other, configuration, diskOf(leader, { term: 7 }));
    cluster.elect("A");
    let appends = 0;
    cluster.onPost = (message) => {
      if (message.kind === "AppendEntries" && message.to === follower.id) appends++;
    };
    cluster.advance(100);
    cluster.settle();
    assert.deepEqual(termsOf(follower), [...leader, 8]);
    assert.ok(appends <= 6);
  });
}

test("5.3: whole terms of disagreement are skipped", () => {
  const cluster = new TestCluster({ letters: "" });
  const configuration = configurationOfLetters({ voters: "ABC" });
  cluster.add("A", configuration, diskOf([1, ...Array.from({ length: 300 }, () => 5)], { term: 5 }));
  cluster.add(
    "B",
    configuration,
    diskOf([1, ...Array.from({ length: 100 }, () => 2), ...Array.from({ length: 300 }, () => 3)], { term: 5 }),
  );
  cluster.add("C", configuration, diskOf([1], { term: 5 }));
  let refusals = 0;
  cluster.onPost = (message) => {
    if (message.kind === "AppendEntriesReply" && !message.success && message.from === idOf("B")) refusals++;
  };
  const a = cluster.elect("A");
  cluster.settle();
  assert.deepEqual(termsOf(cluster.member("B")), termsOf(a));
  assert.ok(refusals <= 3, `${refusals} refusals`);
});

test("5.4.1: a vote goes only to a candidate whose log is at least as up to date", () => {
  const cases: readonly (readonly [index: number, term: number, granted: boolean])[] = [
    [3, 2, true],
    [4, 2, true],
    [1, 3, true],
    [2, 2, false],
    [9, 1, false],
  ];
  for (const [index, term, granted] of cases) {
    const reply = replyTo(alone([1, 2, 2], { term: 2 }), requestVote("B", 5, { index, term })) as RequestVoteReply;
    assert.equal(reply.granted, granted, `a log that ends with ${index}/${term}`);
  }
});

test("5.4.2, figure 8: an entry of an earlier term is not committed by counting", () => stories.figure8());

test("5.4.2: it is committed together with one of the current term", () => {
  const cluster = new TestCluster({ letters: "" });
  new Invariants(cluster);
  const configuration = configurationOfLetters({ voters: "ABC" });
  for (const letter of "ABC") cluster.add(letter, configuration, diskOf([1, 2], { term: 2 }));
  const a = cluster.elect("A");
  assert.equal(a.raft.commitIndex, 3);
});

test("5.5: a request that a crash left unanswered is sent again and does no harm", () => {
  const cluster = three();
  const a = cluster.elect("A");
  a.propose("x");
  cluster.settle((message) => message.kind === "AppendEntriesReply");
  for (let i = 0; i < 3; i++) {
    cluster.advance(100);
    cluster.settle();
  }
  assert.equal(cluster.member("B").raft.lastIndex, a.raft.lastIndex);
  assert.equal(a.raft.commitIndex, a.raft.lastIndex);
});

test("6: a change of voters passes through a joint configuration, which is left by itself", () => {
  const cluster = new TestCluster({ letters: "ABCD", configuration: configurationOfLetters({ voters: "ABC" }) });
  new Invariants(cluster);
  const a = cluster.elect("A");
  assert.equal(a.raft.proposeConfiguration(changeTo("ABD")), undefined);
  assert.deepEqual(a.raft.configuration.incoming.map(letterOf), ["A", "B", "D"]);
  assert.deepEqual(a.raft.configuration.outgoing.map(letterOf), ["A", "B", "C"]);
  a.turn();
  cluster.settle();
  assert.deepEqual(a.raft.configuration, configurationOfLetters({ voters: "ABD" }));
  assert.equal(a.raft.commitIndex, a.raft.lastIndex);
  assert.deepEqual(cluster.member("D").raft.configuration, a.raft.configuration);
});

test("6: while the configuration is joint, an entry needs a majority of both halves", () => {
  const cluster = new TestCluster({ letters: "ABCDE", configuration: configurationOfLetters({ voters: "ABC" }) });
  new Invariants(cluster);
  const a = cluster.elect("A");
  a.raft.proposeConfiguration(changeTo("ADE"));
  a.turn();
  cluster.settle((message) => "DE".includes(letterOf(message.to)));
  assert.equal(a.raft.configurationIndex, a.raft.commitIndex + 1, "a majority of C_old is not enough");
  cluster.advance(100);
  cluster.settle();
  assert.deepEqual(a.raft.configuration, configurationOfLetters({ voters: "ADE" }));
});

test("6: while the configuration is joint, no half elects a leader alone", () => stories.jointElection());

test("6: a configuration takes effect when appended, and is taken back when truncated", () => stories.configurationRollsBack());

test("6: one change at a time, and none before an entry of the own term is committed", () => {
  const cluster = three();
  const a = cluster.elect("A");
  assert.equal(a.raft.proposeConfiguration(changeTo("ABC", "D")), undefined);
  assert.match(a.raft.proposeConfiguration(changeTo("ABC")) ?? "", /under way/);
  const fresh = three();
  for (const member of fresh.members.values()) member.now += T;
  fresh.member("A").advance(T);
  fresh.settle((message) => message.kind === "AppendEntriesReply");
  assert.equal(fresh.member("A").raft.role, "leader");
  assert.match(fresh.member("A").raft.proposeConfiguration(changeTo("AB")) ?? "", /own term/);
});

test("6: a learner receives the log and counts for nothing", () => {
  const configuration = configurationOfLetters({ voters: "ABC", learners: "D" });
  const cluster = new TestCluster({ letters: "ABCD", configuration });
  new Invariants(cluster);
  const a = cluster.elect("A");
  const before = a.raft.commitIndex;
  a.propose("x");
  // The leader's disk and the learner's are no majority of three voters.
  cluster.settle((message) => "BC".includes(letterOf(message.from)) && message.kind === "AppendEntriesReply");
  assert.equal(cluster.member("D").raft.lastIndex, a.raft.lastIndex);
  assert.equal(a.raft.commitIndex, before);
  cluster.member("D").advance(10 * T);
  assert.equal(cluster.member("D").raft.role, "follower", "a learner never campaigns");
});

test("6: a leader that C_new leaves out manages it without counting itself, steps down once it is committed, and hands over", () => {
  const cluster = three();
  const a = cluster.elect("A");
  a.raft.proposeConfiguration(changeTo("BC"));
  a.turn();
  cluster.settle();
  assert.notEqual(a.raft.role, "leader");
  const [leader] = cluster.leaders();
  assert.ok(leader !== undefined && leader.letter !== "A");
  cluster.advance(100);
  cluster.settle();
  assert.deepEqual(leader.raft.configuration, configurationOfLetters({ voters: "BC" }));
  assert.equal(leader.raft.ready, true);
});

test("6: a voter that becomes a learner stays a voter until the joint state ends", () => {
  const cluster = three();
  const a = cluster.elect("A");
  a.raft.proposeConfiguration(changeTo("AB", "C"));
  assert.deepEqual(a.raft.configuration.outgoing.map(letterOf), ["A", "B", "C"]);
  assert.deepEqual(a.raft.configuration.learnersNext.map(letterOf), ["C"]);
  assert.deepEqual(a.raft.configuration.learners, []);
  a.turn();
  cluster.settle();
  assert.deepEqual(a.raft.configuration, configurationOfLetters({ voters: "AB", learners: "C" }));
});

test("6: a new leader leaves the joint configuration that it inherits", () => {
  const cluster = new TestCluster({ letters: "ABCD", configuration: configurationOfLetters({ voters: "ABC" }) });
  new Invariants(cluster);
  const a = cluster.elect("A");
  a.raft.proposeConfiguration(changeTo("BCD"));
  a.turn();
  // Everyone has C_old,new; nobody has C_new when A is gone.
  cluster.settle((message) => message.kind === "AppendEntriesReply");
  a.crash();
  const b = cluster.elect("B");
  cluster.advance(100);
  cluster.settle();
  assert.deepEqual(b.raft.configuration, configurationOfLetters({ voters: "BCD" }));
});

test("6: a member that hears from a leader neither votes nor takes over the term of a candidate", () => {
  const cluster = three();
  cluster.elect("A");
  const b = cluster.member("B");
  b.step({ ...requestVote("C", 7, { index: 99, term: 6 }), to: b.id });
  assert.equal(b.raft.term, 1);
  b.step({ ...requestVote("C", 7, { index: 99, term: 6 }, { transfer: true }), to: b.id });
  assert.equal(b.raft.term, 7, "unless the leader itself asked for the election");
});

test("6, thesis 4.2.3: a member that has just started refuses votes for an election timeout", () => {
  const cluster = three();
  const b = cluster.member("B");
  b.advance(T - 1);
  b.step({ ...requestVote("C", 7, { index: 99, term: 6 }), to: b.id });
  assert.deepEqual([b.raft.term, b.raft.votedFor], [0, undefined]);
  b.advance(1);
  b.step({ ...requestVote("C", 7, { index: 99, term: 6 }), to: b.id });
  assert.deepEqual([b.raft.term, b.raft.votedFor], [7, idOf("C")]);
});

test("6, thesis 6.2: a leader that no quorum answers for an election timeout steps down", () => {
  const cluster = three();
  const a = cluster.elect("A");
  for (let i = 0; i < 9; i++) {
    cluster.advance(100);
    cluster.drop();
    assert.equal(a.raft.role, "leader");
  }
  cluster.advance(101);
  assert.equal(a.raft.role, "follower");
  assert.equal(a.raft.leader, undefined);
});

test("7: a follower that needs what the log no longer has gets a snapshot, and the log from there", () => {
  const cluster = three();
  const a = cluster.elect("A");
  cluster.member("C").crash();
  for (let i = 0; i < 10; i++) a.propose(`x${i}`);
  cluster.settle();
  a.apply();
  a.snapshot(8, 8);
  a.propose("after");
  cluster.member("C").restart();
  cluster.advance(100);
  cluster.settle();
  const { raft, disk } = cluster.member("C");
  assert.equal(disk.base.lastIncludedIndex, 8);
  assert.equal(raft.firstIndex, 9);
  assert.equal(raft.lastIndex, a.raft.lastIndex);
  assert.equal(raft.commitIndex, a.raft.commitIndex);
});

test("7: a snapshot that tells nothing new is answered, and changes nothing", () => {
  const cluster = three();
  const a = cluster.elect("A");
  const b = cluster.member("B");
  cluster.advance(COMMIT_DELAY_MS);
  cluster.settle();
  const meta = { lastIncludedIndex: 1, lastIncludedTerm: 1, clockMs: 0, configuration: b.raft.configuration };
  b.step({ kind: "InstallSnapshot", from: a.id, to: b.id, term: 1, snapshot: meta });
  assert.equal(b.raft.pendingSnapshot, undefined);
  assert.equal(b.raft.beginSnapshotInstall(meta), undefined);
});

test("7: a log that holds the snapshot's last entry keeps what is behind it", () => {
  const member = alone([1, 1, 2, 2], { term: 2 });
  const configuration: Configuration = configurationOfLetters({ voters: "ABC" });
  const meta = { lastIncludedIndex: 3, lastIncludedTerm: 2, clockMs: 0, configuration };
  member.step({ kind: "InstallSnapshot", from: idOf("B"), to: member.id, term: 2, snapshot: meta });
  assert.deepEqual(member.raft.pendingSnapshot, meta);
  assert.deepEqual(member.raft.beginSnapshotInstall(meta), { resetLog: false });
  member.raft.onSnapshotInstalled(meta, false);
  assert.deepEqual([member.raft.lastIndex, member.raft.commitIndex], [4, 3]);
});

test("7: nothing enters the log while a snapshot takes its place", () => {
  const member = alone([1, 1], { term: 2 });
  const configuration: Configuration = configurationOfLetters({ voters: "ABC" });
  const meta = { lastIncludedIndex: 9, lastIncludedTerm: 2, clockMs: 7, configuration };
  member.step({ kind: "InstallSnapshot", from: idOf("B"), to: member.id, term: 2, snapshot: meta });
  assert.deepEqual(member.raft.beginSnapshotInstall(meta), { resetLog: true });
  member.step(appendEntries("B", 2, { index: 2, term: 1 }, [2]));
  assert.equal(member.raft.lastIndex, 2);
  member.disk.reset(meta);
  member.raft.onSnapshotInstalled(meta, true);
  member.turn();
  assert.deepEqual([member.raft.firstIndex, member.raft.lastIndex, member.raft.commitIndex, member.raft.lastTerm], [10, 9, 9, 2]);
  const reply = sent(member).find(({ kind }) => kind === "AppendEntriesReply") as AppendEntriesReply;
  assert.deepEqual([reply.success, reply.index], [true, 9]);
});

test("7, thesis 4.1: a snapshot carries the configuration as of its index, not the latest", () => stories.snapshotConfiguration());

test("8: a new leader commits an empty entry of its own term, and answers no read before", () => {
  const cluster = three();
  for (const member of cluster.members.values()) member.now += T;
  const a = cluster.member("A");
  a.advance(T);
  cluster.settle((message) => message.kind === "AppendEntriesReply");
  assert.equal(a.raft.role, "leader");
  a.raft.requestRead(1);
  a.turn();
  cluster.settle((message) => message.kind === "AppendEntriesReply");
  assert.deepEqual([a.raft.ready, a.raft.leaseUntil(), a.reads], [false, 0, []]);
  cluster.advance(100);
  cluster.settle();
  assert.deepEqual(a.reads, [{ requestId: 1, index: 1 }]);
});

test("8, thesis 6.4: a read is answered after a round that was sent after it came in, and all of a turn share one", () =>
  stories.readNeedsItsOwnRound());

test("8, thesis 6.4: a follower asks the leader, once for all its reads of a turn", () => {
  const cluster = three();
  const a = cluster.elect("A");
  a.propose("x");
  cluster.settle();
  const b = cluster.member("B");
  let asked = 0;
  cluster.onPost = ({ kind }) => {
    if (kind === "ReadIndex") asked++;
  };
  b.raft.requestRead(7);
  b.raft.requestRead(8);
  b.turn();
  cluster.settle();
  assert.deepEqual(
    b.reads,
    [7, 8].map((requestId) => ({ requestId, index: a.raft.commitIndex })),
  );
  assert.equal(asked, 1);
});

test("8: a read that nobody can answer is given up within an election timeout", () => {
  const cluster = three();
  const a = cluster.member("A");
  a.raft.requestRead(1);
  a.turn();
  a.advance(a.raft.nextDeadline() - a.now);
  assert.deepEqual(a.reads, [{ requestId: 1, index: undefined }]);
  assert.equal(a.now, T);
});

test("8: a deposed leader answers no read from a quorum that it has lost", () => {
  const cluster = three();
  const a = cluster.elect("A");
  a.raft.requestRead(1);
  a.turn();
  cluster.messages = [];
  for (const member of cluster.members.values()) member.now += 2 * T;
  cluster.member("B").advance(T);
  cluster.settle(involving("A"));
  a.step({ kind: "Heartbeat", from: idOf("B"), to: a.id, term: 2, commitIndex: 0, round: 1, clockMs: 0 });
  assert.deepEqual(a.reads, [{ requestId: 1, index: undefined }]);
});

test("thesis 3.10: leadership goes to a member that has the whole log, and proposals wait meanwhile", () => {
  const cluster = three();
  const a = cluster.elect("A");
  a.propose("x");
  assert.equal(a.raft.transferLeadership(idOf("C")), undefined);
  a.turn();
  assert.equal(a.raft.proposalRefusal(), "transferring");
  assert.equal(a.propose("y"), undefined);
  cluster.settle();
  assert.equal(cluster.member("C").raft.role, "leader");
  assert.equal(a.raft.leader, idOf("C"));
});

test("thesis 3.10: a transfer that does not succeed is given up after an election timeout", () => {
  const cluster = three();
  const a = cluster.elect("A");
  a.raft.transferLeadership(idOf("C"));
  a.turn();
  const lost = ({ kind }: Message): boolean => kind === "TimeoutNow";
  for (let i = 0; i < 11; i++) {
    cluster.advance(100);
    cluster.settle(lost);
  }
  assert.equal(a.raft.role, "leader");
  assert.equal(a.raft.proposalRefusal(), undefined);
  assert.equal(a.raft.leaseUntil(), 0, "whether the target campaigns after all is open");
});

test("thesis 3.10: only another voter can be handed leadership", () => {
  const cluster = new TestCluster({ letters: "ABD", configuration: configurationOfLetters({ voters: "AB", learners: "D" }) });
  const a = cluster.elect("A");
  assert.match(a.raft.transferLeadership(idOf("D")) ?? "", /not a voter/);
  assert.match(a.raft.transferLeadership(idOf("Z")) ?? "", /not a member/);
  assert.match(a.raft.transferLeadership(a.id) ?? "", /already/);
  assert.match(cluster.member("B").raft.transferLeadership(undefined) ?? "", /not the leader/);
});

test("thesis 4.2.2: a member that C_new leaves out campaigns while C_new may not be committed", () => stories.leftOutStillCampaigns());

test("thesis 6.4.1: the leader lease counts from when the confirmed round was sent", () => stories.leaseFromSendTime());
test("thesis 6.4.1: a suspension ends the leader lease", () => stories.suspensionEndsLease());
test("thesis 6.4.1: a restarted follower keeps the promise that a leader lease rests on", () => stories.restartKeepsPromise());

test("thesis 6.4.1: a leader that is heard has a lease, less the drift", () => {
  const cluster = three();
  const a = cluster.elect("A");
  cluster.advance(100);
  const sentAt = a.now;
  cluster.settle();
  assert.equal(a.raft.leaseUntil(), sentAt + T - T / 10);
  assert.equal(cluster.member("B").raft.leaseUntil(), 0);
});

test("thesis 9.6: a pre-vote changes nothing at the one asked", () => {
  const member = alone([1], { term: 1 });
  const reply = replyTo(member, requestVote("B", 2, { index: 1, term: 1 }, { preVote: true })) as RequestVoteReply;
  assert.deepEqual([reply.granted, reply.term], [true, 2]);
  assert.deepEqual([member.raft.term, member.raft.votedFor], [1, undefined]);
});

test("thesis 9.6: a member that was cut off does not disturb the others when it returns", () => {
  const cluster = three();
  const a = cluster.elect("A");
  for (let i = 0; i < 100; i++) {
    cluster.advance(100);
    cluster.settle(involving("C"));
  }
  assert.equal(cluster.member("C").raft.term, 1);
  cluster.advance(100);
  cluster.settle();
  assert.deepEqual([a.raft.role, a.raft.term], ["leader", 1]);
  assert.equal(cluster.member("C").raft.leader, a.id);
});

test("thesis 9.6: a pre-candidate that hears of a later term takes it over", () => {
  const member = alone([1], { term: 1 });
  member.advance(2 * T);
  assert.equal(member.raft.role, "preCandidate");
  member.step({ kind: "RequestVoteReply", from: idOf("B"), to: member.id, term: 5, preVote: true, granted: false });
  assert.deepEqual([member.raft.role, member.raft.term], ["follower", 5]);
});
