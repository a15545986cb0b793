/**
 * A cluster for users' own tests: the shipped engine over simulated machines in this thread, with time that passes as fast as it can. Many
 * may run at once.
 */
import { randomInt } from "node:crypto";
import { checkChoice, checkOptions } from "../client/arguments.ts";
import type { Engine } from "../client/engine.ts";
import type { EngineOptions } from "../client/engine-options.ts";
import { invalidArgument } from "../errors.ts";
import { followEngine, type FollowedEngine } from "./followed-engine.ts";
import { SimCluster, type SimNode } from "./sim-cluster.ts";
import { HEALTHY_DISK } from "./sim-disk.ts";
import { HEALTHY_LINK } from "./sim-network.ts";
import { WALL_EPOCH_MS } from "./sim-process.ts";
import { TimeDriver } from "./time-driver.ts";

export interface TestClusterOptions {
  /** Default 3, at most 9. They are named n1, n2, ... */
  readonly nodes?: number;
  /** Decides every delay, loss and election. Default random; print `cluster.seed` where a test fails. */
  readonly seed?: number;
  /**
   * "virtual" (default): time stands still while anything can run or nobody waits on the cluster, and jumps to the next timer when nothing
   * can; ten seconds pass in milliseconds. Code under test must wait only on the cluster or on cluster.clock.
   * "real": wall clock, for code that waits on anything else.
   */
  readonly time?: "virtual" | "real";
  readonly engine?: Partial<Omit<EngineOptions, "dataDir" | "name" | "bootstrap" | "peer" | "thread" | "workerUrl">>;
}

export interface LinkFault {
  /** 0 to 1. */
  readonly lossRate?: number;
  readonly delayMs?: number;
  readonly duplicateRate?: number;
}

export interface TestCluster extends AsyncDisposable {
  readonly seed: number;
  /** Those that run, in the order of their names. */
  readonly engines: readonly Engine[];
  /** Throws if it is down. */
  engine(name: string): Engine;
  /** Waits for one. */
  leader(): Promise<Engine>;
  readonly clock: {
    now(): Date;
    sleep(ms: number, options?: { readonly signal?: AbortSignal }): Promise<void>;
    /** Lets everything happen that is due within so much time. */
    advance(ms: number): Promise<void>;
  };
  /** Groups that reach each other and nobody else; names left out are alone. */
  partition(...groups: readonly (readonly string[])[]): void;
  /** What is sent in one direction. */
  link(from: string, to: string, fault: LinkFault | "cut"): void;
  /** The network has no faults from now on. */
  heal(): void;
  /** Power off: whatever was not synced is gone, and calls to this engine reject. */
  crash(name: string): Promise<void>;
  /** A new engine on the machine's disk; resolves once it is open, without waiting for a majority. */
  restart(name: string): Promise<Engine>;
  /** Stopped with its messages queued, as by SIGSTOP, a debugger or a long collection. */
  pause(name: string): void;
  resume(name: string): void;
  /** "full": there is room for what is there and no more; "ok" gives it room again. "failing": syncs fail, and the node with them. */
  disk(name: string, fault: "slow" | "full" | "failing" | "ok"): void;
  /** Heals the network, and waits until all engines that run have one leader and have applied the same. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

const NODES_MAX = 9;
const SLOW_DISK = { minMs: 50, maxMs: 200 };

const KNOWN: ReadonlySet<string> = new Set(["nodes", "seed", "time", "engine"]);
/** What the cluster decides for each of its engines. */
const OWN_ENGINE_OPTIONS = ["dataDir", "name", "bootstrap", "peer", "thread", "workerUrl"];

/** Resolves once all nodes are open and serve. Rejects with INVALID_ARGUMENT. */
export async function createTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  checkOptions(options, KNOWN, "options");
  const { nodes = 3, seed = randomInt(2 ** 31), time = "virtual" } = options;
  if (!Number.isSafeInteger(nodes) || nodes < 1 || nodes > NODES_MAX)
    throw invalidArgument("nodes", `1 to ${NODES_MAX} are wanted, not ${String(nodes)}`);
  if (!Number.isSafeInteger(seed)) throw invalidArgument("seed", `a whole number is wanted, not ${String(seed)}`);
  checkChoice(time, "time", ["virtual", "real"]);
  for (const name of OWN_ENGINE_OPTIONS)
    if (Object.hasOwn(options.engine ?? {}, name))
      throw invalidArgument(`engine.${name}`, "the cluster decides it for each of its engines");
  const cluster = new VirtualCluster(new SimCluster({ seed, nodes, engine: options.engine ?? {}, isObserved: false }), seed, time);
  await cluster.open();
  return cluster;
}

class VirtualCluster implements TestCluster {
  readonly seed: number;
  readonly clock: TestCluster["clock"];
  readonly #cluster: SimCluster;
  readonly #driver: TimeDriver;
  readonly #followed = new Map<string, FollowedEngine>();
  #closing: Promise<void> | undefined;

  constructor(cluster: SimCluster, seed: number, time: "virtual" | "real") {
    this.seed = seed;
    this.#cluster = cluster;
    const driver = new TimeDriver(cluster.scheduler, time);
    this.#driver = driver;
    cluster.onOpened = (node, engine) => this.#followed.set(node.name, followEngine(engine, driver));
    this.clock = {
      now: () => new Date(WALL_EPOCH_MS + cluster.scheduler.now),
      sleep: (ms, options) => driver.sleep(ms, options?.signal),
      advance: (ms) => driver.sleep(ms),
    };
  }

  async open(): Promise<void> {
    const { nodes } = this.#cluster;
    for (const node of nodes) this.#cluster.start(node);
    await this.#driver.until(() => nodes.every((node) => node.engine?.state.kind === "ready" || node.openingError !== undefined));
    for (const { openingError } of nodes) if (openingError !== undefined) throw openingError;
  }

  get engines(): readonly Engine[] {
    return this.#cluster.nodes.flatMap(({ name }) => this.#followed.get(name)?.engine ?? []);
  }

  engine(name: string): Engine {
    const node = this.#node(name);
    const followed = this.#followed.get(node.name);
    if (followed === undefined) throw invalidArgument("name", `${name} is down`);
    return followed.engine;
  }

  async leader(): Promise<Engine> {
    let found: Engine | undefined;
    await this.#driver.until(() => {
      found = this.engines.find((engine) => engine.isLeader());
      return found !== undefined;
    });
    return found as Engine;
  }

  partition(...groups: readonly (readonly string[])[]): void {
    for (const name of groups.flat()) this.#node(name);
    this.#cluster.network.partition(
      this.#cluster.nodes.map(({ name }) => name),
      groups,
    );
  }

  link(from: string, to: string, fault: LinkFault | "cut"): void {
    const { lossRate = 0, duplicateRate = 0, delayMs } = fault === "cut" ? {} : fault;
    this.#cluster.network.setLinkFaults(this.#node(from).name, this.#node(to).name, {
      ...HEALTHY_LINK,
      ...(delayMs === undefined ? {} : { delayMinMs: delayMs, delayMaxMs: delayMs }),
      lossRate,
      duplicateRate,
      cut: fault === "cut",
    });
  }

  heal(): void {
    this.#cluster.network.heal();
  }

  async crash(name: string): Promise<void> {
    const node = this.#node(name);
    const followed = this.#followed.get(name);
    this.#followed.delete(name);
    this.#cluster.crash(node);
    followed?.end();
    // What awaited the engine gets its turn before anything else happens.
    await Promise.resolve();
  }

  async restart(name: string): Promise<Engine> {
    const node = this.#node(name);
    if (node.process !== undefined) await this.crash(name);
    this.#cluster.start(node);
    await this.#driver.until(() => node.engine !== undefined || node.openingError !== undefined);
    if (node.openingError !== undefined) throw node.openingError;
    return this.engine(name);
  }

  pause(name: string): void {
    this.#cluster.pause(this.#node(name));
  }

  resume(name: string): void {
    this.#cluster.resume(this.#node(name));
  }

  disk(name: string, fault: "slow" | "full" | "failing" | "ok"): void {
    const { disk } = this.#node(name);
    disk.fileSystem.clearFaults();
    disk.speed = fault === "slow" ? SLOW_DISK : HEALTHY_DISK;
    if (fault === "full") disk.fileSystem.limit(0);
    if (fault === "failing") disk.fileSystem.fail({ operation: "dataSync", errno: "EIO", times: Number.POSITIVE_INFINITY });
  }

  async settle(): Promise<void> {
    this.heal();
    await this.#driver.until(() => {
      const running = this.#cluster.nodes.filter((node) => node.engine !== undefined && node.process?.isRunning === true);
      const leaders = new Set(running.map((node) => node.engine?.leader()?.id));
      const applied = new Set(running.map((node) => this.#cluster.inside(node)?.appliedIndex));
      return running.every((node) => node.engine?.state.kind === "ready") && leaders.size === 1 && applied.size === 1;
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const node of this.#cluster.nodes) {
      if (node.process?.isPaused === true) this.#cluster.resume(node);
    }
    await Promise.all(this.engines.map((engine) => engine.close()));
    for (const node of this.#cluster.nodes) this.#cluster.kill(node);
    this.#driver.close();
  }

  #node(name: string): SimNode {
    const node = this.#cluster.nodes.find((item) => item.name === name);
    if (node === undefined)
      throw invalidArgument("name", `there is no ${name}: the nodes are ${this.#cluster.nodes.map((item) => item.name).join(", ")}`);
    return node;
  }
}
