/**
 * What crosses between a caller's thread and the node's. Plain data: hot calls are packed into one buffer for each tick, rare ones
 * are objects. Both directions are bounded: calls by `pendingCallsMax`, watches by credit in bytes.
 */
// oxlint-disable-next-line no-restricted-imports -- a type alone
import type { MessagePort } from "node:worker_threads";
import type { MemberRecord } from "../core/raft/configuration.ts";
import type { KeyInterval } from "../core/kv/table.ts";
import type { RangeRequest } from "../core/kv/read.ts";
import type { SharedTableGrowth, SharedTableHandle } from "../core/kv/shared-reader.ts";
import type { WireError } from "../errors.ts";
import type { BackupDescription } from "../storage/backup-format.ts";
import type { CallTimes } from "../storage/call-times.ts";

export type Consistency = "linearizable" | "lease" | "eventual";

/** Names one call, or one batch of calls that are answered together. Unique for as long as the node is open. */
export type CallId = number;

export type ToNode =
  /**
   * `record` is a command batch with its prefix free; it belongs to the node from now on. `inSessions`: its commands, or the session of its
   * header, have numbers that the caller gave, and it may be written again, here or elsewhere, with the same.
   */
  | {
      readonly kind: "write";
      readonly call: CallId;
      readonly record: Uint8Array;
      readonly commands: number;
      readonly timeoutMs: number;
      readonly inSessions?: boolean | undefined;
    }
  | {
      readonly kind: "read";
      readonly call: CallId;
      readonly reads: Uint8Array;
      readonly count: number;
      /** As of this past revision; 0: as of now. */
      readonly revision: number;
      readonly consistency: Consistency;
      readonly minRevision: number;
      /** Of an eventual read: the answer may be older than this by no more. */
      readonly stalenessMsMax?: number | undefined;
      readonly timeoutMs: number;
    }
  /** A transaction that only reads, packed. Its answer is "written", since it is packed as that of one which writes. */
  | {
      readonly kind: "readTxn";
      readonly call: CallId;
      readonly txn: Uint8Array;
      readonly consistency: Consistency;
      readonly minRevision: number;
      readonly stalenessMsMax?: number | undefined;
      readonly timeoutMs: number;
    }
  | {
      readonly kind: "range";
      readonly call: CallId;
      readonly request: RangeRequest;
      /** 0: no bound but the node's own; else the answer is cut, with `more`, behind this many bytes. */
      readonly bytesMax: number;
      readonly consistency: Consistency;
      readonly minRevision: number;
      readonly stalenessMsMax?: number | undefined;
      /** Keep the revision readable until unpin; the call's id names the pin. */
      readonly pin: boolean;
      /** Read as of the pin that this earlier call took; 0: none. */
      readonly pinned: CallId;
      readonly timeoutMs: number;
    }
  | { readonly kind: "unpin"; readonly call: CallId }
  /** Queries of a user's own state machine, packed (machine/opaque-commands.ts). */
  | {
      readonly kind: "query";
      readonly call: CallId;
      readonly queries: Uint8Array;
      readonly count: number;
      readonly consistency: Consistency;
      readonly minRevision: number;
      readonly timeoutMs: number;
    }
  | {
      readonly kind: "watch";
      readonly watch: number;
      readonly interval: KeyInterval;
      readonly fromRevision: number | undefined;
      readonly initial: boolean;
      readonly prevKv: boolean;
      readonly only: "puts" | "deletes" | undefined;
      readonly onGap: "throw" | "reset";
      readonly progressMs: number;
      readonly creditBytes: number;
    }
  /** So many bytes for each of these watches. */
  | { readonly kind: "watchCredit"; readonly watches: ArrayLike<number>; readonly bytes: ArrayLike<number> }
  | { readonly kind: "watchProgress"; readonly watch: number }
  | { readonly kind: "unwatch"; readonly watch: number }
  /** The caller no longer waits. A write that was not proposed yet is dropped. */
  | { readonly kind: "cancel"; readonly call: CallId }
  | { readonly kind: "members"; readonly call: CallId; readonly timeoutMs: number }
  /** Where clients reach this member, from now on. Not answered. */
  | { readonly kind: "announce"; readonly clientAddresses: readonly string[] }
  /** Another member is to lead; `to` undefined: whoever is furthest. */
  | { readonly kind: "moveLeader"; readonly call: CallId; readonly to: string | undefined; readonly timeoutMs: number }
  /** The ids of all leases. */
  | {
      readonly kind: "leases";
      readonly call: CallId;
      readonly consistency: Consistency;
      readonly minRevision: number;
      readonly timeoutMs: number;
    }
  | {
      readonly kind: "lease";
      readonly call: CallId;
      /** 16 digits. */
      readonly lease: string;
      readonly keys: boolean;
      readonly consistency: Consistency;
      readonly minRevision: number;
      readonly timeoutMs: number;
    }
  /** Renew this lease from now on; `keep` names it here, once. `slot` and `pulse` are those of held-slot.ts and app-pulse.ts. */
  | {
      readonly kind: "keep";
      readonly keep: number;
      readonly lease: string;
      readonly ttlMs: number;
      /** When what was answered last had left. */
      readonly sentAt: number;
      readonly appLagMsMax: number;
      readonly slot: SharedArrayBuffer;
      readonly pulse: SharedArrayBuffer;
    }
  | { readonly kind: "unkeep"; readonly keep: number }
  /** How this node stands. */
  | { readonly kind: "inspect"; readonly call: CallId; readonly timeoutMs: number }
  /** Of the key-value data as of `revision`; 0: as of the newest that this node has applied. */
  | { readonly kind: "hash"; readonly call: CallId; readonly revision: number; readonly timeoutMs: number }
  /** The next piece of a backup; `backup` 0 begins one, which is called by this call's id from then on. Pieces come in the order in which they were asked for. */
  | { readonly kind: "backup"; readonly call: CallId; readonly backup: CallId; readonly timeoutMs: number }
  | { readonly kind: "endBackup"; readonly backup: CallId }
  /** A further thread, whose first id this is, wants the node's first word: "opened", or "failed". */
  | { readonly kind: "attach"; readonly call: CallId }
  /** Of the thread that opened the node: the node ends. Of another: its attachment does. */
  | { readonly kind: "close"; readonly timeoutMs: number };

export interface MembersState {
  readonly members: readonly (MemberRecord & { readonly role: "voter" | "learner" })[];
  readonly leader: string | undefined;
  readonly index: number;
}

export type NodePhase = "locking" | "replaying" | "loading" | "joining";

export type NodeState =
  | { readonly kind: "starting"; readonly phase: NodePhase; readonly progress: number }
  | { readonly kind: "ready" }
  | { readonly kind: "noQuorum" }
  | { readonly kind: "full"; readonly error: WireError }
  | { readonly kind: "failed"; readonly error: WireError }
  | { readonly kind: "removed" }
  | { readonly kind: "closed" };

/** What a node says of itself whenever it changes. */
export interface NodeStatus {
  readonly state: NodeState;
  readonly name: string;
  readonly memberId: string;
  readonly clusterId: string;
  readonly role: "leader" | "follower" | "candidate" | "learner";
  readonly term: number;
  readonly leader: string | undefined;
  /** The leader of this term has committed, and this node knows it. */
  readonly ready: boolean;
  readonly members: MembersState;
  readonly durable: boolean;
  readonly listening: string | undefined;
  /** Where it asks other members to find it. */
  readonly peerAddress: string | undefined;
}

/** How a node stands, beside its status: as of the turn in which it was asked. */
export interface NodeInspection {
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly revision: number;
  /** The first revision that can be read. */
  readonly compactRevision: number;
  readonly keys: number;
  /** Logical, history included: what the quota counts. */
  readonly dataBytes: number;
  readonly dataBytesMax: number;
  /** Of the files of the log and of the state. */
  readonly diskBytes: number;
  readonly isFull: boolean;
  /** Since it was opened: how often a leader was found that was another than the one before. */
  readonly leaderChanges: number;
  /** Batches of this node's callers that are under way, and since it was opened those that were given up. */
  readonly proposalsPending: number;
  readonly proposalsFailed: number;
  readonly watches: number;
  /** Undefined where there is no disk. */
  readonly diskTimes: { readonly sync: CallTimes; readonly commit: CallTimes } | undefined;
}

export type FromNode =
  /** `shared`: what callers' threads read by themselves; a user's own state machine has none. */
  | {
      readonly kind: "opened";
      readonly status: NodeStatus;
      readonly shared: SharedTableHandle | undefined;
      /** Of a further thread: its ids begin here. */
      readonly firstCall?: CallId;
    }
  | { readonly kind: "openFailed"; readonly error: WireError }
  | { readonly kind: "status"; readonly status: NodeStatus }
  | { readonly kind: "shared"; readonly shared: SharedTableHandle }
  | { readonly kind: "sharedGrowth"; readonly growth: SharedTableGrowth }
  /** For the application's log. */
  | {
      readonly kind: "log";
      readonly level: "info" | "warn" | "error";
      readonly message: string;
      readonly fields: Readonly<Record<string, string | number | boolean>>;
    }
  | { readonly kind: "written"; readonly call: CallId; readonly results: Uint8Array }
  | { readonly kind: "answers"; readonly call: CallId; readonly answers: Uint8Array }
  | { readonly kind: "read"; readonly call: CallId; readonly answers: Uint8Array }
  | {
      readonly kind: "range";
      readonly call: CallId;
      readonly kvs: Uint8Array;
      readonly returned: number;
      readonly count: number;
      readonly more: boolean;
      readonly revision: number;
    }
  | { readonly kind: "members"; readonly call: CallId; readonly members: MembersState }
  /** The wish for another leader is fulfilled, as far as this node has heard. */
  | { readonly kind: "moved"; readonly call: CallId }
  /** In no order. */
  | {
      readonly kind: "leases";
      readonly call: CallId;
      readonly count: number;
      readonly idHigh: Uint32Array;
      readonly idLow: Uint32Array;
      readonly dueMs: Float64Array;
    }
  | {
      readonly kind: "lease";
      readonly call: CallId;
      /** Keys as lease-reading.ts packs them; none unless they were asked for. */
      readonly found:
        | { readonly ttlMs: number; readonly remainingMs: number; readonly keys: Uint8Array; readonly count: number }
        | undefined;
    }
  | { readonly kind: "inspect"; readonly call: CallId; readonly inspection: NodeInspection }
  | {
      readonly kind: "hash";
      readonly call: CallId;
      readonly hash: number;
      readonly revision: number;
      /** The first revision that can be read. */
      readonly compactRevision: number;
    }
  /** `description` comes with the first piece, which has no bytes. Behind the last one there are no more. */
  | {
      readonly kind: "backup";
      readonly call: CallId;
      readonly description: Omit<BackupDescription, "clusterId"> | undefined;
      readonly bytes: Uint8Array;
      readonly last: boolean;
    }
  /** A lease that was kept is gone, or can no longer be relied on. */
  | { readonly kind: "lost"; readonly keep: number }
  | { readonly kind: "failed"; readonly call: CallId; readonly error: WireError }
  | { readonly kind: "watching"; readonly watch: number; readonly revision: number }
  | {
      readonly kind: "watched";
      /** Whom: what many are told crosses once. Of "reset" and "ended", one. */
      readonly watches: ArrayLike<number>;
      readonly what: "events" | "progress" | "reset" | "ended";
      readonly revision: number;
      readonly bytes: Uint8Array;
      readonly count: number;
      readonly reason: "initial" | "compacted" | "restored" | undefined;
      /** Of "ended": the first revision that can still be watched. */
      readonly compactRevision: number;
      /** Of a reset, or a revision: the next message of this watch goes on with it (WatchOutput). */
      readonly more: boolean;
    }
  | { readonly kind: "closed" };

/** Slots of shared memory that the node writes and callers' threads read (SharedTableReader.shared). */
export const SHARED_LEASE_UNTIL = 0;
export const SHARED_COMMIT_INDEX = 1;
export const SHARED_APPLIED_INDEX = 2;
/** Wall clock less monotonic clock at the last turn: another difference means that the machine was suspended. */
export const SHARED_WALL_OFFSET = 3;
/** 1 while eventual reads may be served from shared memory. */
export const SHARED_OPEN = 4;

/** The caller's end of a boundary. Messages arrive in order, several at a time. */
export interface NodePort {
  post(messages: readonly ToNode[]): void;
  onMessages(receive: (messages: readonly FromNode[]) => void): void;
  /** The node's thread is gone; told once, also after an orderly close. */
  onGone(gone: (reason: string | undefined) => void): void;
  ref(): void;
  unref(): void;
  /** Ends the thread whatever it is doing. */
  terminate(): Promise<void>;
  /** A port for one more thread of this process (attached-port.ts); there is none where the node has no thread of its own. */
  attach?(): MessagePort;
}
