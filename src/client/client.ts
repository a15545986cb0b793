/**
 * What a user of the data does: the one interface of the embedded engine, and of every client that is to come.
 *
 * Numbers: revisions, versions and terms are `number`. Ids are strings of lower-case hex. Durations are milliseconds and end in `Ms`.
 * Keys and values go in as text or bytes and come out as bytes; text is asked for, and refused where the bytes are not UTF-8.
 * Missing is `undefined`. A property that is present but undefined is refused where it selects data.
 */
import type { Consistency } from "../node/boundary.ts";
import type { Op, Txn, TxnResult } from "./transaction.ts";

export type { Consistency } from "../node/boundary.ts";

export type Key = string | Uint8Array;
export type Value = string | Uint8Array;
/** Bytes handed to the caller are the caller's own. */
export type Bytes = Uint8Array<ArrayBuffer>;
/** A place in the history of the data. An empty store is at 1; each request that changes something adds 1. */
export type Revision = number;
/** 16 lower-case hex digits. */
export type LeaseId = string;
export type MemberId = string;
export type ClusterId = string;

/** Which keys. `end` is exclusive. Everything must be spelled out: there is no empty prefix. */
export type KeyRange = { readonly prefix: Key } | { readonly start: Key; readonly end?: Key } | { readonly all: true };
/** One key, or a range of them. */
export type Target = Key | KeyRange;

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Default: the engine's `timeoutMs`, 5,000. Infinity waits for ever. Covers the whole call: queueing, retries and failovers included. */
  readonly timeoutMs?: number;
}

export interface ReadOptions extends CallOptions {
  /** Default: the engine's `consistency`, else "linearizable". */
  readonly consistency?: Consistency;
  /** Read at exactly this past revision. COMPACTED or FUTURE_REVISION where it cannot be had. */
  readonly revision?: Revision;
  /** Wait until the answering node has applied this revision: read your own write on any node, at any consistency. */
  readonly minRevision?: Revision;
  /**
   * With "eventual": what had been acknowledged anywhere so long before the call is in the answer. A node that has not heard from a majority
   * that recently asks one first, and rejects with TIMEOUT where none answers. Default: however old.
   */
  readonly stalenessMsMax?: number;
}

/** A key's place in history, without its value. */
export interface KeyMeta {
  /** The key as text. Throws INVALID_ARGUMENT if it is not UTF-8: a mangled key would address another key. Use keyBytes. */
  readonly key: string;
  readonly keyBytes: Bytes;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** 1 when created, one more for each put since. */
  readonly version: number;
  readonly lease: LeaseId | undefined;
}

export interface KeyValue extends KeyMeta {
  readonly value: Bytes;
  /** The value as text; throws INVALID_ARGUMENT if it is not UTF-8. */
  text(): string;
  /** The value as JSON; throws INVALID_ARGUMENT if it is none. */
  json(): unknown;
}

export interface RangeOptions extends ReadOptions {
  /** At most this many; `more` says whether others match. */
  readonly limit?: number;
  readonly sortBy?: "key" | "version" | "createRevision" | "modRevision" | "value";
  readonly order?: "ascending" | "descending";
  readonly keysOnly?: boolean;
  readonly minModRevision?: Revision;
  readonly maxModRevision?: Revision;
  readonly minCreateRevision?: Revision;
  readonly maxCreateRevision?: Revision;
}

export interface RangeResult<T extends KeyMeta = KeyValue> {
  readonly kvs: readonly T[];
  readonly more: boolean;
  /** All keys of the range, not only those returned. */
  readonly count: number;
  /** The whole answer is as of this revision; watch from the next one to lose nothing. */
  readonly revision: Revision;
}

/** A range read as a stream at one pinned revision, in bounded memory. Leaving the loop closes it. */
export interface Scan<T extends KeyMeta = KeyValue> extends AsyncIterable<T>, AsyncDisposable {
  /** The pinned revision, once known. */
  ready(): Promise<{ readonly revision: Revision }>;
  close(): Promise<void>;
}

export interface PutOptions extends CallOptions {
  /** Attach to this lease: the key goes when the lease goes. NOT_FOUND where there is none. */
  readonly lease?: LeaseId | Lease;
  /** A lease of its own that nobody renews: the key goes after this time unless it is written again. */
  readonly ttlMs?: number;
  /** Leave the key on the lease that it has. Excludes `lease` and `ttlMs`. NOT_FOUND where there is no such key. */
  readonly ignoreLease?: boolean;
  readonly prevKv?: boolean;
}

export interface PutResult {
  readonly revision: Revision;
  readonly prevKv: KeyValue | undefined;
}

export interface DeleteOptions extends CallOptions {
  readonly prevKv?: boolean;
}

export interface DeleteResult {
  readonly deleted: number;
  readonly revision: Revision;
  readonly prevKvs: readonly KeyValue[];
}

export interface WatchOptions {
  /** The first revision wanted, inclusive. Default: the one after the registration, which `ready()` tells. */
  readonly fromRevision?: Revision;
  /** Begin with a "reset" batch that holds what is there now: snapshot, then follow, with no gap between. */
  readonly initial?: boolean;
  readonly prevKv?: boolean;
  readonly only?: "puts" | "deletes";
  /** When the history in between is gone: "throw" (default) ends with COMPACTED; "reset" yields what is there now and goes on. */
  readonly onGap?: "throw" | "reset";
  /** Ask for a "progress" batch when nothing happened for this long. Default 10,000; 0 for none. */
  readonly progressMs?: number;
  readonly signal?: AbortSignal;
}

export type WatchEvent =
  | {
      readonly kind: "put";
      readonly kv: KeyValue;
      /** The key did not exist before. */
      readonly created: boolean;
      readonly prevKv: KeyValue | undefined;
    }
  | {
      readonly kind: "delete";
      readonly key: string;
      readonly keyBytes: Bytes;
      readonly cause: "request" | "expiry" | "revocation" | undefined;
      readonly prevKv: KeyValue | undefined;
    };

/**
 * All events of one revision arrive in one batch, in the order of the operations, up to 8,192 events and 2 MiB; a revision beyond that
 * arrives in several batches, one right behind another.
 */
export type WatchBatch =
  | {
      readonly kind: "events";
      readonly revision: Revision;
      readonly events: readonly WatchEvent[];
      /**
       * Set where the revision goes on with the next batch (after which it is over unless that one has it too). Not a place to resume after:
       * whoever stops here resumes with `fromRevision: revision`, and is told the revision again from its first event. Where history was lost
       * meanwhile, a reset, or the end, may come in the place of the rest.
       */
      readonly more?: true;
    }
  /** Nothing matched up to and including this revision: a safe place to resume after, and proof of life. */
  | { readonly kind: "progress"; readonly revision: Revision }
  /** Forget what you had: this is everything that matches, at this revision. */
  | {
      readonly kind: "reset";
      readonly revision: Revision;
      readonly kvs: readonly KeyValue[];
      readonly reason: "initial" | "compacted" | "restored";
    };

/**
 * A watch in being. Registered when made. A reader that falls behind is served from history, so it ends only by close(), its signal, the
 * client's end (CLOSED), or COMPACTED. May be iterated once. Leaving the loop closes it.
 */
export interface Watch extends AsyncIterable<WatchBatch>, AsyncDisposable {
  /** Resolves once registered: every event after `revision` will be seen. */
  ready(): Promise<{ readonly revision: Revision }>;
  /** Ask for a "progress" batch now. */
  requestProgress(): Promise<void>;
  close(): Promise<void>;
}

/** What is held for as long as somebody renews it. */
export interface Held extends AsyncDisposable {
  /** Aborts when this can no longer be relied on, at a local deadline before the members let another in. Its reason: EngineError LOST. */
  readonly signal: AbortSignal;
  /**
   * How long it can still be relied on if nothing renews it; 0 once it is lost. Computed now, from the lesser of what the monotonic and the
   * wall clock leave since the last renewal that was answered had left: right even if timers could not fire, or the machine was suspended.
   */
  remainingMs(): number;
  /** Throws LOST if it can no longer be relied on. Call it after any long synchronous work: a blocked event loop cannot fire `signal`. */
  throwIfLost(): void;
}

export interface LeaseOptions extends CallOptions {
  /** 1 to 9e12; where it is kept alive at least three times `heartbeatMs`. */
  readonly ttlMs: number;
  /** Default: one that nobody has. ALREADY_EXISTS where somebody has it. */
  readonly id?: LeaseId;
  /** Renew until it is closed, in the node's thread, which the application cannot block unless `thread` is "inline". Default true. */
  readonly keepAlive?: boolean;
  /** Stop renewing while the application's own thread has not run for this long (it hangs). Default 30,000, at least 10. */
  readonly appLagMsMax?: number;
}

/** Closing revokes it and so deletes its keys. */
export interface Lease extends Held {
  readonly id: LeaseId;
  readonly ttlMs: number;
  /** Renew once, by hand. LOST where it is lost already, or the members have it no more. */
  renew(options?: CallOptions): Promise<{ readonly ttlMs: number }>;
  /** Its keys go at one revision. It is lost from the call on; one that the members have no more is revoked. */
  revoke(options?: CallOptions): Promise<void>;
  /** Stop renewing without revoking: the keys live out their time. */
  abandon(): void;
  /** Revokes it, if the engine is open: if not, it runs out. */
  close(): Promise<void>;
}

export interface LeaseInfo {
  readonly id: LeaseId;
  readonly ttlMs: number;
  /** By the answering member's reading of the members' lease clock, which on a follower is late by the message that brought it. */
  readonly remainingMs: number;
  /** In the order of their bytes; none unless they were asked for. */
  readonly keys: readonly Bytes[];
}

/** All leases, also those of other clients. */
export interface Leases {
  /** What is due first comes first. */
  list(options?: CallOptions): Promise<readonly LeaseId[]>;
  /** undefined if there is none. */
  get(id: LeaseId, options?: CallOptions & { readonly keys?: boolean }): Promise<LeaseInfo | undefined>;
  /** NOT_FOUND where there is none: an expired lease is never revived. */
  renew(id: LeaseId, options?: CallOptions): Promise<{ readonly ttlMs: number }>;
  /** Deletes the lease's keys at one revision, with it. NOT_FOUND where there is none. */
  revoke(id: LeaseId, options?: CallOptions): Promise<void>;
}

export interface Member {
  readonly id: MemberId;
  readonly name: string;
  /** Where other members reach it; empty for a cluster of one that listens nowhere. */
  readonly peerAddress: string;
  /** Where clients reach it, as URLs: what its front ends said last, also while it is down. Empty if it has never served any. */
  readonly clientAddresses: readonly string[];
  readonly role: "voter" | "learner";
  /** A learner that is to become a voter once it has caught up. */
  readonly promotable: boolean;
}

export interface Members {
  readonly members: readonly Member[];
  readonly leader: MemberId | undefined;
  /** Place in the log of the configuration: rises with each change. */
  readonly index: number;
}

/** Who leads. */
export interface Cluster {
  /**
   * Makes another member the leader: `to`, or the voter that is furthest. From any member; resolves once this node follows the new leader and
   * that has committed, at once where `to` leads already. The leader takes no writes meanwhile, for a few milliseconds if the target is well, for an election timeout if it is
   * not; they wait. REFUSED, with nothing changed, where there is no such voter, or it does not answer or lags; TIMEOUT (with `mayHaveApplied`)
   * where it did not take over; OVERLOADED beside 64 others.
   */
  moveLeader(to?: MemberId, options?: CallOptions): Promise<void>;
}

/** How the node that is asked stands. Needs no majority, and promises nothing of the others. */
export interface Status {
  /** Of this package. */
  readonly version: string;
  readonly clusterId: ClusterId;
  readonly memberId: MemberId;
  readonly role: "leader" | "follower" | "candidate" | "learner";
  /** As last heard. */
  readonly leader: MemberId | undefined;
  readonly term: number;
  readonly commitIndex: number;
  readonly lastApplied: number;
  /** The newest that this node has applied. */
  readonly revision: Revision;
  /** The first revision that can be read. */
  readonly compactRevision: Revision;
  readonly keys: number;
  /** Logical bytes of keys, values and history: what `limits.dataBytesMax` bounds. */
  readonly dataBytes: number;
  readonly dataBytesMax: number;
  /** Of this node's files: log, record store, snapshots. 0 where it has none. */
  readonly diskBytes: number;
  /** False: acknowledged writes may be lost with power (`unsafeNoFsync`, "memory:"). */
  readonly durable: boolean;
  /** "NOSPACE" while growth is refused. They clear themselves. */
  readonly alarms: readonly string[];
}

/** What the operator does with the data. */
export interface Maintenance {
  /** UNAVAILABLE where the node has failed. */
  status(options?: CallOptions): Promise<Status>;
  /**
   * From now on nothing below `revision` can be read or watched; the revision itself can. COMPACTED where that is so already, FUTURE_REVISION
   * beyond the present one. History is also compacted by itself: see the option `history`.
   */
  compact(revision: Revision, options?: CallOptions): Promise<void>;
  /**
   * Everything at one revision as checksummed bytes, which Engine.restore takes: `await pipeline(engine.maintenance.backup(), createWriteStream(file))`.
   * It begins with the call, with what this node has applied by then: all that this client has been told of by this node, whether or not there is a majority. For all that
   * was acknowledged anywhere, read a key first ("linearizable"). Writes go on meanwhile. May be iterated once; leaving the loop, or the signal, ends it. Held in memory are a
   * few pieces of 128 KiB, and what is overwritten meanwhile. OVERLOADED beside four others; TIMEOUT once nobody has asked for more in five minutes. `timeoutMs` is that of
   * the whole, by default none.
   */
  backup(options?: CallOptions): AsyncIterable<Bytes>;
  /**
   * A hash of all keys with their values, revisions, versions and leases as of `revision` (default: the newest that this node has applied): equal on
   * all members, whatever each holds of history. Made by the node that is asked alone; FUTURE_REVISION where it has not applied that yet, COMPACTED
   * where it is gone. It finds members that have parted, not forgery.
   */
  hash(options?: CallOptions & { readonly revision?: Revision }): Promise<HashResult>;
  /** Alarms clear themselves: this resolves where the alarm does not stand, and rejects with REFUSED while its cause lasts. */
  disarm(alarm: string, options?: CallOptions): Promise<void>;
}

export interface HashResult {
  /** 32 bits. */
  readonly hash: number;
  readonly revision: Revision;
  /** The first revision that can be read. */
  readonly compactRevision: Revision;
}

/** Safe to share; every method may be called from anywhere. */
export interface Client extends AsyncDisposable {
  get(key: Key, options?: ReadOptions): Promise<KeyValue | undefined>;
  /** As many answers as keys, in their order, all as of one revision. */
  getMany(keys: readonly Key[], options?: ReadOptions): Promise<readonly (KeyValue | undefined)[]>;
  /** One page, whole in memory. */
  range(range: KeyRange, options: RangeOptions & { readonly keysOnly: true }): Promise<RangeResult<KeyMeta>>;
  range(range: KeyRange, options?: RangeOptions): Promise<RangeResult>;
  count(range: KeyRange, options?: ReadOptions): Promise<number>;
  /** All of it, in bounded memory. */
  scan(range: KeyRange, options: Omit<RangeOptions, "sortBy"> & { readonly keysOnly: true }): Scan<KeyMeta>;
  scan(range: KeyRange, options?: Omit<RangeOptions, "sortBy">): Scan;

  put(key: Key, value: Value, options?: PutOptions): Promise<PutResult>;
  /** Keeps the value that is there. NOT_FOUND where there is no such key. */
  put(key: Key, value: undefined, options: PutOptions & { readonly ignoreValue: true }): Promise<PutResult>;
  delete(target: Target, options?: DeleteOptions): Promise<DeleteResult>;
  /** `expected` undefined: the key must be absent. */
  compareAndSwap(
    key: Key,
    expected: Value | undefined,
    value: Value,
    options?: Pick<PutOptions, "lease" | "ttlMs" | "signal" | "timeoutMs">,
  ): Promise<boolean>;

  /**
   * Reads, changes, and writes if nobody else did; else again, with what is there then. `undefined` from `change` leaves the key as it is,
   * and is the answer. TIMEOUT covers all tries together; what `change` throws is thrown.
   */
  update(
    key: Key,
    change: (current: KeyValue | undefined) => Value | undefined | Promise<Value | undefined>,
    options?: PutOptions,
  ): Promise<PutResult | undefined>;
  /**
   * If every comparison holds, the operations of `success`, else those of `failure`: all of them, at one revision, or none. A transaction that
   * only gets and ranges is a linearizable read at one revision.
   */
  txn<const S extends readonly Op[] = readonly [], const F extends readonly Op[] = readonly []>(
    txn: Txn<S, F>,
    options?: CallOptions,
  ): Promise<TxnResult<S, F>>;

  watch(target: Target, options?: WatchOptions): Watch;

  /** Keys that are put with it go when it goes. Kept alive until it is closed, revoked or abandoned. */
  lease(options: LeaseOptions): Promise<Lease>;
  readonly leases: Leases;
  readonly maintenance: Maintenance;
  readonly cluster: Cluster;

  members(options?: CallOptions): Promise<Members>;
  /** The present members first, then each committed change. Latest value wins. */
  watchMembers(options?: { readonly signal?: AbortSignal }): AsyncIterable<Members>;

  /** Settles always, within closeTimeoutMs. Calls in flight reject with CLOSED and say whether they may have applied. Idempotent. */
  close(): Promise<void>;
}
