/**
 * The key-value data as the state of a node: the machine and its memory, the watches, ranges and point reads of this node's callers, and
 * what their threads read from shared memory without asking. It knows nothing of Raft but how far it has come.
 */
import { CommandBatch } from "../core/kv/command.ts";
import { growth, withoutGrowth, type SpaceRefusal } from "../core/kv/growth.ts";
import { growthCost, type GrowthCost } from "../core/kv/growth-cost.ts";
import type { KvMachine } from "../core/kv/machine.ts";
import type { SharedTableGrowth, SharedTableHandle } from "../core/kv/shared-reader.ts";
import type { Raft } from "../core/raft/raft.ts";
import { EngineError, toWire } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import type { Random } from "../host/random.ts";
import {
  SHARED_APPLIED_INDEX,
  SHARED_COMMIT_INDEX,
  SHARED_LEASE_UNTIL,
  SHARED_OPEN,
  SHARED_WALL_OFFSET,
  type CallId,
  type FromNode,
  type ToNode,
} from "./boundary.ts";
import { HeldHistory } from "./held-history.ts";
import { HistoryKeeper, type HistoryRules } from "./history-keeper.ts";
import { Keeper } from "./keeper.ts";
import { LeaseReads } from "./lease-reads.ts";
import { MaintenanceCalls } from "./maintenance-calls.ts";
import { MachineRestoring, type NodeMachine } from "./node-machine.ts";
import { Ranges, readRefusal } from "./ranges.ts";
import type { ReplicatedState, StateBatch, StateCall, StateEntry, StateHost } from "./replicated-state.ts";
import type { SnapshotSource } from "./snapshot-maker.ts";
import type { StateRestoring } from "./snapshot-transfer.ts";
import { Watching } from "./watching.ts";

const MAINTAIN_RECORDS = 1_000;
/** Clocks that part by more than this: the machine was suspended, or one of them was set. */
const SUSPENSION_MS = 50;

export interface KvStateOptions {
  readonly machine: NodeMachine;
  readonly host: StateHost;
  readonly clock: Clock;
  readonly random: Random;
  readonly watchersMax: number;
  readonly history: HistoryRules;
  /** See NodeOptions. */
  readonly turnRecordsMax?: number | undefined;
  readonly watchPartEvents?: number | undefined;
}

export class KvState implements ReplicatedState {
  readonly #host: StateHost;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #watchersMax: number;
  #machine: NodeMachine;
  readonly #watching: Watching;
  readonly #ranges: Ranges;
  readonly #leases: LeaseReads;
  readonly #keeper: Keeper;
  readonly #maintenance: MaintenanceCalls;
  readonly #held: HeldHistory;
  readonly #history: HistoryKeeper;
  /** See onCaughtUp(). */
  #caughtUp = false;
  #earlyWatches: (ToNode & { readonly kind: "watch" })[] = [];
  #wallOffset = Number.NaN;
  /** The table whose growth is posted. */
  #growing: NodeMachine["table"] | undefined;

  constructor({ machine, host, clock, random, watchersMax, history, turnRecordsMax, watchPartEvents }: KvStateOptions) {
    this.#machine = machine;
    this.#history = new HistoryKeeper(history, machine.kv);
    this.#host = host;
    this.#clock = clock;
    this.#random = random;
    this.#watchersMax = watchersMax;
    this.#watching = new Watching(machine.kv, (message) => host.post(message), watchPartEvents);
    this.#ranges = new Ranges(machine.kv, (message) => host.post(message), turnRecordsMax);
    const post = (message: FromNode): void => host.post(message);
    this.#leases = new LeaseReads({ machine: machine.kv, now: () => clock.now(), clockMs: () => host.leaseClock(), post });
    this.#keeper = new Keeper({ clock, write: (write) => host.write(write), post });
    this.#maintenance = new MaintenanceCalls({ machine: machine.kv, now: () => clock.now(), post });
    this.#held = new HeldHistory([this.#maintenance, this.#ranges]);
  }

  /** The machine that counts now. */
  get kv(): KvMachine {
    return this.#machine.kv;
  }

  // ------------------------------------------------------------------------------------------------------------ applying

  /** Always: it is restored beside the one that is served from. */
  get isReady(): boolean {
    return true;
  }

  get appliedIndex(): number {
    return this.#machine.kv.appliedIndex;
  }

  get revision(): number {
    return this.#machine.kv.revision;
  }

  get clockMs(): number {
    return this.#machine.kv.clockMs;
  }

  begin(entry: StateEntry, wantResults: boolean): void {
    this.#machine.kv.begin(entry, wantResults);
  }

  step(recordsMax: number): boolean {
    return this.#machine.kv.step(recordsMax);
  }

  results(): Uint8Array<ArrayBuffer> {
    return this.#machine.kv.results();
  }

  nextDue(): number | undefined {
    return this.#machine.kv.nextDue();
  }

  maintain(): boolean {
    return this.#machine.kv.maintain(MAINTAIN_RECORDS);
  }

  // --------------------------------------------------------------------------------------------------------------- space

  get usedBytes(): number {
    return this.#machine.kv.usedBytes;
  }

  get historyBytes(): number {
    return this.#machine.kv.historyBytes;
  }

  get keys(): number {
    return this.#machine.table.keys;
  }

  growth(record: Uint8Array, commands: number): "none" | "some" | "all" {
    return growth(record, commands);
  }

  growthCost(record: Uint8Array, commands: number): GrowthCost {
    return growthCost(record, commands, this.#machine.kv);
  }

  withoutGrowth(record: Uint8Array, commands: number, refusal: SpaceRefusal): Uint8Array {
    return withoutGrowth(record, commands, refusal);
  }

  upkeep(clockMs: number): StateBatch | undefined {
    return this.#history.upkeep(this.#machine.kv, clockMs);
  }

  get upkeepAt(): number {
    return this.#history.dueAt(this.#machine.kv);
  }

  compaction(bytes: number): StateBatch | undefined {
    const { kv } = this.#machine;
    // What was compacted by hand up to the present revision leaves nothing of the past to be kept.
    if (this.#history.keepsAll && kv.readableFrom < kv.revision) return undefined;
    const revision = kv.revisionFreeing(bytes);
    if (revision === 0) return undefined;
    const freed = kv.bytesFreedBy(revision);
    const batch = new CommandBatch(64);
    batch.freeHistory(revision);
    return { record: batch.finish(), commands: 1, bytes: freed };
  }

  // ----------------------------------------------------------------------------------------------------------- snapshots

  get nodeMachine(): NodeMachine {
    return this.#machine;
  }

  snapshot(): SnapshotSource {
    return this.#machine.kv.snapshot();
  }

  beginRestoring(): StateRestoring {
    return new MachineRestoring(this.#random);
  }

  /** The new state takes the old one's place, whole. */
  replace(restored: StateRestoring): void {
    const { machine } = restored as MachineRestoring;
    this.#machine.table.setShared(SHARED_OPEN, 0);
    this.#machine = machine;
    this.#ranges.replace(machine.kv);
    this.#leases.replace(machine.kv);
    this.#maintenance.replace(machine.kv);
    this.#watching.replace(machine.kv);
    this.#history.reset(machine.kv);
    this.#host.post({ kind: "shared", shared: machine.table.share() });
    this.#shareGrowth();
  }

  // ------------------------------------------------------------------------------------------------------- shared memory

  shared(): SharedTableHandle {
    const handle = this.#machine.table.share();
    this.#shareGrowth();
    return handle;
  }

  #shareGrowth(): void {
    const { table } = this.#machine;
    if (this.#growing === table) return;
    this.#growing = table;
    table.onSharedGrowth((growth: SharedTableGrowth) => {
      if (this.#machine.table === table) this.#host.post({ kind: "sharedGrowth", growth });
    });
  }

  onRaftMoved(raft: Raft): void {
    const { table } = this.#machine;
    // Before anything leaves: an answer elsewhere may rest on it, and a lease read here must not fall behind that.
    table.setShared(SHARED_COMMIT_INDEX, raft.commitIndex);
    if (raft.leaseUntil() === 0) table.setShared(SHARED_LEASE_UNTIL, 0);
  }

  onApplied(): void {
    this.#machine.table.setShared(SHARED_APPLIED_INDEX, this.#machine.kv.appliedIndex);
    this.#history.note(this.#machine.kv);
  }

  publish(raft: Raft | undefined): void {
    const { table, kv } = this.#machine;
    if (raft === undefined) {
      table.setShared(SHARED_LEASE_UNTIL, 0);
      table.setShared(SHARED_OPEN, 0);
      return;
    }
    table.setShared(SHARED_COMMIT_INDEX, raft.commitIndex);
    table.setShared(SHARED_APPLIED_INDEX, kv.appliedIndex);
    // The lease before the distance of the clocks, which readers look at first: whoever sees the distance of after a suspension sees
    // that the lease of before it is gone.
    table.setShared(SHARED_LEASE_UNTIL, raft.leaseUntil());
    const offset = this.#clock.wallNow() - this.#clock.now();
    // Kept while they agree, as Raft keeps its own: short suspensions add up.
    if (!(Math.abs(offset - this.#wallOffset) <= SUSPENSION_MS)) this.#wallOffset = offset;
    table.setShared(SHARED_WALL_OFFSET, this.#wallOffset);
    table.setShared(SHARED_OPEN, 1);
  }

  // --------------------------------------------------------------------------------------------------------------- calls

  /**
   * A watch from now on must not begin with what a reopened node has yet to apply; so it waits until the node has caught up once, and what this
   * node's callers write, or read of it, waits behind it meanwhile.
   */
  get holdsCalls(): boolean {
    return this.#earlyWatches.length > 0;
  }

  onCaughtUp(now: number): boolean {
    this.#caughtUp = true;
    const early = this.#earlyWatches;
    this.#earlyWatches = [];
    for (const watch of early) this.#watching.add(watch, now);
    return early.length > 0;
  }

  onCall(call: StateCall, now: number): void {
    switch (call.kind) {
      case "read":
        this.#host.read(call, now, () => this.#answer(call));
        return;
      case "range":
      case "readTxn":
        this.#host.read(call, now, () => this.#ranges.add(call, now));
        return;
      case "unpin":
        this.#ranges.unpin(call.call);
        return;
      case "lease":
      case "leases":
        this.#host.read(call, now, () => this.#leases.add(call, now));
        return;
      case "hash":
        this.#maintenance.onHash(call, now);
        return;
      case "backup":
        this.#maintenance.onBackup(call, now);
        return;
      case "endBackup":
        this.#maintenance.end(call.backup);
        return;
      case "keep":
        this.#keeper.keep(call);
        return;
      case "unkeep":
        this.#keeper.release(call.keep);
        return;
      case "watch":
        this.#watch(call, now);
        return;
      case "unwatch":
        this.#earlyWatches = this.#earlyWatches.filter(({ watch }) => watch !== call.watch);
        this.#watching.remove(call.watch);
        return;
      case "watchCredit":
        this.#watching.credit(call.watches, call.bytes);
        return;
      case "watchProgress":
        this.#watching.requestProgress(call.watch);
        return;
      case "query":
        return; // Of users' state machines: the client of key-value data sends none.
    }
  }

  #answer({ call, reads, count, revision }: ToNode & { readonly kind: "read" }): void {
    const { kv } = this.#machine;
    const answers = revision === 0 ? kv.read(reads, count) : kv.readAt(reads, count, revision);
    if (answers instanceof Uint8Array) this.#host.post({ kind: "read", call, answers });
    else this.#host.post({ kind: "failed", call, error: toWire(readRefusal(answers, revision)) });
  }

  #watch(call: ToNode & { readonly kind: "watch" }, now: number): void {
    if (this.#watching.count + this.#earlyWatches.length >= this.#watchersMax) {
      this.#host.post({
        kind: "failed",
        call: call.watch,
        error: toWire(
          new EngineError("OVERLOADED", `this node already serves ${this.#watchersMax} watches`, {
            limit: "watchersMax",
            max: this.#watchersMax,
            retryAfterMs: 1_000,
          }),
        ),
      });
      return;
    }
    if (!this.#caughtUp && call.fromRevision === undefined) this.#earlyWatches.push(call);
    else this.#watching.add(call, now);
  }

  cancel(call: CallId): void {
    this.#ranges.cancel(call);
    this.#leases.cancel(call);
    this.#maintenance.cancel(call);
  }

  pump(now: number): boolean {
    const behind = this.#watching.pump(now);
    const isRead = this.#ranges.step(() => this.#clock.now());
    const isKept = this.#keeper.pump(now);
    const isMaintained = this.#maintenance.step(now);
    if (this.#maintenance.backups > 0 || this.#ranges.pinned > 0) this.#held.poll(this.#machine.kv, now);
    return this.#leases.step() || isMaintained || isKept || isRead || behind;
  }

  expire(now: number): number {
    return Math.min(this.#ranges.expire(now), this.#maintenance.expire(now));
  }

  get deadline(): number {
    return Math.min(this.#watching.deadline, this.#keeper.nextAt, this.#maintenance.deadline);
  }

  get expireAt(): number {
    return Math.min(this.#ranges.pinned > 0 ? this.#ranges.expireAt : Number.POSITIVE_INFINITY, this.#maintenance.expireAt);
  }

  failAll(make: () => EngineError): void {
    this.#ranges.failAll(make);
    this.#leases.failAll(make);
    this.#maintenance.failAll(make);
    this.#keeper.stop();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
