/**
 * A random schedule of a TestCluster, drawn from a seed: messages lost, repeated and reordered, disks that lag, crashes that lose what
 * no disk had, clocks that run apart, machines that are suspended, changes of membership, transfers, snapshots. The invariants are
 * checked after each turn. Then everything is healed, and the cluster must make progress.
 */
import assert from "node:assert/strict";
import type { Raft } from "../raft.ts";
import { configurationOfLetters, idOf, letterOf, recordOf, TestCluster, type TestMember } from "./cluster.ts";
import { Invariants } from "./invariants.ts";

const LETTERS = "ABCDE";

export interface Schedule {
  readonly voters: string;
  readonly seed: number;
  readonly operations: number;
}

export interface ScheduleOutcome {
  readonly committed: number;
  readonly changes: number;
  readonly reads: number;
  readonly leases: number;
}

/** How often what happens, in a schedule of ordinary temper. */
const WEIGHTS = {
  deliver: 60,
  deliverMany: 20,
  repeat: 2,
  lose: 2,
  cut: 2,
  persist: 60,
  tick: 12,
  wait: 1,
  propose: 12,
  read: 6,
  crash: 1,
  restart: 2,
  bounce: 1,
  apply: 4,
  snapshot: 2,
  sendSnapshot: 3,
  readLog: 6,
  change: 1,
  transfer: 1,
  unreachable: 1,
};
type Operation = keyof typeof WEIGHTS;
const TEMPERS: readonly number[] = [0, 0.4, 1, 1, 4];
const MANDATORY: readonly Operation[] = ["deliver", "deliverMany", "persist", "restart", "tick"];

interface PendingRead {
  readonly member: TestMember;
  /** What was committed anywhere when the read was asked for. */
  readonly committed: number;
}

/** Everything that a schedule draws (xorshift, seeded). */
class Choice {
  #word: number;

  constructor(seed: number) {
    this.#word = Math.imul(seed + 1, 0x9e3779b1) | 1;
  }

  below(limit: number): number {
    this.#word ^= this.#word << 13;
    this.#word ^= this.#word >>> 17;
    this.#word ^= this.#word << 5;
    return Math.floor(((this.#word >>> 0) / 2 ** 32) * limit);
  }

  of<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }
}

/** Throws where a property is broken. `raft`: another implementation than the shipped one. */
export function runSchedule(schedule: Schedule, raft?: typeof Raft): ScheduleOutcome {
  const { voters, seed, operations } = schedule;
  const choice = new Choice(seed);
  const draws = new Choice(seed + 1);
  const cluster = new TestCluster({
    letters: LETTERS,
    configuration: configurationOfLetters({ voters }),
    limits: {
      entriesInMemoryBytesMax: 400,
      inflightMessagesMax: 4,
      inflightBytesMax: 2_000,
      appendBytesMax: 200,
      uncommittedBytesMax: 2_000,
    },
    random: () => () => draws.below(2 ** 32),
    raft,
  });
  const invariants = new Invariants(cluster);
  const pendingReads = new Map<number, PendingRead>();
  const members = [...cluster.members.values()];
  let proposals = 0;
  let changes = 0;
  let reads = 0;
  let answered = 0;
  const cut = new Set<string>();

  const collectReads = (): void => {
    for (const member of members) {
      for (const { requestId, index } of member.reads.splice(0)) {
        const read = pendingReads.get(requestId);
        pendingReads.delete(requestId);
        if (read === undefined || index === undefined) continue;
        answered++;
        assert.ok(index >= read.committed, `a read of ${read.member.letter} was answered ${index} after ${read.committed} was committed`);
      }
    }
  };

  const leaderOrAny = (up: readonly TestMember[]): TestMember | undefined => choice.of(cluster.leaders()) ?? choice.of(up);
  const delay = (ms: number): void => {
    const suspended = choice.below(12) === 0 ? choice.of(members) : undefined;
    for (const [i, each] of members.entries()) {
      // Suspended, a machine counts no time, and its wall clock jumps.
      if (each === suspended) each.wallOffset += ms;
      // Rates differ by less than the drift that leases allow for; a stopped process finds out later.
      else if (choice.below(10) === 0) each.now += ms * (0.97 + 0.015 * i);
      else each.advance(ms * (0.97 + 0.015 * i));
    }
  };

  const operate: Record<Operation, (up: readonly TestMember[]) => void> = {
    deliver: () => {
      // Mostly the oldest messages, so that something comes of them.
      const at = choice.below(4) > 0 ? choice.below(Math.min(6, cluster.messages.length)) : choice.below(cluster.messages.length);
      const [message] = cluster.messages.splice(at, 1);
      if (message !== undefined && !cut.has(message.from + message.to)) cluster.deliver(message);
    },
    deliverMany: () => {
      for (let count = choice.below(20); count > 0; count--) {
        const message = cluster.messages.shift();
        if (message !== undefined && !cut.has(message.from + message.to)) cluster.deliver(message);
      }
    },
    repeat: () => {
      const message = choice.of(cluster.messages);
      if (message !== undefined) cluster.messages.push(message);
    },
    lose: () => {
      if (choice.below(4) === 0) cluster.messages = [];
      else cluster.messages.splice(choice.below(cluster.messages.length), 1);
    },
    cut: (up) => {
      // Links are cut one way or both, and healed again.
      const [from, to] = [leaderOrAny(up), choice.of(members)];
      if (choice.below(3) === 0) cut.clear();
      else if (from !== undefined && to !== undefined) {
        if (choice.below(3) > 0) cut.add(from.id + to.id);
        if (choice.below(3) > 0) cut.add(to.id + from.id);
      }
    },
    persist: (up) => {
      const writer = choice.of(up.filter(({ disk }) => disk.queue.length > 0));
      for (let count = 1 + choice.below(3); count > 0; count--) writer?.persist();
    },
    tick: () => delay(choice.below(120)),
    wait: () => delay(choice.below(1_500)),
    propose: () => {
      choice.of(cluster.leaders())?.propose(`p${++proposals}`);
    },
    read: (up) => {
      const member = choice.of(up);
      if (member === undefined) return;
      pendingReads.set(++reads, { member, committed: invariants.committedIndex });
      member.begin();
      member.raft.requestRead(reads);
      member.turn();
    },
    crash: (up) => {
      if (up.length > 2) choice.of(up)?.crash();
    },
    restart: () => {
      const down = choice.of(members.filter((each) => !each.up));
      down?.restart();
      down?.turn();
    },
    bounce: (up) => {
      const member = choice.of(up);
      member?.crash();
      member?.restart();
      member?.turn();
    },
    apply: (up) => choice.of(up)?.apply(),
    snapshot: (up) => {
      const member = choice.of(up);
      if (member === undefined || member.disk.queue.length > 0) return;
      const { disk, raft } = member;
      const top = Math.min(disk.lastIndex, raft.commitIndex);
      if (top <= disk.base.lastIncludedIndex || top < disk.firstIndex) return;
      member.apply();
      member.snapshot(top, choice.below(2) === 0 ? top : disk.firstIndex - 1 + choice.below(top - disk.firstIndex + 2));
    },
    sendSnapshot: () => {
      if (cluster.snapshots.length > 0) cluster.deliverSnapshot(choice.below(cluster.snapshots.length));
    },
    readLog: (up) => {
      choice.of(up.filter(({ logReads }) => logReads.length > 0))?.answerLogRead();
    },
    change: () => {
      const leader = choice.of(cluster.leaders());
      if (leader === undefined) return;
      leader.begin();
      const kinds = [...LETTERS].map((letter) => ({ letter, role: choice.below(3) }));
      const change = {
        voters: kinds.filter(({ role }) => role === 0).map(({ letter }) => idOf(letter)),
        learners: kinds.filter(({ role }) => role === 1).map(({ letter }) => idOf(letter)),
        members: kinds.filter(({ role }) => role < 2).map(({ letter }) => recordOf(letter)),
      };
      if (leader.raft.proposeConfiguration(change) === undefined) changes++;
      leader.turn();
    },
    transfer: () => {
      const leader = choice.of(cluster.leaders());
      leader?.begin();
      leader?.raft.transferLeadership(choice.of([undefined, ...members.map(({ id }) => id)]));
      leader?.turn();
    },
    unreachable: (up) => {
      const [member, peer] = [choice.of(up), choice.of(members)];
      member?.begin();
      if (peer !== undefined) member?.raft.onUnreachable(peer.id);
      member?.turn();
    },
  };

  // Each schedule has a temper of its own: what is rare in one is frequent in another.
  const names: Operation[] = [];
  for (const [name, weight] of Object.entries(WEIGHTS) as [Operation, number][]) {
    const times = MANDATORY.includes(name) ? weight : Math.round(weight * (TEMPERS[choice.below(TEMPERS.length)] as number));
    for (let count = 0; count < times; count++) names.push(name);
  }
  for (let count = 0; count < operations; count++) {
    operate[choice.of(names) as Operation](members.filter((member) => member.up));
    collectReads();
  }
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
  return { committed: invariants.committedIndex, changes, reads: answered, leases: invariants.leases };
}

function describe({ letter, raft }: TestMember): string {
  return `${letter} ${raft.role} term ${raft.term} log ${raft.firstIndex}-${raft.lastIndex} commit ${raft.commitIndex} voters ${raft.configuration.incoming.map(letterOf).join("")}`;
}
