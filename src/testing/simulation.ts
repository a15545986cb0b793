/**
 * One seed, from nothing to a verdict. First the safety phase: clients work while faults come and go, and every event is checked. Then
 * everything heals, and the liveness phase begins: all members must serve again, agree, and have told every watch everything. At the end
 * the clients' histories are checked.
 */
import { checkAccounts, checkWatchedAccounts, TXN_PREFIX } from "./accounts.ts";
import { CheckFailure, type Operation } from "./history.ts";
import { LEASE_PREFIX, LeaseHistory } from "./lease-history.ts";
import { LeaseWorkload } from "./lease-workload.ts";
import { checkKeys } from "./key-linearizability.ts";
import { checkLinearizability } from "./linearizability.ts";
import { Nemesis } from "./nemesis.ts";
import { Operator } from "./operator.ts";
import { SimCluster, type SimNode } from "./sim-cluster.ts";
import { decodeMessage } from "../transport/message-codec.ts";
import type { Message } from "../core/raft/message.ts";
import { TxnWorkload } from "./txn-workload.ts";
import { drawPlan, type SwarmPlan, type SwarmProfile } from "./swarm.ts";
import { checkWatch } from "./watch-checker.ts";
import { TTL_PREFIX, Workload, type WorkloadCounts } from "./workload.ts";

/** The cluster did not come back after everything had healed. */
export class LivenessFailure extends Error {
  constructor(finding: string) {
    super(`liveness: ${finding}`);
    this.name = "LivenessFailure";
  }
}

export interface SimulationResult {
  readonly seed: number;
  readonly simulatedMs: number;
  readonly events: number;
  readonly traceHash: number;
  readonly operations: WorkloadCounts;
  readonly revisions: number;
  readonly faults: Readonly<Record<string, number>>;
  /** Keys whose cross-check was given up for length. */
  readonly isCrossChecked: boolean;
}

export interface SimulationOptions {
  readonly seed: number;
  readonly profile?: SwarmProfile;
  /** Told of everything that is noted: faults, starts and ends. */
  readonly trace?: (text: string) => void;
  /** Notes every message between members too. */
  readonly isMessageTraced?: boolean;
}

/** How long after healing all members may take to serve again, in election timeouts. */
const HEAL_ELECTION_TIMEOUTS = 30;
const HEAL_MS_MIN = 20_000;
const STEP_MS = 50;
const CROSS_CHECK_STEPS = 20_000;
/** Keys that end by themselves, and keys that transactions write. */
const SKIPPED: readonly string[] = [TTL_PREFIX, LEASE_PREFIX, TXN_PREFIX];

/** Runs one seed. Rejects with CheckFailure, LivenessFailure, or whatever else the code under test threw. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const simulation = new Simulation(options);
  // A promise that nobody listens to is a bug of the code under test, and must not end the process before the seed is told.
  const onRejection = (reason: unknown): void => simulation.onRejection(reason);
  process.on("unhandledRejection", onRejection);
  try {
    return await simulation.run();
  } finally {
    process.off("unhandledRejection", onRejection);
  }
}

class Simulation {
  readonly #options: SimulationOptions;
  readonly #plan: SwarmPlan;
  readonly #cluster: SimCluster;
  readonly #workload: Workload;
  readonly #leases: LeaseWorkload;
  readonly #leaseHistory: LeaseHistory;
  readonly #transactions: TxnWorkload;
  readonly #nemesis: Nemesis;
  readonly #operator: Operator;
  #rejection: Error | undefined;

  constructor(options: SimulationOptions) {
    this.#options = options;
    const draw = new SimCluster({ seed: options.seed, nodes: 0 }).random.split("plan");
    const plan = drawPlan(draw, options.profile);
    this.#plan = plan;
    const { electionTimeoutMs, heartbeatMs } = plan;
    this.#cluster = new SimCluster({
      seed: options.seed,
      nodes: plan.nodes,
      clockDrift: plan.clockDrift,
      segmentBytes: plan.segmentBytes,
      engine: { electionTimeoutMs, heartbeatMs },
      node: {
        snapshotLogBytesMin: plan.snapshotLogBytesMin,
        historyRevisionsMax: plan.historyRevisionsMax,
        historyRevisionsMin: Math.min(plan.historyRevisionsMin, plan.historyRevisionsMax),
        historyMs: plan.historyMs,
        turnRecordsMax: plan.turnRecordsMax,
        watchPartEvents: plan.watchPartEvents,
        dataBytesMax: plan.dataBytesMax,
        store: plan.store,
      },
      settings: { watchCreditBytes: plan.watchCreditBytes, scanPageBytes: plan.scanPageBytes },
    });
    const { scheduler, random, observer } = this.#cluster;
    scheduler.onTrace = options.trace;
    if (options.isMessageTraced === true) this.#traceMessages();
    this.#workload = new Workload({
      scheduler,
      random: random.split("workload"),
      workload: plan.workload,
      revision: () => observer?.model.revision ?? 1,
    });
    const { model } = observer!;
    this.#leaseHistory = new LeaseHistory({ model, clockDrift: plan.clockDrift, promises: plan.leasePromises });
    model.onChange = (change) => this.#leaseHistory.onChange(change, scheduler.now);
    this.#leases = new LeaseWorkload({
      workload: this.#workload,
      history: this.#leaseHistory,
      plan: plan.leases,
      random: random.split("leases"),
    });
    this.#transactions = new TxnWorkload({
      workload: this.#workload,
      plan: plan.transactions,
      random: random.split("transactions"),
      clockDrift: plan.clockDrift,
      revision: () => model.revision,
    });
    model.now = () => scheduler.now;
    observer!.history.rules = {
      ms: plan.historyMs,
      revisionsMin: Math.min(plan.historyRevisionsMin, plan.historyRevisionsMax),
      revisionsMax: plan.historyRevisionsMax,
      // Half the quota, which is far off where it is not small.
      isBoundByBytes: plan.dataBytesMax < 1 << 30,
      isAsked: (revision) => this.#transactions.compactions.some((asked) => asked.revision === revision),
      wasDiskFull: () => (this.#nemesis.counts.fullDisk ?? 0) > 0,
    };
    this.#nemesis = new Nemesis(this.#cluster, plan);
    this.#operator = new Operator(this.#cluster, (error) => this.onRejection(error));
    const look = scheduler.afterEvent;
    scheduler.afterEvent = () => {
      look?.();
      this.#throwUnexpected();
    };
    this.#cluster.onOpened = (node, engine) => {
      if (node.process === undefined) return;
      const beside = { name: node.name, boot: node.boot, process: node.process, client: engine };
      this.#workload.attach(beside);
      this.#leases.attach(beside);
      this.#transactions.attach(beside);
    };
  }

  #traceMessages(): void {
    const { network, nodes, scheduler } = this.#cluster;
    const { observe } = network;
    const nameOf = (id: string): string => nodes.find((node) => node.memberId === id)?.name ?? id;
    network.observe = (from, to, lane, frame) => {
      const message = decodeMessage(frame, { from: from.memberId, to });
      const text = message === undefined ? `frame ${frame[0]} of ${frame.byteLength} bytes` : describe(message);
      scheduler.note(`${from.name} > ${nameOf(to)} ${lane} ${text}`);
      observe?.(from, to, lane, frame);
    };
  }

  onRejection(reason: unknown): void {
    this.#rejection ??= reason instanceof Error ? reason : new Error(String(reason));
  }

  async run(): Promise<SimulationResult> {
    const { scheduler, nodes } = this.#cluster;
    scheduler.note(`plan ${JSON.stringify(this.#plan)}`);
    for (const node of nodes) scheduler.after(this.#cluster.random.below(200), () => this.#cluster.start(node));
    if (!this.#plan.isEarly) await this.#until("the cluster is founded", () => nodes.every((node) => node.engine?.state.kind === "ready"));
    this.#nemesis.begin();
    if (this.#plan.operatorEveryMs !== undefined) this.#operator.begin(this.#plan.operatorEveryMs);
    await scheduler.advance(this.#plan.faultsMs);
    this.#nemesis.end();
    await this.#recover();
    await this.#settle();
    this.#check();
    const { counts } = this.#cluster.network;
    return {
      seed: this.#options.seed,
      simulatedMs: scheduler.now,
      events: scheduler.events,
      traceHash: scheduler.traceHash,
      operations: this.#workload.counts,
      revisions: this.#cluster.observer?.model.revision ?? 0,
      faults: {
        ...this.#nemesis.counts,
        ...this.#operator.counts,
        lost: counts.lost,
        duplicated: counts.duplicated,
        reordered: counts.reordered,
        linkReset: counts.resets,
      },
      isCrossChecked: this.#isCrossChecked,
    };
  }

  #isCrossChecked = true;

  async #until(what: string, holds: () => boolean): Promise<void> {
    const { scheduler } = this.#cluster;
    const allowedMs = Math.max(HEAL_MS_MIN, HEAL_ELECTION_TIMEOUTS * this.#plan.electionTimeoutMs);
    const deadline = scheduler.now + allowedMs;
    while (!holds()) {
      if (scheduler.now > deadline) throw new LivenessFailure(`${what}: not within ${allowedMs} ms\n  ${this.#states()}`);
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await scheduler.advance(STEP_MS);
    }
  }

  /** Members that must serve once everything has healed. */
  #healthy(): readonly SimNode[] {
    return this.#cluster.nodes.filter((node) => {
      if (this.#nemesis.corrupted.has(node.name) && node.openingError !== undefined) return false;
      return !(this.#nemesis.wiped.has(node.name) && node.engine?.state.kind !== "ready");
    });
  }

  async #recover(): Promise<void> {
    await this.#until("all members are ready", () => this.#healthy().every((node) => node.engine?.state.kind === "ready"));
    const waiting = new Set(this.#healthy());
    for (const node of waiting) this.#finalWrite(node, () => waiting.delete(node));
    await this.#until("every member takes a write", () => waiting.size === 0);
    await this.#until("every member knows where the others serve clients", this.#operator.end(this.#healthy()));
  }

  /** A write through the node, tried until it is acknowledged. */
  #finalWrite(node: SimNode, done: () => void): void {
    const value = this.#workload.uniqueValue(`final@${node.name}`);
    const operation: Operation = {
      client: `final@${node.name}`,
      node: `${node.name}#${node.boot}`,
      call: this.#cluster.scheduler.now,
      body: { kind: "put", key: "key/final", value, ttlMs: undefined },
      consistency: "linearizable",
      outcome: "unknown",
      end: Number.POSITIVE_INFINITY,
      revision: undefined,
    };
    const { engine } = node;
    const recorded = this.#workload.record(operation, async () => (await engine?.put("key/final", value))?.revision);
    recorded.then(
      () => (operation.outcome === "ok" ? done() : this.#finalWrite(node, done)),
      (error: unknown) => this.onRejection(error),
    );
  }

  /** The work ends; everyone applies the same; the watches hear the last of it. */
  async #settle(): Promise<void> {
    this.#workload.stop();
    this.#leases.stop();
    const { scheduler } = this.#cluster;
    await scheduler.advance(this.#plan.workload.timeoutMs + 3_000);
    const applied = (): readonly number[] => this.#healthy().map((node) => this.#cluster.inside(node)?.appliedIndex ?? 0);
    // Keys go on expiring for a while, each at an index of its own.
    await this.#until("all members apply the same", () => new Set(applied()).size === 1);
    await scheduler.advance(2_000);
    await this.#until("all members apply the same", () => new Set(applied()).size === 1);
    const compared = this.#cluster.observer?.compareStates(applied()[0] ?? 0) ?? 0;
    if (compared < this.#healthy().length) throw new LivenessFailure(`only ${compared} members could be compared`);
  }

  #check(): void {
    this.#throwUnexpected();
    const { model } = this.#cluster.observer ?? {};
    if (model === undefined) return;
    for (const node of this.#cluster.nodes) this.#checkDamaged(node);
    checkLinearizability(this.#workload.operations, model);
    this.#checkCompacted();
    const { total } = this.#transactions;
    checkAccounts(model, total);
    this.#leaseHistory.finish(this.#cluster.scheduler.now);
    // A node that has failed tells its watches nothing more; only its end would end them.
    const serving = new Set(this.#healthy().map(({ name, boot }) => `${name}#${boot}`));
    for (const watch of this.#workload.watches) {
      if (!serving.has(watch.node)) watch.isLive = false;
      checkWatch(watch, model);
      checkWatchedAccounts(watch, total);
      const begins = this.#cluster.observer!.history.readableFrom(Number.POSITIVE_INFINITY);
      if ((watch.compactRevision ?? 0) > begins)
        throw new CheckFailure(
          "history kept",
          `${watch.watcher} was told that history begins at ${watch.compactRevision}, and it does at ${begins}`,
        );
    }
    this.#isCrossChecked = checkKeys(this.#workload.operations, {
      skip: (key) => SKIPPED.some((prefix) => key.startsWith(prefix)),
      stepsMax: CROSS_CHECK_STEPS,
    });
  }

  /** Nobody is told that history begins later than it does anywhere. */
  #checkCompacted(): void {
    const { history } = this.#cluster.observer!;
    for (const operation of this.#workload.operations) {
      const { told, end } = operation;
      if (told?.code === "COMPACTED" && told.revision > history.readableFrom(end))
        throw new CheckFailure("history kept", `history begins at ${history.readableFrom(end)}:\n  ${JSON.stringify(operation)}`);
    }
  }

  /** A member that lost its disk after the founding must have been refused, and one whose files are damaged must say so or be whole. */
  #checkDamaged(node: SimNode): void {
    const error = node.openingError;
    if (error !== undefined && !this.#nemesis.corrupted.has(node.name)) throw error;
    if (error !== undefined && !("code" in error && error.code === "CORRUPT")) throw error;
  }

  /** Once an event: what no node may say of itself, and no client may be told. */
  #throwUnexpected(): void {
    const [unexpected] = this.#workload.unexpected;
    const found = this.#rejection ?? unexpected;
    if (found !== undefined) throw found;
    for (const node of this.#cluster.nodes) {
      const state = node.engine?.state;
      if (state?.kind === "ready" && this.#nemesis.mustBeRefused.has(node.name))
        throw new CheckFailure("incarnation", `${node.name} was wiped and serves again`);
      if (state?.kind !== "failed") continue;
      const { code } = state.error;
      if (code === "INTERNAL") throw state.error;
      if (code === "CORRUPT" && !this.#nemesis.corrupted.has(node.name))
        throw new CheckFailure("disk", `${node.name}: ${state.error.message}`);
      if (code === "INCOMPATIBLE" && !this.#nemesis.wiped.has(node.name))
        throw new CheckFailure("incarnation", `${node.name} was not wiped: ${state.error.message}`);
    }
  }

  #states(): string {
    return this.#cluster.nodes.map((node) => this.#stateOf(node)).join("\n  ");
  }

  #stateOf(node: SimNode): string {
    const { engine, openingError, process: running } = node;
    if (engine === undefined) return `${node.name}: ${openingError?.message ?? (running === undefined ? "down" : "opening")}`;
    const { raft, machine } = this.#cluster.inside(node) ?? {};
    if (raft === undefined) return `${node.name}: ${JSON.stringify(engine.state)}`;
    const { incoming, outgoing } = raft.configuration;
    const voters = this.#cluster.nodes.filter(({ memberId }) => incoming.includes(memberId)).map(({ name }) => name);
    const progress = raft.role === "leader" ? ` ${JSON.stringify(raft.progress())}` : "";
    return (
      `${node.name}: ${engine.state.kind}, ${raft.role} in term ${raft.term}, log ${raft.firstIndex} to ${raft.lastIndex}, committed ${raft.commitIndex}, ` +
      `applied ${machine?.appliedIndex}, voters ${voters.join(" ")}${outgoing.length > 0 ? " (joint)" : ""}${progress}`
    );
  }
}

function describe(message: Message): string {
  const { kind, from: _, to: __, ...fields } = message;
  const shown =
    "entries" in fields
      ? { ...fields, entries: fields.entries.length }
      : "snapshot" in fields
        ? { ...fields, snapshot: fields.snapshot.lastIncludedIndex }
        : fields;
  return `${kind} ${JSON.stringify(shown)}`;
}
