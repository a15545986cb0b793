/** The backend that an embedded engine is: packed commands go into its tick's batch, packed answers come back as they are. */
import type { WatchDelivery, WatchSink as DeliverySink } from "../client/watch-delivery.ts";
import { internalsOf, type EngineInternals, type NodeInspection } from "../client/engine-internals.ts";
import type { Engine } from "../client/engine.ts";
import type { LocalWatches } from "../client/local-watches.ts";
import type { Consistency, Members } from "../client/client.ts";
import type { ReadWaiter, WriteWaiter } from "../client/calls.ts";
import type { CommandBatch } from "../core/kv/command.ts";
import { keyAfter } from "../core/kv/bytes.ts";
import { decodeKv } from "../core/kv/packed-kv.ts";
import type { RangeRequest } from "../core/kv/read.ts";
import { EngineError, fromWire, type WireError } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import { createNodeRandom } from "../host/node-random.ts";
import type { Random } from "../host/random.ts";
import {
  REQUEST_TIMEOUT_MS,
  type Backend,
  type BackendLease,
  type BackendNode,
  type BackendWatch,
  type PackedEvents,
  type Peeked,
  type WatchOrder,
  type WatchSink,
} from "./backend.ts";
import type { PackedRange } from "./kv-responses.ts";

/** Metrics do not wait for a node that hangs. */
const INSPECTION_MS = 1_000;
/** A part of a range that is read in parts. */
const PAGE_BYTES: number = 256 << 10;
/** What the node may have sent to one watch whose client has not taken it. */
const WATCH_CREDIT_BYTES: number = 256 << 10;
const WATCH_CREDIT_BYTES_MIN: number = 4 << 10;
/** The same for all watches of a backend together, but for the least for each. */
const WATCHES_CREDIT_BYTES: number = 64 << 20;

/** Throws UNSUPPORTED for what is no embedded engine of this copy of the package. */
export function engineBackend(engine: Engine): Backend {
  const internals = internalsOf(engine);
  if (internals === undefined) {
    throw new EngineError("UNSUPPORTED", "only an engine that Engine.open of this package has opened can be served", {
      feature: "serve",
      server: "engine",
    });
  }
  return new EngineBackend(engine, internals);
}

class EngineBackend implements Backend, WatchOwner {
  readonly clusterId: string;
  readonly memberId: string;
  readonly name: string;
  readonly watchesMax: number;
  readonly client: Engine;
  readonly clock: Clock;
  readonly random: Random = createNodeRandom();
  readonly #internals: EngineInternals;
  /** What deliveries to several watches have in common, the encoded events above all. */
  readonly #events = new WeakMap<WatchDelivery, PackedEvents>();
  #watches = 0;
  #revision = 1;

  constructor(engine: Engine, internals: EngineInternals) {
    this.client = engine;
    this.clusterId = engine.clusterId;
    this.memberId = engine.memberId;
    this.name = engine.name;
    this.clock = internals.context.clock;
    this.watchesMax = internals.context.settings.watchersMax;
    this.#internals = internals;
  }

  node(): BackendNode {
    return new EngineNode(this.client, this.#internals);
  }

  term(): number {
    return this.#internals.status.node.term;
  }

  leader(): string | undefined {
    return this.#internals.status.node.leader;
  }

  isLearner(): boolean {
    return this.#internals.status.node.role === "learner";
  }

  revision(): number {
    const published = this.#internals.reads.shared.published();
    // Not a number if the writer was interrupted at that very moment.
    if (published > this.#revision) this.#revision = published;
    return this.#revision;
  }

  write(add: (batch: CommandBatch) => void, waiter: WriteWaiter): void {
    const { calls } = this.#internals.context;
    add(calls.writes(REQUEST_TIMEOUT_MS));
    calls.wrote(waiter);
  }

  writes(): CommandBatch {
    return this.#internals.context.calls.writes(REQUEST_TIMEOUT_MS);
  }

  wrote(waiter: WriteWaiter): void {
    this.#internals.context.calls.wrote(waiter);
  }

  read(key: Uint8Array, consistency: Consistency, waiter: ReadWaiter): void {
    this.#internals.context.calls.read(key, { consistency, minRevision: 0, timeoutMs: REQUEST_TIMEOUT_MS }, waiter);
  }

  peek(key: Uint8Array): Peeked {
    return this.#internals.reads.peek(key, "eventual");
  }

  range(request: RangeRequest, consistency: Consistency): Promise<PackedRange> {
    return this.#range(request, consistency, { bytesMax: 0, pin: false, pinned: 0 }).reply;
  }

  async *pages(request: RangeRequest, consistency: Consistency): AsyncIterable<PackedRange> {
    const first = this.#range(request, consistency, { bytesMax: PAGE_BYTES, pin: true, pinned: 0 });
    try {
      let page = await first.reply;
      const { revision } = page;
      let left = request.limit === 0 ? Number.POSITIVE_INFINITY : request.limit;
      for (;;) {
        left -= page.returned;
        const isLast = !page.more || left <= 0 || page.returned === 0;
        const lastKey = isLast ? undefined : lastKeyOf(page);
        yield page;
        if (lastKey === undefined) return;
        const rest: RangeRequest = {
          ...request,
          interval: { start: keyAfter(lastKey), end: request.interval.end },
          revision,
          limit: Number.isFinite(left) ? left : 0,
        };
        page = await this.#range(rest, "eventual", { bytesMax: PAGE_BYTES, pin: false, pinned: first.call }).reply;
      }
    } finally {
      this.#internals.context.calls.tell({ kind: "unpin", call: first.call });
    }
  }

  #range(
    request: RangeRequest,
    consistency: Consistency,
    page: { readonly bytesMax: number; readonly pin: boolean; readonly pinned: number },
  ): { readonly call: number; readonly reply: Promise<PackedRange> } {
    return this.#internals.context.calls.range({ request, consistency, minRevision: 0, timeoutMs: REQUEST_TIMEOUT_MS, ...page });
  }

  async readTxn(txn: Uint8Array, consistency: Consistency): Promise<Uint8Array> {
    const freshness = { consistency, minRevision: 0, timeoutMs: REQUEST_TIMEOUT_MS };
    const { results } = await this.#internals.context.calls.readTxn(txn, freshness).reply;
    return results;
  }

  watch(order: WatchOrder, sink: WatchSink): BackendWatch {
    const { watches } = this.#internals;
    this.#watches++;
    const share = Math.floor(WATCHES_CREDIT_BYTES / this.#watches);
    const creditBytes = Math.min(WATCH_CREDIT_BYTES, Math.max(WATCH_CREDIT_BYTES_MIN, share));
    const watch = new EngineWatch(watches, sink, this);
    watches.open(watch.id, { ...order, initial: false, onGap: "throw", creditBytes }, watch);
    return watch;
  }

  onWatchEnd(): void {
    this.#watches--;
  }

  eventsOf(delivery: WatchDelivery): PackedEvents {
    let events = this.#events.get(delivery);
    if (events === undefined) {
      const { revision, bytes, count, more } = delivery.watched;
      events = { revision, bytes, count, more, creditBytes: delivery.creditBytes, encoded: undefined };
      this.#events.set(delivery, events);
    }
    return events;
  }

  async lease(id: string, withKeys: boolean): Promise<BackendLease | undefined> {
    return this.client.leases.get(id, { keys: withKeys, timeoutMs: REQUEST_TIMEOUT_MS });
  }

  leases(): Promise<readonly string[]> {
    return this.client.leases.list({ timeoutMs: REQUEST_TIMEOUT_MS });
  }

  async inspect(): Promise<NodeInspection> {
    return (await this.#internals.context.calls.inspect(INSPECTION_MS).reply).inspection;
  }

  async members(linearizable: boolean): Promise<Members> {
    return linearizable ? this.client.members({ timeoutMs: REQUEST_TIMEOUT_MS }) : this.#internals.status.members.value;
  }
}

/** What a watch asks of its backend. */
interface WatchOwner {
  onWatchEnd(): void;
  eventsOf(delivery: WatchDelivery): PackedEvents;
}

/** A watch between the engine, which delivers, and the service that it is for. */
class EngineWatch implements DeliverySink, BackendWatch {
  readonly id: number;
  readonly #watches: LocalWatches;
  readonly #sink: WatchSink;
  readonly #owner: WatchOwner;
  #isOpen = true;

  constructor(watches: LocalWatches, sink: WatchSink, owner: WatchOwner) {
    this.id = watches.newId();
    this.#watches = watches;
    this.#sink = sink;
    this.#owner = owner;
  }

  taken(events: PackedEvents): void {
    if (this.#isOpen) this.#watches.giveBack(this.id, events.creditBytes);
  }

  requestProgress(): void {
    if (this.#isOpen) this.#watches.requestProgress(this.id);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#owner.onWatchEnd();
    this.#watches.close(this.id);
  }

  onRegistered(revision: number): void {
    if (this.#isOpen) this.#sink.onRegistered(revision);
  }

  onRefused(error: WireError): void {
    this.end(fromWire(error));
  }

  onDelivery(delivery: WatchDelivery): void {
    if (!this.#isOpen) return;
    const { watched, creditBytes } = delivery;
    switch (watched.what) {
      case "events":
        return this.#sink.onEvents(this.#owner.eventsOf(delivery));
      case "progress":
        this.#watches.giveBack(this.id, creditBytes);
        return this.#sink.onProgress(watched.revision);
      default:
        this.close();
        return this.#sink.onCompacted(watched.compactRevision);
    }
  }

  end(error: EngineError): void {
    if (!this.#isOpen) return;
    this.close();
    this.#sink.onEnd(error);
  }
}

/** Read when it is asked for: most ask for one thing. */
class EngineNode implements BackendNode {
  readonly #engine: Engine;
  readonly #internals: EngineInternals;

  constructor(engine: Engine, internals: EngineInternals) {
    this.#engine = engine;
    this.#internals = internals;
  }

  get term(): number {
    return this.#internals.status.node.term;
  }

  get leader(): string | undefined {
    return this.#internals.status.node.leader;
  }

  get role(): BackendNode["role"] {
    return this.#internals.status.node.role;
  }

  get members(): Members {
    return this.#internals.status.members.value;
  }

  get reasons(): readonly string[] {
    return this.#engine.health().reasons;
  }

  get live(): boolean {
    return this.#engine.health().live;
  }

  get full(): boolean {
    return this.#engine.state.kind === "full";
  }

  get corrupt(): boolean {
    const { state } = this.#engine;
    return state.kind === "failed" && state.error.code === "CORRUPT";
  }

  get commitIndex(): number {
    return this.#internals.reads.indexes().commitIndex;
  }

  get appliedIndex(): number {
    return this.#internals.reads.indexes().appliedIndex;
  }
}

function lastKeyOf(page: PackedRange): Uint8Array {
  let at = 0;
  for (let i = 0; i < page.returned; i++) {
    const kv = decodeKv(page.kvs, at);
    if (i === page.returned - 1) return kv.key;
    at = kv.next;
  }
  return new Uint8Array(0);
}
