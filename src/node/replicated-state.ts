/**
 * What a node needs of the state that it replicates, and of what serves its callers from it: the node, its applier and its snapshots know no
 * more of a state machine than this. One object for as long as the node is open; a snapshot that is installed takes the place of what is in it.
 */
import type { BatchSession } from "../core/batch.ts";
import type { KvMachine } from "../core/kv/machine.ts";
import type { GrowthCost } from "../core/kv/growth-cost.ts";
import type { SpaceRefusal } from "../core/kv/growth.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { Raft } from "../core/raft/raft.ts";
import type { EngineError } from "../errors.ts";
import type { FromNode, ToNode } from "./boundary.ts";
import type { NodeMachine } from "./node-machine.ts";
import type { OwnWrite } from "./own-writes.ts";
import type { SnapshotSource } from "./snapshot-maker.ts";
import type { StateRestoring } from "./snapshot-transfer.ts";

/** A committed entry. `commands` undefined: it has none, but its clock counts. Nobody may write to the bytes until it is applied. */
export interface StateEntry {
  readonly index: number;
  readonly term: number;
  readonly clockMs: number;
  readonly commands: Uint8Array | undefined;
  readonly count: number;
  /** The numbers that its commands have in a client's session, where the state knows of sessions. */
  readonly session: BatchSession | undefined;
}

/** A batch of a state's own, its header still to be written. */
export interface StateBatch {
  readonly record: Uint8Array;
  readonly commands: number;
  /** What applying it frees at least. */
  readonly bytes: number;
}

/** The calls that a state serves by itself. */
export type StateCall = Exclude<
  ToNode,
  { readonly kind: "write" | "members" | "announce" | "moveLeader" | "inspect" | "attach" | "cancel" | "close" }
>;

/** What a state may ask of its node. */
export interface StateHost {
  post(message: FromNode): void;
  log(level: "info" | "warn" | "error", message: string, fields: Readonly<Record<string, string | number | boolean>>): void;
  /** Asks for a turn. */
  wake(): void;
  /** The node stops, and says why. */
  fail(error: EngineError): void;
  /** Runs `serve` when what the call's consistency asks for is applied, or fails the call. */
  read(call: ReadCall, now: number, serve: () => void): void;
  /** Proposes, now or once there is a leader, what the state itself wants applied. */
  write(write: OwnWrite): void;
  /** The lease clock as this member knows it: what an entry proposed now would carry, if it led. */
  leaseClock(): number;
}

export type ReadCall = Pick<ToNode & { readonly kind: "read" }, "call" | "consistency" | "minRevision" | "stalenessMsMax" | "timeoutMs">;

export interface ReplicatedState {
  // ------------------------------------------------------------------------------------------------------------ applying
  /** False while it is being restored: then nothing is applied. */
  readonly isReady: boolean;
  readonly appliedIndex: number;
  /** What a read's minRevision is held against. */
  readonly revision: number;
  readonly clockMs: number;
  begin(entry: StateEntry, wantResults: boolean): void;
  /** Works on up to so many records or commands. True when the entry is finished. */
  step(recordsMax: number): boolean;
  /** Of the entry just finished, if they were wanted. Once. */
  results(): Uint8Array<ArrayBuffer>;
  /** The reading of the lease clock at which something next falls due: an entry must then carry it. */
  nextDue(): number | undefined;
  /** Between two entries: a share of what keeps memory tidy. True when there is nothing left to do now. */
  maintain(): boolean;

  // --------------------------------------------------------------------------------------------------------------- space
  /** What quotas bound: logical bytes, history included, of which so many are history's; and keys. */
  readonly usedBytes: number;
  readonly historyBytes: number;
  readonly keys: number;
  /** How many of a batch's commands could make it hold more. The batch may be of any bytes. */
  growth(record: Uint8Array, commands: number): "none" | "some" | "all";
  /** What a batch adds at most. The batch may be of any bytes. */
  growthCost(record: Uint8Array, commands: number): GrowthCost;
  /** The batch, as an array of its own, with those commands replaced by ones that every member refuses alike; undefined: there are none such. */
  withoutGrowth(record: Uint8Array, commands: number, refusal: SpaceRefusal): Uint8Array | undefined;
  /** Frees `bytes` of history, or what it may. undefined: nothing. */
  compaction(bytes: number): StateBatch | undefined;
  /** What a leader is to propose of history at this reading of the lease clock: by its age, or other bounds. undefined: nothing. */
  upkeep(clockMs: number): StateBatch | undefined;
  /** The reading at which there will be something, if nothing else happens. */
  readonly upkeepAt: number;

  // ----------------------------------------------------------------------------------------------------------- snapshots
  /** The key-value data, if that is what it is: then a record store can hold it. */
  readonly kv?: KvMachine;
  /** The same with its memory, and what of it was stored when it began. */
  readonly nodeMachine?: NodeMachine;
  /** The state as of now, between two entries; undefined: not now. */
  snapshot(): SnapshotSource | undefined;
  /** A new state, to be built from a stream beside the present one. */
  beginRestoring(meta: SnapshotMeta): StateRestoring;
  /** What was built takes the place of the present state: the log names its snapshot. */
  replace(restored: StateRestoring, meta: SnapshotMeta): void;

  // ------------------------------------------------------------------------------------------------------------- callers
  /** The first message to a caller's thread that concerns the state: what it needs to read without asking. What grows later is posted. */
  shared(): (FromNode & { readonly kind: "opened" })["shared"];
  /** Raft's commit index or lease has moved, and nothing that rests on it has left yet. */
  onRaftMoved(raft: Raft): void;
  onApplied(): void;
  /** What callers' threads read without asking; `raft` undefined: the node serves nothing. */
  publish(raft: Raft | undefined): void;
  /** This opening has applied what was committed when it came to know a leader's term. True if something waited for that. */
  onCaughtUp(now: number): boolean;
  /** Something waits for onCaughtUp(), and what callers write or read comes behind it. */
  readonly holdsCalls: boolean;
  onCall(call: StateCall, now: number): void;
  cancel(call: number): void;
  /** Goes on with what takes several turns. True if there is more to do at once. */
  pump(now: number): boolean;
  /** Fails what has waited too long. Answers when to look again. */
  expire(now: number): number;
  /** When pump() must be called next at the latest. */
  readonly deadline: number;
  /** When expire() must be called next at the latest; infinity where it needs no call of its own. */
  readonly expireAt: number;
  failAll(make: () => EngineError): void;
  /** The node has ended. */
  close(): Promise<void>;
}
