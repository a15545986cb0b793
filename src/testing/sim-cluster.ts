/**
 * A cluster of simulated machines, each with its clock, its disk and a process that runs the shipped node, log, data and client code. It
 * knows how to hurt them; when and how often is for its user to decide.
 */
import type { Engine, EngineState } from "../client/engine.ts";
import { openLocalEngine } from "../client/local-engine.ts";
import { resolveOptions, type EngineOptions, type EngineSettings, type ResolvedOptions } from "../client/engine-options.ts";
import { EngineError } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import type { NodePort } from "../node/boundary.ts";
import type { Environment, NodeInside } from "../node/environment.ts";
import { bootstrapClusterId, bootstrapMemberId, decodeIdentity, type Identity } from "../node/identity.ts";
import { openInlineNode } from "../node/inline-port.ts";
import type { StateMachine } from "../node/machine/state-machine.ts";
import type { NodeOptions } from "../node/node-options.ts";
import { restoredBackup, writeRestoredMember, type LoadedBackup } from "../node/restored-member.ts";
import { loadIdentity } from "../storage/identity-file.ts";
import { openStorage } from "../storage/open-storage.ts";
import { ClusterObserver } from "./cluster-observer.ts";
import { ObservedStorage } from "./observed-storage.ts";
import { delayPort } from "./sim-boundary.ts";
import { DISK_DIRECTORY, SimDisk } from "./sim-disk.ts";
import { SimNetwork } from "./sim-network.ts";
import { SimMachine, SimProcess } from "./sim-process.ts";
import { SimRandom } from "./sim-random.ts";
import { SimScheduler } from "./sim-scheduler.ts";

/** What is asked of whatever runs in front of a node. */
export interface SimFront {
  readonly state: EngineState;
  isLeader(): boolean;
  close(): Promise<void>;
}

/** What kind of node a cluster is of: one with key-value data, if nothing else is said. */
export interface SimFrontKind<E extends SimFront> {
  readonly state: "user" | undefined;
  resolve(options: EngineOptions): ResolvedOptions;
  openStateMachine?(): Promise<StateMachine>;
  open(port: NodePort, clock: Clock, settings: EngineSettings, ids: SimRandom): Promise<E>;
}

const ENGINE: SimFrontKind<Engine> = { state: undefined, resolve: resolveOptions, open: openLocalEngine };

export interface SimClusterOptions<E extends SimFront = Engine> {
  readonly seed: number;
  readonly nodes: number;
  readonly engine?: Partial<EngineOptions>;
  /** What an application cannot set, for simulations in which much happens in little space. */
  readonly node?: Partial<NodeOptions>;
  readonly settings?: Partial<EngineSettings>;
  /** How much machines' clocks differ in rate: 0.02 for two per cent either way. */
  readonly clockDrift?: number;
  readonly segmentBytes?: number;
  readonly kind?: SimFrontKind<E>;
  /** Members whose disk is empty restore this backup before they open. */
  readonly restored?: LoadedBackup;
  /** False: nothing is checked while it runs, which is for users' own tests. */
  readonly isObserved?: boolean;
}

/** One machine and what runs on it. */
export interface SimNode<E extends SimFront = Engine> {
  readonly name: string;
  readonly memberId: string;
  readonly machine: SimMachine;
  readonly disk: SimDisk;
  /** Counts its openings. */
  boot: number;
  /** undefined while it is down. */
  process: SimProcess | undefined;
  /** undefined until the opening is done. */
  engine: E | undefined;
  /** Why the last opening failed, if it did. */
  openingError: Error | undefined;
  /** Shows the inside of the running node. */
  look: (() => NodeInside) | undefined;
}

const PORT = 7000;

export class SimCluster<E extends SimFront = Engine> {
  readonly scheduler: SimScheduler = new SimScheduler();
  readonly random: SimRandom;
  readonly network: SimNetwork;
  readonly observer: ClusterObserver | undefined;
  readonly nodes: readonly SimNode<E>[];
  /** Called when a node has been opened, within the process. */
  onOpened: ((node: SimNode<E>, engine: E) => void) | undefined;
  readonly #options: SimClusterOptions<E>;
  readonly #kind: SimFrontKind<E>;
  readonly #bootstrap: Readonly<Record<string, string>>;

  constructor(options: SimClusterOptions<E>) {
    this.#options = options;
    // Without a kind, E is what the default says.
    this.#kind = options.kind ?? (ENGINE as unknown as SimFrontKind<E>);
    this.random = new SimRandom(options.seed);
    this.network = new SimNetwork({ scheduler: this.scheduler, random: this.random.split("network") });
    const names = Array.from({ length: options.nodes }, (_, at) => `n${at + 1}`);
    this.#bootstrap = Object.fromEntries(names.map((name) => [name, `${name}:${PORT}`]));
    const restored = options.restored === undefined ? undefined : restoredBackup(options.restored, 0);
    const clusterId = bootstrapClusterId(this.#bootstrap, { state: this.#kind.state, restored });
    const clocks = this.random.split("clocks");
    const drift = options.clockDrift ?? 0;
    this.nodes = names.map((name) => ({
      name,
      memberId: bootstrapMemberId(clusterId, name),
      machine: new SimMachine({
        name,
        scheduler: this.scheduler,
        rate: 1 + clocks.between(-drift, drift),
        originMs: clocks.below(1_000_000),
      }),
      disk: new SimDisk({
        scheduler: this.scheduler,
        random: this.random.split(`disk ${name}`),
        segmentBytes: options.segmentBytes ?? 64 << 10,
      }),
      boot: 0,
      process: undefined,
      engine: undefined,
      openingError: undefined,
      look: undefined,
    }));
    if (options.isObserved !== false) {
      const observer = new ClusterObserver();
      this.observer = observer;
      this.network.observe = (from, to, _, frame) => observer.onFrame(from.name, to, frame);
      this.scheduler.afterEvent = () => observer.look();
    }
  }

  node(name: string): SimNode<E> {
    const node = this.nodes.find((item) => item.name === name);
    if (node === undefined) throw new RangeError(`there is no node ${name}`);
    return node;
  }

  /** The running node's Raft and state machine; undefined while there is none. */
  inside(node: SimNode<E>): NodeInside | undefined {
    return node.look?.();
  }

  /** Starts a process on the node's machine and begins to open its engine. */
  start(node: SimNode<E>): void {
    if (node.process !== undefined) return;
    const process = new SimProcess(node.machine);
    node.process = process;
    node.engine = undefined;
    node.openingError = undefined;
    node.boot++;
    this.scheduler.note(`${node.name} starts`);
    this.scheduler.after(0, () => {
      process.deliver(() => {
        this.#open(node, process).then(
          (engine) => {
            if (node.process !== process) return;
            node.engine = engine;
            this.onOpened?.(node, engine);
          },
          (error: Error) => {
            if (node.process !== process) return;
            node.openingError = error;
            this.scheduler.note(`${node.name} does not open: ${EngineError.is(error) ? error.code : error.message}`);
          },
        );
      });
    });
  }

  /** Power off: what was not synced is as chance has it. */
  crash(node: SimNode<E>): void {
    if (node.process === undefined) return;
    this.scheduler.note(`${node.name} loses power`);
    this.#end(node);
    node.disk.crash();
  }

  /** kill -9: the machine, and with it the page cache, lives on. */
  kill(node: SimNode<E>): void {
    if (node.process === undefined) return;
    this.scheduler.note(`${node.name} is killed`);
    this.#end(node);
    node.disk.endProcess();
  }

  /** A new, empty disk in a machine that is down. */
  wipe(node: SimNode<E>): void {
    if (node.process !== undefined) throw new Error("a disk is changed while the machine is down");
    this.scheduler.note(`${node.name} gets an empty disk`);
    node.disk.wipe();
    this.observer?.wiped(node.name);
  }

  /** What the member is by its disk, were power lost now; undefined where nothing of it is there. */
  identity(node: SimNode<E>): Identity | undefined {
    const bytes = loadIdentity(node.disk.fileSystem.durableCopy(), DISK_DIRECTORY);
    return bytes === undefined ? undefined : decodeIdentity(bytes);
  }

  /** Whether the member takes part in a cluster, and will after power was lost. */
  isActive(node: SimNode<E>): boolean {
    return this.identity(node)?.phase === "active";
  }

  pause(node: SimNode<E>): void {
    this.scheduler.note(`${node.name} stops`);
    node.process?.pause();
  }

  resume(node: SimNode<E>, random?: SimRandom): void {
    this.scheduler.note(`${node.name} goes on`);
    node.process?.resume(random);
  }

  suspend(node: SimNode<E>): void {
    this.scheduler.note(`${node.name} sleeps`);
    node.machine.suspend();
  }

  wake(node: SimNode<E>, random?: SimRandom): void {
    this.scheduler.note(`${node.name} wakes`);
    node.machine.wake();
    node.process?.wake(random);
  }

  #end(node: SimNode<E>): void {
    node.process?.kill();
    node.process = undefined;
    node.engine = undefined;
    node.look = undefined;
    this.observer?.closed(node.name);
  }

  #environment(node: SimNode<E>, process: SimProcess): Environment {
    const told = this.observer?.open(node.machine, node.memberId);
    return {
      clock: process.clock,
      random: this.random.split(`node ${node.name} ${node.boot}`),
      openStorage: async () => {
        const storage = await openStorage({ port: node.disk.open(process) });
        if (told === undefined) return storage;
        told.onRecovered(storage.recovered);
        return new ObservedStorage(storage, told);
      },
      createTransport: (hello, events) =>
        Promise.resolve(this.network.open({ process, address: this.#bootstrap[node.name] ?? "", hello, events })),
      ...(this.#kind.openStateMachine === undefined ? {} : { openStateMachine: this.#kind.openStateMachine }),
      observe: (look) => {
        if (node.process === process) node.look = look;
        told?.observe(look);
      },
    };
  }

  /** What an operator does with a directory that is new. */
  async #restore(node: SimNode<E>, process: SimProcess, backup: LoadedBackup): Promise<void> {
    const storage = await openStorage({ port: node.disk.open(process) });
    if (storage.recovered.identity === undefined) {
      await writeRestoredMember({
        storage,
        backup,
        name: node.name,
        bootstrap: this.#bootstrap,
        bumpRevision: 0,
        random: this.random.split(`restore ${node.name} ${node.boot}`),
        pause: () => new Promise((resolve) => process.clock.defer(resolve)),
      });
    }
    await storage.close();
  }

  async #open(node: SimNode<E>, process: SimProcess): Promise<E> {
    const listen = this.#bootstrap[node.name] ?? "";
    const { node: nodeOptions, settings } = this.#kind.resolve({
      ...this.#options.engine,
      dataDir: `/simulated/${node.name}`,
      name: node.name,
      thread: "inline",
      peer: { listen, insecure: true },
      bootstrap: this.#bootstrap,
    });
    if (this.#options.restored !== undefined) await this.#restore(node, process, this.#options.restored);
    const port = await openInlineNode(this.#environment(node, process), { ...nodeOptions, ...this.#options.node });
    const delays = this.random.split(`boundary ${node.name} ${node.boot}`);
    const ids = this.random.split(`application ${node.name} ${node.boot}`);
    return this.#kind.open(delayPort(port, process, delays), process.applicationClock, { ...settings, ...this.#options.settings }, ids);
  }
}
