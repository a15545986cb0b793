/** The embedded engine as its users see it: a running node, and the client of its cluster. */
import type { AnyEngineError, EngineError } from "../errors.ts";
import type { CallOptions, Client, ClusterId, MemberId } from "./client.ts";
/** Raft's leader, as this node last heard of it. */
export interface LeaderInfo {
  readonly id: MemberId;
  readonly term: number;
  readonly clientAddresses: readonly string[];
}

/** What a node can do now. */
export type EngineState =
  | { readonly kind: "starting"; readonly phase: "locking" | "replaying" | "loading" | "joining"; readonly progress: number }
  | { readonly kind: "ready" }
  /** No leader is known or no majority answers. Eventual reads still work. */
  | { readonly kind: "noQuorum" }
  | { readonly kind: "full"; readonly error: EngineError<"NO_SPACE"> }
  /** The disk failed or a file is corrupt. The application is unharmed; close and reopen once it is mended. */
  | { readonly kind: "failed"; readonly error: AnyEngineError }
  | { readonly kind: "removed" }
  | { readonly kind: "closed" };

/** A running node, and the client of its cluster. Keeps the process alive, as a server does; see unref. Installs no signal handlers. */
export interface Engine extends Client {
  readonly name: string;
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  readonly state: EngineState;
  stateChanges(options?: { readonly signal?: AbortSignal }): AsyncIterable<EngineState>;
  /** Resolves once a leader of the current term has committed. Calls wait for it by themselves; this is for health checks. */
  waitReady(options?: CallOptions): Promise<LeaderInfo>;
  /** Whether this node is Raft's leader, as last heard. For load balancers and dashboards; never for "am I the only one". */
  isLeader(): boolean;
  leader(): LeaderInfo | undefined;
  leaderChanges(options?: { readonly signal?: AbortSignal }): AsyncIterable<LeaderInfo | undefined>;
  /** For /livez and /readyz of the application. */
  health(): { readonly live: boolean; readonly ready: boolean; readonly reasons: readonly string[] };
  ref(): this;
  unref(): this;
}
