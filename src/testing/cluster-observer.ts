/**
 * Looks at every member after every event and tells the invariants what changed: so each of them costs nothing while nothing happens to
 * what it is about.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { Role } from "../core/raft/ready.ts";
import type { NodeInside } from "../node/environment.ts";
import { decodeIdentity } from "../node/identity.ts";
import type { LogWrite, Recovered } from "../storage/storage.ts";
import { decodeMessage, MESSAGE_TYPE_MAX } from "../transport/message-codec.ts";
import { DataModel } from "./history.ts";
import { AddressesAlone } from "./invariants/addresses-alone.ts";
import { CommitOwnTerm } from "./invariants/commit-own-term.ts";
import { CommitDurability } from "./invariants/commit-durability.ts";
import { CommittedEntries } from "./invariants/committed-entries.ts";
import { DurableFirst } from "./invariants/durable-first.ts";
import { ElectedByQuorum } from "./invariants/elected-by-quorum.ts";
import { ElectionSafety } from "./invariants/election-safety.ts";
import { IndexesRise } from "./invariants/indexes-rise.ts";
import { HistoryKept } from "./invariants/history-kept.ts";
import type { Invariant, MachineView, MemberView, RaftView } from "./invariants/invariant.ts";
import { LeaderAppendOnly } from "./invariants/leader-append-only.ts";
import { LeaderCompleteness } from "./invariants/leader-completeness.ts";
import { LeaseSafety } from "./invariants/lease-safety.ts";
import { LogMatching } from "./invariants/log-matching.ts";
import { MemberLog } from "./invariants/member-log.ts";
import { OneFounding } from "./invariants/one-founding.ts";
import { OneConfigurationAtATime } from "./invariants/one-configuration-at-a-time.ts";
import { OneVote } from "./invariants/one-vote.ts";
import { ReplicasEqual } from "./invariants/replicas-equal.ts";
import { SnapshotConfiguration } from "./invariants/snapshot-configuration.ts";
import { StoreBehindLog } from "./invariants/store-behind-log.ts";
import { StateMachineSafety } from "./invariants/state-machine-safety.ts";
import type { StorageOnlooker } from "./observed-storage.ts";
import type { SimMachine } from "./sim-process.ts";

/** One machine's member, over its restarts. */
class ObservedMember implements MemberView {
  readonly name: string;
  readonly id: MemberId;
  readonly #machine: SimMachine;
  boot = 0;
  log = new MemberLog();
  readonly lostLogs: MemberLog[] = [];
  look: (() => NodeInside) | undefined;
  role: Role | undefined;
  term = 0;
  commitIndex = 0;
  appliedIndex = 0;
  revision = 0;
  persistedIndex = 0;
  lastMachine: MachineView | undefined;
  #sleepsBefore = 0;

  constructor(name: string, id: MemberId, machine: SimMachine) {
    this.name = name;
    this.id = id;
    this.#machine = machine;
  }

  now(): number {
    return this.#machine.now();
  }

  get hasSlept(): boolean {
    return this.#machine.sleeps > this.#sleepsBefore;
  }

  begin(): void {
    this.boot++;
    this.look = undefined;
    this.role = undefined;
    this.lastMachine = undefined;
    this.#sleepsBefore = this.#machine.sleeps;
  }

  get raft(): RaftView | undefined {
    return this.look?.().raft;
  }

  get machine(): MachineView | undefined {
    return this.look?.().machine;
  }
}

export class ClusterObserver {
  readonly model: DataModel = new DataModel();
  readonly #members = new Map<string, ObservedMember>();
  readonly #invariants: readonly Invariant[];
  readonly #replicasEqual: ReplicasEqual;
  readonly history: HistoryKept;
  /** Told when a member's disk holds an identity, or the beginning of a log, that it did not hold before. */
  onBeginning: ((name: string, what: "identity" | "log") => void) | undefined;
  /** What the first broken invariant said. The code under test is not told: it would take it for an error of its own. */
  #failure: Error | undefined;

  constructor() {
    const committed = new CommittedEntries();
    this.history = new HistoryKept(() => this.model.now());
    this.#replicasEqual = new ReplicasEqual(this.model);
    // What adds to the committed entries comes behind all that ask for them.
    this.#invariants = [
      new ElectionSafety(),
      new ElectedByQuorum(),
      new LeaseSafety(() => this.#members.values()),
      new LeaderAppendOnly(),
      new LogMatching(),
      new LeaderCompleteness(committed),
      new CommitOwnTerm(),
      new CommitDurability(committed, () => this.#members.values()),
      new IndexesRise(),
      new OneVote(),
      new DurableFirst(),
      new OneConfigurationAtATime(),
      new OneFounding(),
      new AddressesAlone(),
      new SnapshotConfiguration(),
      new StoreBehindLog(),
      new StateMachineSafety(committed),
      this.#replicasEqual,
      this.history,
    ];
  }

  /** A process of the machine begins: what it shows, and what it does to its storage, is told through the answers. */
  open(
    machine: SimMachine,
    id: MemberId,
  ): StorageOnlooker & { readonly observe: (look: () => NodeInside) => void; readonly onRecovered: (recovered: Recovered) => void } {
    const { name } = machine;
    const member = this.#members.get(name) ?? new ObservedMember(name, id, machine);
    this.#members.set(name, member);
    member.begin();
    const boot = member.boot;
    const isCurrent = (): boolean => member.boot === boot;
    return {
      observe: (look) => {
        if (isCurrent()) member.look = look;
      },
      onRecovered: (recovered) => {
        if (!isCurrent()) return;
        this.#check((invariant) => invariant.onRecovered?.(member, recovered));
        if (recovered.identity !== undefined) this.#identity(member, recovered.identity);
        if (recovered.log !== undefined) member.log.recover(recovered.log);
      },
      onWrite: (write: LogWrite) => {
        if (!isCurrent()) return;
        this.#check((invariant) => invariant.onWrite?.(member, write));
        member.log.write(write);
      },
      onPersisted: (write: LogWrite) => {
        if (!isCurrent()) return;
        member.log.persisted(write);
        const { vote } = write;
        if (vote !== undefined) this.#check((invariant) => invariant.onVotePersisted?.(member, vote));
      },
      onIdentity: (bytes: Uint8Array) => {
        if (!isCurrent()) return;
        this.#identity(member, bytes);
        this.onBeginning?.(name, "identity");
      },
      onFounded: (meta: SnapshotMeta) => {
        if (!isCurrent()) return;
        member.log.found(meta);
        this.onBeginning?.(name, "log");
      },
      onSnapshotBegins: (meta: SnapshotMeta, resetLog: boolean) => {
        if (!isCurrent()) return;
        this.#check((invariant) => invariant.onSnapshot?.(member, meta, resetLog));
        member.log.snapshotBegins(meta, resetLog);
      },
      onStored: (meta: SnapshotMeta) => {
        if (isCurrent()) this.#check((invariant) => invariant.onStored?.(member, meta));
      },
      onSnapshotDone: (meta: SnapshotMeta, resetLog: boolean) => {
        if (isCurrent()) member.log.snapshotDone(meta, resetLog);
      },
    };
  }

  #identity(member: ObservedMember, bytes: Uint8Array): void {
    const identity = decodeIdentity(bytes);
    this.#check((invariant) => invariant.onIdentity?.(member, identity));
  }

  /** Whether all of so many members have the founding configuration as the base of their log. */
  isFounded(count: number): boolean {
    return this.#members.size >= count && [...this.#members.values()].every((member) => member.log.isFounded);
  }

  /** The machine's disk is gone, and with it all that the member had promised. */
  wiped(name: string): void {
    const member = this.#members.get(name);
    if (member === undefined) return;
    this.#check((invariant) => invariant.onWiped?.(member));
    member.lostLogs.push(member.log);
    member.log = new MemberLog();
  }

  /** The machine's process is gone. */
  closed(name: string): void {
    const member = this.#members.get(name);
    if (member !== undefined) member.look = undefined;
  }

  onFrame(name: string, to: MemberId, frame: Uint8Array): void {
    const type = frame[0] ?? 0;
    const member = this.#members.get(name);
    // Votes and acknowledgements are looked at; the rest carries no promise, and appends are long.
    if (member === undefined || type === 0 || type > MESSAGE_TYPE_MAX || type === APPEND_ENTRIES_TYPE) return;
    const message = decodeMessage(frame, { from: member.id, to });
    if (message === undefined) return;
    this.#check((invariant) => invariant.onSend?.(member, message));
  }

  #check(ask: (invariant: Invariant) => void): void {
    try {
      for (const invariant of this.#invariants) ask(invariant);
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }

  /** After an event. Throws what an invariant found. */
  look(): void {
    for (const member of this.#members.values()) {
      if (member.look === undefined) continue;
      const { raft } = member.look();
      if (raft !== undefined && (raft.role !== member.role || raft.term !== member.term)) this.#roleChanged(member, raft);
    }
    for (const member of this.#members.values()) {
      if (member.look === undefined) continue;
      const { raft, machine } = member.look();
      if (raft !== undefined && raft.commitIndex !== member.commitIndex) {
        this.#check((invariant) => invariant.onCommit?.(member, raft, member.commitIndex));
        member.commitIndex = raft.commitIndex;
      }
      if (raft !== undefined && raft.persistedIndex !== member.persistedIndex) {
        this.#check((invariant) => invariant.onPersisted?.(member, raft));
        member.persistedIndex = raft.persistedIndex;
      }
      if (machine !== undefined && (machine !== member.lastMachine || machine.revision !== member.revision)) {
        this.#check((invariant) => invariant.onRevision?.(member, machine));
        member.revision = machine.revision;
      }
      if (machine !== undefined && (machine !== member.lastMachine || machine.appliedIndex !== member.appliedIndex)) {
        this.#check((invariant) => invariant.onApplied?.(member, machine, member.appliedIndex));
        member.lastMachine = machine;
        member.appliedIndex = machine.appliedIndex;
      }
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #roleChanged(member: ObservedMember, raft: RaftView): void {
    const before = member.role === undefined ? undefined : { role: member.role, term: member.term };
    // A new process begins at what its disk tells it.
    if (before === undefined) member.commitIndex = 0;
    this.#check((invariant) => invariant.onRole?.(member, raft, before));
    member.role = raft.role;
    member.term = raft.term;
  }

  /** Compares the states of all members that have applied as far as `index`. Answers how many there are. */
  compareStates(index: number): number {
    let compared = 0;
    for (const member of this.#members.values()) {
      const machine = member.machine;
      if (machine === undefined || machine.appliedIndex !== index) continue;
      this.#replicasEqual.compareHashes(member, machine);
      compared++;
    }
    return compared;
  }
}

/** As in transport/message-codec.ts; a test holds the two together. */
export const APPEND_ENTRIES_TYPE = 3;
