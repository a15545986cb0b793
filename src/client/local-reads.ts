/**
 * Reads of the embedded engine: point reads, answered from shared memory where their consistency allows it and by the node otherwise; ranges,
 * counts and scans, always by the node.
 */
import { decodeKv } from "../core/kv/result.ts";
import type { SharedHit, SharedTableReader } from "../core/kv/shared-reader.ts";
import type { KeyInterval } from "../core/kv/table.ts";
import { invalidArgument } from "../errors.ts";
import { SHARED_APPLIED_INDEX, SHARED_COMMIT_INDEX, SHARED_LEASE_UNTIL, SHARED_OPEN, SHARED_WALL_OFFSET } from "../node/boundary.ts";
import { checkOptions, toInterval, toKey, writeKey, writtenKey } from "./arguments.ts";
import { READ_OPTIONS, type CallContext, type CheckedRead } from "./call-context.ts";
import type { RangeReply } from "./calls.ts";
import type { Consistency, Key, KeyMeta, KeyRange, KeyValue, RangeOptions, RangeResult, ReadOptions, Scan } from "./client.ts";
import { createKeyMeta, createKeyValue, createKeyValueOf } from "./key-value.ts";
import { LocalScan } from "./local-scan.ts";
import { rangeRequest } from "./range-request.ts";

/** Tries of a read in shared memory before it goes the long way are the reader's; this is how far clocks may part before a suspension is assumed. */
const SUSPENSION_MS = 50;

const FILTERS = ["minModRevision", "maxModRevision", "minCreateRevision", "maxCreateRevision"];
const KNOWN_READ: ReadonlySet<string> = new Set(READ_OPTIONS);
const KNOWN_SCAN: ReadonlySet<string> = new Set([...READ_OPTIONS, "limit", "order", "keysOnly", ...FILTERS]);
const KNOWN_RANGE: ReadonlySet<string> = new Set([...KNOWN_SCAN, "sortBy"]);

/** One for each engine. */
export class LocalReads {
  readonly #context: CallContext;
  /** The node's memory: another after a snapshot took the state's place. */
  shared: SharedTableReader;

  constructor(context: CallContext, shared: SharedTableReader) {
    this.#context = context;
    this.shared = shared;
  }

  get(key: Key, options?: ReadOptions): Promise<KeyValue | undefined> {
    try {
      const { settings } = this.#context;
      if (options === undefined) return this.#get(key, settings.consistency, 0, undefined, settings.timeoutMs, undefined);
      const read = this.#context.checkRead(options, KNOWN_READ);
      if (options.revision !== undefined) return this.#getAt(key, options.revision, read, options.signal);
      return this.#get(key, read.consistency, read.minRevision, read.stalenessMsMax, read.timeoutMs, options.signal);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  #get(
    key: Key,
    consistency: Consistency,
    minRevision: number,
    stalenessMsMax: number | undefined,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<KeyValue | undefined> {
    // How old this node's state may be, only the node can tell.
    if (consistency !== "linearizable" && stalenessMsMax === undefined && this.#mayReadShared(consistency, minRevision)) {
      const written = writeKey(key);
      const sharedKey = written > 0 ? writtenKey : toKey(key);
      const hit = this.shared.get(sharedKey, written > 0 ? written : sharedKey.byteLength);
      if (hit === undefined) return Promise.resolve(undefined);
      if (hit !== "retry") return Promise.resolve(createKeyValueOf(typeof key === "string" ? key : new Uint8Array(sharedKey), hit));
    }
    const bytes = toKey(key);
    return this.#context.abortable(signal, false, (resolve, reject) => {
      this.#context.calls.read(
        bytes,
        { consistency, minRevision, stalenessMsMax, timeoutMs },
        {
          take: (kv) => resolve(kv === undefined ? undefined : createKeyValue(kv)),
          reject,
        },
      );
    });
  }

  /** Of the log, as the node last told them; 0 if it was interrupted at that very moment. */
  indexes(): { readonly commitIndex: number; readonly appliedIndex: number } {
    const { shared } = this;
    return { commitIndex: shared.shared(SHARED_COMMIT_INDEX) || 0, appliedIndex: shared.shared(SHARED_APPLIED_INDEX) || 0 };
  }

  /** A point read from shared memory, for front ends; "retry": it must go the long way. */
  peek(key: Uint8Array, consistency: Consistency): SharedHit | undefined | "retry" {
    return this.#mayReadShared(consistency, 0) ? this.shared.get(key) : "retry";
  }

  /**
   * Whether this thread may answer from shared memory. The clock is read first: if the lease held then, everything acknowledged before that
   * moment is committed here, and the two indexes, read after it, say that it is applied too. The distance of the clocks is read before the
   * lease, since the node writes it behind it: whoever sees the distance of after a suspension sees the lease of after it.
   */
  #mayReadShared(consistency: Consistency, minRevision: number): boolean {
    const shared = this.shared;
    const { clock, ended } = this.#context;
    if (ended) return false;
    if (consistency === "lease") {
      const now = clock.now();
      // The monotonic clock stands still while the machine is suspended; leases elsewhere do not. What is no number holds nothing.
      if (!(Math.abs(clock.wallNow() - now - shared.shared(SHARED_WALL_OFFSET)) <= SUSPENSION_MS)) return false;
      if (!(now < shared.shared(SHARED_LEASE_UNTIL))) return false;
      if (!(shared.shared(SHARED_APPLIED_INDEX) >= shared.shared(SHARED_COMMIT_INDEX))) return false;
    }
    return shared.shared(SHARED_OPEN) === 1 && (minRevision === 0 || shared.published() >= minRevision);
  }

  async #getAt(key: Key, revision: number, read: CheckedRead, signal: AbortSignal | undefined): Promise<KeyValue | undefined> {
    const { call, answers } = this.#context.calls.readMany([toKey(key)], revision, read);
    const [kv] = await this.#context.cancellable(signal, call, answers);
    return kv === undefined ? undefined : createKeyValue(kv);
  }

  async getMany(keys: readonly Key[], options: ReadOptions = {}): Promise<readonly (KeyValue | undefined)[]> {
    const read = this.#context.checkRead(options, KNOWN_READ);
    if (!Array.isArray(keys)) throw invalidArgument("keys", "an array of keys is wanted");
    if (keys.length === 0) return [];
    const bytes = Array.from(keys, (key) => new Uint8Array(toKey(key as Key)));
    const { call, answers } = this.#context.calls.readMany(bytes, options.revision ?? 0, read);
    const kvs = await this.#context.cancellable(options.signal, call, answers);
    return kvs.map((kv) => (kv === undefined ? undefined : createKeyValue(kv)));
  }

  async range(range: KeyRange, options: RangeOptions = {}): Promise<RangeResult> {
    checkOptions(options, KNOWN_RANGE, "options");
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
    checkOptions(options, KNOWN_READ, "options");
    const reply = await this.#range(toInterval(range), options, true);
    return reply.count;
  }

  #range(interval: KeyInterval, options: RangeOptions, countOnly: boolean): Promise<RangeReply> {
    const read = this.#context.checkRead(options, KNOWN_RANGE);
    const request = rangeRequest(interval, options, countOnly);
    const { call, reply } = this.#context.calls.range({ request, bytesMax: 0, ...read, pin: false, pinned: 0 });
    return this.#context.cancellable(options.signal, call, reply);
  }

  scan(range: KeyRange, options: Omit<RangeOptions, "sortBy"> = {}): Scan {
    checkOptions(options, KNOWN_SCAN, "options");
    const { consistency, minRevision, stalenessMsMax, timeoutMs } = this.#context.checkRead(options, KNOWN_SCAN);
    const interval = toInterval(range);
    const descending = options.order === "descending";
    return new LocalScan<KeyValue>({
      limit: options.limit ?? 0,
      signal: options.signal,
      make: (kv) => (options.keysOnly === true ? createKeyMeta(kv) : createKeyValue(kv)) as KeyValue,
      unpin: (call) => this.#context.calls.tell({ kind: "unpin", call }),
      page: (behind, limit) => {
        try {
          const rest =
            behind === undefined
              ? interval
              : descending
                ? { start: interval.start, end: behind.after }
                : { start: successor(behind.after), end: interval.end };
          const { call, reply } = this.#context.calls.range({
            request: { ...rangeRequest(rest, options, false), limit, ...(behind === undefined ? {} : { revision: behind.first.revision }) },
            bytesMax: this.#context.settings.scanPageBytes,
            // The first page fixed the revision; it is there on this node from then on.
            consistency: behind === undefined ? consistency : "eventual",
            minRevision: behind === undefined ? minRevision : 0,
            stalenessMsMax: behind === undefined ? stalenessMsMax : undefined,
            pin: behind === undefined,
            pinned: behind?.first.call ?? 0,
            timeoutMs,
          });
          return this.#context.cancellable(options.signal, call, reply);
        } catch (error) {
          return Promise.reject(error as Error);
        }
      },
    });
  }
}

/** The first key behind `key`. */
function successor(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.byteLength + 1);
  next.set(key);
  return next;
}
