/** The embedded engine: a running node, and the client of its cluster. */
import { AsyncResource } from "node:async_hooks";
import { SharedTableReader } from "../core/kv/shared-reader.ts";
import type { RangeRequest } from "../core/kv/read.ts";
import type { KeyInterval } from "../core/kv/table.ts";
import { EngineError, fromWire, invalidArgument, type AnyEngineError } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import {
  SHARED_APPLIED_INDEX,
  SHARED_COMMIT_INDEX,
  SHARED_LEASE_UNTIL,
  SHARED_OPEN,
  SHARED_WALL_OFFSET,
  type FromNode,
  type MembersState,
  type NodePort,
  type NodeStatus,
} from "../node/boundary.ts";
import {
  checkChoice,
  checkFlag,
  checkNumber,
  checkOptions,
  checkSignal,
  checkTimeout,
  isKey,
  toBytes,
  toInterval,
  toKey,
  toTargetInterval,
  toValue,
  writeKey,
  writtenKey,
} from "./arguments.ts";
import { forgetAbort, onAbortOf } from "./abort-listeners.ts";
import { Calls, packingError, type RangeReply, type WriteWaiter } from "./calls.ts";
import type { CommandBatch } from "../core/kv/command.ts";
import type { ResultReader } from "../core/kv/result.ts";
import type {
  CallOptions,
  Client,
  ClusterId,
  Consistency,
  DeleteOptions,
  DeleteResult,
  Key,
  KeyMeta,
  KeyRange,
  KeyValue,
  MemberId,
  Members,
  PutOptions,
  PutResult,
  RangeOptions,
  RangeResult,
  ReadOptions,
  Scan,
  Target,
  Value,
  Watch,
  WatchOptions,
} from "./client.ts";
import { createKeyMeta, createKeyValue, createKeyValueOf } from "./key-value.ts";
import { LatestValue } from "./latest-value.ts";
import { LocalScan } from "./local-scan.ts";
import { LocalWatch, WATCH_CREDIT_BYTES, WATCH_CREDIT_BYTES_MIN, WATCHES_CREDIT_BYTES } from "./local-watch.ts";
import { decodeKv } from "../core/kv/result.ts";
import type { EngineSettings, LogRecord } from "./engine-options.ts";

export interface LeaderInfo {
  readonly id: MemberId;
  readonly term: number;
  readonly clientAddresses: readonly string[];
}

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

/** Tries of a read in shared memory before it goes the long way are the reader's; this is how far clocks may part before a suspension is assumed. */
const SUSPENSION_MS = 50;
const SCAN_PAGE_BYTES: number = 256 << 10;
/** Of closeTimeoutMs: what is kept for ending a thread that has not ended by itself. */
const TERMINATE_MS_MAX = 250;

const CALL_OPTIONS = ["signal", "timeoutMs"];
const READ_OPTIONS = [...CALL_OPTIONS, "consistency", "revision", "minRevision"];
const KNOWN = {
  call: new Set(CALL_OPTIONS),
  read: new Set(READ_OPTIONS),
  range: new Set([
    ...READ_OPTIONS,
    "limit",
    "sortBy",
    "order",
    "keysOnly",
    "minModRevision",
    "maxModRevision",
    "minCreateRevision",
    "maxCreateRevision",
  ]),
  scan: new Set([
    ...READ_OPTIONS,
    "limit",
    "order",
    "keysOnly",
    "minModRevision",
    "maxModRevision",
    "minCreateRevision",
    "maxCreateRevision",
  ]),
  put: new Set([...CALL_OPTIONS, "ttlMs", "prevKv"]),
  delete: new Set([...CALL_OPTIONS, "prevKv"]),
  swap: new Set([...CALL_OPTIONS, "ttlMs"]),
  watch: new Set(["fromRevision", "initial", "prevKv", "only", "onGap", "progressMs", "signal"]),
};

/** Waits for a node's first word. Rejects as Engine.open does. */
export function openLocalEngine(port: NodePort, clock: Clock, settings: EngineSettings): Promise<LocalEngine> {
  return new Promise((resolve, reject) => {
    let engine: LocalEngine | undefined;
    let failed = false;
    port.onMessages((messages) => {
      for (const message of messages) {
        if (engine !== undefined) engine.receive(message);
        else if (message.kind === "opened") {
          engine = new LocalEngine(port, clock, settings, message);
          resolve(engine);
        } else if (message.kind === "openFailed") {
          failed = true;
          const error = fromWire(message.error);
          port.terminate().then(
            () => reject(error),
            () => reject(error),
          );
        }
      }
    });
    port.onGone((reason) => {
      if (engine !== undefined) engine.onGone(reason);
      else if (!failed)
        reject(
          new EngineError("INTERNAL", `the node's thread ended while it was opening: ${reason ?? "without a reason"}`, {
            invariant: "a node's thread outlives its opening",
          }),
        );
    });
  });
}

export class LocalEngine implements Engine {
  readonly name: string;
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  readonly #port: NodePort;
  readonly #clock: Clock;
  readonly #settings: EngineSettings;
  readonly #calls: Calls;
  readonly #watches = new Map<number, LocalWatch>();
  readonly #state: LatestValue<EngineState>;
  readonly #leader: LatestValue<LeaderInfo | undefined>;
  readonly #members: LatestValue<Members>;
  readonly #opener = new AsyncResource("d-engine");
  #status: NodeStatus;
  #shared: SharedTableReader;
  #closing: Promise<void> | undefined;
  #onClosed: (() => void) | undefined;
  #gone = false;

  constructor(port: NodePort, clock: Clock, settings: EngineSettings, opened: FromNode & { readonly kind: "opened" }) {
    const { status } = opened;
    this.#port = port;
    this.#clock = clock;
    this.#settings = settings;
    this.#status = status;
    this.name = status.name;
    this.memberId = status.memberId;
    this.clusterId = status.clusterId;
    this.#shared = new SharedTableReader(opened.shared);
    this.#state = new LatestValue(stateOf(status));
    this.#leader = new LatestValue(leaderOf(status));
    this.#members = new LatestValue<Members>(membersOf(status.members));
    this.#calls = new Calls({
      clock,
      pendingCallsMax: settings.pendingCallsMax,
      requestBytesMax: settings.requestBytesMax,
      post: (messages) => port.post(messages),
    });
    this.#log("info", "opened", {
      name: status.name,
      member: status.memberId,
      cluster: status.clusterId,
      durable: status.durable,
      ...(status.listening === undefined ? {} : { listening: status.listening }),
    });
  }

  // -------------------------------------------------------------------------------------------------------- from the node

  receive(message: FromNode): void {
    switch (message.kind) {
      case "status":
        return this.#onStatus(message.status);
      case "shared":
        this.#shared = new SharedTableReader(message.shared);
        return;
      case "sharedGrowth":
        this.#shared.add(message.growth);
        return;
      case "watching":
        this.#watches.get(message.watch)?.onRegistered(message.revision);
        return;
      case "watched":
        this.#watches.get(message.watch)?.onWatched(message);
        return;
      case "closed":
        this.#onClosed?.();
        return;
      case "failed":
        if (!this.#calls.receive(message)) this.#watches.get(message.call)?.onRefused(message.error);
        return;
      default:
        this.#calls.receive(message);
    }
  }

  #onStatus(status: NodeStatus): void {
    const before = this.#status;
    this.#status = status;
    if (this.#closing === undefined || status.state.kind === "closed") {
      if (before.state.kind !== status.state.kind) {
        this.#state.set(stateOf(status));
        this.#log(
          status.state.kind === "failed" ? "error" : status.state.kind === "noQuorum" ? "warn" : "info",
          `state ${status.state.kind}`,
          {
            ...(status.state.kind === "failed" ? { code: status.state.error.code, reason: status.state.error.message } : {}),
          },
        );
        if (status.state.kind === "failed") {
          // It will never tell them anything again.
          const cause = fromWire(status.state.error);
          this.#endStreams(new EngineError("CLOSED", `the node has failed: ${cause.message}`, {}, { cause }));
        }
      }
    }
    if (before.leader !== status.leader || (status.leader !== undefined && before.term !== status.term)) {
      this.#leader.set(leaderOf(status));
      this.#log("info", status.leader === undefined ? "no leader" : "leader", {
        term: status.term,
        leader: status.leader ?? "",
        self: status.leader === this.memberId,
      });
    }
    if (before.members.index !== status.members.index) this.#members.set(membersOf(status.members));
  }

  onGone(reason: string | undefined): void {
    this.#gone = true;
    this.#onClosed?.();
    if (this.#closing !== undefined) return;
    const error = new EngineError("INTERNAL", `the node's thread ended: ${reason ?? "without a reason"}`, {
      invariant: "a node's thread ends when it is closed",
    });
    this.#log("error", "the node's thread ended", { reason: reason ?? "" });
    this.#state.set({ kind: "failed", error: error as AnyEngineError });
    this.#calls.end(
      (mayHaveApplied) => new EngineError("UNAVAILABLE", error.message, { reason: "failed" }, { mayHaveApplied, cause: error }),
    );
    this.#endStreams(new EngineError("CLOSED", error.message, {}, { cause: error }));
  }

  #log(level: LogRecord["level"], message: string, fields: LogRecord["fields"]): void {
    const { log } = this.#settings;
    if (log === undefined) return;
    try {
      // In the context of whoever opened the engine, not of the call whose answer happened to arrive.
      const result: unknown = this.#opener.runInAsyncScope(log, undefined, { level, message, fields });
      if (result instanceof Promise) result.catch(() => {}); // One that rejects must not end the process either.
    } catch {
      // A logger that throws must not stop the engine.
    }
  }

  // ---------------------------------------------------------------------------------------------------------------- reads

  get(key: Key, options?: ReadOptions): Promise<KeyValue | undefined> {
    try {
      if (options === undefined) return this.#get(key, this.#settings.consistency, 0, this.#settings.timeoutMs, undefined);
      const { consistency, minRevision, timeoutMs } = this.#checkRead(options, KNOWN.read);
      if (options.revision !== undefined) return this.#getAt(key, options);
      return this.#get(key, consistency, minRevision, timeoutMs, options.signal);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  #get(
    key: Key,
    consistency: Consistency,
    minRevision: number,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<KeyValue | undefined> {
    if (consistency !== "linearizable" && this.#mayReadShared(consistency, minRevision)) {
      const written = writeKey(key);
      const sharedKey = written > 0 ? writtenKey : toKey(key);
      const hit = this.#shared.get(sharedKey, written > 0 ? written : sharedKey.byteLength);
      if (hit === undefined) return Promise.resolve(undefined);
      if (hit !== "retry") return Promise.resolve(createKeyValueOf(typeof key === "string" ? key : new Uint8Array(sharedKey), hit));
    }
    const bytes = toKey(key);
    return this.#abortable(signal, false, (resolve, reject) => {
      this.#calls.read(
        bytes,
        { consistency, minRevision, timeoutMs },
        {
          take: (kv) => resolve(kv === undefined ? undefined : createKeyValue(kv)),
          reject,
        },
      );
    });
  }

  /**
   * Whether this thread may answer from shared memory. The clock is read first: if the lease held then, everything acknowledged before that
   * moment is committed here, and the two indexes, read after it, say that it is applied too. The distance of the clocks is read before the
   * lease, since the node writes it behind it: whoever sees the distance of after a suspension sees the lease of after it.
   */
  #mayReadShared(consistency: Consistency, minRevision: number): boolean {
    const shared = this.#shared;
    if (this.#closing !== undefined || this.#gone) return false;
    if (consistency === "lease") {
      const now = this.#clock.now();
      // The monotonic clock stands still while the machine is suspended; leases elsewhere do not. What is no number holds nothing.
      if (!(Math.abs(this.#clock.wallNow() - now - shared.shared(SHARED_WALL_OFFSET)) <= SUSPENSION_MS)) return false;
      if (!(now < shared.shared(SHARED_LEASE_UNTIL))) return false;
      if (!(shared.shared(SHARED_APPLIED_INDEX) >= shared.shared(SHARED_COMMIT_INDEX))) return false;
    }
    return shared.shared(SHARED_OPEN) === 1 && (minRevision === 0 || shared.published() >= minRevision);
  }

  async #getAt(key: Key, options: ReadOptions): Promise<KeyValue | undefined> {
    const reply = await this.#range(toTargetInterval(key), { ...options, limit: 1 }, false);
    return reply.returned === 0 ? undefined : createKeyValue(decodeKv(reply.kvs, 0));
  }

  async getMany(keys: readonly Key[], options: ReadOptions = {}): Promise<readonly (KeyValue | undefined)[]> {
    const read = this.#checkRead(options, KNOWN.read);
    if (!Array.isArray(keys)) throw invalidArgument("keys", "an array of keys is wanted");
    if (keys.length === 0) return [];
    if (options.revision !== undefined) return Promise.all(keys.map((key) => this.#getAt(key, options)));
    const bytes = Array.from(keys, (key) => new Uint8Array(toKey(key as Key)));
    const { call, answers } = this.#calls.readMany(bytes, read);
    const kvs = await this.#cancellable(options.signal, call, answers);
    return kvs.map((kv) => (kv === undefined ? undefined : createKeyValue(kv)));
  }

  range(range: KeyRange, options: RangeOptions & { readonly keysOnly: true }): Promise<RangeResult<KeyMeta>>;
  range(range: KeyRange, options?: RangeOptions): Promise<RangeResult>;
  async range(range: KeyRange, options: RangeOptions = {}): Promise<RangeResult> {
    checkOptions(options, KNOWN.range, "options");
    const interval = toInterval(range);
    const reply = await this.#range(interval, options, false);
    const make = options.keysOnly === true ? createKeyMeta : createKeyValue;
    const kvs: KeyMeta[] = [];
    let offset = 0;
    for (let i = 0; i < reply.returned; i++) {
      const kv = decodeKv(reply.kvs, offset);
      offset = kv.next;
      kvs.push(make(kv));
    }
    return { kvs: kvs as KeyValue[], more: reply.more, count: reply.count, revision: reply.revision };
  }

  async count(range: KeyRange, options: ReadOptions = {}): Promise<number> {
    checkOptions(options, KNOWN.read, "options");
    const reply = await this.#range(toInterval(range), options, true);
    return reply.count;
  }

  #range(interval: KeyInterval, options: RangeOptions, countOnly: boolean): Promise<RangeReply> {
    const { consistency, minRevision, timeoutMs } = this.#checkRead(options, KNOWN.range);
    const { call, reply } = this.#calls.range({
      request: rangeRequest(interval, options, countOnly),
      bytesMax: 0,
      consistency,
      minRevision,
      pin: false,
      pinned: 0,
      timeoutMs,
    });
    return this.#cancellable(options.signal, call, reply);
  }

  scan(range: KeyRange, options: Omit<RangeOptions, "sortBy"> & { readonly keysOnly: true }): Scan<KeyMeta>;
  scan(range: KeyRange, options?: Omit<RangeOptions, "sortBy">): Scan;
  scan(range: KeyRange, options: Omit<RangeOptions, "sortBy"> = {}): Scan {
    checkOptions(options, KNOWN.scan, "options");
    const { consistency, minRevision, timeoutMs } = this.#checkRead(options, KNOWN.scan);
    const interval = toInterval(range);
    const descending = options.order === "descending";
    return new LocalScan<KeyValue>({
      limit: options.limit ?? 0,
      signal: options.signal,
      make: (kv) => (options.keysOnly === true ? createKeyMeta(kv) : createKeyValue(kv)) as KeyValue,
      unpin: (call) => this.#calls.tell({ kind: "unpin", call }),
      page: (behind, limit) => {
        try {
          const rest =
            behind === undefined
              ? interval
              : descending
                ? { start: interval.start, end: behind.after }
                : { start: successor(behind.after), end: interval.end };
          const { call, reply } = this.#calls.range({
            request: { ...rangeRequest(rest, options, false), limit, ...(behind === undefined ? {} : { revision: behind.first.revision }) },
            bytesMax: SCAN_PAGE_BYTES,
            // The first page fixed the revision; it is there on this node from then on.
            consistency: behind === undefined ? consistency : "eventual",
            minRevision: behind === undefined ? minRevision : 0,
            pin: behind === undefined,
            pinned: behind?.first.call ?? 0,
            timeoutMs,
          });
          return this.#cancellable(options.signal, call, reply);
        } catch (error) {
          return Promise.reject(error as Error);
        }
      },
    });
  }

  #checkRead(
    options: ReadOptions,
    known: ReadonlySet<string>,
  ): { readonly consistency: Consistency; readonly minRevision: number; readonly timeoutMs: number } {
    checkOptions(options, known, "options");
    const { consistency, revision, minRevision, timeoutMs, signal } = options;
    const settings = this.#settings;
    checkChoice(consistency, "consistency", ["linearizable", "lease", "eventual"]);
    if (consistency !== undefined && consistency !== settings.consistency && !settings.allowConsistencyOverride) {
      throw invalidArgument(
        "consistency",
        `this engine answers every read as "${settings.consistency}" (allowConsistencyOverride is false)`,
      );
    }
    checkNumber(revision, "revision", { min: 1 });
    checkNumber(minRevision, "minRevision", { min: 0 });
    return { consistency: consistency ?? settings.consistency, minRevision: minRevision ?? 0, timeoutMs: this.#timeout(timeoutMs, signal) };
  }

  #timeout(timeoutMs: number | undefined, signal: AbortSignal | undefined): number {
    checkTimeout(timeoutMs);
    checkSignal(signal);
    if (signal?.aborted === true) throw aborted(signal, false);
    const chosen = timeoutMs ?? this.#settings.timeoutMs;
    return chosen === Number.POSITIVE_INFINITY ? Number.MAX_SAFE_INTEGER : chosen;
  }

  // --------------------------------------------------------------------------------------------------------------- writes

  put(key: Key, value: Value, options?: PutOptions): Promise<PutResult> {
    try {
      if (options !== undefined) return this.#putWith(key, value, options);
      const keyBytes = toKey(key);
      const valueBytes = toValue(value);
      this.#calls.writes(this.#settings.timeoutMs).put(keyBytes, valueBytes);
      const waiter = new PutWaiter();
      this.#calls.wrote(waiter);
      return waiter.promise;
    } catch (error) {
      return Promise.reject(packingError(error) as Error);
    }
  }

  #putWith(key: Key, value: Value, options: PutOptions): Promise<PutResult> {
    try {
      checkOptions(options, KNOWN.put, "options");
      // Read once, and before the key: a property may be a function that calls this engine.
      const { ttlMs, prevKv, signal } = options;
      const timeoutMs = this.#timeout(options.timeoutMs, signal);
      const keyBytes = toKey(key);
      const valueBytes = toValue(value);
      return this.#abortable(signal, true, (resolve, reject) => {
        this.#write(timeoutMs, (batch) => batch.put(keyBytes, valueBytes, { ttlMs, prevKv }), {
          take: (reader) => resolve(putResult(reader)),
          reject,
        });
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  #write(timeoutMs: number, add: (batch: CommandBatch) => void, waiter: WriteWaiter): void {
    try {
      add(this.#calls.writes(timeoutMs));
    } catch (error) {
      throw packingError(error);
    }
    this.#calls.wrote(waiter);
  }

  delete(target: Target, options: DeleteOptions = {}): Promise<DeleteResult> {
    try {
      checkOptions(options, KNOWN.delete, "options");
      const { prevKv, signal } = options;
      const timeoutMs = this.#timeout(options.timeoutMs, signal);
      const interval = isKey(target) ? undefined : toInterval(target);
      const key = isKey(target) ? toKey(target) : undefined;
      return this.#abortable(signal, true, (resolve, reject) => {
        this.#write(
          timeoutMs,
          (batch) => {
            if (key !== undefined) batch.deleteKey(key, { prevKv });
            else batch.deleteRange(interval!, { prevKv });
          },
          {
            take: (reader) => {
              const { deleted, revision } = reader;
              if (reader.cut) {
                reject(
                  new EngineError(
                    "OVERLOADED",
                    `${deleted} keys were deleted at revision ${revision}, but their previous values exceed what one answer may hold`,
                    { limit: "answerBytes", max: 64 << 20, retryAfterMs: 0 },
                    { mayHaveApplied: true },
                  ),
                );
              } else resolve({ deleted, revision, prevKvs: reader.prevKvs().map(createKeyValue) });
            },
            reject,
          },
        );
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  compareAndSwap(
    key: Key,
    expected: Value | undefined,
    value: Value,
    options: Pick<PutOptions, "ttlMs" | "signal" | "timeoutMs"> = {},
  ): Promise<boolean> {
    try {
      checkOptions(options, KNOWN.swap, "options");
      const { ttlMs, signal } = options;
      const timeoutMs = this.#timeout(options.timeoutMs, signal);
      const keyBytes = toKey(key);
      const expectedBytes = expected === undefined ? undefined : toBytes(expected, "expected");
      const valueBytes = toValue(value);
      return this.#abortable(signal, true, (resolve, reject) => {
        this.#write(timeoutMs, (batch) => batch.compareAndSwap(keyBytes, expectedBytes, valueBytes, { ttlMs }), {
          take: (reader) => resolve(reader.succeeded),
          reject,
        });
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /** A promise that its signal rejects. The call goes on in its batch; its answer is not heard. */
  #abortable<T>(
    signal: AbortSignal | undefined,
    isWrite: boolean,
    start: (resolve: (value: T) => void, reject: (error: EngineError) => void) => void,
  ): Promise<T> {
    if (signal === undefined) return new Promise<T>(start);
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => reject(aborted(signal, isWrite));
      const settle = (): void => forgetAbort(signal, onAbort);
      start(
        (value) => {
          settle();
          resolve(value);
        },
        (error) => {
          settle();
          reject(error);
        },
      );
      onAbortOf(signal, onAbort);
    });
  }

  #cancellable<T>(signal: AbortSignal | undefined, call: number, reply: Promise<T>): Promise<T> {
    if (signal === undefined) return reply;
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => {
        this.#calls.cancel(call);
        reject(aborted(signal, false));
      };
      const settle = (): void => forgetAbort(signal, onAbort);
      reply.then(resolve, reject).finally(settle);
      onAbortOf(signal, onAbort);
    });
  }

  // ---------------------------------------------------------------------------------------------------------------- watch

  watch(target: Target, options: WatchOptions = {}): Watch {
    checkOptions(options, KNOWN.watch, "options");
    const { fromRevision, initial = false, prevKv = false, only, onGap = "throw", progressMs = 10_000, signal } = options;
    checkNumber(fromRevision, "fromRevision", { min: 1 });
    checkNumber(progressMs, "progressMs", { min: 0, integer: false });
    checkChoice(only, "only", ["puts", "deletes"]);
    checkChoice(onGap, "onGap", ["throw", "reset"]);
    checkFlag(initial, "initial");
    checkFlag(prevKv, "prevKv");
    checkSignal(signal);
    if (initial && fromRevision !== undefined)
      throw invalidArgument("initial", "a watch begins with what is there now, or at a past revision, not both");
    const interval = toTargetInterval(target);
    const id = this.#calls.newId();
    const watch = new LocalWatch({
      id,
      creditBytes: Math.min(
        WATCH_CREDIT_BYTES,
        Math.max(WATCH_CREDIT_BYTES_MIN, Math.floor(WATCHES_CREDIT_BYTES / (this.#watches.size + 1))),
      ),
      signal,
      tell: (message) => this.#calls.tell(message),
      onClosed: (closed) => this.#watches.delete(closed),
    });
    if (signal?.aborted === true) return watch;
    if (this.#closing !== undefined || this.#gone) {
      watch.end(new EngineError("CLOSED", "the engine is closed", {}));
      return watch;
    }
    this.#watches.set(id, watch);
    this.#calls.tell({
      kind: "watch",
      watch: id,
      interval,
      fromRevision,
      initial,
      prevKv,
      only,
      onGap,
      progressMs,
      creditBytes: watch.creditBytes,
    });
    return watch;
  }

  // -------------------------------------------------------------------------------------------------------------- members

  async members(options: CallOptions = {}): Promise<Members> {
    checkOptions(options, KNOWN.call, "options");
    const { call, reply } = this.#calls.members(this.#timeout(options.timeoutMs, options.signal));
    return membersOf(await this.#cancellable(options.signal, call, reply));
  }

  watchMembers(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<Members> {
    return this.#members.follow(options.signal);
  }

  get state(): EngineState {
    return this.#state.value;
  }

  stateChanges(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<EngineState> {
    return this.#state.follow(options.signal);
  }

  async waitReady(options: CallOptions = {}): Promise<LeaderInfo> {
    checkOptions(options, KNOWN.call, "options");
    const timeoutMs = this.#timeout(options.timeoutMs, options.signal);
    const ended = new AbortController();
    const timer = timeoutMs === Number.MAX_SAFE_INTEGER ? undefined : this.#clock.setTimer(timeoutMs, () => ended.abort("timeout"));
    const onAbort = (): void => ended.abort("signal");
    if (options.signal !== undefined) onAbortOf(options.signal, onAbort);
    try {
      for await (const state of this.#state.follow(ended.signal)) {
        const leader = this.leader();
        if (state.kind === "ready" && leader !== undefined) return leader;
        if (state.kind === "failed")
          throw new EngineError(
            "UNAVAILABLE",
            `this node has failed: ${state.error.message}`,
            { reason: "failed" },
            { cause: state.error },
          );
        if (state.kind === "removed") throw new EngineError("UNAVAILABLE", "this node was removed from the cluster", { reason: "removed" });
        if (state.kind === "closed") break;
      }
      if (options.signal?.aborted === true) throw aborted(options.signal, false);
      if (ended.signal.aborted)
        throw new EngineError("TIMEOUT", `no leader was ready within ${timeoutMs} ms`, { timeoutMs, waitedFor: "leader" });
      throw new EngineError("CLOSED", "the engine is closed", {});
    } finally {
      timer?.cancel();
      if (options.signal !== undefined) forgetAbort(options.signal, onAbort);
    }
  }

  isLeader(): boolean {
    return this.#status.role === "leader" && this.state.kind === "ready";
  }

  leader(): LeaderInfo | undefined {
    return this.#leader.value;
  }

  leaderChanges(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<LeaderInfo | undefined> {
    return this.#leader.follow(options.signal);
  }

  health(): { readonly live: boolean; readonly ready: boolean; readonly reasons: readonly string[] } {
    const { state } = this;
    const ready = state.kind === "ready";
    const live = state.kind !== "failed" && state.kind !== "closed";
    const reasons = ready
      ? []
      : state.kind === "failed"
        ? [`failed: ${state.error.code} ${state.error.message}`]
        : state.kind === "starting"
          ? [`starting: ${state.phase}`]
          : [state.kind];
    return { live, ready, reasons };
  }

  ref(): this {
    this.#port.ref();
    return this;
  }

  unref(): this {
    this.#port.unref();
    return this;
  }

  // --------------------------------------------------------------------------------------------------------------- ending

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { closeTimeoutMs } = this.#settings;
    // What this tick still holds leaves before the end does.
    this.#calls.flush();
    this.#calls.refuse(new EngineError("CLOSED", "the engine is closed", {}));
    this.#port.ref();
    const closeBy = this.#clock.now() + closeTimeoutMs;
    const waitMs = closeTimeoutMs - Math.min(TERMINATE_MS_MAX, closeTimeoutMs / 4);
    if (!this.#gone) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimer(waitMs, resolve);
        this.#onClosed = () => {
          timer.cancel();
          resolve();
        };
        this.#port.post([{ kind: "close", timeoutMs: waitMs }]);
      });
    }
    this.#calls.end(
      (mayHaveApplied) =>
        new EngineError(
          "CLOSED",
          mayHaveApplied ? "closed while the write was under way: it may have been applied" : "the engine is closed",
          {},
          { mayHaveApplied },
        ),
    );
    this.#endStreams(new EngineError("CLOSED", "the engine is closed", {}));
    if (this.#state.value.kind !== "closed") this.#state.set({ kind: "closed" });
    this.#state.end();
    this.#leader.end();
    this.#members.end();
    // A disk that hangs in the operating system hangs the threads that wait for it, and whoever waits for those.
    const terminated = this.#port.terminate();
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimer(Math.max(0, closeBy - this.#clock.now()), resolve);
      const end = (): void => {
        timer.cancel();
        resolve();
      };
      terminated.then(end, end);
    });
    this.#log("info", "closed", {});
  }

  #endStreams(error: EngineError): void {
    for (const watch of [...this.#watches.values()]) watch.end(error);
  }
}

/** One put's promise, made without a function of its own: a process makes a million of them. */
class PutWaiter implements WriteWaiter {
  readonly promise: Promise<PutResult> = new Promise<PutResult>(capture);
  private readonly resolve: (result: PutResult) => void = capturedResolve;
  readonly reject: (error: EngineError) => void = capturedReject;

  take(reader: ResultReader): void {
    this.resolve(putResult(reader));
  }
}

let capturedResolve!: (result: PutResult) => void;
let capturedReject!: (error: EngineError) => void;
const capture = (resolve: (result: PutResult) => void, reject: (error: EngineError) => void): void => {
  capturedResolve = resolve;
  capturedReject = reject;
};

function putResult(reader: ResultReader): PutResult {
  const prevKv = reader.prevKv();
  return { revision: reader.revision, prevKv: prevKv === undefined ? undefined : createKeyValue(prevKv) };
}

function rangeRequest(interval: KeyInterval, options: RangeOptions, countOnly: boolean): RangeRequest {
  const { limit, order, sortBy, keysOnly, revision, minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = options;
  checkNumber(limit, "limit", { min: 0 });
  checkChoice(order, "order", ["ascending", "descending"]);
  checkChoice(sortBy, "sortBy", ["key", "version", "createRevision", "modRevision", "value"]);
  for (const [argument, value] of Object.entries({ minModRevision, maxModRevision, minCreateRevision, maxCreateRevision }))
    checkNumber(value, argument, { min: 0 });
  return {
    interval,
    limit: limit ?? 0,
    order: order ?? "ascending",
    sortBy: sortBy ?? "key",
    keysOnly: keysOnly ?? false,
    countOnly,
    revision,
    minModRevision,
    maxModRevision,
    minCreateRevision,
    maxCreateRevision,
  };
}

/** The first key behind `key`. */
function successor(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.byteLength + 1);
  next.set(key);
  return next;
}

function aborted(signal: AbortSignal, mayHaveApplied: boolean): EngineError {
  const reason: unknown = signal.reason;
  return new EngineError(
    "ABORTED",
    mayHaveApplied ? "aborted by its signal: the write may have been applied" : "aborted by its signal",
    { reason },
    { mayHaveApplied, cause: reason },
  );
}

function leaderOf(status: NodeStatus): LeaderInfo | undefined {
  const { leader, term, members } = status;
  if (leader === undefined) return undefined;
  return { id: leader, term, clientAddresses: members.members.find(({ id }) => id === leader)?.clientAddresses ?? [] };
}

function stateOf(status: NodeStatus): EngineState {
  const { state } = status;
  if (state.kind === "failed") return { kind: "failed", error: fromWire(state.error) as AnyEngineError };
  if (state.kind === "full") return { kind: "full", error: fromWire(state.error) as EngineError<"NO_SPACE"> };
  return state;
}

/** Members as callers see them. */
function membersOf({ members, leader, index }: MembersState): Members {
  return {
    members: members.map(({ id, name, peerAddress, clientAddresses, role, promotable }) => ({
      id,
      name,
      peerAddress,
      clientAddresses,
      role,
      promotable,
    })),
    leader,
    index,
  };
}
