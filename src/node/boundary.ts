/**
 * What crosses between a caller's thread and the node's. Plain data: hot calls are packed into one buffer for each tick, rare ones
 * are objects. Both directions are bounded: calls by `pendingCallsMax`, watches by credit in bytes.
 */
import type { MemberRecord } from "../core/raft/configuration.ts";
import type { KeyInterval } from "../core/kv/table.ts";
import type { RangeRequest } from "../core/kv/read.ts";
import type { SharedTableGrowth, SharedTableHandle } from "../core/kv/shared-reader.ts";
import type { WireError } from "../errors.ts";

export type Consistency = "linearizable" | "lease" | "eventual";

/** Names one call, or one batch of calls that are answered together. Unique for as long as the node is open. */
export type CallId = number;

export type ToNode =
  /** `record` is a command batch with its prefix free; it belongs to the node from now on. */
  | { readonly kind: "write"; readonly call: CallId; readonly record: Uint8Array; readonly commands: number; readonly timeoutMs: number }
  | {
      readonly kind: "read";
      readonly call: CallId;
      readonly reads: Uint8Array;
      readonly count: number;
      readonly consistency: Consistency;
      readonly minRevision: number;
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
      /** Keep the revision readable until unpin; the call's id names the pin. */
      readonly pin: boolean;
      /** Read as of the pin that this earlier call took; 0: none. */
      readonly pinned: CallId;
      readonly timeoutMs: number;
    }
  | { readonly kind: "unpin"; readonly call: CallId }
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
  | { readonly kind: "watchCredit"; readonly watch: number; readonly bytes: number }
  | { readonly kind: "watchProgress"; readonly watch: number }
  | { readonly kind: "unwatch"; readonly watch: number }
  /** The caller no longer waits. A write that was not proposed yet is dropped. */
  | { readonly kind: "cancel"; readonly call: CallId }
  | { readonly kind: "members"; readonly call: CallId; readonly timeoutMs: number }
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
}

export type FromNode =
  | { readonly kind: "opened"; readonly status: NodeStatus; readonly shared: SharedTableHandle }
  | { readonly kind: "openFailed"; readonly error: WireError }
  | { readonly kind: "status"; readonly status: NodeStatus }
  | { readonly kind: "shared"; readonly shared: SharedTableHandle }
  | { readonly kind: "sharedGrowth"; readonly growth: SharedTableGrowth }
  | { readonly kind: "written"; readonly call: CallId; readonly results: Uint8Array }
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
  | { readonly kind: "failed"; readonly call: CallId; readonly error: WireError }
  | { readonly kind: "watching"; readonly watch: number; readonly revision: number }
  | {
      readonly kind: "watched";
      readonly watch: number;
      readonly what: "events" | "progress" | "reset" | "ended";
      readonly revision: number;
      readonly bytes: Uint8Array;
      readonly count: number;
      readonly reason: "initial" | "compacted" | "restored" | undefined;
      readonly compactRevision: number;
      /** Of a reset: the next message of this watch goes on with it. */
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
}
