/**
 * What the services need of an engine: packed commands in, packed answers out, and what its node says of itself. engine-backend.ts makes one of
 * an embedded engine; a test makes others.
 */
import type { CommandBatch } from "../core/kv/command.ts";
import type { RangeRequest } from "../core/kv/read.ts";
import type { KeyInterval } from "../core/kv/table.ts";
import type { UnpackedKv } from "../core/kv/packed-kv.ts";
import type { Client, Consistency, Members } from "../client/client.ts";
import type { ReadWaiter, WriteWaiter } from "../client/calls.ts";
import type { NodeInspection } from "../client/engine-internals.ts";
import type { Clock } from "../host/clock.ts";
import type { Random } from "../host/random.ts";
import type { PackedRange } from "./kv-responses.ts";

/** What the server itself waits at most for its cluster, in milliseconds: etcd's 5 s and two election timeouts. */
export const REQUEST_TIMEOUT_MS = 7_000;

/** The node behind the services, as it last spoke of itself. */
export interface BackendNode {
  readonly term: number;
  /** 16 hex digits; undefined while none is known. */
  readonly leader: string | undefined;
  readonly role: "leader" | "follower" | "candidate" | "learner";
  readonly members: Members;
  /** Why it cannot serve linearizable calls; empty if it can. */
  readonly reasons: readonly string[];
  /** Not failed, not closed. */
  readonly live: boolean;
  /** Whether it is out of space. */
  readonly full: boolean;
  /** Failed for a broken disk or file. */
  readonly corrupt: boolean;
  readonly commitIndex: number;
  readonly appliedIndex: number;
}

/** A point read from memory; "retry" where it must be asked for. */
export type Peeked = Omit<UnpackedKv, "key" | "next"> | undefined | "retry";

/** The events of one revision, packed as core/kv/watch-event.ts has it. One object for all watches that they go to. */
export interface PackedEvents {
  readonly revision: number;
  readonly bytes: Uint8Array;
  readonly count: number;
  /** The revision is larger than what is told at a time: it goes on with what comes next. */
  readonly more: boolean;
  /** What they hold of a watch's credit until they are taken. */
  readonly creditBytes: number;
  /** As the services have encoded them, for the next watch. */
  encoded: Uint8Array | undefined;
}

/** What a watch tells. */
export interface WatchSink {
  /** Every event after `revision` will come. */
  onRegistered(revision: number): void;
  onEvents(events: PackedEvents): void;
  /** Nothing else happened up to this revision. */
  onProgress(revision: number): void;
  /** The history that it needs is gone. It has ended. */
  onCompacted(compactRevision: number): void;
  /** The engine has ended, or failed. It has ended. */
  onEnd(error: unknown): void;
}

/** Which events. */
export interface WatchOrder {
  readonly interval: KeyInterval;
  /** Inclusive; undefined: from now on. */
  readonly fromRevision: number | undefined;
  readonly prevKv: boolean;
  readonly only: "puts" | "deletes" | undefined;
  /** Progress is told when nothing happened for so long; 0: only when it is asked for. */
  readonly progressMs: number;
}

/** A watch in being. */
export interface BackendWatch {
  /** The client has these: more may come. */
  taken(events: PackedEvents): void;
  requestProgress(): void;
  /** Nothing is told afterwards. */
  close(): void;
}

/** A lease as it stands. */
export interface BackendLease {
  readonly ttlMs: number;
  readonly remainingMs: number;
  readonly keys: readonly Uint8Array[];
}

/** One engine, for all services of a server. */
export interface Backend {
  /** 16 hex digits each. */
  readonly clusterId: string;
  readonly memberId: string;
  readonly name: string;
  /** Watches that are served at a time. */
  readonly watchesMax: number;
  /** For what needs no packing: members, the friendlier HTTP. */
  readonly client: Client;
  readonly clock: Clock;
  readonly random: Random;
  node(): BackendNode;
  /** Those of node() that every call asks for. */
  term(): number;
  leader(): string | undefined;
  isLearner(): boolean;
  /** The newest revision that this node has applied. */
  revision(): number;

  /** Adds one command to the batch that leaves with this tick; `waiter` is told its result. Throws CommandError, or what calls reject with. */
  write(add: (batch: CommandBatch) => void, waiter: WriteWaiter): void;
  /** The same in two steps, for a command that needs no closure: pack into what this answers, then wrote(). */
  writes(): CommandBatch;
  wrote(waiter: WriteWaiter): void;
  /** A point read with those of this tick. */
  read(key: Uint8Array, consistency: Consistency, waiter: ReadWaiter): void;
  /** A point read from this thread's view of the data, as of no older than revision(). */
  peek(key: Uint8Array): Peeked;
  range(request: RangeRequest, consistency: Consistency): Promise<PackedRange>;
  /** The same in parts of bounded size, all as of one revision. The first part's `count` is that of the range. */
  pages(request: RangeRequest, consistency: Consistency): AsyncIterable<PackedRange>;
  /** A packed transaction that only reads, outside the log. Answers packed results (core/kv/result.ts), with one result. */
  readTxn(txn: Uint8Array, consistency: Consistency): Promise<Uint8Array>;
  watch(order: WatchOrder, sink: WatchSink): BackendWatch;

  /** undefined: there is no such lease. */
  lease(id: string, withKeys: boolean): Promise<BackendLease | undefined>;
  leases(): Promise<readonly string[]>;
  members(linearizable: boolean): Promise<Members>;
  /** How the node stands, as of one of its turns. */
  inspect(): Promise<NodeInspection>;
}
