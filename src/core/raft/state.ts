/**
 * The state of one member (Raft figure 2) and the outbox that its next Ready is made of. The rules that change it lie in the files
 * named for the paper's sections; this one only keeps together what they share, and decides which messages must wait for the disk.
 */
import { assert } from "../assert.ts";
import type { Configuration, MemberId } from "./configuration.ts";
import { ElectionState } from "./election-state.ts";
import type { Entry } from "./entry.ts";
import { LeaderLeaseState } from "./leader-lease.ts";
import { LeaseClock } from "./lease-clock.ts";
import { RaftLog } from "./log.ts";
import { configurationOf, ConfigurationHistory } from "./membership.ts";
import type { Message, SnapshotMeta } from "./message.ts";
import { type RaftLimits, type RaftOptions, type RaftTiming, resolveLimits, resolveTiming } from "./options.ts";
import type { Progress } from "./progress.ts";
import { ReadQueue } from "./read-index.ts";
import type { LogRead, ReadState, Role, SnapshotSend, Vote } from "./ready.ts";
import type { Transfer } from "./transfer.ts";

export class RaftState {
  readonly id: MemberId;
  readonly timing: Required<RaftTiming>;
  readonly limits: RaftLimits;
  readonly random: () => number;
  now: number;

  role: Role = "follower";
  leader: MemberId | undefined;
  /** Figure 2: persistent on all servers. */
  term: number;
  votedFor: MemberId | undefined;
  readonly log: RaftLog;
  /** Figure 2: volatile on all servers. */
  commitIndex: number;
  appliedIndex: number;
  readonly configurations: ConfigurationHistory;
  readonly election: ElectionState;
  readonly leaseClock: LeaseClock;
  readonly reads: ReadQueue;

  /** Figure 2: volatile on leaders; everyone else whom the leader sends to. Empty on others. */
  readonly progress: Map<MemberId, Progress> = new Map();
  /** The index of the leader's first own entry: once committed, the leader knows what is (Raft 8). */
  termStartIndex = 0;
  /** Counts the leader's rounds of heartbeats, never reset, so that no old reply confirms a new round. */
  round = 0;
  heartbeatDue = 0;
  /** When what was lost is next sent again. Every round of reads puts off the heartbeat, and must not put off this. */
  retryDue = 0;
  readonly lease: LeaderLeaseState = new LeaderLeaseState();
  transfer: Transfer | undefined;

  /** A snapshot that the leader offers and that is ahead of this member. */
  pendingSnapshot: SnapshotMeta | undefined;
  /** The snapshot is being named on disk; nothing may enter the log meanwhile. */
  installingSnapshot = false;

  #voteUnsaved = false;
  #votePersisted = true;
  messages: Message[] = [];
  messagesAfterPersist: Message[] = [];
  readStates: ReadState[] = [];
  logReads: LogRead[] = [];
  snapshotSends: SnapshotSend[] = [];
  /** Something happened after which there may be something to send. */
  flushNeeded = false;

  constructor(options: RaftOptions) {
    const { id, recovered, now } = options;
    this.id = id;
    this.timing = resolveTiming(options.timing);
    this.limits = resolveLimits(options.limits);
    this.random = options.random;
    this.now = now;
    this.log = new RaftLog(recovered);
    // A founded log begins in a term in which nobody has voted yet.
    this.term = Math.max(recovered.vote.term, this.log.lastTerm);
    this.votedFor = this.term === recovered.vote.term ? recovered.vote.votedFor : undefined;
    this.commitIndex = recovered.base.lastIncludedIndex;
    this.appliedIndex = recovered.base.lastIncludedIndex;
    this.configurations = new ConfigurationHistory({
      index: recovered.base.lastIncludedIndex,
      configuration: recovered.base.configuration,
    });
    for (const entry of recovered.configurationEntries) {
      const configuration = configurationOf(entry);
      assert(configuration !== undefined, "a configuration entry of the recovered log can be decoded");
      this.configurations.append(entry.index, configuration);
    }
    const last = recovered.tail[recovered.tail.length - 1];
    this.leaseClock = new LeaseClock(last === undefined ? recovered.base.clockMs : last.clockMs, now);
    this.election = new ElectionState(now + this.timing.electionTimeoutMs);
    this.reads = new ReadQueue(options.random);
  }

  get configuration(): Configuration {
    return this.configurations.latest;
  }

  /** The leader has committed in its own term, and so knows everything that is committed (Raft 5.4.2, 8). */
  get ready(): boolean {
    return this.role === "leader" && this.commitIndex >= this.termStartIndex;
  }

  /** The current term and vote are on disk. */
  get votePersisted(): boolean {
    return this.#votePersisted;
  }

  get hasUnsavedVote(): boolean {
    return this.#voteUnsaved;
  }

  setVote(term: number, votedFor: MemberId | undefined): void {
    assert(term >= this.term, "the term never goes down");
    assert(term > this.term || this.votedFor === undefined || votedFor === this.votedFor, "one vote a term");
    if (term === this.term && votedFor === this.votedFor) return;
    this.term = term;
    this.votedFor = votedFor;
    this.#voteUnsaved = true;
    this.#votePersisted = false;
  }

  takeVote(): Vote | undefined {
    if (!this.#voteUnsaved) return undefined;
    this.#voteUnsaved = false;
    return { term: this.term, votedFor: this.votedFor };
  }

  onVotePersisted(vote: Vote): void {
    if (vote.term === this.term && vote.votedFor === this.votedFor) this.#votePersisted = true;
  }

  /**
   * What reports this member's disk waits for it: votes, requests for votes (they carry the own one), acknowledgements, and whatever
   * shows a term that the disk does not have. A leader's term was on disk before it could win. A question promises nothing.
   */
  send(message: Message): void {
    if (message.kind === "ReadIndex") {
      this.messages.push(message);
      return;
    }
    const waits =
      (message.kind === "RequestVote" && !message.preVote) ||
      (message.kind === "RequestVoteReply" && !message.preVote) ||
      (message.kind === "AppendEntriesReply" && message.success) ||
      (!this.#votePersisted && this.role !== "leader");
    (waits ? this.messagesAfterPersist : this.messages).push(message);
  }

  /** Adds an entry to the log; a configuration takes effect with it (Raft 6). `configuration` is what a configuration entry decodes to. */
  append(entry: Entry, configuration: Configuration | undefined): void {
    this.log.append(entry);
    if (configuration !== undefined) this.configurations.append(entry.index, configuration);
  }

  /** Drops a conflicting suffix, and the configurations in it (Raft 5.3, 6). */
  truncate(from: number): void {
    assert(from > this.commitIndex, "committed entries are never truncated");
    this.log.truncate(from);
    this.configurations.truncate(from);
  }

  commitTo(index: number): void {
    assert(index <= this.log.lastIndex, "what is committed is in the log");
    if (index <= this.commitIndex) return;
    this.commitIndex = index;
    this.settle();
    this.flushNeeded = true;
  }

  settle(): void {
    this.log.settle(Math.min(this.commitIndex, this.log.persistedIndex));
  }
}
