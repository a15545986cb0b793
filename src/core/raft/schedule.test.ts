/**
 * Random schedules against the properties of Raft figure 3: messages lost, repeated and reordered, disks that lag, crashes that lose
 * what no disk had, clocks that run apart, changes of membership, transfers, snapshots. Then everything is healed, and the cluster
 * must make progress. RAFT_SCHEDULES sets how many are tried.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Message } from "./message.ts";
import { configurationOfLetters, idOf, letterOf, recordOf, TestCluster, type TestMember } from "./test/cluster.ts";
import { Invariants } from "./test/invariants.ts";

const RUNS = Number(process.env["RAFT_SCHEDULES"] ?? 60);
const LETTERS = "ABCDE";

interface PendingRead {
  readonly member: TestMember;
  /** What was committed anywhere when the read was asked for. */
  readonly committed: number;
}

/** Makes the numbers of one operation: the low bits choose what, the others with what. */
class Choice {
  #rest: number;

  constructor(seed: number) {
    // Neighbouring numbers must not mean neighbouring choices.
    this.#rest = Math.imul(seed ^ (seed >>> 15), 0x2c1b3c6d) >>> 0;
  }

  below(limit: number): number {
    this.#rest = (Math.imul(this.#rest, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.#rest / 2 ** 32) * limit);
  }

  of<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }
}

function runSchedule(voters: string, operations: readonly number[]): { readonly committed: number; readonly changes: number } {
  const draws = new Choice(operations[0] ?? 1);
  const cluster = new TestCluster({
    letters: LETTERS,
    configuration: configurationOfLetters({ voters }),
    limits: { entriesInMemoryBytesMax: 400, inflightMessagesMax: 4, inflightBytesMax: 2_000, appendBytesMax: 200, uncommittedBytesMax: 2_000 },
    random: () => () => draws.below(2 ** 32),
  });
  const invariants = new Invariants(cluster);
  const pendingReads = new Map<number, PendingRead>();
  const members = [...cluster.members.values()];
  let proposals = 0;
  let changes = 0;
  let reads = 0;

  const collectReads = (): void => {
    for (const member of members) {
      for (const { requestId, index } of member.reads.splice(0)) {
        const read = pendingReads.get(requestId);
        pendingReads.delete(requestId);
        if (read === undefined || index === undefined) continue;
        assert.ok(index >= read.committed, `a read of ${read.member.letter} was answered ${index} after ${read.committed} was committed`);
      }
    }
  };

  const operate = (number: number): void => {
    const choice = new Choice(number);
    const kind = choice.below(100);
    const up = members.filter((member) => member.up);
    const member = choice.of(up);
    if (kind < 45) {
      // Mostly the oldest messages, so that something comes of them.
      const at = choice.below(4) > 0 ? choice.below(Math.min(6, cluster.messages.length)) : choice.below(cluster.messages.length);
      const [message] = cluster.messages.splice(at, 1);
      if (message !== undefined) cluster.deliver(message);
    } else if (kind < 62) {
      const writers = up.filter(({ disk }) => disk.queue.length > 0);
      choice.of(writers)?.persist();
    } else if (kind < 72) {
      const ms = choice.below(8) === 0 ? choice.below(1_500) : choice.below(120);
      // Clocks run apart by less than the drift that leases allow for.
      cluster.advance(ms);
    } else if (kind < 80) {
      const leader = choice.of(cluster.leaders());
      leader?.propose(`p${++proposals}`);
    } else if (kind < 83) {
      const at = choice.below(cluster.messages.length);
      const message = cluster.messages[at];
      if (message === undefined) return;
      if (choice.below(2) === 0) cluster.messages.push(message);
      else cluster.messages.splice(at, 1);
    } else if (kind < 86 && member !== undefined) {
      pendingReads.set(++reads, { member, committed: invariants.committedIndex });
      member.raft.requestRead(reads);
      member.turn();
    } else if (kind < 88) {
      const from = choice.of(members);
      const cut = (message: Message): boolean => from !== undefined && (message.from === from.id || message.to === from.id);
      cluster.drop(cut);
    } else if (kind < 90) {
      if (choice.below(3) > 0) {
        const down = choice.of(members.filter((each) => !each.up));
        down?.restart();
        down?.turn();
      } else if (member !== undefined && up.length > 2) {
        member.crash();
      }
    } else if (kind < 92) {
      member?.apply();
    } else if (kind < 94 && member !== undefined) {
      const { disk, raft } = member;
      const top = Math.min(disk.lastIndex, raft.commitIndex, disk.queue.length > 0 ? 0 : disk.lastIndex);
      if (top <= disk.base.lastIncludedIndex || top < disk.firstIndex) return;
      member.apply();
      member.snapshot(top, choice.below(2) === 0 ? top : disk.firstIndex - 1 + choice.below(top - disk.firstIndex + 2));
    } else if (kind < 96) {
      if (choice.below(2) === 0) member?.answerLogRead();
      else if (cluster.snapshots.length > 0) cluster.deliverSnapshot(choice.below(cluster.snapshots.length));
    } else if (kind < 98) {
      const leader = choice.of(cluster.leaders());
      if (leader === undefined) return;
      const kinds = [...LETTERS].map((letter) => ({ letter, role: choice.below(3) }));
      const change = {
        voters: kinds.filter(({ role }) => role === 0).map(({ letter }) => idOf(letter)),
        learners: kinds.filter(({ role }) => role === 1).map(({ letter }) => idOf(letter)),
        members: kinds.filter(({ role }) => role < 2).map(({ letter }) => recordOf(letter)),
      };
      if (leader.raft.proposeConfiguration(change) === undefined) changes++;
      leader.turn();
    } else if (kind < 99) {
      const leader = choice.of(cluster.leaders());
      leader?.raft.transferLeadership(choice.of([undefined, ...members.map(({ id }) => id)]));
      leader?.turn();
    } else if (member !== undefined) {
      const peer = choice.of(members);
      if (peer !== undefined) member.raft.onUnreachable(peer.id);
      member.turn();
    }
    collectReads();
  };

  for (const operation of operations) operate(operation);
  invariants.logMatching();

  // Healed, the cluster elects, commits, and everyone who belongs to it has everything.
  for (const member of members) {
    if (!member.up) member.restart();
    member.turn();
  }
  let proposed = false;
  for (let round = 0; round < 400; round++) {
    cluster.advance(50);
    cluster.settle();
    const [leader] = cluster.leaders();
    if (leader !== undefined && !proposed && leader.raft.ready) proposed = leader.propose("last") !== undefined;
    collectReads();
    const everyone = leader?.raft.configuration.members.map(({ id }) => cluster.member(letterOf(id)));
    const done = everyone?.every(({ raft }) => leader !== undefined && raft.commitIndex === leader.raft.lastIndex) === true;
    if (proposed && done && cluster.leaders().length === 1 && leader?.raft.configuration.outgoing.length === 0) break;
    assert.ok(round < 399, `the healed cluster makes progress: ${members.map(describe).join("; ")}`);
  }
  invariants.logMatching();
  return { committed: invariants.committedIndex, changes };
}

function describe({ letter, raft }: TestMember): string {
  return `${letter} ${raft.role} term ${raft.term} log ${raft.firstIndex}-${raft.lastIndex} commit ${raft.commitIndex} voters ${raft.configuration.incoming.map(letterOf).join("")}`;
}

test("whatever is lost, repeated, delayed or forgotten, the properties of figure 3 hold and the healed cluster goes on", () => {
  let committed = 0;
  let changes = 0;
  fc.assert(
    fc.property(
      fc.constantFrom("ABC", "AB", "A", "ABCDE", "ABCD"),
      fc.array(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { minLength: 200, maxLength: 2_000, size: "max" }),
      (voters, operations) => {
        const outcome = runSchedule(voters, operations);
        committed += outcome.committed;
        changes += outcome.changes;
      },
    ),
    { numRuns: RUNS, seed: Number(process.env["RAFT_SEED"] ?? 1) },
  );
  // Schedules in which nothing happens would prove nothing.
  assert.ok(committed > RUNS * 5, `entries were committed: ${committed}`);
  assert.ok(changes > RUNS / 10, `memberships were changed: ${changes}`);
});
