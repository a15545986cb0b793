/**
 * The embedded engine put together: one object for each kind of call, all over one boundary to the node; what the node sends is told to the
 * one that it belongs to; and the engine's end.
 */
import { SharedTableReader } from "../core/kv/shared-reader.ts";
import { EngineError } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import { createNodeRandom } from "../host/node-random.ts";
import type { Random } from "../host/random.ts";
import type { FromNode, NodePort } from "../node/boundary.ts";
import { followSignal } from "./arguments.ts";
import { CallContext } from "./call-context.ts";
import { Calls } from "./calls.ts";
import type {
  CallOptions,
  Cluster,
  ClusterId,
  DeleteOptions,
  DeleteResult,
  Key,
  KeyMeta,
  KeyRange,
  KeyValue,
  Lease,
  LeaseOptions,
  Leases,
  Maintenance,
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
import type { Engine, EngineState, LeaderInfo } from "./engine.ts";
import type { EngineSettings } from "./engine-options.ts";
import { ClientAddresses } from "./client-addresses.ts";
import { ClusterCalls } from "./cluster-calls.ts";
import { exposeInternals } from "./engine-internals.ts";
import { EngineStatus } from "./engine-status.ts";
import { LocalLeases } from "./local-leases.ts";
import { LocalMaintenance } from "./local-maintenance.ts";
import { LocalReads } from "./local-reads.ts";
import { LocalTransactions } from "./local-transactions.ts";
import { LocalWatches } from "./local-watches.ts";
import { FrontEnd, openFront, type Opened } from "./node-front.ts";
import { LocalWrites } from "./local-writes.ts";
import type { Op, Txn, TxnResult } from "./transaction.ts";

/** Waits for a node's first word. Rejects as Engine.open does. */
export function openLocalEngine(
  port: NodePort,
  clock: Clock,
  settings: EngineSettings,
  random: Random = createNodeRandom(),
): Promise<LocalEngine> {
  return openFront(port, (opened) => new LocalEngine(port, clock, settings, random, opened), settings.log);
}

/** See Engine for what its methods promise. */
export class LocalEngine implements Engine {
  readonly name: string;
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  readonly maintenance: Maintenance;
  readonly cluster: Cluster;
  readonly #port: NodePort;
  readonly #context: CallContext;
  readonly #status: EngineStatus;
  readonly #reads: LocalReads;
  readonly #writes: LocalWrites;
  readonly #transactions: LocalTransactions;
  readonly #watches: LocalWatches;
  readonly #leases: LocalLeases;
  readonly #end: FrontEnd;

  constructor(port: NodePort, clock: Clock, settings: EngineSettings, random: Random, opened: Opened) {
    const { status } = opened;
    this.#port = port;
    this.name = status.name;
    this.memberId = status.memberId;
    this.clusterId = status.clusterId;
    const calls = new Calls({
      clock,
      pendingCallsMax: settings.pendingCallsMax,
      requestBytesMax: settings.requestBytesMax,
      firstCall: opened.firstCall === undefined ? undefined : opened.firstCall + 1,
      post: (messages) => {
        this.#leases.onPost();
        port.post(messages);
      },
    });
    const context = new CallContext({ calls, clock, settings });
    this.#context = context;
    this.#status = new EngineStatus(context, status);
    this.#reads = new LocalReads(context, new SharedTableReader(opened.shared!));
    this.#writes = new LocalWrites(context);
    this.#transactions = new LocalTransactions(context);
    this.maintenance = new LocalMaintenance(context, this.#status);
    this.cluster = new ClusterCalls(context);
    this.#watches = new LocalWatches(context);
    this.#leases = new LocalLeases(context, random);
    const addresses = new ClientAddresses(calls);
    exposeInternals(this, { context, status: this.#status, reads: this.#reads, watches: this.#watches, addresses, attach: port.attach });
    this.#end = new FrontEnd({
      port,
      context,
      status: this.#status,
      beginClosing: () => this.#leases.end(),
      endStreams: (error) => this.#watches.end(error),
    });
  }

  // -------------------------------------------------------------------------------------------------------- from the node

  receive(message: FromNode): void {
    switch (message.kind) {
      case "status": {
        const failure = this.#status.onStatus(message.status, this.#end.isClosing);
        // It will never tell them anything again.
        if (failure !== undefined)
          this.#watches.end(new EngineError("CLOSED", `the node has failed: ${failure.message}`, {}, { cause: failure }));
        return;
      }
      case "shared":
        this.#reads.shared = new SharedTableReader(message.shared);
        return;
      case "sharedGrowth":
        this.#reads.shared.add(message.growth);
        return;
      case "watching":
        this.#watches.onRegistered(message.watch, message.revision);
        return;
      case "watched":
        this.#watches.onWatched(message);
        return;
      case "lost":
        this.#leases.onLost(message.keep);
        return;
      case "log":
        this.#status.log(message.level, message.message, message.fields);
        return;
      case "closed":
        this.#end.onClosed();
        return;
      case "failed":
        if (!this.#context.calls.receive(message)) this.#watches.onRefused(message.call, message.error);
        return;
      default:
        this.#context.calls.receive(message);
    }
  }

  onGone(reason: string | undefined): void {
    this.#end.onGone(reason);
  }

  // ---------------------------------------------------------------------------------------------------------------- reads

  get(key: Key, options?: ReadOptions): Promise<KeyValue | undefined> {
    return this.#reads.get(key, options);
  }

  getMany(keys: readonly Key[], options?: ReadOptions): Promise<readonly (KeyValue | undefined)[]> {
    return this.#reads.getMany(keys, options);
  }

  range(range: KeyRange, options: RangeOptions & { readonly keysOnly: true }): Promise<RangeResult<KeyMeta>>;
  range(range: KeyRange, options?: RangeOptions): Promise<RangeResult>;
  range(range: KeyRange, options?: RangeOptions): Promise<RangeResult> {
    return this.#reads.range(range, options);
  }

  count(range: KeyRange, options?: ReadOptions): Promise<number> {
    return this.#reads.count(range, options);
  }

  scan(range: KeyRange, options: Omit<RangeOptions, "sortBy"> & { readonly keysOnly: true }): Scan<KeyMeta>;
  scan(range: KeyRange, options?: Omit<RangeOptions, "sortBy">): Scan;
  scan(range: KeyRange, options?: Omit<RangeOptions, "sortBy">): Scan {
    return this.#reads.scan(range, options);
  }

  // --------------------------------------------------------------------------------------------------------------- writes

  put(key: Key, value: Value, options?: PutOptions): Promise<PutResult>;
  put(key: Key, value: undefined, options: PutOptions & { readonly ignoreValue: true }): Promise<PutResult>;
  put(key: Key, value: Value | undefined, options?: PutOptions): Promise<PutResult> {
    return this.#writes.put(key, value, options);
  }

  delete(target: Target, options?: DeleteOptions): Promise<DeleteResult> {
    return this.#writes.delete(target, options);
  }

  compareAndSwap(
    key: Key,
    expected: Value | undefined,
    value: Value,
    options?: Pick<PutOptions, "lease" | "ttlMs" | "signal" | "timeoutMs">,
  ): Promise<boolean> {
    return this.#writes.compareAndSwap(key, expected, value, options);
  }

  update(
    key: Key,
    change: (current: KeyValue | undefined) => Value | undefined | Promise<Value | undefined>,
    options?: PutOptions,
  ): Promise<PutResult | undefined> {
    return this.#transactions.update(key, change, options);
  }

  txn<const S extends readonly Op[] = readonly [], const F extends readonly Op[] = readonly []>(
    txn: Txn<S, F>,
    options?: CallOptions,
  ): Promise<TxnResult<S, F>> {
    return this.#transactions.txn(txn, options) as Promise<TxnResult<S, F>>;
  }

  // ---------------------------------------------------------------------------------------------------------------- watch

  watch(target: Target, options?: WatchOptions): Watch {
    return this.#watches.watch(target, options);
  }

  // --------------------------------------------------------------------------------------------------------------- leases

  lease(options: LeaseOptions): Promise<Lease> {
    return this.#leases.lease(options);
  }

  get leases(): Leases {
    return this.#leases;
  }

  // ----------------------------------------------------------------------------------------------------------- the cluster

  members(options?: CallOptions): Promise<Members> {
    return this.#status.readMembers(options);
  }

  watchMembers(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<Members> {
    return this.#status.members.follow(followSignal(options));
  }

  get state(): EngineState {
    return this.#status.state.value;
  }

  stateChanges(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<EngineState> {
    return this.#status.state.follow(followSignal(options));
  }

  waitReady(options?: CallOptions): Promise<LeaderInfo> {
    return this.#status.waitReady(options);
  }

  isLeader(): boolean {
    return this.#status.isLeader();
  }

  leader(): LeaderInfo | undefined {
    return this.#status.leader.value;
  }

  leaderChanges(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<LeaderInfo | undefined> {
    return this.#status.leader.follow(followSignal(options));
  }

  health(): { readonly live: boolean; readonly ready: boolean; readonly reasons: readonly string[] } {
    return this.#status.health();
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
    return this.#end.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
