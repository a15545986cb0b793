/**
 * Everything that a node takes from the world, in one place: the real world in production, a simulated one in tests. Above this
 * interface no code knows which.
 */
import type { KvMachine } from "../core/kv/machine.ts";
import type { StateMachine } from "./machine/state-machine.ts";
import type { Raft } from "../core/raft/raft.ts";
import type { Clock } from "../host/clock.ts";
import type { Random } from "../host/random.ts";
import type { DiskProgress } from "../storage/disk-protocol.ts";
import type { Storage } from "../storage/storage.ts";
import type { Hello, Transport, TransportEvents } from "../transport/transport.ts";

export interface Environment {
  readonly clock: Clock;
  readonly random: Random;
  /** Locks and recovers the data directory. Rejects with IN_USE, CORRUPT, INCOMPATIBLE, NO_SPACE or DISK_FAILED. */
  openStorage(options: { readonly unsafeNoFsync: boolean; onProgress(progress: DiskProgress): void }): Promise<Storage>;
  /** Listens where the node's options say. Rejects with IN_USE for a taken port. */
  createTransport(hello: () => Hello, events: TransportEvents): Promise<Transport>;
  /** Opens a user's own state machine, where the node's options say that it has one. Rejects with INVALID_ARGUMENT. */
  openStateMachine?(): Promise<StateMachine>;
  /** Shows a node's inside to whoever built the environment, for checks between its turns; nothing in it is to be changed. */
  observe?(look: () => NodeInside): void;
}

export interface NodeInside {
  /** undefined before the founding, and once the node stopped. */
  readonly raft: Raft | undefined;
  /** undefined: the node has a user's own state machine. */
  readonly machine: KvMachine | undefined;
  readonly appliedIndex: number;
}
