/** Planted bugs: each is a change to the shipped sources that the simulator must find within so many seeds of its profile. */
import type { SwarmProfile } from "../swarm.ts";
import { CROWDED, DISKS, ELECTIONS, FORGETFUL, FOUNDINGS, HANDOVERS, LOSSY, MEMBERSHIP, STRANDED } from "../profiles.ts";
import type { Edit } from "./canary-bundle.ts";

export interface Canary {
  /** What the code does wrong, as a sentence. */
  readonly name: string;
  readonly edits: readonly Edit[];
  readonly profile: SwarmProfile;
  readonly seedsMax: number;
}

const raft = (file: string, find: string, replace: string): Edit => ({ file: `core/raft/${file}`, find, replace });

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
        file: "node/node.ts",
        find: "const configuration = raft.configurationAt(kv.appliedIndex);",
        replace: "const configuration = raft.configuration;",
      },
    ],
    profile: { ...MEMBERSHIP, membershipEveryMs: 50, snapshotLogBytesMin: 1 << 10, segmentBytes: 4 << 10, faults: { slowDisk: 1 } },
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
      { file: "node/node.ts", find: "if (recorded.incarnation !== hello.incarnation) {", replace: 'if (recorded.incarnation === "") {' },
      {
        file: "node/founding.ts",
        find: "    const mine = this.#identity.founding;\n    if (this.#saving || mine === undefined || fingerprint(mine) !== fingerprint(founding)) return;\n    this.#activate();",
        replace: "    if (this.#saving) return;\n    this.#identity = { ...this.#identity, founding };\n    this.#activate();",
      },
    ],
    profile: FOUNDINGS,
    seedsMax: 10,
  },
  {
    name: "a forwarded batch is taken in as often as it arrives",
    edits: [{ file: "node/proposals.ts", find: "if (forward.ordinal !== inflow.next) {", replace: "if (forward.ordinal > inflow.next) {" }],
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
      { file: "core/kv/watch-hub.ts", find: "if (watcher.next > revision) continue;", replace: "if (watcher.next >= revision) continue;" },
    ],
    profile: { ...LOSSY, workload: { ...CROWDED, watchesPerNode: 3 } },
    seedsMax: 5,
  },
];
