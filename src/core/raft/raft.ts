/**
 * One member's Raft: the algorithm of the paper as a pure function of what comes in. No clock, disk, network or randomness of its own;
 * a turn is
 *
 *   advance(now, wallNow), step(message)..., propose(...), requestRead(...)   what has been gathered
 *   takeReady()                                                              what is to be done, in the order that ready.ts states
 *
 * and the same calls give the same answers. This file dispatches; the rules are in the file of their section.
 */
import { assert } from "../assert.ts";
import { checkQuorum, checkQuorumAt, campaign, isSticky, onElectionTimeout, onLeaderHeard, onOwnVotePersisted } from "./election.ts";
import { onRequestVote, onRequestVoteReply, onTimeoutNow } from "./election.ts";
import { advanceCommit, appendConfiguration } from "./commit.ts";
import type { Configuration, MemberId } from "./configuration.ts";
import type { Entry } from "./entry.ts";
import { onAppendEntries, onHeartbeat } from "./follower.ts";
import { leaseUntil, noticeSuspension } from "./leader-lease.ts";
import { changeAddresses, changeConfiguration, type AddressChange, type ConfigurationChange } from "./membership.ts";
import type { Message, SnapshotMeta } from "./message.ts";
import { TERM_MAX, type RaftOptions } from "./options.ts";
import type { MemberProgress } from "./progress.ts";
import { isSoleVoter, isVoter } from "./quorum.ts";
import { expireReads, flushReads, onReadIndex, onReadIndexReply, readDeadline, requestRead, startRound } from "./read-index.ts";
import type { PersistedTo, Ready, Role, Vote } from "./ready.ts";
import {
  flushReplication,
  onAppendEntriesReply,
  onHeartbeatReply,
  onLogRead,
  onSnapshotSent,
  onUnreachable,
  retryReplication,
  commitDeadline,
} from "./replication.ts";
import { appendOwn, becomeFollower, resetElectionTimer } from "./roles.ts";
import { beginSnapshotInstall, onInstallSnapshot, onSnapshotInstalled } from "./snapshot.ts";
import { RaftState } from "./state.ts";
import { expireTransfer, transferLeadership } from "./transfer.ts";

export type { RaftLimits, RaftOptions, RaftTiming } from "./options.ts";
export type { MemberProgress } from "./progress.ts";
export type { AddressChange, ConfigurationChange } from "./membership.ts";

/** Applied entries that are kept in memory although every member that this one sends to has them: none is alone for long, or leads for ever. */
const MATCHED_ENTRIES_BYTES_MAX = 4 << 20;
/** The same while nobody else is in the configuration. */
const ALONE_ENTRIES_BYTES_MAX = 1 << 20;

export class Raft {
  readonly #state: RaftState;

  constructor(options: RaftOptions) {
    this.#state = new RaftState(options);
    resetElectionTimer(this.#state);
    // Nobody else can have been promised anything, nor be asked.
    if (isSoleVoter(this.#state.configuration, options.id)) campaign(this.#state, false);
  }

  get id(): MemberId {
    return this.#state.id;
  }

  get role(): Role {
    return this.#state.role;
  }

  get term(): number {
    return this.#state.term;
  }

  /** Whom this member votes for, or voted for, in the current term. */
  get votedFor(): MemberId | undefined {
    return this.#state.votedFor;
  }

  get leader(): MemberId | undefined {
    return this.#state.leader;
  }

  get commitIndex(): number {
    return this.#state.commitIndex;
  }

  get lastIndex(): number {
    return this.#state.log.lastIndex;
  }

  get lastTerm(): number {
    return this.#state.log.lastTerm;
  }

  get firstIndex(): number {
    return this.#state.log.firstIndex;
  }

  /** How far this member's own disk has confirmed the log as it is now. */
  get persistedIndex(): number {
    return this.#state.log.persistedIndex;
  }

  /** The configuration in force: the latest in the log, committed or not. */
  get configuration(): Configuration {
    return this.#state.configuration;
  }

  get configurationIndex(): number {
    return this.#state.configurations.latestIndex;
  }

  /** A snapshot that the leader offers, while it is ahead of this member. */
  get pendingSnapshot(): SnapshotMeta | undefined {
    const { pendingSnapshot, commitIndex } = this.#state;
    return pendingSnapshot !== undefined && pendingSnapshot.lastIncludedIndex > commitIndex ? pendingSnapshot : undefined;
  }

  /** On the leader: an entry of its own term is committed, so that reads may be served. */
  get ready(): boolean {
    return this.#state.ready;
  }

  /** Bytes of the entries that are not both committed and on this member's own disk. */
  get unsettledBytes(): number {
    return this.#state.log.unsettledBytes;
  }

  /** Bytes of the entries that are held in memory. */
  get entriesInMemoryBytes(): number {
    return this.#state.log.memoryBytes;
  }

  isVoter(): boolean {
    return isVoter(this.#state.configuration, this.#state.id);
  }

  /**
   * Called once at the start of a turn, after its input was gathered: a request that came in later than `now` was read must not be
   * judged by it. Every other call of the turn uses this time.
   */
  advance(now: number, wallNow: number): void {
    const state = this.#state;
    if (now > state.now) state.now = now;
    noticeSuspension(state, wallNow);
    if (state.role === "leader") {
      expireTransfer(state);
      checkQuorum(state);
    }
    if (state.role === "leader") {
      if (state.now >= state.heartbeatDue) startRound(state);
      if (state.now >= state.retryDue) {
        state.retryDue = state.now + state.timing.heartbeatMs;
        retryReplication(state);
      }
      if (state.now >= commitDeadline(state)) state.flushNeeded = true;
    } else if (state.now >= state.election.deadline) {
      onElectionTimeout(state);
    }
    expireReads(state);
  }

  /** When advance() must be called next at the latest, in the same clock. */
  nextDeadline(): number {
    const state = this.#state;
    const reads = readDeadline(state);
    if (state.role !== "leader") return Math.min(reads, state.election.deadline);
    const transfer = state.transfer?.deadline ?? Number.POSITIVE_INFINITY;
    return Math.min(reads, transfer, state.heartbeatDue, state.retryDue, commitDeadline(state), checkQuorumAt(state));
  }

  /** A message from another member, whoever that is and whatever it says. */
  step(message: Message): void {
    const state = this.#state;
    const { from, to, term } = message;
    if (to !== state.id || from === state.id || !Number.isSafeInteger(term) || term < 0 || term > TERM_MAX) return;
    if (term > state.term && !this.#adoptTerm(message)) return;
    if (term < state.term && !this.#isHeardThoughOld(message)) return;
    switch (message.kind) {
      case "RequestVote":
        return onRequestVote(state, message);
      case "RequestVoteReply":
        return onRequestVoteReply(state, message);
      case "AppendEntriesReply":
        return onAppendEntriesReply(state, message);
      case "HeartbeatReply":
        return onHeartbeatReply(state, message);
      case "ReadIndex":
        return onReadIndex(state, message);
      case "ReadIndexReply":
        return onReadIndexReply(state, message);
      case "AppendEntries":
      case "Heartbeat":
      case "InstallSnapshot":
      case "TimeoutNow":
        return this.#onLeaderMessage(message);
    }
  }

  /** A later term ends whatever this member was (Raft 5.1). false: the message ends here. */
  #adoptTerm(message: Message): boolean {
    const state = this.#state;
    if (message.kind === "RequestVote") {
      // A pre-vote changes nothing, and a member that has heard from a leader lately does not follow a candidate (Raft 6).
      if (message.preVote) return true;
      if (isSticky(state) && !message.transfer) return false;
    } else if (message.kind === "RequestVoteReply" && message.preVote && message.granted) {
      return true; // The term is the one that was asked about.
    }
    becomeFollower(state, message.term, undefined);
    return true;
  }

  /** Of an earlier term. Its sender learns of this one where it waits for an answer; a read index may be asked for in any term. */
  #isHeardThoughOld(message: Message): boolean {
    const { id: from, term } = this.#state;
    const { from: to } = message;
    switch (message.kind) {
      case "RequestVote":
      case "ReadIndex":
        return true;
      case "AppendEntries": {
        const index = message.prevLogIndex;
        this.#state.send({ kind: "AppendEntriesReply", from, to, term, success: false, index, conflictIndex: 0, conflictTerm: 0 });
        return false;
      }
      case "Heartbeat":
      case "InstallSnapshot":
        this.#state.send({ kind: "HeartbeatReply", from, to, term, round: message.kind === "Heartbeat" ? message.round : 0 });
        return false;
      default:
        return false;
    }
  }

  /** Of the current term, from whoever sends as its leader. */
  #onLeaderMessage(message: Message): void {
    const state = this.#state;
    // At most one leader in a term (Raft 5.2): whoever else says so has not been elected.
    if (state.role === "leader" || (state.leader !== undefined && state.leader !== message.from)) return;
    onLeaderHeard(state, message.from);
    if (message.kind === "Heartbeat") onHeartbeat(state, message);
    else if (message.kind === "TimeoutNow") onTimeoutNow(state);
    else if (message.kind === "InstallSnapshot") onInstallSnapshot(state, message);
    else if (message.kind === "AppendEntries" && !state.installingSnapshot) onAppendEntries(state, message);
  }

  /**
   * Leader only. `record` has ENTRY_HEADER_BYTES free in front of its payload and is sealed in place: it is the log's from now on.
   * undefined: refused, see proposalRefusal().
   */
  propose(record: Uint8Array, kind: "command" | "empty"): Entry | undefined {
    if (this.proposalRefusal() !== undefined) return undefined;
    return appendOwn(this.#state, record, kind, undefined);
  }

  /** Leader only: this member waits to hear that the index is committed, and is told as soon as it is. */
  awaitCommit(peer: MemberId, index: number): void {
    const progress = this.#state.progress.get(peer);
    if (progress !== undefined) progress.commitAwaited = Math.max(progress.commitAwaited, index);
  }

  /** Why a proposal would be refused now. The bound on bytes may be passed by one entry, or an entry larger than it never got through. */
  proposalRefusal(): "notLeader" | "transferring" | "overloaded" | undefined {
    const state = this.#state;
    if (state.role !== "leader") return "notLeader";
    if (state.transfer !== undefined) return "transferring";
    return state.log.unsettledBytes >= state.limits.uncommittedBytesMax ? "overloaded" : undefined;
  }

  /**
   * Leader only. A change of voters goes through a joint configuration, which is left by itself. One change at a time, and none before
   * an entry of the own term is committed. A text says why it is refused. That a learner has caught up is for the caller to judge.
   */
  proposeConfiguration(change: ConfigurationChange): string | undefined {
    return this.#configurationRefusal() ?? this.#appendChange(changeConfiguration(this.#state.configuration, change));
  }

  /** Leader only. Other addresses of one member, under the same conditions; voters and learners stay who they are. */
  proposeAddresses(id: MemberId, change: AddressChange): string | undefined {
    return this.#configurationRefusal() ?? this.#appendChange(changeAddresses(this.#state.configuration, id, change));
  }

  #configurationRefusal(): string | undefined {
    const state = this.#state;
    if (state.role !== "leader") return "this member is not the leader";
    if (state.transfer !== undefined) return "a transfer of leadership is under way";
    if (!state.ready) return "nothing of the leader's own term is committed yet";
    return state.configurations.latestIndex > state.commitIndex ? "a change of membership is under way" : undefined;
  }

  #appendChange(next: Configuration | string): string | undefined {
    if (typeof next === "string") return next;
    appendConfiguration(this.#state, next);
    advanceCommit(this.#state);
    return undefined;
  }

  /**
   * Asks for a read index; a later ready answers with this number, which is the caller's and used once. undefined as index: there was no
   * leader, or none that could tell in time; at the latest after electionTimeoutMs.
   */
  requestRead(requestId: number): void {
    requestRead(this.#state, requestId);
  }

  /** The monotonic time until which reads may be served without a round; 0 if there is no leader lease here. */
  leaseUntil(): number {
    return leaseUntil(this.#state);
  }

  /**
   * Other members keep to their leader for at least this long: the shortest `electionTimeoutMs` among them. Told before any of them can confirm
   * a round; a lease that has been confirmed already is shortened too.
   */
  boundLease(stickinessMsMin: number): void {
    this.#state.lease.stickinessMsMin = stickinessMsMin;
  }

  /** To a voter, or to the one that is furthest. A text says why not. Whether it worked shows in `leader`. */
  transferLeadership(to: MemberId | undefined): string | undefined {
    return transferLeadership(this.#state, to);
  }

  /** A ready's write is on disk. Called for each, with its last entry, before or after its messages leave. */
  onPersisted(persisted: PersistedTo): void {
    const state = this.#state;
    state.log.onPersisted(persisted);
    state.settle();
    advanceCommit(state);
  }

  /** A ready's vote is on disk: only now is the own one counted. */
  onVotePersisted(vote: Vote): void {
    this.#state.onVotePersisted(vote);
    onOwnVotePersisted(this.#state);
  }

  /** Answers a LogRead; no entries: they could not be read, and the follower gets a snapshot. */
  onLogRead(to: MemberId, from: number, entries: readonly Entry[]): void {
    onLogRead(this.#state, to, from, entries);
  }

  /** Answers a SnapshotSend; undefined: it failed. */
  onSnapshotSent(to: MemberId, result: { readonly lastIncludedIndex: number } | undefined): void {
    onSnapshotSent(this.#state, to, result?.lastIncludedIndex);
  }

  /**
   * All of the leader's snapshot is here; asked just before the log names it. Answers whether the log must go; undefined: no longer
   * wanted. Nothing enters the log from here until onSnapshotInstalled() or abandonSnapshotInstall().
   */
  beginSnapshotInstall(meta: SnapshotMeta): { readonly resetLog: boolean } | undefined {
    return beginSnapshotInstall(this.#state, meta);
  }

  abandonSnapshotInstall(): void {
    this.#state.installingSnapshot = false;
  }

  /** The leader's snapshot is on disk and named by the log; the state machine has its state. */
  onSnapshotInstalled(meta: SnapshotMeta, logReset: boolean): void {
    onSnapshotInstalled(this.#state, meta, logReset);
  }

  /** A link to this member went down or up. */
  onUnreachable(peer: MemberId): void {
    onUnreachable(this.#state, peer);
  }

  /** Entries up to here are applied: those on disk too may leave memory. */
  onApplied(index: number): void {
    const state = this.#state;
    state.appliedIndex = Math.max(state.appliedIndex, Math.min(index, state.commitIndex));
    const bytesMax = state.limits.entriesInMemoryBytesMax;
    state.log.release(state.appliedIndex, bytesMax);
    // What nobody waits for is read from the disk should somebody lack it after all. Bytes that live this short cost the collector least.
    let matched = state.appliedIndex;
    for (const progress of state.progress.values()) matched = Math.min(matched, progress.matchIndex);
    const isAlone = state.configuration.members.length === 1;
    state.log.release(matched, Math.min(bytesMax, isAlone ? ALONE_ENTRIES_BYTES_MAX : MATCHED_ENTRIES_BYTES_MAX));
  }

  /** The log on disk begins behind this index now. */
  onDiscarded(through: number): void {
    const { log, configurations } = this.#state;
    if (through < log.firstIndex) return;
    assert(through <= this.#state.commitIndex, "only what is committed is discarded");
    log.discard(through);
    configurations.discard(through);
    this.#state.flushNeeded = true;
  }

  /** Entries from `from` on that are in memory, to `through` at most, cut after `bytesMax` but never before the first. Empty: read the disk. */
  entries(from: number, through: number, bytesMax: number): readonly Entry[] {
    return this.#state.log.slice(from, through, bytesMax);
  }

  /** undefined where the log does not know it. */
  termAt(index: number): number | undefined {
    return this.#state.log.termAt(index);
  }

  /** The configuration in force at an index: what a snapshot as of that index carries. */
  configurationAt(index: number): Configuration {
    return this.#state.configurations.at(index);
  }

  /** Every member but this one, on the leader; nothing elsewhere. */
  progress(): readonly MemberProgress[] {
    const { now, timing, progress } = this.#state;
    return [...progress.values()].map(({ id, matchIndex, nextIndex, state, heardAt }) => {
      return { id, matchIndex, nextIndex, state, active: heardAt + timing.electionTimeoutMs > now };
    });
  }

  /** The lease clock: what an entry proposed now would carry. */
  leaseClock(): number {
    return this.#state.leaseClock.now(this.#state.now);
  }

  /** Whether takeReady() has something. Asked at the end of a turn: it sends what the turn has gathered. */
  hasReady(): boolean {
    const state = this.#state;
    this.#flush();
    return (
      state.hasUnsavedVote ||
      state.log.hasUnsaved ||
      state.messages.length > 0 ||
      state.messagesAfterPersist.length > 0 ||
      state.readStates.length > 0 ||
      state.logReads.length > 0 ||
      state.snapshotSends.length > 0
    );
  }

  /** What is to be done now, at the end of a turn. Its arrays are the caller's. */
  takeReady(): Ready {
    const state = this.#state;
    this.#flush();
    const ready: Ready = {
      vote: state.takeVote(),
      entries: state.log.takeUnsaved(),
      messages: state.messages,
      messagesAfterPersist: state.messagesAfterPersist,
      readStates: state.readStates,
      logReads: state.logReads,
      snapshotSends: state.snapshotSends,
    };
    state.messages = [];
    state.messagesAfterPersist = [];
    state.readStates = [];
    state.logReads = [];
    state.snapshotSends = [];
    return ready;
  }

  /** Rounds before appends: they are small and others wait for them. */
  #flush(): void {
    const state = this.#state;
    if (!state.flushNeeded) return;
    state.flushNeeded = false;
    flushReads(state);
    flushReplication(state);
  }
}
