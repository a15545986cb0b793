/**
 * What a user of the data does: the one interface of the embedded engine, and of every client that is to come.
 *
 * Numbers: revisions, versions and terms are `number`. Ids are strings of lower-case hex. Durations are milliseconds and end in `Ms`.
 * Keys and values go in as text or bytes and come out as bytes; text is asked for, and refused where the bytes are not UTF-8.
 * Missing is `undefined`. A property that is present but undefined is refused where it selects data.
 */
import type { Consistency } from "../node/boundary.ts";

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
  /** The key goes after this time unless it is written again. */
  readonly ttlMs?: number;
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

/** All events of one revision arrive in one batch, in the order of the operations. */
export type WatchBatch =
  | { readonly kind: "events"; readonly revision: Revision; readonly events: readonly WatchEvent[] }
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

export interface Member {
  readonly id: MemberId;
  readonly name: string;
  /** Where other members reach it; empty for a cluster of one that listens nowhere. */
  readonly peerAddress: string;
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
  delete(target: Target, options?: DeleteOptions): Promise<DeleteResult>;
  /** `expected` undefined: the key must be absent. */
  compareAndSwap(
    key: Key,
    expected: Value | undefined,
    value: Value,
    options?: Pick<PutOptions, "ttlMs" | "signal" | "timeoutMs">,
  ): Promise<boolean>;

  watch(target: Target, options?: WatchOptions): Watch;

  members(options?: CallOptions): Promise<Members>;
  /** The present members first, then each committed change. Latest value wins. */
  watchMembers(options?: { readonly signal?: AbortSignal }): AsyncIterable<Members>;

  /** Settles always, within closeTimeoutMs. Calls in flight reject with CLOSED and say whether they may have applied. Idempotent. */
  close(): Promise<void>;
}
