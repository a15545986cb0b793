/**
 * One seed of a cluster that is being founded while everything goes wrong: members lose power and come back, lose their disks and come back with
 * new ones, are stopped, cut off and slow, from before the first of them is open until after all take part. Any number of disks may be lost before
 * a founding lies on them; of those that hold one and the same founding, a minority.
 *
 * Then all heals, and either all members serve, or those that do not are ones whose disk was lost after it held the founding, and have been refused. The invariants
 * are looked at all the while (invariants/one-founding.ts).
 */
import type { Identity } from "../../node/identity.ts";
import type { LoadedBackup } from "../../node/restored-member.ts";
import { EngineError } from "../../errors.ts";
import type { DataModel } from "../history.ts";
import { CheckFailure } from "../history.ts";
import { SimCluster, type SimNode } from "../sim-cluster.ts";
import { HEALTHY_DISK } from "../sim-disk.ts";
import { HEALTHY_LINK } from "../sim-network.ts";
import type { SimRandom } from "../sim-random.ts";
import { LivenessFailure } from "../simulation.ts";

/** A backup, and what the cluster held that it is of. */
export interface Restored {
  readonly backup: LoadedBackup;
  readonly model: DataModel;
}

export interface FoundingSimulationOptions {
  readonly seed: number;
  /** Default: 3 or 5, by the seed. */
  readonly nodes?: number;
  /** What the members begin with, and what it holds. */
  readonly restored?: Restored;
  /** This alone goes wrong: the founder loses power when its log is begun and nothing says yet that it counts, and then another member its disk. */
  readonly isFounderCut?: boolean;
  readonly trace?: (text: string) => void;
}

export interface FoundingSimulationResult {
  readonly traceHash: number;
  /** Disks lost. */
  readonly wipes: number;
  /** Of these, such as held a founding already. */
  readonly foundingsLost: number;
  /** Members that are refused at the end. */
  readonly refused: number;
  /** How many times the founder that founded in the end had proposed. */
  readonly rounds: number;
}

export type SimulateFounding = (options: FoundingSimulationOptions) => Promise<FoundingSimulationResult>;

const ELECTION_TIMEOUT_MS = 300;
const ATTACK_MS_MIN = 300;
const ATTACK_MS_MAX = 3_000;
const STEP_MS = 20;
const HEAL_MS = 60_000;
/** How often what has failed is begun anew. */
const LOOK_MS = 300;

/** Runs one seed. Rejects with CheckFailure, LivenessFailure, or whatever else the code under test threw. */
export const simulate: SimulateFounding = (options) => new FoundingSimulation(options).run();

class FoundingSimulation {
  readonly cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #everyMs: number;
  readonly #attackMs: number;
  /** The share of a member's steps at which it is struck. */
  readonly #atSteps: number;
  #isFounderCut: boolean;
  /** By founding: the members whose disk held it and is lost. */
  readonly #lost = new Map<string, Set<string>>();
  #wipes = 0;
  #foundingsLost = 0;
  #isOver = false;
  readonly #restored: Restored | undefined;

  constructor({ seed, nodes, restored, isFounderCut = false, trace }: FoundingSimulationOptions) {
    const draw = new SimCluster({ seed, nodes: 0 }).random.split("founding");
    this.cluster = new SimCluster({
      seed,
      nodes: nodes ?? draw.pick([3, 3, 5]),
      clockDrift: 0.01,
      segmentBytes: 8 << 10,
      engine: { electionTimeoutMs: ELECTION_TIMEOUT_MS, heartbeatMs: ELECTION_TIMEOUT_MS / 10 },
      ...(restored === undefined ? {} : { restored: restored.backup }),
    });
    const { scheduler, observer } = this.cluster;
    observer!.onBeginning = (name, what) => this.#strikeAt(name, what);
    scheduler.onTrace = trace;
    for (let revision = 2; restored !== undefined && revision <= restored.backup.description.revision; revision++)
      observer!.model.apply(restored.model.change(revision)!);
    this.#random = draw;
    this.#isFounderCut = isFounderCut;
    this.#restored = restored;
    if (restored !== undefined) this.cluster.onOpened = (node) => this.#checkBeginning(node, restored);
    this.#everyMs = draw.pick([20, 60, 200]);
    this.#attackMs = draw.between(ATTACK_MS_MIN, ATTACK_MS_MAX);
    this.#atSteps = isFounderCut ? 0 : draw.pick([0, 0.1, 0.3]);
    const look = scheduler.afterEvent;
    scheduler.afterEvent = () => {
      look?.();
      this.#throwUnexpected();
    };
  }

  async run(): Promise<FoundingSimulationResult> {
    const { scheduler, nodes, network } = this.cluster;
    for (const node of nodes) scheduler.after(this.#random.below(200), () => this.cluster.start(node));
    if (!this.#isFounderCut) this.#again();
    this.#lookAfter();
    await scheduler.advance(this.#attackMs);
    this.#isOver = true;
    network.heal();
    for (const node of nodes) {
      node.disk.speed = HEALTHY_DISK;
      node.disk.release();
      if (node.process?.isPaused === true) this.cluster.resume(node);
      this.cluster.start(node);
    }
    await this.#until("all that may are ready", () => this.#isFounded());
    for (const node of nodes) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      if (!this.#isRefused(node)) await this.#put(node);
    }
    const founded = this.#identities().find(({ phase }) => phase === "active");
    for (const node of nodes) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      if (this.#restored !== undefined && !this.#isRefused(node)) await this.#checkRestored(node, this.#restored);
    }
    return {
      traceHash: scheduler.traceHash,
      wipes: this.#wipes,
      foundingsLost: this.#foundingsLost,
      refused: nodes.filter((node) => this.#isRefused(node)).length,
      rounds: founded?.foundingRound ?? 0,
    };
  }

  #again(): void {
    this.cluster.scheduler.after(-Math.log(1 - this.#random.fraction()) * this.#everyMs, () => {
      if (this.#isOver) return;
      this.#strike();
      this.#again();
    });
  }

  #later(maxMs: number, run: () => void): void {
    this.cluster.scheduler.after(this.#random.fraction() * maxMs, () => {
      if (!this.#isOver) run();
    });
  }

  /** Between two steps of a member, or soon after: at it, and at another. */
  #strikeAt(name: string, what: "identity" | "log"): void {
    const { cluster } = this;
    const random = this.#random;
    if (this.#isFounderCut && what === "log") {
      this.#isFounderCut = false;
      // Within an event of its own: this one is the member's.
      cluster.scheduler.after(0, () => {
        const other = random.pick(cluster.nodes.filter((node) => node.name !== name));
        this.#hurt(cluster.node(name), "crash");
        this.#hurt(other, "wipe");
      });
      return;
    }
    // Between its log and what says that it counts there is the least time.
    if (this.#isOver || !random.chance(what === "log" ? 2 * this.#atSteps : this.#atSteps)) return;
    const node = cluster.node(name);
    cluster.scheduler.after(random.fraction() * random.pick([0.3, 3]), () => {
      if (this.#isOver) return;
      this.#hurt(node, random.pick(["crash", "crash", "kill", "wipe", "pause", "hang"]));
      if (random.chance(0.5)) this.#hurt(random.pick(cluster.nodes), random.pick(["wipe", "wipe", "crash", "pause"]));
    });
  }

  #strike(): void {
    this.#hurt(
      this.#random.pick(this.cluster.nodes),
      this.#random.pick(["crash", "wipe", "wipe", "kill", "pause", "slow", "hang", "cut", "cut", "reset", "lossy"]),
    );
  }

  #hurt(node: SimNode, kind: "crash" | "wipe" | "kill" | "pause" | "slow" | "hang" | "cut" | "reset" | "lossy"): void {
    const { cluster } = this;
    const random = this.#random;
    const other = random.pick(cluster.nodes);
    cluster.scheduler.note(`strike ${kind} ${node.name}`);
    switch (kind) {
      case "crash":
        cluster.crash(node);
        return this.#later(200, () => cluster.start(node));
      case "kill":
        cluster.kill(node);
        return this.#later(100, () => cluster.start(node));
      case "wipe":
        cluster.crash(node);
        if (this.#mayLose(node)) this.#wipe(node);
        return this.#later(200, () => cluster.start(node));
      case "pause":
        cluster.pause(node);
        return this.#later(200, () => cluster.resume(node, random));
      case "slow":
        node.disk.speed = { minMs: 1, maxMs: random.pick([10, 100]) };
        return this.#later(500, () => (node.disk.speed = HEALTHY_DISK));
      case "hang":
        node.disk.hang();
        return this.#later(300, () => node.disk.release());
      case "cut":
        if (node === other) return;
        cluster.network.setLinkFaults(node.name, other.name, { ...HEALTHY_LINK, cut: true });
        if (random.chance(0.5)) cluster.network.setLinkFaults(other.name, node.name, { ...HEALTHY_LINK, cut: true });
        return this.#later(300, () => {
          cluster.network.setLinkFaults(node.name, other.name, undefined);
          cluster.network.setLinkFaults(other.name, node.name, undefined);
        });
      case "reset":
        return cluster.network.reset(node.name, other.name);
      case "lossy":
        cluster.network.setFaults({ ...HEALTHY_LINK, lossRate: 0.1, duplicateRate: 0.2, reorderRate: 0.3, reorderMs: 60, delayMaxMs: 5 });
        return this.#later(500, () => cluster.network.setFaults(HEALTHY_LINK));
    }
  }

  /** Whoever has failed is begun anew, as an operator would; one whose restore was cut short is restored anew. */
  #lookAfter(): void {
    for (const node of this.cluster.nodes) {
      if (node.process === undefined || (node.openingError === undefined && node.engine?.state.kind !== "failed")) continue;
      if (this.#isRefused(node) && this.#isOver) continue;
      this.cluster.crash(node);
      if (node.openingError !== undefined) this.#wipe(node);
      this.cluster.start(node);
    }
    this.cluster.scheduler.after(LOOK_MS, () => this.#lookAfter());
  }

  #wipe(node: SimNode): void {
    this.#wipes++;
    this.cluster.wipe(node);
  }

  /** Whether enough are left of those that hold what the node's disk holds. The node is down. */
  #mayLose(node: SimNode): boolean {
    const { founding } = this.cluster.identity(node) ?? {};
    if (founding === undefined) return true;
    const { members } = founding.configuration;
    const name = members.map(({ incarnation }) => incarnation).join(" ");
    const lost = new Set([...(this.#lost.get(name) ?? []), node.name]);
    if (lost.size > Math.floor((members.length - 1) / 2)) return false;
    this.#lost.set(name, lost);
    this.#foundingsLost++;
    return true;
  }

  #identities(): readonly Identity[] {
    return this.cluster.nodes.flatMap((node) => this.cluster.identity(node) ?? []);
  }

  /** Its disk is not the one that those who take part know it by. */
  #isRefused(node: SimNode): boolean {
    const identity = this.cluster.identity(node);
    return this.#identities().some(
      ({ phase, founding }) =>
        phase === "active" &&
        founding!.configuration.members.some(({ id, incarnation }) => id === node.memberId && incarnation !== identity?.incarnation),
    );
  }

  #isFounded(): boolean {
    return (
      this.#identities().some(({ phase }) => phase === "active") &&
      this.cluster.nodes.every((node) => {
        const state = node.engine?.state;
        if (!this.#isRefused(node)) return state?.kind === "ready";
        return state?.kind === "failed" && state.error.code === "INCOMPATIBLE";
      })
    );
  }

  #throwUnexpected(): void {
    for (const node of this.cluster.nodes) {
      const state = node.engine?.state;
      if (state?.kind === "failed" && state.error.code !== "INCOMPATIBLE") throw state.error;
      if (state?.kind === "failed" && this.#isOver && !this.#isRefused(node))
        throw new CheckFailure("founding", `${node.name}: ${state.error.message}`);
      if (state?.kind === "ready" && this.#isRefused(node)) throw new CheckFailure("founding", `${node.name} lost its disk and serves`);
      const error = node.openingError;
      const isUnfinished = EngineError.is(error, "CORRUPT") && error.message.includes("a restore that was not finished");
      if (error !== undefined && !isUnfinished) throw error;
    }
  }

  async #put(node: SimNode): Promise<void> {
    await this.#settled(`${node.name} takes a write`, node.engine!.put(`from/${node.name}`, node.name));
  }

  /** A member that is open and not founded yet holds the backup's state, and its leases have their whole time again. */
  #checkBeginning(node: SimNode, { backup }: Restored): void {
    const { raft, machine } = this.cluster.inside(node) ?? {};
    if (machine === undefined || raft !== undefined) return;
    const { index, clockMs, revision } = backup.description;
    const { count, ttlMs, dueMs } = machine.leaseColumns();
    const due = Array.from({ length: count }, (_, at) => (dueMs[at] ?? 0) - (ttlMs[at] ?? 0));
    if (machine.appliedIndex !== index || machine.revision !== revision || machine.clockMs !== clockMs)
      throw new CheckFailure("restored", `${node.name} begins at index ${machine.appliedIndex} and revision ${machine.revision}`);
    if (count !== backup.kv.leaseColumns().count || due.some((since) => since !== clockMs))
      throw new CheckFailure("restored", `${node.name} begins with ${count} leases since ${due.join(", ")}, at ${clockMs}`);
  }

  /** As of the backup's revision every member answers what the cluster held that the backup is of. */
  async #checkRestored(node: SimNode, { backup, model }: Restored): Promise<void> {
    const { revision } = backup.description;
    const { kvs } = await this.#settled(`${node.name} is read from`, node.engine!.range({ all: true }, { revision }));
    const found = kvs.map((kv) => [Buffer.from(kv.key).toString(), kv.text(), kv.createRevision, kv.modRevision, kv.version].join(" "));
    const wanted = model
      .range("", revision)
      .map(({ key, value, createRevision, modRevision, version }) => [key, value, createRevision, modRevision, version].join(" "));
    if (found.join("\n") !== wanted.join("\n"))
      throw new CheckFailure(
        "restored",
        `${node.name} holds\n${found.join("\n")}\nas of revision ${revision}, and the backup is of\n${wanted.join("\n")}`,
      );
  }

  async #settled<T>(what: string, promise: Promise<T>): Promise<T> {
    let value: { readonly of: T } | undefined;
    let failure: Error | undefined;
    promise.then(
      (of) => (value = { of }),
      (error: Error) => (failure = error),
    );
    await this.#until(what, () => {
      if (failure !== undefined) throw failure;
      return value !== undefined;
    });
    return value!.of;
  }

  async #until(what: string, holds: () => boolean): Promise<void> {
    const { scheduler, nodes } = this.cluster;
    const deadline = scheduler.now + HEAL_MS;
    while (!holds()) {
      if (scheduler.now > deadline) {
        const states = nodes.map((node) => {
          const { phase, foundingRound, founding, incarnation } = this.cluster.identity(node) ?? {};
          const named = founding?.configuration.members.map((member) => `${member.name}:${member.incarnation}`).join(" ");
          return `${node.name}: ${JSON.stringify(node.engine?.state)}, ${phase} as ${incarnation}, round ${foundingRound} of ${named}`;
        });
        throw new LivenessFailure(`${what}: not within ${HEAL_MS} ms\n  ${states.join("\n  ")}`);
      }
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await scheduler.advance(STEP_MS);
    }
  }
}
