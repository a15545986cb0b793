/**
 * One seed of a cluster of users' own state machines: clients propose texts, each unique, and read how many there are, while faults come and
 * go; then everything heals. The machine keeps its texts in order, so that its list at the end is the order of all commands, which everything
 * that anybody was told must fit: each acknowledged command is in it exactly once, at the place that its answer named.
 */
import { openLocalRaftNode } from "../../client/local-raft-node.ts";
import { resolveRaftOptions } from "../../client/open-raft-node.ts";
import type { RaftNode } from "../../client/raft-node.ts";
import { EngineError } from "../../errors.ts";
import { TallyMachine, type TallyAnswer } from "../../node/machine/test/tally-machine.ts";
import { CheckFailure } from "../history.ts";
import { Nemesis } from "../nemesis.ts";
import { SimCluster, type SimFrontKind, type SimNode } from "../sim-cluster.ts";
import { LivenessFailure } from "../simulation.ts";
import { drawPlan, type SwarmPlan, type SwarmProfile } from "../swarm.ts";

export interface RaftSimulationOptions {
  readonly seed: number;
  readonly profile?: SwarmProfile;
  readonly trace?: (text: string) => void;
}

export interface RaftSimulationResult {
  readonly traceHash: number;
  /** In the list at the end. */
  readonly commands: number;
  readonly acknowledged: number;
  readonly reads: number;
  /** How often a machine was restored from a snapshot. */
  readonly restored: number;
}

export type SimulateRaft = (options: RaftSimulationOptions) => Promise<RaftSimulationResult>;

interface Proposal {
  readonly text: string;
  readonly called: number;
  outcome: "pending" | "answered" | "unknown" | "refused";
  ended: number;
  count: number;
}

interface Reading {
  readonly called: number;
  readonly ended: number;
  readonly count: number;
}

const STEP_MS = 50;
const HEAL_MS_MIN = 20_000;
const HEAL_ELECTION_TIMEOUTS = 30;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Runs one seed. Rejects with CheckFailure, LivenessFailure, or whatever else the code under test threw. */
export const simulate: SimulateRaft = async (options) => {
  const simulation = new RaftSimulation(options);
  return simulation.run();
};

class RaftSimulation {
  readonly #cluster: SimCluster<RaftNode>;
  readonly #nemesis: Nemesis<RaftNode>;
  readonly #plan: SwarmPlan;
  readonly #proposals: Proposal[] = [];
  /** Linearizable ones, and those by lease. */
  readonly #readings: Reading[] = [];
  readonly #machines: TallyMachine[] = [];
  #stopped = false;
  #found: Error | undefined;

  constructor({ seed, profile, trace }: RaftSimulationOptions) {
    const draw = new SimCluster({ seed, nodes: 0 }).random.split("plan");
    const plan = drawPlan(draw, profile);
    this.#plan = plan;
    const { electionTimeoutMs, heartbeatMs, snapshotLogBytesMin, segmentBytes, clockDrift, nodes } = plan;
    this.#cluster = new SimCluster<RaftNode>({
      seed,
      nodes,
      clockDrift,
      segmentBytes,
      engine: { electionTimeoutMs, heartbeatMs },
      node: { snapshotLogBytesMin },
      kind: this.#kind(seed),
    });
    this.#cluster.scheduler.onTrace = trace;
    this.#nemesis = new Nemesis<RaftNode>(this.#cluster, plan);
    this.#cluster.onOpened = (node, front) => this.#attach(node, front);
  }

  #kind(seed: number): SimFrontKind<RaftNode> {
    return {
      state: "user",
      resolve: (options) => resolveRaftOptions({ ...options, thread: "inline", stateMachine: () => new TallyMachine() }),
      openStateMachine: () => {
        const machine = new TallyMachine({ isAsync: (seed + this.#machines.length) % 2 === 0 });
        this.#machines.push(machine);
        return Promise.resolve(machine);
      },
      open: (port, clock, settings) => openLocalRaftNode(port, clock, settings),
    };
  }

  async run(): Promise<RaftSimulationResult> {
    const { scheduler, nodes } = this.#cluster;
    const look = scheduler.afterEvent;
    scheduler.afterEvent = () => {
      look?.();
      this.#throwUnexpected();
    };
    for (const node of nodes) scheduler.after(this.#cluster.random.below(200), () => this.#cluster.start(node));
    await this.#until("the cluster is founded", () => nodes.every((node) => node.engine?.state.kind === "ready"));
    this.#nemesis.begin();
    await scheduler.advance(this.#plan.faultsMs);
    this.#nemesis.end();
    const healthy = (): readonly SimNode<RaftNode>[] => nodes.filter((node) => !this.#isLost(node));
    await this.#until("all members are ready", () => healthy().every((node) => node.engine?.state.kind === "ready"));
    const waiting = new Set(healthy());
    for (const node of waiting) this.#finalWrite(node, () => waiting.delete(node));
    await this.#until("every member takes a command", () => waiting.size === 0);
    this.#stopped = true;
    await scheduler.advance(this.#plan.workload.timeoutMs + 3_000);
    await this.#until(
      "all members apply the same",
      () => new Set(healthy().map((node) => this.#cluster.inside(node)?.appliedIndex)).size === 1,
    );
    const lists = await this.#lists(healthy());
    this.#check(lists);
    return {
      traceHash: scheduler.traceHash,
      commands: lists[0]?.length ?? 0,
      acknowledged: this.#proposals.filter(({ outcome }) => outcome === "answered").length,
      reads: this.#readings.length,
      restored: this.#machines.reduce((sum, { restored }) => sum + restored, 0),
    };
  }

  #isLost(node: SimNode<RaftNode>): boolean {
    if (this.#nemesis.corrupted.has(node.name) && node.openingError !== undefined) return true;
    return this.#nemesis.wiped.has(node.name) && node.engine?.state.kind !== "ready";
  }

  /** Clients beside a node, for as long as its process lives. */
  #attach(node: SimNode<RaftNode>, front: RaftNode): void {
    const { process } = node;
    if (process === undefined) return;
    const { workload } = this.#plan;
    for (let client = 0; client < workload.clientsPerNode; client++) {
      const name = `${client}@${node.name}#${node.boot}`;
      const random = this.#cluster.random.split(`client ${name}`);
      let calls = 0;
      const next = (): void => {
        process.applicationClock.setTimer(random.fraction() * 2 * workload.thinkMs, () => {
          if (this.#stopped) return;
          const isWrite = random.chance(workload.writeShare);
          const called = isWrite
            ? this.#propose(front, `${name} ${calls++}${random.chance(workload.bigShare) ? "x".repeat(workload.bigBytes) : ""}`)
            : this.#read(front, random.chance(workload.leaseReadShare) ? "lease" : "linearizable");
          called.then(next, (error: unknown) => this.#onFailure(error));
        });
      };
      next();
    }
  }

  async #propose(front: RaftNode, text: string): Promise<Proposal> {
    const { scheduler } = this.#cluster;
    const proposal: Proposal = { text, called: scheduler.now, outcome: "pending", ended: Number.POSITIVE_INFINITY, count: 0 };
    this.#proposals.push(proposal);
    try {
      const { answer } = await front.propose(encoder.encode(text), { timeoutMs: this.#plan.workload.timeoutMs });
      proposal.count = (JSON.parse(decoder.decode(answer)) as TallyAnswer).count;
      proposal.outcome = "answered";
    } catch (error) {
      if (!EngineError.is(error) || error.code === "INTERNAL" || error.code === "INVALID_ARGUMENT") throw error;
      proposal.outcome = error.mayHaveApplied ? "unknown" : "refused";
    }
    proposal.ended = scheduler.now;
    return proposal;
  }

  async #read(front: RaftNode, consistency: "linearizable" | "lease"): Promise<void> {
    const { scheduler } = this.#cluster;
    const called = scheduler.now;
    try {
      const answer = await front.read(encoder.encode("count"), { consistency, timeoutMs: this.#plan.workload.timeoutMs });
      this.#readings.push({ called, ended: scheduler.now, count: Number(decoder.decode(answer)) });
    } catch (error) {
      if (!EngineError.is(error) || error.code === "INTERNAL" || error.code === "INVALID_ARGUMENT") throw error;
    }
  }

  #finalWrite(node: SimNode<RaftNode>, done: () => void, tries = 0): void {
    if (node.engine === undefined) return;
    this.#propose(node.engine, `final ${tries}@${node.name}`).then(
      ({ outcome }) => (outcome === "answered" ? done() : this.#finalWrite(node, done, tries + 1)),
      (error: unknown) => this.#onFailure(error),
    );
  }

  async #lists(nodes: readonly SimNode<RaftNode>[]): Promise<readonly (readonly string[])[]> {
    const lists: (readonly string[])[] = [];
    for (const { engine } of nodes) {
      engine?.read(encoder.encode("all"), { consistency: "eventual" }).then(
        (answer) => lists.push(JSON.parse(decoder.decode(answer)) as string[]),
        (error: unknown) => this.#onFailure(error),
      );
    }
    await this.#until("every member tells its list", () => lists.length === nodes.length);
    return lists;
  }

  #check(lists: readonly (readonly string[])[]): void {
    const [list = []] = lists;
    for (const other of lists) {
      if (JSON.stringify(other) !== JSON.stringify(list)) throw new CheckFailure("replicas equal", "two members hold different lists");
    }
    const places = new Map(list.map((text, at) => [text, at + 1]));
    if (places.size !== list.length) throw new CheckFailure("exactly once", "a command was applied twice");
    const proposals = new Map(this.#proposals.map((proposal) => [proposal.text, proposal]));
    for (const text of list) if (!proposals.has(text)) throw new CheckFailure("exactly once", `nobody proposed ${text}`);
    for (const { text, outcome, count } of this.#proposals) {
      const place = places.get(text);
      if (outcome === "refused" && place !== undefined) throw new CheckFailure("exactly once", `${text} was refused, and is there`);
      if (outcome === "answered" && place !== count)
        throw new CheckFailure("exactly once", `${text} was answered ${count}, and is ${place}`);
    }
    this.#checkOrder(list.map((text) => proposals.get(text) as Proposal));
  }

  /** What was told before something else was asked must lie before it (linearizability, of a state that only grows). */
  #checkOrder(order: readonly Proposal[]): void {
    const events = [
      ...order.map(({ called, outcome, ended }, at) => ({
        called,
        ended: outcome === "answered" ? ended : Infinity,
        low: at + 1,
        high: at + 1,
      })),
      // A read of N comes behind command N, and before command N + 1.
      ...this.#readings.map(({ called, ended, count }) => ({ called, ended, low: count + 0.5, high: count })),
    ].sort((one, other) => one.called - other.called);
    const told = events.toSorted((one, other) => one.ended - other.ended);
    let at = 0;
    let place = 0;
    for (const event of events) {
      for (; at < told.length && (told[at]?.ended ?? Infinity) < event.called; at++) place = Math.max(place, told[at]?.high ?? 0);
      if (event.low < place) throw new CheckFailure("linearizability", `something at ${event.low} was asked when ${place} had been told`);
    }
    for (const { ended, count } of this.#readings) {
      const last = order[count - 1];
      if (count > 0 && (last === undefined || last.called > ended))
        throw new CheckFailure("linearizability", `a read saw ${count} commands before the last was proposed`);
    }
  }

  #onFailure(error: unknown): void {
    this.#found ??= error instanceof Error ? error : new Error(String(error));
  }

  #throwUnexpected(): void {
    if (this.#found !== undefined) throw this.#found;
    for (const { name, engine } of this.#cluster.nodes) {
      const state = engine?.state;
      if (state?.kind !== "failed") continue;
      if (state.error.code === "INTERNAL") throw state.error;
      if (state.error.code === "CORRUPT" && !this.#nemesis.corrupted.has(name)) throw state.error;
    }
  }

  async #until(what: string, holds: () => boolean): Promise<void> {
    const { scheduler } = this.#cluster;
    const allowedMs = Math.max(HEAL_MS_MIN, HEAL_ELECTION_TIMEOUTS * this.#plan.electionTimeoutMs);
    const deadline = scheduler.now + allowedMs;
    while (!holds()) {
      if (scheduler.now > deadline) {
        const states = this.#cluster.nodes.map(
          (node) => `${node.name}: ${JSON.stringify(node.engine?.state ?? node.openingError?.message)}`,
        );
        throw new LivenessFailure(`${what}: not within ${allowedMs} ms\n  ${states.join("\n  ")}`);
      }
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await scheduler.advance(STEP_MS);
    }
  }
}
