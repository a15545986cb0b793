/**
 * What the applications of a simulated cluster do: clients beside each node that write, read and watch a few keys, and keep a record of
 * every call and answer for the checkers. Values are unique, so that each tells which write it came from.
 */
import type { Client, KeyValue, Watch, WatchEvent } from "../client/client.ts";
import { EngineError } from "../errors.ts";
import type { Operation, OperationBody, ReadValue } from "./history.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimScheduler } from "./sim-scheduler.ts";
import type { WatchedBatch, WatchRecord } from "./watch-checker.ts";

export interface WorkloadOptions {
  readonly clientsPerNode: number;
  /** Between an answer and the next call of one client, on average. */
  readonly thinkMs: number;
  readonly keys: number;
  /** Shares of the calls; the rest reads. */
  readonly writeShare: number;
  readonly ttlShare: number;
  readonly leaseReadShare: number;
  readonly eventualReadShare: number;
  /** The share of values that are padded to about this many bytes. */
  readonly bigShare: number;
  readonly bigBytes: number;
  readonly timeoutMs: number;
  readonly watchesPerNode: number;
}

/** Keys that expire have a prefix of their own: the cross-check by key leaves them out. */
export const TTL_PREFIX = "ttl/";
const KEY_PREFIX = "key/";
const WATCHED: readonly string[] = [KEY_PREFIX, KEY_PREFIX, TTL_PREFIX, `${KEY_PREFIX}1`];

/** Where clients run. */
export interface WorkloadNode {
  readonly name: string;
  readonly boot: number;
  readonly process: SimProcess;
  readonly client: Client;
}

export interface WorkloadCounts {
  calls: number;
  answered: number;
  unknown: number;
  refused: number;
  watched: number;
}

export class Workload {
  readonly operations: Operation[] = [];
  readonly watches: WatchRecord[] = [];
  readonly counts: WorkloadCounts = { calls: 0, answered: 0, unknown: 0, refused: 0, watched: 0 };
  /** Answers that no client should get; the first is what ends the simulation. */
  readonly unexpected: Error[] = [];
  readonly #scheduler: SimScheduler;
  readonly #random: SimRandom;
  readonly #options: WorkloadOptions;
  readonly #revision: () => number;
  #stopped = false;
  #clients = 0;
  #values = 0;

  constructor(options: {
    readonly scheduler: SimScheduler;
    readonly random: SimRandom;
    readonly workload: WorkloadOptions;
    readonly revision: () => number;
  }) {
    this.#scheduler = options.scheduler;
    this.#random = options.random;
    this.#options = options.workload;
    this.#revision = options.revision;
  }

  /** Clients and watches beside a node, for as long as its process lives. */
  attach(node: WorkloadNode): void {
    for (let count = 0; count < this.#options.clientsPerNode; count++) new WorkloadClient(this, node, `c${++this.#clients}`).start();
    for (let count = 0; count < this.#options.watchesPerNode; count++) this.watch(node, this.#random, WATCHED);
  }

  /** No new calls; those under way run on. */
  stop(): void {
    this.#stopped = true;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  get random(): SimRandom {
    return this.#random;
  }

  get options(): WorkloadOptions {
    return this.#options;
  }

  now(): number {
    return this.#scheduler.now;
  }

  uniqueValue(client: string): string {
    const value = `${client}-${++this.#values}`;
    const { bigShare, bigBytes } = this.#options;
    return bigShare > 0 && this.#random.chance(bigShare) ? value.padEnd(this.#random.below(2 * bigBytes), ".") : value;
  }

  /** Notes the call, and its answer when it comes. */
  async record(operation: Operation, answer: () => Promise<number | undefined>): Promise<void> {
    this.counts.calls++;
    this.operations.push(operation);
    try {
      const revision = await answer();
      operation.revision = revision;
      operation.outcome = "ok";
      operation.end = this.#scheduler.now;
      this.counts.answered++;
    } catch (error) {
      operation.error = EngineError.is(error) ? error.code : String(error);
      if (!EngineError.is(error)) {
        this.unexpected.push(error instanceof Error ? error : new Error(String(error)));
      } else if (error.code === "INVALID_ARGUMENT" || error.code === "INTERNAL") {
        this.unexpected.push(error);
      } else if (!error.mayHaveApplied) {
        if (EngineError.is(error, "COMPACTED")) operation.told = { code: error.code, revision: error.details.compactRevision };
        if (EngineError.is(error, "FUTURE_REVISION")) operation.told = { code: error.code, revision: error.details.currentRevision };
        operation.outcome = "refused";
        operation.end = this.#scheduler.now;
        this.counts.refused++;
        return;
      }
      this.counts.unknown++;
    }
  }

  /** A watch of one of the prefixes, read until its process ends. */
  watch(node: WorkloadNode, random: SimRandom, prefixes: readonly string[]): void {
    const wantsPast = random.chance(0.5);
    const past = 2 + random.below(Math.max(1, this.#revision()));
    const record: WatchRecord = {
      watcher: `w${this.watches.length + 1}`,
      node: `${node.name}#${node.boot}`,
      prefix: random.pick(prefixes),
      fromRevision: 0,
      prevKv: random.chance(0.5),
      only: random.chance(0.2) ? random.pick(["puts", "deletes"] as const) : undefined,
      onGap: random.chance(0.5) ? "reset" : "throw",
      initial: !wantsPast && random.chance(0.3),
      batches: [],
      compactRevision: undefined,
      isLive: true,
    };
    const { initial } = record;
    this.watches.push(record);
    const watch = node.client.watch(
      { prefix: record.prefix },
      {
        ...(wantsPast ? { fromRevision: past } : {}),
        ...(initial ? { initial } : {}),
        ...(record.only === undefined ? {} : { only: record.only }),
        prevKv: record.prevKv,
        onGap: record.onGap,
        progressMs: random.pick([0, 500, 3_000]),
      },
    );
    node.process.onKill(() => {
      record.isLive = false;
    });
    // A reader that is slow now and then, so that the node's credit for it runs out.
    const slowMs = random.chance(0.3) ? random.below(200) : 0;
    this.#follow(record, watch, wantsPast ? past : undefined, slowMs, node.process).catch((error: unknown) => {
      record.isLive = false;
      if (EngineError.is(error, "COMPACTED")) record.compactRevision = error.details.compactRevision;
      else if (!EngineError.is(error) || error.code === "INTERNAL" || error.code === "INVALID_ARGUMENT")
        this.unexpected.push(error as Error);
    });
  }

  async #follow(record: WatchRecord, watch: Watch, past: number | undefined, slowMs: number, process: SimProcess): Promise<void> {
    const ready = await watch.ready();
    record.fromRevision = past ?? ready.revision + 1;
    for await (const batch of watch) {
      this.counts.watched++;
      if (batch.kind === "progress") record.batches.push({ kind: "progress", revision: batch.revision });
      else if (batch.kind === "reset")
        record.batches.push({
          kind: "reset",
          revision: batch.revision,
          values: batch.kvs.map((kv) => readValue(kv.key, kv)),
          reason: batch.reason,
        });
      else record.batches.push(eventsOf(batch));
      // Asked of a node that may have more for it.
      if (slowMs > 0 && record.batches.length % 4 === 0) await watch.requestProgress();
      if (slowMs > 0 && !this.#stopped) await new Promise<void>((resolve) => void process.applicationClock.setTimer(slowMs, resolve));
    }
    // Nobody closes these watches, so an end without an error is the node's own closing.
    record.isLive = false;
  }
}

function eventsOf(batch: { readonly revision: number; readonly events: readonly WatchEvent[]; readonly more?: true }): WatchedBatch {
  return {
    kind: "events",
    revision: batch.revision,
    more: batch.more === true,
    events: batch.events.map((event) =>
      event.kind === "put"
        ? {
            kind: "put",
            key: event.kv.key,
            value: event.kv.text(),
            created: event.created,
            cause: undefined,
            prevValue: event.prevKv?.text(),
          }
        : { kind: "delete", key: event.key, value: "", created: false, cause: event.cause, prevValue: event.prevKv?.text() },
    ),
  };
}

/** A missing key has no value, and zeros. */
export function readValue(key: string, kv: KeyValue | undefined): ReadValue {
  if (kv === undefined) return { key, value: undefined, modRevision: 0, createRevision: 0, version: 0 };
  return { key: kv.key, value: kv.text(), modRevision: kv.modRevision, createRevision: kv.createRevision, version: kv.version };
}

/** One caller: a call, its answer, a pause, the next call. */
class WorkloadClient {
  readonly #workload: Workload;
  readonly #name: string;
  readonly #node: string;
  readonly #process: SimProcess;
  readonly #client: Client;
  readonly #lastSeen = new Map<string, string | undefined>();

  constructor(workload: Workload, node: WorkloadNode, name: string) {
    this.#workload = workload;
    this.#name = `${name}@${node.name}`;
    this.#node = `${node.name}#${node.boot}`;
    this.#process = node.process;
    this.#client = node.client;
  }

  start(): void {
    const { random, options } = this.#workload;
    const pauseMs = -Math.log(1 - random.fraction()) * options.thinkMs;
    this.#process.applicationClock.setTimer(pauseMs, () => {
      if (this.#workload.isStopped) return;
      this.#call().then(
        () => this.start(),
        (error: unknown) => this.#workload.unexpected.push(error as Error),
      );
    });
  }

  #operation(body: OperationBody, consistency: Operation["consistency"] = "linearizable"): Operation {
    return {
      client: this.#name,
      node: this.#node,
      call: this.#workload.now(),
      body,
      consistency,
      outcome: "unknown",
      end: Number.POSITIVE_INFINITY,
      revision: undefined,
    };
  }

  #call(): Promise<void> {
    const { random, options } = this.#workload;
    if (random.chance(options.writeShare)) return this.#write();
    return this.#read();
  }

  #write(): Promise<void> {
    const { random, options } = this.#workload;
    const { timeoutMs } = options;
    const number = random.below(options.keys);
    // Now and then one without a time to live takes the place of one with it.
    if (random.chance(options.ttlShare))
      return this.#put(`${TTL_PREFIX}${number}`, random.chance(0.8) ? 50 + random.below(3_000) : undefined);
    const key = `${KEY_PREFIX}${number}`;
    const choice = random.fraction();
    if (choice < 0.55) return this.#put(key, undefined);
    if (choice < 0.7) {
      const body: OperationBody & { readonly kind: "delete" } = { kind: "delete", key };
      return this.#workload.record(this.#operation(body), async () => {
        const { deleted, revision } = await this.#client.delete(key, { timeoutMs });
        body.deleted = deleted;
        this.#lastSeen.set(key, undefined);
        return revision;
      });
    }
    const value = this.#workload.uniqueValue(this.#name);
    const expected = this.#lastSeen.get(key);
    const body: OperationBody & { readonly kind: "compareAndSwap" } = { kind: "compareAndSwap", key, expected, value };
    return this.#workload.record(this.#operation(body), async () => {
      body.swapped = await this.#client.compareAndSwap(key, expected, value, { timeoutMs });
      if (body.swapped) this.#lastSeen.set(key, value);
      return undefined;
    });
  }

  #put(key: string, ttlMs: number | undefined): Promise<void> {
    const value = this.#workload.uniqueValue(this.#name);
    const { timeoutMs } = this.#workload.options;
    return this.#workload.record(this.#operation({ kind: "put", key, value, ttlMs }), async () => {
      const { revision } = await this.#client.put(key, value, ttlMs === undefined ? { timeoutMs } : { timeoutMs, ttlMs });
      this.#lastSeen.set(key, value);
      return revision;
    });
  }

  #read(): Promise<void> {
    const { random, options } = this.#workload;
    const { timeoutMs } = options;
    const draw = random.fraction();
    const consistency =
      draw < options.leaseReadShare ? "lease" : draw < options.leaseReadShare + options.eventualReadShare ? "eventual" : "linearizable";
    const choice = random.fraction();
    if (choice < 0.15) {
      const prefix = random.pick([KEY_PREFIX, TTL_PREFIX, `${KEY_PREFIX}1`]);
      const limit = random.chance(0.5) ? 0 : 1 + random.below(3);
      const body: OperationBody & { readonly kind: "range" } = { kind: "range", prefix, limit };
      return this.#workload.record(this.#operation(body, consistency), async () => {
        const result = await this.#client.range({ prefix }, limit === 0 ? { consistency, timeoutMs } : { consistency, timeoutMs, limit });
        body.values = result.kvs.map((kv) => readValue(kv.key, kv));
        body.count = result.count;
        return result.revision;
      });
    }
    const wanted = choice < 0.3 ? 2 + random.below(3) : 1;
    const keys = Array.from({ length: wanted }, () => (random.chance(0.1) ? TTL_PREFIX : KEY_PREFIX) + String(random.below(options.keys)));
    const body: OperationBody & { readonly kind: "get" } = { kind: "get", keys };
    return this.#workload.record(this.#operation(body, consistency), async () => {
      const [first] = keys;
      const kvs =
        keys.length === 1 && first !== undefined
          ? [await this.#client.get(first, { consistency, timeoutMs })]
          : await this.#client.getMany(keys, { consistency, timeoutMs });
      body.values = keys.map((key, at) => readValue(key, kvs[at]));
      for (const [at, key] of keys.entries()) this.#lastSeen.set(key, kvs[at]?.text());
      return undefined;
    });
  }
}
