/**
 * What must hold whatever happens (Raft figure 3), checked over a whole TestCluster after each turn, with what its disks hold as the
 * judge of what is durable.
 */
import { assert } from "../../assert.ts";
import type { MemberId } from "../configuration.ts";
import type { Entry } from "../entry.ts";
import type { TestCluster, TestMember } from "./cluster.ts";
import { letterOf } from "./cluster.ts";

interface Committed {
  readonly term: number;
  readonly record: Uint8Array | undefined;
}

export class Invariants {
  readonly #cluster: TestCluster;
  readonly #leaderOf: Map<number, MemberId> = new Map();
  /** What a leader's log ended with when it was last seen, by term. */
  readonly #leaderLog: Map<number, { readonly lastIndex: number; readonly lastTerm: number }> = new Map();
  /** By index; the longest prefix that anyone has called committed. */
  readonly #committed: Committed[] = [];
  readonly #commitIndex: Map<MemberId, number> = new Map();
  /** Turns in which a leader lease was found, and found to be right. */
  leases = 0;

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
    cluster.onTurn = (member) => this.check(member);
  }

  get committedIndex(): number {
    return this.#committed.length === 0 ? 0 : this.#committed.length - 1;
  }

  check(member: TestMember): void {
    if (!member.up) return;
    this.#electionSafety(member);
    this.#leaderAppendOnly(member);
    this.#stateMachineSafety(member);
    this.#leaderLease(member);
  }

  /** At most one leader can be elected in a term (Raft 5.2). A new one has all that was committed (Raft 5.4.3). */
  #electionSafety({ raft, letter }: TestMember): void {
    if (raft.role !== "leader") return;
    const known = this.#leaderOf.get(raft.term);
    assert(known === undefined || known === raft.id, `Election Safety: ${letter} and ${letterOf(known ?? "")} lead term ${raft.term}`);
    if (known !== undefined) return;
    this.#leaderOf.set(raft.term, raft.id);
    for (let index = Math.max(1, raft.firstIndex); index < this.#committed.length; index++) {
      const committed = this.#committed[index];
      if (committed === undefined || committed.term > raft.term) continue;
      assert(
        raft.termAt(index) === committed.term,
        `Leader Completeness: ${letter}, leader of ${raft.term}, lacks ${index}/${committed.term}`,
      );
    }
    assert(raft.lastIndex >= this.committedIndex, `Leader Completeness: the log of ${letter} ends before what is committed`);
  }

  /** A leader never overwrites or deletes entries in its log (Raft 5.3). */
  #leaderAppendOnly({ raft, letter }: TestMember): void {
    if (raft.role !== "leader") return;
    const before = this.#leaderLog.get(raft.term);
    if (before !== undefined) {
      assert(raft.lastIndex >= before.lastIndex, `Leader Append-Only: the log of ${letter} became shorter`);
      const kept = before.lastIndex < raft.firstIndex || raft.termAt(before.lastIndex) === before.lastTerm;
      assert(kept, `Leader Append-Only: ${letter} replaced ${before.lastIndex}`);
    }
    this.#leaderLog.set(raft.term, { lastIndex: raft.lastIndex, lastTerm: raft.lastTerm });
  }

  /** No two members commit different entries at one index (Raft 5.4.3), and what is committed is on the disks of a quorum. */
  #stateMachineSafety({ raft, letter }: TestMember): void {
    const before = this.#commitIndex.get(raft.id) ?? 0;
    this.#commitIndex.set(raft.id, raft.commitIndex);
    for (let index = Math.max(raft.firstIndex, Math.min(before, raft.commitIndex) + 1); index <= raft.commitIndex; index++) {
      const term = raft.termAt(index);
      assert(term !== undefined, `${letter} knows the term of ${index}`);
      const record = raft.entries(index, index, 1)[0]?.record;
      const committed = this.#committed[index];
      if (committed === undefined) {
        this.#committed[index] = { term, record };
        this.#durableOnQuorum(index, term, raft.id);
        continue;
      }
      assert(
        committed.term === term,
        `State Machine Safety: ${letter} commits ${index}/${term}, another committed ${index}/${committed.term}`,
      );
      if (record === undefined) continue;
      assert(
        committed.record === undefined || equal(committed.record, record),
        `State Machine Safety: ${letter} has other bytes at ${index}`,
      );
    }
  }

  /** No acknowledgement before the disk has it: judged under the configuration of the one that commits first. */
  #durableOnQuorum(index: number, term: number, by: MemberId): void {
    const { configuration } = this.#cluster.member(letterOf(by)).raft;
    for (const half of [configuration.incoming, configuration.outgoing]) {
      if (half.length === 0) continue;
      const holders = half.filter((id) => {
        const disk = this.#cluster.members.get(letterOf(id))?.disk;
        return disk !== undefined && (disk.base.lastIncludedIndex >= index || disk.termAt(index) === term);
      });
      assert(holders.length * 2 > half.length, `${index}/${term} is committed but on the disks of ${holders.map(letterOf).join("")} alone`);
    }
  }

  /** A member that may serve lease reads knows everything that anyone has committed. */
  #leaderLease({ raft, letter, now }: TestMember): void {
    if (raft.leaseUntil() <= now) return;
    this.leases++;
    assert(
      raft.commitIndex >= this.committedIndex,
      `${letter} has a leader lease at ${raft.commitIndex} while ${this.committedIndex} is committed`,
    );
  }

  /** If two logs have an entry with the same index and term, they are the same up to there (Raft 5.3). Costly: for the end of a run. */
  logMatching(): void {
    const members = [...this.#cluster.members.values()];
    for (const a of members) {
      for (const b of members) {
        if (a.letter >= b.letter) continue;
        let agree = true;
        const first = Math.max(a.disk.firstIndex, b.disk.firstIndex);
        for (let index = first; index <= Math.min(a.disk.lastIndex, b.disk.lastIndex); index++) {
          const [mine, theirs] = [entryOf(a, index), entryOf(b, index)];
          const same = mine.term === theirs.term;
          assert(agree || !same, `Log Matching: ${a.letter} and ${b.letter} agree at ${index} but not before`);
          assert(!same || equal(mine.record, theirs.record), `Log Matching: ${a.letter} and ${b.letter} hold other bytes at ${index}`);
          agree = agree && same;
        }
      }
    }
  }
}

function entryOf(member: TestMember, index: number): Entry {
  return member.disk.entries[index - member.disk.firstIndex] as Entry;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}
