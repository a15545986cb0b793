/** A node that runs its user's own state machine, as its users see it: the types of `d-engine/raft`. */
import type { OpenStateMachine } from "../node/machine/state-machine.ts";
import type { ModuleRef } from "../storage/records/record-store.ts";
import type { Bytes, CallOptions, ClusterId, Consistency, MemberId, Members } from "./client.ts";
import type { EngineState, LeaderInfo } from "./engine.ts";
import type { EngineOptions } from "./engine-options.ts";

/** What a command was answered. */
export interface Proposed {
  /** Of its entry in the log, which other commands may share. */
  readonly index: number;
  /** The state machine's, as this node applied it. The caller's own. */
  readonly answer: Bytes;
}

/** A running node. Keeps the process alive, as a server does; see unref. Installs no signal handlers. */
export interface RaftNode {
  readonly name: string;
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  readonly state: EngineState;
  stateChanges(options?: { readonly signal?: AbortSignal }): AsyncIterable<EngineState>;
  /**
   * Resolves with the state machine's answer, once a majority has the command on disk and this node has applied it; whichever node it is called
   * on. Commands of one tick travel together, and each has its own answer. A command has at most `limits.requestBytesMax`.
   */
  propose(command: Uint8Array, options?: CallOptions): Promise<Proposed>;
  /**
   * The state machine's answer to a query. "linearizable" (the default): of a state that holds all that was answered before the call began.
   * "lease": the same while the leader's lease holds, with no round. "eventual": of what this node has applied. INVALID_ARGUMENT where the
   * machine throws.
   */
  read(query: Uint8Array, options?: CallOptions & { readonly consistency?: Consistency }): Promise<Bytes>;
  /** Resolves once a leader of the current term has committed. Calls wait for it by themselves; this is for health checks. */
  waitReady(options?: CallOptions): Promise<LeaderInfo>;
  /** Whether this node is Raft's leader, as last heard; never for "am I the only one". */
  isLeader(): boolean;
  leader(): LeaderInfo | undefined;
  leaderChanges(options?: { readonly signal?: AbortSignal }): AsyncIterable<LeaderInfo | undefined>;
  members(options?: CallOptions): Promise<Members>;
  /** For /livez and /readyz of the application. */
  health(): { readonly live: boolean; readonly ready: boolean; readonly reasons: readonly string[] };
  ref(): this;
  unref(): this;
  /** Settles within `closeTimeoutMs`. Leadership is handed over first. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

type LimitsOfRaftNode = Pick<NonNullable<EngineOptions["limits"]>, "requestBytesMax" | "pendingCallsMax">;

/** As Engine.open's, but for what only key-value data has. */
export type RaftNodeOptions = Omit<EngineOptions, "limits" | "store" | "history" | "thread"> & { readonly limits?: LimitsOfRaftNode } & (
    | {
        /** Default "worker": the machine runs in the node's thread, without the application's loaders, environment and objects. */
        readonly thread?: "worker";
        /** A module whose default export opens the machine (OpenStateMachine): a file: URL or an absolute path. */
        readonly stateMachine: ModuleRef;
      }
    | { readonly thread: "inline"; readonly stateMachine: ModuleRef | OpenStateMachine<void> }
  );
