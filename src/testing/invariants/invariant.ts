/**
 * What an invariant sees. Each is a file of its own in this folder, checks as things happen, and throws CheckFailure at the first event
 * that breaks it. An invariant keeps its own account and asks the members' code for nothing but the fields named here.
 */
import type { Configuration, MemberId } from "../../core/raft/configuration.ts";
import type { Message, SnapshotMeta } from "../../core/raft/message.ts";
import type { Role, Vote } from "../../core/raft/ready.ts";
import type { Identity } from "../../node/identity.ts";
import type { LogWrite, Recovered } from "../../storage/storage.ts";
import type { Table } from "../../core/kv/table.ts";
import type { MemberLog } from "./member-log.ts";

/** The part of a member's Raft that is looked at. */
export interface RaftView {
  readonly role: Role;
  readonly term: number;
  readonly commitIndex: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly persistedIndex: number;
  readonly configuration: Configuration;
  termAt(index: number): number | undefined;
  leaseUntil(): number;
}

/** The part of a member's state machine that is looked at. */
export interface MachineView {
  readonly appliedIndex: number;
  readonly revision: number;
  readonly compactRevision: number;
  readonly clockMs: number;
  /** It is inside an entry. */
  readonly applying: boolean;
  readonly table: Table;
  stateHash(): number;
}

export interface MemberView {
  readonly name: string;
  readonly id: MemberId;
  /** Counts its openings. */
  readonly boot: number;
  readonly log: MemberLog;
  /** What disks held that the machine lost since: acknowledged while it was there. */
  readonly lostLogs: readonly MemberLog[];
  /** Its machine's monotonic clock. */
  now(): number;
  /** Whether its machine was suspended since the process began. */
  readonly hasSlept: boolean;
  /** undefined until the opening has come so far. */
  readonly raft: RaftView | undefined;
  readonly machine: MachineView | undefined;
}

export interface Invariant {
  /** The data directory was opened; `member.log` still holds what was known before. */
  onRecovered?(member: MemberView, recovered: Recovered): void;
  /** The identity came to lie on the member's disk, or was found there. */
  onIdentity?(member: MemberView, identity: Identity): void;
  /** Its disk is gone. */
  onWiped?(member: MemberView): void;
  /** Before `member.log` takes it in. */
  onWrite?(member: MemberView, write: LogWrite): void;
  /** Term and vote are on disk. */
  onVotePersisted?(member: MemberView, vote: Vote): void;
  /** As it leaves. `to` is the member's, by id. */
  onSend?(member: MemberView, message: Message): void;
  /** Role or term are no longer what they were after the event before. */
  onRole?(member: MemberView, raft: RaftView, before: { readonly role: Role; readonly term: number } | undefined): void;
  onCommit?(member: MemberView, raft: RaftView, before: number): void;
  onPersisted?(member: MemberView, raft: RaftView): void;
  /** The log is about to name a snapshot. */
  onSnapshot?(member: MemberView, meta: SnapshotMeta, resetLog: boolean): void;
  /** A batch is about to make the record store, which the log names, hold the state after this entry. */
  onStored?(member: MemberView, meta: SnapshotMeta): void;
  /** Its data are at another revision than after the event before, which may be one inside an entry. */
  onRevision?(member: MemberView, machine: MachineView): void;
  onApplied?(member: MemberView, machine: MachineView, before: number): void;
}
