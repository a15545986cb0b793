/**
 * What lies behind an engine of this process, for front ends in the same package that speak packed commands and answers. Not public: users of
 * an engine have its methods.
 */
import type { NodePort } from "../node/boundary.ts";
import type { CallContext } from "./call-context.ts";
import type { ClientAddresses } from "./client-addresses.ts";
import type { Engine } from "./engine.ts";
import type { EngineStatus } from "./engine-status.ts";
import type { LocalReads } from "./local-reads.ts";
import type { LocalWatches } from "./local-watches.ts";

/** What a node says of itself when it is asked. */
export type { NodeInspection } from "../node/boundary.ts";
export { CALL_TIME_BUCKETS_MS } from "../storage/call-times.ts";

/** The parts of an embedded engine. */
export interface EngineInternals {
  readonly context: CallContext;
  readonly status: EngineStatus;
  readonly reads: LocalReads;
  readonly watches: LocalWatches;
  /** Where front ends say that clients reach this member. */
  readonly addresses: ClientAddresses;
  /** A port for one more thread (attached-engine.ts); undefined where the node has no thread of its own. */
  readonly attach: NodePort["attach"];
}

const internals = new WeakMap<Engine, EngineInternals>();

/** The engine's own doing, once. */
export function exposeInternals(engine: Engine, parts: EngineInternals): void {
  internals.set(engine, parts);
}

/** undefined for what is no embedded engine of this copy of the package. */
export function internalsOf(engine: Engine): EngineInternals | undefined {
  return internals.get(engine);
}
