import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ENTRY_HEADER_BYTES } from "./entry.ts";
import { LeaseClock } from "./lease-clock.ts";
import type { AppendEntries, Message } from "./message.ts";
import { PENDING_READS_MAX } from "./options.ts";
import { commandEntry, commandRecord, configurationOfLetters, idOf, TestCluster } from "./test/cluster.ts";
import { Invariants } from "./test/invariants.ts";

const involving = (letter: string) => (message: Message) => message.from === idOf(letter) || message.to === idOf(letter);

const number = fc.oneof(
  fc.nat({ max: 8 }),
  fc.constantFrom(-1, 0.5, 2 ** 53, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY, 1e300),
  fc.integer(),
);
const letter = fc.constantFrom("A", "B", "C", "Z").map(idOf);
const entry = fc
  .record({ index: number, term: number, clockMs: number, kind: fc.constantFrom("command", "configuration", "empty") })
  .map((fields) => {
    return { ...fields, record: new Uint8Array(ENTRY_HEADER_BYTES + 3) };
  });
const garbage = fc.record({
  kind: fc.constantFrom(
    "RequestVote",
    "RequestVoteReply",
    "AppendEntries",
    "AppendEntriesReply",
    "Heartbeat",
    "HeartbeatReply",
    "ReadIndex",
    "ReadIndexReply",
    "TimeoutNow",
    "InstallSnapshot",
  ),
  from: letter,
  to: fc.constant(idOf("A")),
  term: number,
  preVote: fc.boolean(),
  transfer: fc.boolean(),
  granted: fc.boolean(),
  success: fc.boolean(),
  lastLogIndex: number,
  lastLogTerm: number,
  prevLogIndex: number,
  prevLogTerm: number,
  commitIndex: number,
  entries: fc.array(entry, { maxLength: 3 }),
  index: number,
  conflictIndex: number,
  conflictTerm: number,
  round: number,
  requestId: number,
  snapshot: fc.record({
    lastIncludedIndex: number,
    lastIncludedTerm: number,
    clockMs: number,
    configuration: fc.constantFrom(configurationOfLetters({ voters: "ABC" }), configurationOfLetters({ voters: "" })),
  }),
});

test("whatever a message says, nothing is thrown, and the own log stays whole", () => {
  const property = fc.property(fc.array(garbage, { maxLength: 30 }), fc.boolean(), (messages, leads) => {
    const cluster = new TestCluster({ letters: "ABC" });
    const a = leads ? cluster.elect("A") : cluster.member("A");
    cluster.messages = [];
    for (const message of messages) {
      a.now += 300;
      a.step(message as Message);
      a.persist();
      cluster.messages = [];
      a.raft.requestRead(1);
      if (a.raft.role === "leader") a.propose("x");
      assert.ok(a.raft.commitIndex <= a.raft.lastIndex);
      assert.ok(Number.isFinite(a.raft.nextDeadline()));
    }
  });
  fc.assert(property, { numRuns: 1_000 });
});

test("a message to another member, or from this one, is ignored", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.member("A");
  a.step({ kind: "Heartbeat", from: idOf("B"), to: idOf("C"), term: 7, commitIndex: 0, round: 1, clockMs: 0 });
  a.step({ kind: "Heartbeat", from: idOf("A"), to: idOf("A"), term: 7, commitIndex: 0, round: 1, clockMs: 0 });
  assert.equal(a.raft.term, 0);
});

test("a malformed configuration is not taken in, nor anything that came with it", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.member("A");
  const bad = { ...commandEntry({ index: 2, term: 1 }, "?"), kind: "configuration" as const };
  const entries = [commandEntry({ index: 1, term: 1 }), bad];
  a.step({ kind: "AppendEntries", from: idOf("B"), to: a.id, term: 1, prevLogIndex: 0, prevLogTerm: 0, commitIndex: 0, entries });
  assert.equal(a.raft.lastIndex, 0);
});

test("the same calls give the same answers", () => {
  const run = (): string => {
    const cluster = new TestCluster({ letters: "ABC" });
    const trace: Message[] = [];
    cluster.onPost = (message) => trace.push(message);
    cluster.elect("B").propose("x");
    cluster.advance(100);
    cluster.settle();
    return JSON.stringify(trace);
  };
  assert.equal(run(), run());
});

test("appends under way are bounded in messages and in bytes, each append in bytes, and go on as they are acknowledged", () => {
  const limits = { inflightMessagesMax: 3, inflightBytesMax: 10_000, appendBytesMax: 100 };
  const cluster = new TestCluster({ letters: "AB", limits });
  new Invariants(cluster);
  const a = cluster.elect("A");
  for (let i = 0; i < 20; i++) a.propose("x".repeat(40));
  const appends = (): readonly AppendEntries[] => cluster.messages.filter((message) => message.kind === "AppendEntries");
  assert.equal(appends().length, 3);
  for (const { entries } of appends()) assert.equal(entries.length, 1);
  cluster.settle();
  assert.equal(cluster.member("B").raft.lastIndex, a.raft.lastIndex);

  const narrow = new TestCluster({ letters: "AB", limits: { ...limits, inflightMessagesMax: 100, inflightBytesMax: 150 } });
  const leader = narrow.elect("A");
  for (let i = 0; i < 20; i++) leader.propose("x".repeat(40));
  assert.equal(narrow.messages.filter(({ kind }) => kind === "AppendEntries").length, 3);
});

test("entries of one turn leave in one append", () => {
  const cluster = new TestCluster({ letters: "AB" });
  const a = cluster.elect("A");
  for (let i = 0; i < 5; i++) a.raft.propose(commandRecord(`${i}`), "command");
  a.turn();
  const appends = cluster.messages.filter((message) => message.kind === "AppendEntries");
  assert.deepEqual(
    appends.map(({ entries }) => entries.length),
    [5],
  );
});

test("proposals are refused while too much is uncommitted, or not on the own disk", () => {
  const cluster = new TestCluster({ letters: "ABC", limits: { uncommittedBytesMax: 100 } });
  const a = cluster.elect("A");
  assert.ok(a.propose("x".repeat(40)) !== undefined);
  assert.ok(a.propose("x".repeat(40)) !== undefined);
  assert.equal(a.raft.proposalRefusal(), "overloaded");
  assert.equal(a.propose("y"), undefined);
  // The others have it, but the own disk does not: it would grow without bound in memory.
  for (let i = 0; i < 50; i++) {
    cluster.member("B").persist();
    cluster.member("C").persist();
    cluster.deliverOne();
  }
  assert.equal(a.raft.commitIndex, a.raft.lastIndex);
  assert.equal(a.raft.proposalRefusal(), "overloaded");
  cluster.settle();
  assert.equal(a.raft.proposalRefusal(), undefined);
  assert.equal(cluster.member("B").raft.proposalRefusal(), "notLeader");
});

test("a follower that lags behind what is in memory is served from the disk, one read at a time", () => {
  const cluster = new TestCluster({ letters: "ABC", limits: { entriesInMemoryBytesMax: 0, appendBytesMax: 200 } });
  new Invariants(cluster);
  const a = cluster.elect("A");
  for (let i = 0; i < 30; i++) a.propose(`x${i}`);
  cluster.settle(involving("C"));
  a.apply();
  assert.equal(a.raft.entriesInMemoryBytes, 0);
  a.advance(100);
  for (let i = 0; i < 100; i++) {
    cluster.deliverOne();
    cluster.member("C").persist();
    assert.ok(a.logReads.length <= 1);
  }
  assert.equal(a.logReads.length, 1);
  cluster.settle();
  assert.equal(cluster.member("C").raft.lastIndex, a.raft.lastIndex);
});

test("a leader keeps in memory what a member lacks; what all have, nobody keeps but a little", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.elect("A");
  const value = "x".repeat(100_000);
  const write = (writes: number, hold?: ReturnType<typeof involving>): void => {
    for (let i = 0; i < writes; i++) {
      a.propose(`${i}${value}`);
      cluster.settle(hold);
    }
    for (const letter of "ABC") cluster.member(letter).apply();
  };
  cluster.settle();
  write(60);
  for (const letter of "ABC") {
    const { raft } = cluster.member(letter);
    assert.ok(raft.commitIndex >= 60 && raft.entriesInMemoryBytes <= 4 << 20, `${raft.entriesInMemoryBytes} bytes of ${letter}`);
  }
  write(60, involving("C"));
  assert.ok(a.raft.entriesInMemoryBytes > 6_000_000, `${a.raft.entriesInMemoryBytes} bytes`);
  assert.ok(cluster.member("B").raft.entriesInMemoryBytes <= 4 << 20);
});

test("a member that is alone in its configuration keeps little of what it has applied in memory, one of several as much as it may", () => {
  const value = "x".repeat(100_000);
  for (const letters of ["A", "ABC"]) {
    const cluster = new TestCluster({ letters });
    const a = letters === "A" ? cluster.member("A") : cluster.elect("A");
    cluster.settle();
    for (let i = 0; i < 30; i++) {
      a.propose(`${i}${value}`);
      cluster.settle();
    }
    a.apply();
    assert.equal(a.raft.commitIndex, a.raft.lastIndex);
    assert.equal(a.raft.entriesInMemoryBytes <= 1 << 20, letters === "A", `${a.raft.entriesInMemoryBytes} bytes of ${letters}`);
  }
});

test("a follower whose entries cannot be read gets a snapshot, one at a time", () => {
  const cluster = new TestCluster({ letters: "ABC", limits: { entriesInMemoryBytesMax: 0 } });
  const a = cluster.elect("A");
  for (let i = 0; i < 10; i++) a.propose(`x${i}`);
  cluster.settle(involving("C"));
  a.apply();
  a.advance(100);
  for (let i = 0; i < 20; i++) {
    cluster.deliverOne();
    cluster.member("C").persist();
  }
  const [read] = a.logReads.splice(0);
  assert.ok(read !== undefined);
  a.raft.onLogRead(read.to, read.from, []);
  a.turn();
  a.raft.onUnreachable(read.to);
  a.turn();
  assert.equal(cluster.snapshots.length, 1);
  assert.equal(a.raft.progress().find(({ id }) => id === read.to)?.state, "snapshot");
});

test("a link that went down is probed from what was acknowledged", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.elect("A");
  a.propose("x");
  cluster.messages = [];
  a.raft.onUnreachable(idOf("B"));
  const progress = a.raft.progress().find(({ id }) => id === idOf("B"));
  assert.deepEqual([progress?.state, progress?.nextIndex], ["probe", a.raft.lastIndex]);
  a.turn();
  cluster.settle();
  assert.equal(cluster.member("B").raft.lastIndex, a.raft.lastIndex);
});

test("what was lost is sent again although every turn's reads begin a round", () => {
  const cluster = new TestCluster({ letters: "AB" });
  const a = cluster.elect("A");
  a.propose("x");
  cluster.drop(({ kind }) => kind === "AppendEntries");
  for (let i = 0; i < 10; i++) {
    cluster.advance(30);
    a.raft.requestRead(i);
    a.turn();
    cluster.settle();
  }
  assert.equal(a.raft.commitIndex, a.raft.lastIndex);
});

test("reads beyond the bound are refused at once", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.member("A");
  for (let id = 0; id <= PENDING_READS_MAX; id++) a.raft.requestRead(id);
  a.turn();
  assert.deepEqual(a.reads, [{ requestId: PENDING_READS_MAX, index: undefined }]);
});

test("reads are answered by whoever becomes leader in time", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const b = cluster.member("B");
  for (const member of cluster.members.values()) member.now += 1_000;
  b.advance(0);
  b.raft.requestRead(1);
  b.turn();
  cluster.member("A").advance(0);
  cluster.settle();
  assert.equal(cluster.member("A").raft.role, "leader");
  assert.deepEqual(b.reads, [{ requestId: 1, index: 1 }]);
});

test("a slow disk does not turn one campaign into many terms", () => {
  const cluster = new TestCluster({ letters: "A" });
  const a = cluster.member("A");
  for (let i = 0; i < 20; i++) a.advance(1_000);
  assert.equal(a.raft.term, 1);
  cluster.settle();
  assert.equal(a.raft.role, "leader");
});

test("a founded log begins in the term of its base, in which nobody has voted", () => {
  const cluster = new TestCluster({ letters: "" });
  const a = cluster.add("A", configurationOfLetters({ voters: "AB" }), (disk) => {
    disk.reset({ ...disk.base, lastIncludedIndex: 1, lastIncludedTerm: 1 });
  });
  assert.deepEqual([a.raft.term, a.raft.votedFor, a.raft.lastIndex, a.raft.commitIndex], [1, undefined, 1, 1]);
});

test("the lease clock never goes back, never runs ahead of the time that has passed, and loses no fractions", () => {
  const clock = new LeaseClock(500, 10);
  assert.equal(clock.now(10.9), 500);
  for (let now = 10; now <= 110; now += 0.1) clock.onProposed(clock.now(now));
  assert.equal(clock.now(110), 600);
  clock.onReceived(700, 200);
  assert.equal(clock.now(250), 750);
  assert.equal(clock.now(150), 700);
});

test("a member that was restarted learns the lease clock from heartbeats, and leads on from there", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.elect("A");
  a.propose("x");
  cluster.settle();
  // Nothing is written for long: heartbeats alone tell the time.
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 50) {
      cluster.advance(50);
      cluster.settle();
    }
  };
  pass(5_000);
  const b = cluster.member("B");
  assert.ok(Math.abs(b.raft.leaseClock() - a.raft.leaseClock()) <= 50);
  b.crash();
  b.restart();
  assert.ok(a.raft.leaseClock() - b.raft.leaseClock() > 4_000, "the log alone knows the time of its last entry");
  pass(200);
  assert.ok(Math.abs(b.raft.leaseClock() - a.raft.leaseClock()) <= 50);
  const before = a.raft.leaseClock();
  const entry = cluster.elect("B").propose("y");
  assert.ok(entry !== undefined && entry.clockMs >= before - 50);
});

test("a reading that is heard late sets a member's clock back by no more than it is late, and never below its log", () => {
  const clock = new LeaseClock(500, 0);
  clock.onHeard(600, 50);
  assert.equal(clock.now(60), 610);
  assert.equal(clock.told(60.5), 610);
  clock.onHeard(605, 70);
  assert.equal(clock.now(70), 605);
  clock.onReceived(700, 80);
  clock.onHeard(650, 90);
  assert.equal(clock.now(90), 710);
});

test("a new leader continues the lease clock from the last reading in its log", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.elect("A");
  cluster.advance(500);
  const entry = a.propose("x");
  cluster.settle();
  const b = cluster.elect("B");
  const next = b.propose("y");
  assert.ok(entry !== undefined && next !== undefined);
  assert.ok(next.clockMs >= entry.clockMs);
  assert.ok(next.clockMs - entry.clockMs <= b.now - 500);
  assert.equal(b.raft.leaseClock(), next.clockMs);
});

test("a follower whose disk stalls takes in, and hears committed, what comes behind what it has committed already", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.member("A");
  const entries = [1, 2, 3, 4, 5].map((index) => commandEntry({ index, term: 1 }));
  const append = { kind: "AppendEntries", from: idOf("B"), to: a.id, term: 1, prevLogIndex: 0, prevLogTerm: 0 } as const;
  a.step({ ...append, commitIndex: 2, entries: entries.slice(0, 2) });
  assert.deepEqual([a.raft.lastIndex, a.raft.commitIndex], [2, 2]);
  // The leader has no answer, and begins at the same place again.
  a.step({ ...append, commitIndex: 4, entries: entries.slice(0, 4) });
  assert.deepEqual([a.raft.lastIndex, a.raft.commitIndex], [4, 4]);
  a.step({ ...append, commitIndex: 4, entries: entries.slice(0, 3) });
  assert.deepEqual([a.raft.lastIndex, a.raft.commitIndex], [4, 4]);
  // No leader says so: what it has committed is of another term.
  a.step({ ...append, commitIndex: 5, entries: entries.slice(0, 3).concat([commandEntry({ index: 4, term: 0 }), entries[4]!]) });
  a.step({
    ...append,
    term: 2,
    commitIndex: 5,
    entries: entries.slice(0, 3).concat([4, 5].map((index) => commandEntry({ index, term: 2 }))),
  });
  assert.deepEqual([a.raft.lastIndex, a.raft.commitIndex], [4, 4]);
});

test("a follower asks for a read index whatever its disk owes", () => {
  const cluster = new TestCluster({ letters: "ABC" });
  const a = cluster.member("A");
  a.step({ kind: "Heartbeat", from: idOf("B"), to: a.id, term: 7, commitIndex: 0, round: 1, clockMs: 0 });
  a.raft.requestRead(1);
  a.turn();
  assert.ok(cluster.messages.some(({ kind, term }) => kind === "ReadIndex" && term === 7));
  // What shows the term otherwise waits until the disk has it.
  assert.deepEqual(
    cluster.messages.filter(({ kind }) => kind !== "ReadIndex"),
    [],
  );
});
