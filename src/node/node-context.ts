/** What the parts of a node see of the whole. What it tells changes from turn to turn: parts ask, and keep nothing of it. */
import type { MemberId } from "../core/raft/configuration.ts";
import type { Raft } from "../core/raft/raft.ts";
import type { EngineError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import type { Lane, Transport } from "../transport/transport.ts";
import type { FromNode } from "./boundary.ts";
import type { Environment } from "./environment.ts";
import type { Identity } from "./identity.ts";
import type { NodeOptions } from "./node-options.ts";
import type { ReplicatedState } from "./replicated-state.ts";

export type Phase = "open" | "closing" | "failed" | "closed";

export interface NodeContext {
  readonly environment: Environment;
  readonly options: NodeOptions;
  readonly storage: Storage;
  readonly state: ReplicatedState;
  readonly bootId: number;
  readonly identity: Identity;
  readonly phase: Phase;
  /** Why the phase is "failed". */
  readonly failure: EngineError | undefined;
  /** undefined before the founding, and once the node stopped. */
  readonly raft: Raft | undefined;
  /** undefined where nothing listens, and once the node stopped. */
  readonly transport: Transport | undefined;
  /** To the caller, with the rest of this turn. */
  readonly post: (message: FromNode) => void;
  /** False where it was not taken: there is no link now, or it is full. */
  readonly send: (to: MemberId, lane: Lane, frame: readonly Uint8Array[]) => boolean;
  /** Asks for a turn. */
  readonly wake: () => void;
  /** Runs something that came from outside a turn as part of the next one. */
  readonly later: (run: () => void) => void;
  /** The node stops, and says why; the process lives. */
  readonly fail: (error: EngineError) => void;
}
