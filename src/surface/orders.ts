/** What a test asks of a node in another process (node-process.ts), and what it is told. Plain data. */
import type { Consistency } from "d-engine";
import type { OperationBody, ReadValue } from "../testing/history.ts";

export interface Load {
  readonly clients: number;
  readonly ms: number;
  readonly valueBytes: number;
  readonly prefix: string;
  /** All clients together, at most. Absent: as many as they can. */
  readonly perSecond?: number;
}

export interface LoadResult {
  readonly writes: number;
  readonly failed: number;
  /** The first few. */
  readonly errors: readonly string[];
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export interface Status {
  readonly isLeader: boolean;
  readonly leader: string | undefined;
  readonly term: number | undefined;
  readonly memberId: string;
  readonly state: string;
  /** How often this node heard of another leader, or of none, since it opened. */
  readonly leaderChanges: number;
}

/** The answer to an operation of a history. */
export interface Performed {
  readonly revision?: number;
  readonly deleted?: number;
  readonly swapped?: boolean;
  readonly count?: number;
  readonly values?: readonly ReadValue[];
}

/** What the watches have seen so far, all together. */
export interface Watched {
  readonly events: number;
  readonly lastRevision: number;
  /** Batches that did not come after the one before. */
  readonly outOfOrder: number;
  /** Why the watch ended, if it did. */
  readonly ended: string;
}

/** What a holder is told of its lease right behind its own block, before anything else of its thread runs. */
export interface StillHeld {
  readonly remainingMs: number;
  /** The code of what throwIfLost() threw. */
  readonly thrown: string | undefined;
}

export type Order =
  | { readonly kind: "perform"; readonly body: OperationBody; readonly consistency: Consistency }
  | { readonly kind: "status" }
  | { readonly kind: "waitReady"; readonly timeoutMs: number }
  /** All changes of the data from the first to this revision. */
  | { readonly kind: "changes"; readonly through: number }
  | { readonly kind: "load"; readonly load: Load }
  /** Blocks the main thread. */
  | { readonly kind: "block"; readonly ms: number }
  /** Takes a lease that is kept alive, with a key on it. */
  | { readonly kind: "hold"; readonly ttlMs: number; readonly appLagMsMax: number; readonly key: string }
  /** Blocks the main thread, then asks the lease at once. */
  | { readonly kind: "blockHolding"; readonly ms: number }
  /** Keeps so many password hashes under way in the thread pool. */
  | { readonly kind: "hash"; readonly inFlight: number; readonly ms: number }
  /** Takes so many threads of the pool and never gives them back. */
  | { readonly kind: "blockPool"; readonly threads: number }
  /** So many watches of one prefix. */
  | { readonly kind: "watch"; readonly prefix: string; readonly watches: number }
  | { readonly kind: "watched" }
  | { readonly kind: "memory" }
  /** Of raft-process.ts alone: a command of its bank, and a query. Both JSON. */
  | { readonly kind: "propose"; readonly command: unknown }
  | { readonly kind: "query"; readonly query: unknown }
  | { readonly kind: "close" };

/** How a call failed, as the node's process told it. */
export class OrderFailure extends Error {
  readonly code: string;
  readonly mayHaveApplied: boolean;

  constructor(failure: { readonly code: string; readonly mayHaveApplied: boolean; readonly message: string }) {
    super(`${failure.code}: ${failure.message}`);
    this.code = failure.code;
    this.mayHaveApplied = failure.mayHaveApplied;
  }
}
