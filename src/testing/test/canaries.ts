/** Planted bugs: each is a change to the shipped sources that the simulator must find within so many seeds of its profile. */
import type { SwarmProfile } from "../swarm.ts";
import {
  CROWDED,
  DISKS,
  ELECTIONS,
  FAILOVERS,
  FORGETFUL,
  FOUNDINGS,
  FULL_DISKS,
  HANDOVERS,
  HOLDERS,
  LATE_ANSWERS,
  LOSSY,
  MEMBERSHIP,
  OPERATED,
  PARTS,
  STORES,
  STRANDED,
  WATCHES,
} from "../profiles.ts";
import type { Edit } from "./canary-bundle.ts";
import { TXN_CANARIES } from "./txn-canaries.ts";

export interface Canary {
  /** What the code does wrong, as a sentence. */
  readonly name: string;
  readonly edits: readonly Edit[];
  readonly profile: SwarmProfile;
  readonly seedsMax: number;
}

const raft = (file: string, find: string, replace: string): Edit => ({ file: `core/raft/${file}`, find, replace });

const kv = (file: string, find: string, replace: string): Edit => ({ file: `core/kv/${file}`, find, replace });

export const CANARIES: readonly Canary[] = [
  {
    name: "a vote is told before it is on disk",
    edits: [
      raft("state.ts", `(message.kind === "RequestVoteReply" && !message.preVote) ||`, ""),
      raft("state.ts", '(!this.#votePersisted && this.role !== "leader");', "false;"),
    ],
    profile: ELECTIONS,
    seedsMax: 10,
  },
  {
    name: "a member votes twice in a term",
    edits: [
      raft(
        "election.ts",
        ": term === state.term && (state.votedFor === from || (state.votedFor === undefined && state.leader === undefined));",
        ": term === state.term;",
      ),
      raft("state.ts", `assert(term > this.term || this.votedFor === undefined || votedFor === this.votedFor, "one vote a term");`, ""),
    ],
    profile: ELECTIONS,
    seedsMax: 40,
  },
  {
    name: "a vote goes to a log that is behind",
    edits: [raft("election.ts", "const granted = upToDate && !sticky && free;", "const granted = !sticky && free;")],
    profile: ELECTIONS,
    seedsMax: 40,
  },
  {
    name: "an entry of an old term is committed by counting",
    edits: [
      raft("commit.ts", "if (agreed > state.commitIndex && state.log.termAt(agreed) === state.term)", "if (agreed > state.commitIndex)"),
    ],
    profile: DISKS,
    seedsMax: 40,
  },
  {
    name: "a commit needs only the new half of a joint configuration",
    edits: [raft("quorum.ts", "return Math.min(incoming, agreedInHalf(configuration.outgoing, valueOf));", "return incoming;")],
    profile: MEMBERSHIP,
    seedsMax: 20,
  },
  {
    name: "a member's addresses are put into a configuration that was in force when it announced them",
    edits: [
      raft(
        "raft.ts",
        "changeAddresses(this.#state.configuration, id, change)",
        "changeAddresses(this.#state.configurations.at(this.#state.configurations.latestIndex - 2), id, change)",
      ),
    ],
    profile: { ...OPERATED, membershipEveryMs: 100 },
    seedsMax: 20,
  },
  {
    name: "a write that is refused for want of room is proposed all the same",
    edits: [
      {
        file: "node/proposals.ts",
        find: "this.#fail(sequence, space!.error());\n      return false;",
        replace: "this.#options.fail(batch.call, space!.error());\n      return true;",
      },
    ],
    profile: FULL_DISKS,
    seedsMax: 20,
  },
  {
    name: "an election needs only the new half of a joint configuration",
    edits: [
      raft(
        "quorum.ts",
        `const outgoing = configuration.outgoing.length === 0 ? "won" : tallyHalf(configuration.outgoing, voteOf);`,
        `const outgoing: Tally = "won";`,
      ),
    ],
    profile: { ...MEMBERSHIP, membershipEveryMs: 50 },
    seedsMax: 60,
  },
  {
    name: "a snapshot carries the latest configuration",
    edits: [
      {
        file: "node/snapshots.ts",
        find: "const configuration = raft.configurationAt(appliedIndex);",
        replace: "const configuration = raft.configuration;",
      },
    ],
    profile: { ...MEMBERSHIP, membershipEveryMs: 50, snapshotLogBytesMin: 1 << 10, segmentBytes: 4 << 10, faults: { slowDisk: 1 } },
    seedsMax: 20,
  },
  {
    name: "the batch of a store holds by parts, and so is cut inside an entry",
    edits: [
      { file: "storage/records/store-format.ts", find: "PART_BYTES_MAX: number = 256 * 1024;", replace: "PART_BYTES_MAX: number = 200;" },
      {
        file: "node/store-writer.ts",
        find: "await store.write(batch.parts.take(), { last: whole });",
        replace: "await store.write(batch.parts.take(), { last: true });",
      },
    ],
    profile: STORES,
    seedsMax: 20,
  },
  {
    name: "a store is ahead of the log after a crash",
    edits: [
      {
        file: "node/snapshots.ts",
        find: "isPersisted: (index) => (this.#context.raft?.persistedIndex ?? 0) >= index,",
        replace: "isPersisted: () => true,",
      },
    ],
    profile: STORES,
    seedsMax: 20,
  },
  {
    name: "a store says that an entry is applied before it holds what the entry did",
    edits: [
      {
        file: "storage/open-storage.ts",
        find: "    await this.#write(part, last && header === undefined);\n    if (header === undefined) return;",
        replace:
          "    if (header !== undefined && !this.#isInBatch) {\n" +
          "      const early = new PartWriter();\n" +
          "      early.put(STORE_HEADER_KEY, new TextEncoder().encode(JSON.stringify(header)));\n" +
          "      await this.#write(early.take(), true);\n" +
          "    }\n" +
          "    await this.#write(part, last && header === undefined);\n    if (header === undefined) return;",
      },
    ],
    profile: STORES,
    seedsMax: 20,
  },
  {
    name: "a store lets go of what history still holds",
    edits: [
      {
        file: "node/store-writer.ts",
        find: "kv.table.seekEvent(compactRevision + 1), before.revision);",
        replace: "kv.table.seekEvent(revision + 1), before.revision);",
      },
    ],
    profile: STORES,
    seedsMax: 20,
  },
  {
    name: "a leader counts an entry as on its own disk before it is",
    edits: [raft("commit.ts", "id === state.id ? state.log.persistedIndex :", "id === state.id ? state.log.lastIndex :")],
    profile: DISKS,
    seedsMax: 10,
  },
  {
    name: "a late completion counts for the entry that took the place of its own",
    edits: [raft("log.ts", "const through = Math.min(index, write.validThrough);", "const through = index;")],
    profile: {
      ...ELECTIONS,
      diskMaxMs: 600,
      network: { lossRate: 0, duplicateRate: 0, reorderRate: 0, delayMaxMs: 2 },
      faultEveryMs: 500,
      faultMsMax: 1_000,
      faults: { isolateLeader: 1 },
      workload: { ...CROWDED, clientsPerNode: 6, writeShare: 0.9, thinkMs: 5 },
    },
    seedsMax: 60,
  },
  {
    name: "acknowledgements do not wait for the disk",
    edits: [raft("state.ts", `(message.kind === "AppendEntriesReply" && message.success) ||`, "")],
    profile: DISKS,
    seedsMax: 5,
  },
  {
    name: "a group of the log is answered for and not synced",
    edits: [
      {
        file: "storage/segment-log.ts",
        find: "const began = this.#options.now();\n    file.dataSync();",
        replace: "const began = this.#options.now();",
      },
    ],
    profile: DISKS,
    seedsMax: 10,
  },
  {
    name: "a follower acknowledges across a gap",
    edits: [
      raft("follower.ts", "    refuse(state, message);\n    return;", "    accept(state, to, prevLogIndex + entries.length);\n    return;"),
    ],
    profile: LOSSY,
    seedsMax: 10,
  },
  {
    name: "an append that repeats what is there truncates what follows",
    edits: [
      raft(
        "follower.ts",
        "if (entry.index > log.lastIndex || log.termAt(entry.index) !== entry.term) break;",
        "if (entry.index > 0) break;",
      ),
    ],
    profile: LOSSY,
    seedsMax: 10,
  },
  {
    name: "a heartbeat tells a commit index that the follower's log may not have reached",
    edits: [
      raft("read-index.ts", "const commitIndex = Math.min(progress.matchIndex, state.commitIndex);", "const { commitIndex } = state;"),
    ],
    profile: ELECTIONS,
    seedsMax: 40,
  },
  {
    name: "a read index is given before anything of the term is committed",
    edits: [raft("read-index.ts", "    if (!state.ready) return;\n", "")],
    profile: { ...ELECTIONS, workload: { ...CROWDED, leaseReadShare: 0, eventualReadShare: 0, writeShare: 0.3 } },
    seedsMax: 60,
  },
  {
    name: "a read is answered without asking a majority",
    edits: [
      raft(
        "read-index.ts",
        "id === state.id ? Number.POSITIVE_INFINITY : (state.progress.get(id)?.roundConfirmed ?? 0),",
        "id === undefined ? 0 : Number.POSITIVE_INFINITY,",
      ),
    ],
    profile: STRANDED,
    seedsMax: 10,
  },
  {
    name: "a vote is granted right after a restart, within the old lease",
    edits: [raft("state.ts", "new ElectionState(now + this.timing.electionTimeoutMs)", "new ElectionState(now)")],
    profile: FORGETFUL,
    seedsMax: 20,
  },
  {
    name: "a follower that hears from its leader votes for another",
    edits: [raft("election.ts", '  return state.role === "leader" || state.now < state.election.stickyUntil;', "  return false;")],
    profile: FORGETFUL,
    seedsMax: 20,
  },
  {
    name: "a lease is taken again after TimeoutNow was sent",
    edits: [raft("leader-lease.ts", "  state.lease.forfeitedTerm = state.term;\n", "")],
    profile: HANDOVERS,
    seedsMax: 20,
  },
  {
    name: "a suspension of the machine is not noticed",
    edits: [
      raft(
        "leader-lease.ts",
        "if (known !== undefined && Math.abs(offset - known) <= SUSPENSION_MS) return;",
        "if (known !== undefined) return;",
      ),
    ],
    profile: STRANDED,
    seedsMax: 10,
  },
  {
    name: "the clock is read before the input of the turn is gathered",
    edits: [
      {
        file: "node/node.ts",
        find: "    this.#scheduled = true;\n",
        replace:
          "    this.#scheduled = true;\n    const early = this.#environment.clock.now();\n    const earlyWall = this.#environment.clock.wallNow();\n",
      },
      { file: "node/node.ts", find: "        this.#turn();\n", replace: "        this.#turn(early, earlyWall);\n" },
      { file: "node/node.ts", find: "  #turn(): void {", replace: "  #turn(now: number, wallNow: number): void {" },
      {
        file: "node/node.ts",
        find: "    const now = this.#environment.clock.now();\n    this.#turnNow = now;",
        replace: "    this.#turnNow = now;",
      },
      { file: "node/node.ts", find: "raft?.advance(now, this.#environment.clock.wallNow());", replace: "raft?.advance(now, wallNow);" },
    ],
    profile: {
      ...STRANDED,
      faults: { stallLeader: 1 },
      workload: { ...CROWDED, clientsPerNode: 6, thinkMs: 20, writeShare: 0.15, leaseReadShare: 1 },
    },
    seedsMax: 20,
  },
  {
    name: "a member whose disk was wiped takes part under its old name",
    edits: [
      {
        file: "node/membership.ts",
        find: "if (recorded.incarnation !== hello.incarnation) {",
        replace: 'if (recorded.incarnation === "") {',
      },
      {
        file: "node/founding.ts",
        find: "    if (this.#saving || mine === undefined || !isSameFounding(mine, founding)) return;\n    if (this.#isOfAnotherDisk(from, founding)) return;\n    this.#activate();",
        replace: "    if (this.#saving) return;\n    this.#identity = { ...this.#identity, founding };\n    this.#activate();",
      },
    ],
    profile: FOUNDINGS,
    seedsMax: 10,
  },
  {
    name: "a forwarded batch is taken in as often as it arrives",
    edits: [
      { file: "node/proposals.ts", find: "if (forward.ordinal !== inflow.next) {", replace: "if (forward.ordinal > inflow.next) {" },
      // The numbers of its session would hide it.
      { file: "node/proposals.ts", find: "if (session !== undefined) this.#number(batch, session, now);", replace: "" },
    ],
    profile: LOSSY,
    seedsMax: 5,
  },
  {
    name: "a write is proposed anew while it may still be committed",
    edits: [
      {
        file: "node/proposals.ts",
        find: "if (batch.term === 0 || batch.term >= term) continue;",
        replace: "if (batch.term === 0) continue;",
      },
    ],
    profile: ELECTIONS,
    seedsMax: 20,
  },
  {
    name: "a write that overwrites a key with a time to live does not clear it",
    edits: [
      {
        file: "core/kv/revisioned-data.ts",
        find: "    if (before !== 0) this.leave(before);\n    return before;",
        replace: "    return before;",
      },
    ],
    profile: { ...LOSSY, workload: { ...CROWDED, ttlShare: 0.5 } },
    seedsMax: 5,
  },
  {
    name: "a watch misses the first revision that it is to be told",
    edits: [
      kv("watch-cohort.ts", "if (watcher.next > revision || !this", "if (watcher.next >= revision || !this"),
      kv("watch-cohort.ts", "if (watcher.next > revision) continue;", "if (watcher.next >= revision) continue;"),
    ],
    profile: { ...LOSSY, workload: { ...CROWDED, watchesPerNode: 3 } },
    seedsMax: 5,
  },
  {
    name: "a watch misses the revision at which it fell behind",
    edits: [kv("watch-cohort.ts", "member.next = this.underWay;", "member.next = this.boundary;")],
    profile: WATCHES,
    seedsMax: 5,
  },
  {
    name: "a watch that falls behind between two parts of a revision loses an event",
    edits: [
      kv(
        "watch-cohort.ts",
        "Math.max(0, audience.toldTo - this.underWayFrom,",
        "Math.max(0, audience.toldTo > 0 ? audience.toldTo + 1 - this.underWayFrom : 0,",
      ),
    ],
    profile: PARTS,
    seedsMax: 5,
  },
  {
    name: "a part of a revision is not told",
    edits: [
      kv(
        "watch-cohort.ts",
        "const told = this.tell(audience, this.underWay, { bytes: this",
        "const told = audience.toldTo > 0 ? 0 : this.tell(audience, this.underWay, { bytes: this",
      ),
    ],
    profile: PARTS,
    seedsMax: 5,
  },
  {
    name: "a watch that is reset in the middle of a revision is taken to be in the middle of the next",
    edits: [kv("watch-reset.ts", "    watcher.skip = 0;\n", "")],
    profile: { ...PARTS, faults: { isolateLeader: 4, partition: 4 }, faultMsMax: 4_000 },
    seedsMax: 20,
  },
  {
    name: "a watch that is behind is not told that history was compacted",
    edits: [
      kv("watch-hub.ts", "if (watcher.gap || watcher.next <= this.machine.freedRevision) {", "if (watcher.gap) {"),
      kv("watch-hub.ts", "if (cohort.members.size === 0 || cohort.frontier > freedRevision) return;", "return;"),
    ],
    profile: WATCHES,
    seedsMax: 5,
  },
  {
    name: "a watch is told again behind a snapshot what it was told before it",
    edits: [
      kv(
        "watch-hub.ts",
        "else if (watcher.next <= machine.compactRevision) watcher.gap = true;",
        `else if (watcher.next <= machine.compactRevision) watcher.gap = true;
         else watcher.next = Math.max(machine.compactRevision + 1, watcher.next - 20);`,
      ),
    ],
    profile: WATCHES,
    seedsMax: 10,
  },
  {
    name: "progress is told to a watch that is behind",
    edits: [
      kv("watch-hub.ts", "if (watcher.cohort === this.front) this.progress.add(watcher);", "this.progress.add(watcher);"),
      kv("watch-hub.ts", "if (watcher.cohort !== front) {", "if (watcher.progressAt < 0) {"),
    ],
    profile: WATCHES,
    seedsMax: 10,
  },
  {
    name: "a lease has its whole time again after a failover",
    edits: [
      {
        file: "node/applier.ts",
        find: "      this.#options.onTerm(entry.term);\n",
        replace:
          "      this.#options.onTerm(entry.term);\n      const { kv } = this.#options.state as any;\n      const { count, idHigh, idLow } = kv.leaseColumns();\n      const hex = (word: number): string => word.toString(16).padStart(8, '0');\n      for (let at = 0; at < count; at++) kv.data.leases.renew(hex(idHigh[at]) + hex(idLow[at]), Math.max(kv.clockMs, entry.clockMs));\n",
      },
    ],
    profile: FAILOVERS,
    seedsMax: 5,
  },
  {
    name: "a renewal revives a lease that has expired",
    edits: [
      {
        file: "core/kv/lease-changes.ts",
        find: "const ttlMs = id === undefined ? 0 : this.data.leases.renew(id, clockMs);",
        replace:
          "if (id !== undefined && !this.data.leases.has(id)) this.data.leases.add({ id, ttlMs: 500, dueMs: clockMs + 500, kind: 0 });\n      const ttlMs = id === undefined ? 0 : this.data.leases.renew(id, clockMs);",
      },
    ],
    profile: HOLDERS,
    seedsMax: 10,
  },
  {
    name: "a member expires leases by its own reading of the lease clock, and so does a leader that was deposed",
    edits: [{ file: "node/applier.ts", find: "clockMs: entry.clockMs,", replace: "clockMs: this.#options.raft.leaseClock()," }],
    profile: HOLDERS,
    seedsMax: 10,
  },
  {
    name: "a holder relies on its lease beyond the time of the members",
    edits: [
      {
        file: "node/held-slot.ts",
        find: "return Math.min(Math.max(ttlMs / 10, SUSPENSION_MS), ttlMs * 0.9);",
        replace: "return -SUSPENSION_MS - ttlMs / 10;",
      },
    ],
    profile: HOLDERS,
    seedsMax: 10,
  },
  {
    name: "a holder's deadline counts from the answer of a renewal instead of its send",
    edits: [
      {
        file: "node/keeper.ts",
        find: "kept.slot.raise(sent, ttlMs);",
        replace: "kept.slot.raise(momentOf(this.#options.clock), ttlMs);",
      },
    ],
    profile: LATE_ANSWERS,
    seedsMax: 40,
  },
  ...TXN_CANARIES,
];
