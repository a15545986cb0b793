/** What a call of the client can be told, and what it needs of its client. */
import type { MemoryBudget } from "../http2/memory-budget.ts";
import type { ClientCall } from "./client-call.ts";
import type { Metadata, MetadataInit } from "./metadata.ts";

/** What a call can be told. */
export interface CallOptions {
  /** The call fails with DEADLINE_EXCEEDED after so many milliseconds, at once if they are none; the server is told. Default: no limit. */
  readonly timeoutMs?: number;
  /** Aborting it cancels the call: it fails with CANCELLED, the signal's reason as the cause. */
  readonly signal?: AbortSignal;
  readonly metadata?: MetadataInit;
  /** Wait for a connection as long as it takes, instead of failing when all endpoints are down. */
  readonly waitForReady?: boolean;
  /** Compress requests. */
  readonly compress?: boolean;
  /** The response's head. */
  readonly onMetadata?: (metadata: Metadata) => void;
  /** The trailers of a call that ended with OK; of others they are in the RpcError. */
  readonly onTrailers?: (metadata: Metadata) => void;
}

/** What a call needs of its client. */
export interface CallOwner {
  readonly messageBytesMax: number;
  /** Counts requests that wait for a connection. */
  readonly sendMemory: MemoryBudget;
  /** Finds a connection for the call, now or later. */
  dispatch(call: AnyClientCall): void;
  /** The call has settled. */
  onSettled(call: AnyClientCall): void;
}

/** A call of any method, for code that does not care which. */
export type AnyClientCall = ClientCall<any, any>;
