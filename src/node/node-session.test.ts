import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_HEADER_BYTES, readBatchHeader, type BatchSession } from "../core/batch.ts";
import { CommandBatch } from "../core/kv/command.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { ResultReader } from "../core/kv/result.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { entryPayload } from "../core/raft/entry.ts";
import { Raft } from "../core/raft/raft.ts";
import type { EngineError } from "../errors.ts";
import { foundingMeta } from "./founding.ts";
import { NODE_SESSION_LIFE_MS, NODE_SESSION_WINDOW, NodeSession } from "./node-session.ts";
import { OwnWrites } from "./own-writes.ts";
import { Proposals } from "./proposals.ts";

const MEMBER = "00000000000000aa";

/** A member by itself with its proposals and its data; what is committed is applied when it is asked to. */
class Member {
  now = 0;
  kv: KvMachine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }), applied: { index: 1, term: 1, clockMs: 0 } });
  readonly answers: Map<number, ResultReader> = new Map();
  readonly failures: EngineError[] = [];
  /** Of each batch that was proposed. */
  readonly sessions: (BatchSession | undefined)[] = [];
  readonly proposals: Proposals;
  readonly raft: Raft;
  readonly #own = new OwnWrites();
  #seen: number;

  constructor({ withSession = true } = {}) {
    const base = foundingMeta([{ id: MEMBER, name: "a", peerAddress: "", clientAddresses: [], incarnation: "1", promotable: false }]);
    this.raft = new Raft({
      id: MEMBER,
      recovered: {
        vote: { term: 1, votedFor: undefined },
        base,
        firstIndex: 2,
        lastIndex: 1,
        terms: [{ index: 1, term: 1 }],
        configurationEntries: [],
        tail: [],
      },
      timing: { electionTimeoutMs: 1_000, heartbeatMs: 100 },
      random: () => 7,
      now: 0,
    });
    this.raft.advance(0, 0);
    this.persist();
    assert.equal(this.raft.role, "leader");
    this.#seen = this.raft.lastIndex;
    const session = new NodeSession({
      now: () => this.now,
      write: (write) => this.proposals.add({ ...write, call: this.#own.add(write) }, this.now),
    });
    this.proposals = new Proposals({
      memberId: MEMBER,
      bootId: 1,
      resendMs: 500,
      session: withSession ? session : undefined,
      send: () => true,
      fail: (call, error) => {
        if (!this.#own.failed(call, error)) this.failures.push(error);
      },
    });
  }

  persist(): void {
    while (this.raft.hasReady()) {
      const { vote, entries } = this.raft.takeReady();
      if (vote !== undefined) this.raft.onVotePersisted(vote);
      const last = entries.at(-1);
      if (last !== undefined) this.raft.onPersisted({ index: last.index, term: last.term });
    }
  }

  put(call: number, puts = 1): void {
    const batch = new CommandBatch();
    for (let at = 0; at < puts; at++) batch.put(Buffer.from(`k${call}`), Buffer.from("1"), { prevKv: true });
    this.proposals.add({ call, record: batch.finish(), commands: puts, timeoutMs: 1_000_000 }, this.now);
  }

  /** What waits goes into the log. */
  propose(): void {
    this.now += 2;
    this.proposals.flush(this.raft, this.now);
    this.persist();
    this.now += 2;
    this.proposals.flush(this.raft, this.now);
    this.persist();
    for (const entry of this.raft.entries(this.#seen + 1, this.raft.lastIndex, 1 << 30)) {
      this.#seen = entry.index;
      if (entry.kind === "command") this.sessions.push(readBatchHeader(entryPayload(entry))!.session);
    }
  }

  /** `isTold` false: as by a snapshot, of which this node's proposals hear nothing. */
  apply({ isTold = true, clockMs = this.now } = {}): void {
    for (const entry of this.raft.entries(this.kv.appliedIndex + 1, this.raft.commitIndex, 1 << 30)) {
      const payload = entryPayload(entry);
      const header = entry.kind === "command" ? readBatchHeader(payload) : undefined;
      const { index, term } = entry;
      const commands = header === undefined ? undefined : payload.subarray(BATCH_HEADER_BYTES);
      this.kv.begin({ index, term, clockMs, commands, count: header?.commands ?? 0, session: header?.session }, true);
      while (!this.kv.step(100));
      const results = this.kv.results();
      const call = header === undefined || !isTold ? undefined : this.proposals.callOf(header);
      if (call === undefined || this.proposals.onApplied(header!, results)) continue;
      if (!this.#own.done(call, results)) this.answers.set(call, new ResultReader(results));
    }
    if (!isTold) this.proposals.onStateReplaced();
  }

  go(): void {
    this.propose();
    this.apply();
  }

  revisionsOf(call: number): number[] {
    const reader = this.answers.get(call)!;
    const revisions: number[] = [];
    while (reader.next()) revisions.push(reader.refusal === undefined ? reader.revision : -1);
    return revisions;
  }
}

test("the first write goes without a session, those behind its opening are numbered one behind another", () => {
  const member = new Member();
  member.put(1);
  member.go();
  member.put(2, 3);
  member.put(3, 2);
  member.go();
  member.put(4);
  member.go();
  const [, , second, third, fourth] = member.sessions;
  assert.deepEqual(member.sessions.slice(0, 2), [undefined, undefined]);
  assert.deepEqual([second?.sequence, second?.acked, third?.sequence, third?.acked], [1, 0, 4, 0]);
  assert.deepEqual([fourth?.sequence, fourth?.acked], [6, 5], "what was answered is acknowledged");
});

for (const isInSnapshot of [true, false]) {
  test(`a batch that a snapshot ${isInSnapshot ? "holds" : "does not hold"} is answered as if there had been none`, () => {
    const member = new Member();
    member.put(1);
    member.go();
    member.put(2, 2);
    member.propose();
    if (isInSnapshot) member.apply({ isTold: false });
    else member.proposals.onStateReplaced();
    member.put(3);
    member.go();
    assert.deepEqual(member.failures, []);
    assert.deepEqual([member.revisionsOf(2), member.revisionsOf(3)], [[3, 4], [5]]);
    assert.deepEqual(member.sessions[2], member.sessions[3], "it comes again with the same numbers");
    assert.equal(member.kv.revision, 5);
  });
}

test("without a session nobody can tell, and the caller is told so", () => {
  const member = new Member({ withSession: false });
  member.put(1);
  member.propose();
  member.apply({ isTold: false });
  assert.deepEqual(
    member.failures.map(({ code, mayHaveApplied }) => [code, mayHaveApplied]),
    [["UNAVAILABLE", true]],
  );
});

test("a batch whose session had ended goes on without one", () => {
  const member = new Member();
  member.put(1);
  member.go();
  member.put(2);
  member.propose();
  member.apply({ clockMs: NODE_SESSION_LIFE_MS * 2 });
  assert.equal(member.answers.has(2), false);
  member.go();
  assert.deepEqual(member.revisionsOf(2), [3]);
  member.put(3);
  member.go();
  member.put(4);
  member.go();
  assert.notEqual(member.sessions.at(-1), undefined, "and there is a new one later");
});

test("a batch that may have been applied before its session ended is not applied again", () => {
  const member = new Member();
  member.put(1);
  member.go();
  member.put(2);
  member.propose();
  member.apply({ isTold: false });
  member.propose();
  member.apply({ clockMs: NODE_SESSION_LIFE_MS * 2 });
  const reader = member.answers.get(2)!;
  assert(reader.next());
  assert.equal(reader.refusal?.code, "sessionGone");
  assert.equal(member.kv.revision, 3);
});

test("a batch that comes again and times out says that it may have been applied", () => {
  const member = new Member();
  member.put(1);
  member.go();
  member.put(2);
  member.propose();
  member.apply({ isTold: false });
  member.proposals.expire(2_000_000, true);
  assert.deepEqual(
    member.failures.map(({ code, mayHaveApplied }) => [code, mayHaveApplied]),
    [["TIMEOUT", true]],
  );
});

test("a session that was not used for half its life is not relied on, and what does not fit its window goes without", () => {
  const member = new Member();
  member.put(1);
  member.go();
  member.now += NODE_SESSION_LIFE_MS;
  member.put(2);
  member.go();
  assert.equal(member.sessions[2], undefined);
  member.put(3, NODE_SESSION_WINDOW);
  member.put(4);
  member.go();
  const [third, fourth] = member.sessions.slice(-2);
  assert.equal(third?.sequence, 1);
  assert.equal(fourth, undefined);
  assert.equal(member.revisionsOf(4).length, 1);
});
