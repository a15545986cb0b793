/**
 * Hurts a cluster as its plan says: faults begin at times of chance, last for a while, and end. What it destroys for good (a wiped disk,
 * a flipped bit) it destroys at a minority of the members only: more is beyond what any consensus survives.
 */
import type { Engine } from "../client/engine.ts";
import { createDiskServer } from "../storage/disk-server.ts";
import { EngineError } from "../errors.ts";
import type { RecoveredWire } from "../storage/disk-protocol.ts";
import type { SimCluster, SimFront, SimNode } from "./sim-cluster.ts";
import { DISK_DIRECTORY, HEALTHY_DISK, type DiskSpeed } from "./sim-disk.ts";
import { HEALTHY_LINK, type LinkFaults } from "./sim-network.ts";
import type { SimRandom } from "./sim-random.ts";
import type { FaultKind, SwarmPlan } from "./swarm.ts";

/** How often a node that has failed is looked for. */
const LOOK_MS = 100;
/** What a full disk may still have. */
const FREE_BYTES_MAX = 100_000;

export class Nemesis<E extends SimFront = Engine> {
  /** How often each kind of fault began. */
  readonly counts: Partial<Record<FaultKind | "membership", number>> = {};
  /** Members whose disk was wiped or damaged: what they say of themselves at the end is checked apart. */
  readonly wiped: Set<string> = new Set<string>();
  /** Wiped when others took part in a cluster with them already: never again members. */
  readonly mustBeRefused: Set<string> = new Set<string>();
  readonly corrupted: Set<string> = new Set<string>();
  readonly #cluster: SimCluster<E>;
  readonly #plan: SwarmPlan;
  readonly #random: SimRandom;
  #isOver = false;

  constructor(cluster: SimCluster<E>, plan: SwarmPlan) {
    this.#cluster = cluster;
    this.#plan = plan;
    this.#random = cluster.random.split("nemesis");
  }

  /** Faults from now on. */
  begin(): void {
    const { lossRate, duplicateRate, reorderRate, delayMaxMs } = this.#plan.network;
    this.#cluster.network.setFaults({ ...HEALTHY_LINK, lossRate, duplicateRate, reorderRate, reorderMs: 20, delayMaxMs });
    for (const node of this.#cluster.nodes) node.disk.speed = this.#diskSpeed;
    if (Object.keys(this.#plan.faults).length > 0) this.#again(this.#plan.faultEveryMs, () => this.#strike());
    if (this.#plan.membershipEveryMs !== undefined) this.#again(this.#plan.membershipEveryMs, () => this.#changeMembers());
    this.#lookAfter();
  }

  /** No faults from now on; everything that can run again does. */
  end(): void {
    this.#isOver = true;
    const { network, nodes } = this.#cluster;
    network.heal();
    for (const node of nodes) {
      node.disk.speed = HEALTHY_DISK;
      node.disk.fileSystem.clearFaults();
      node.disk.release();
      if (node.machine.isSuspended) this.#cluster.wake(node);
      if (node.process?.isPaused === true) this.#cluster.resume(node);
      this.#cluster.start(node);
    }
  }

  get #diskSpeed(): DiskSpeed {
    return { minMs: HEALTHY_DISK.minMs, maxMs: this.#plan.diskMaxMs };
  }

  #again(everyMs: number, run: () => void): void {
    const next = (): void => {
      this.#cluster.scheduler.after(-Math.log(1 - this.#random.fraction()) * everyMs, () => {
        if (this.#isOver) return;
        run();
        next();
      });
    };
    next();
  }

  /** Ends a fault after a while of chance. */
  #later(run: () => void): void {
    this.#cluster.scheduler.after(this.#random.fraction() * this.#plan.faultMsMax, () => {
      if (!this.#isOver) run();
    });
  }

  /** A node whose disk failed is of no use until its process begins anew, which an operator would see to. */
  #lookAfter(): void {
    for (const node of this.#cluster.nodes) {
      const state = node.engine?.state;
      if (node.process === undefined) continue;
      const mayRecover = state?.kind === "failed" && (state.error.code === "DISK_FAILED" || state.error.code === "NO_SPACE");
      if (!mayRecover && node.openingError === undefined) continue;
      if (EngineError.is(node.openingError, "CORRUPT")) continue;
      if (!this.#isOver && this.#random.chance(0.8)) continue;
      // A full disk has been cleared by then; a failed sync may have left the page cache with what the disk has not.
      node.disk.fileSystem.clearFaults();
      if (this.#random.chance(0.5)) this.#cluster.crash(node);
      else this.#cluster.kill(node);
      this.#cluster.start(node);
    }
    this.#cluster.scheduler.after(LOOK_MS, () => this.#lookAfter());
  }

  #strike(): void {
    const kinds = Object.entries(this.#plan.faults) as [FaultKind, number][];
    let draw = this.#random.fraction() * kinds.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [kind, weight] of kinds) {
      draw -= weight;
      if (draw > 0) continue;
      if (this.#begin(kind)) {
        this.counts[kind] = (this.counts[kind] ?? 0) + 1;
        this.#cluster.scheduler.note(`fault ${kind}`);
      }
      return;
    }
  }

  #running(): readonly SimNode<E>[] {
    return this.#cluster.nodes.filter((node) => node.process?.isRunning === true);
  }

  #leader(): SimNode<E> | undefined {
    return this.#running().find((node) => node.engine?.isLeader() === true);
  }

  /** False: not possible now. */
  #begin(kind: FaultKind): boolean {
    const cluster = this.#cluster;
    const random = this.#random;
    const running = this.#running();
    if (running.length === 0) return false;
    const node = kind.endsWith("Leader") ? this.#leader() : random.pick(running);
    if (node === undefined) return false;
    switch (kind) {
      case "partition":
      case "oneWay":
      case "isolateLeader":
        this.#cut(kind, node);
        return true;
      case "reset":
        cluster.network.reset(node.name, random.pick(cluster.nodes).name);
        return true;
      case "crash":
      case "crashLeader":
        cluster.crash(node);
        this.#later(() => cluster.start(node));
        return true;
      case "crashAll":
        for (const each of running) {
          if (random.chance(0.7)) cluster.crash(each);
          else cluster.kill(each);
          this.#later(() => cluster.start(each));
        }
        return true;
      case "kill":
        cluster.kill(node);
        this.#later(() => cluster.start(node));
        return true;
      case "close":
        if (node.engine === undefined) return false;
        this.#close(node, node.engine);
        return true;
      case "pause":
      case "pauseLeader":
        cluster.pause(node);
        this.#later(() => cluster.resume(node, random));
        return true;
      case "suspend":
      case "suspendLeader":
        cluster.suspend(node);
        this.#later(() => cluster.wake(node, random));
        return true;
      case "strandLeader":
      case "stallLeader":
        this.#strand(node, kind === "strandLeader");
        return true;
      case "forgetfulVoter":
        return this.#forget();
      case "lateHandover":
        return this.#handOverLate();
      case "wallJump":
        node.machine.wallOffsetMs += random.between(-1, 1) * random.pick([100, 10_000, 3_600_000]);
        return true;
      case "slowDisk":
        node.disk.speed = { minMs: 1, maxMs: random.pick([20, 100, 1_000]) };
        this.#later(() => (node.disk.speed = this.#diskSpeed));
        return true;
      case "hungDisk":
        node.disk.hang();
        this.#later(() => node.disk.release());
        return true;
      case "failedSync":
        node.disk.fileSystem.fail({ operation: "dataSync", errno: "EIO", after: random.below(5) });
        return true;
      case "fullDisk":
        // Room for what is there and a little more, or for no call at all.
        if (random.chance(0.7)) node.disk.fileSystem.limit(random.below(FREE_BYTES_MAX));
        else node.disk.fileSystem.fail({ operation: random.pick(["write", "create"]), errno: "ENOSPC", times: Number.POSITIVE_INFINITY });
        this.#later(() => node.disk.fileSystem.limit(undefined));
        return true;
      case "bitFlip":
        return this.#flip(node);
      case "wipe":
        if (!this.#mayDamage(node, true)) return false;
        this.wiped.add(node.name);
        if (cluster.nodes.some((other) => other !== node && cluster.isActive(other))) this.mustBeRefused.add(node.name);
        cluster.crash(node);
        cluster.wipe(node);
        this.#later(() => cluster.start(node));
        return true;
    }
  }

  #mayDamage(node: SimNode<E>, isWiped: boolean): boolean {
    const damaged = new Set([...this.wiped, ...this.corrupted, node.name]);
    // Founding needs everyone once; a member whose disk is replaced before that founds with the new one.
    const isFounded = this.#cluster.observer?.isFounded(this.#cluster.nodes.length) === true;
    if (!isFounded && !isWiped) return false;
    // Voters come and go where membership changes, and with them what a minority is.
    return (
      this.#plan.membershipEveryMs === undefined &&
      damaged.size <= Math.floor((this.#cluster.nodes.length - 1) / 2) &&
      !this.wiped.has(node.name)
    );
  }

  #cut(kind: "partition" | "oneWay" | "isolateLeader", node: SimNode<E>): void {
    const { network, nodes } = this.#cluster;
    const random = this.#random;
    const names = nodes.map(({ name }) => name);
    const restore = (): void => {
      for (const from of names) for (const to of names) if (from !== to) network.setLinkFaults(from, to, undefined);
    };
    if (kind === "oneWay") {
      for (const from of names) {
        for (const to of names) if (from !== to && random.chance(0.3)) network.setLinkFaults(from, to, this.#cutLink(from, to));
      }
    } else {
      const side = kind === "isolateLeader" ? [node.name] : names.filter(() => random.chance(0.5));
      network.partition(names, [side, names.filter((name) => !side.includes(name))]);
    }
    if (random.chance(0.3)) for (const from of names) for (const to of names) if (network.linkFaults(from, to).cut) network.reset(from, to);
    this.#later(restore);
  }

  /** A leader that sleeps, or stops between gathering its input and its turn, alone: nobody tells it for a while what it has missed. */
  #strand(node: SimNode<E>, sleeps: boolean): void {
    const cluster = this.#cluster;
    const { electionTimeoutMs } = this.#plan;
    this.#cut("isolateLeader", node);
    if (sleeps) cluster.suspend(node);
    else node.process?.pauseAtDefer();
    cluster.scheduler.after(this.#random.between(1.5, 4) * electionTimeoutMs, () => {
      if (sleeps) cluster.wake(node, this.#random);
      else cluster.resume(node, this.#random);
    });
  }

  /**
   * A member that is cut off from the leader campaigns, and the one that still hears the leader restarts, and hears it no more: what it
   * has forgotten, the leader's lease still counts on.
   */
  #forget(): boolean {
    const cluster = this.#cluster;
    const { electionTimeoutMs } = this.#plan;
    const leader = this.#leader();
    const [candidate, voter] = this.#random.shuffle(this.#running().filter((node) => node !== leader));
    if (leader === undefined || candidate === undefined || voter === undefined || cluster.nodes.length !== 3) return false;
    const cut = (one: SimNode<E>, other: SimNode<E>, faults: (from: string, to: string) => LinkFaults | undefined): void => {
      cluster.network.setLinkFaults(one.name, other.name, faults(one.name, other.name));
      cluster.network.setLinkFaults(other.name, one.name, faults(other.name, one.name));
    };
    cut(leader, candidate, (from, to) => this.#cutLink(from, to));
    cluster.scheduler.after(this.#random.between(1, 3) * electionTimeoutMs, () => {
      if (this.#isOver) return;
      cut(leader, voter, (from, to) => this.#cutLink(from, to));
      cluster.kill(voter);
      cluster.start(voter);
    });
    cluster.scheduler.after(4 * electionTimeoutMs, () => {
      cut(leader, candidate, () => undefined);
      cut(leader, voter, () => undefined);
    });
    return true;
  }

  /** A handover whose message takes its time, to one whom the leader does not hear: it leads on, and then another does. */
  #handOverLate(): boolean {
    const { network, scheduler } = this.#cluster;
    const { electionTimeoutMs } = this.#plan;
    const leader = this.#leader();
    const target = this.#running().find((node) => node !== leader);
    if (leader === undefined || target === undefined) return false;
    const delayMs = 0.3 * electionTimeoutMs;
    const slow = { ...network.linkFaults(leader.name, target.name), delayMinMs: delayMs, delayMaxMs: delayMs };
    leader.process?.deliver(() => this.#cluster.inside(leader)?.raft?.transferLeadership(target.memberId));
    network.setLinkFaults(leader.name, target.name, slow);
    scheduler.after(delayMs / 2, () => {
      if (!this.#isOver) network.setLinkFaults(target.name, leader.name, this.#cutLink(target.name, leader.name));
    });
    scheduler.after(2 * electionTimeoutMs, () => {
      network.setLinkFaults(target.name, leader.name, undefined);
      network.setLinkFaults(leader.name, target.name, undefined);
    });
    return true;
  }

  #cutLink(from: string, to: string): LinkFaults {
    return { ...this.#cluster.network.linkFaults(from, to), cut: true };
  }

  #close(node: SimNode<E>, engine: E): void {
    const { process } = node;
    const done = (): void => {
      if (node.process !== process) return;
      this.#cluster.kill(node);
      if (this.#isOver) this.#cluster.start(node);
      else this.#later(() => this.#cluster.start(node));
    };
    engine.close().then(
      () => this.#cluster.scheduler.after(0, done),
      () => this.#cluster.scheduler.after(0, done),
    );
  }

  /**
   * Flips a bit of a member's files while it is down. A bit of the very last group of the log would pass for a torn tail, which no log can
   * tell apart; so only what is found out, or does no harm, is kept.
   */
  #flip(node: SimNode<E>): boolean {
    if (!this.#mayDamage(node, false) || this.corrupted.has(node.name)) return false;
    const random = this.#random;
    this.#cluster.crash(node);
    const { fileSystem } = node.disk;
    const before = this.#recover(node, undefined);
    let isFlipped = false;
    for (let tries = 0; tries < 20 && !isFlipped && before !== undefined; tries++) {
      const path = random.pick(fileSystem.paths());
      const bytes = fileSystem.contents(path).byteLength;
      if (bytes === 0) continue;
      const place = { path, offset: random.below(bytes), bit: random.below(8) };
      const after = this.#recover(node, place);
      isFlipped =
        after === undefined ||
        (after.log?.lastIndex === before.log?.lastIndex && after.log?.vote.term === before.log?.vote.term && after.identity !== undefined);
      if (!isFlipped) continue;
      fileSystem.flipBit(place.path, place.offset, place.bit);
      this.corrupted.add(node.name);
    }
    this.#later(() => this.#cluster.start(node));
    return isFlipped;
  }

  /** What opening a copy of the disk would find; undefined: an error. */
  #recover(
    node: SimNode<E>,
    flip: { readonly path: string; readonly offset: number; readonly bit: number } | undefined,
  ): RecoveredWire | undefined {
    const copy = node.disk.fileSystem.clone(this.#random);
    if (flip !== undefined) copy.flipBit(flip.path, flip.offset, flip.bit);
    const server = createDiskServer({
      fileSystem: copy,
      directory: DISK_DIRECTORY,
      options: { random: this.#random, segmentBytes: node.disk.segmentBytes },
    });
    const reply = server.handle({ id: 1, kind: "open", tailBytesMax: 0 });
    if (reply instanceof Promise) return undefined;
    return reply.error === undefined ? (reply.value as RecoveredWire) : undefined;
  }

  /** Makes other members voters and learners. */
  #changeMembers(): void {
    const leader = this.#leader();
    if (leader === undefined) return;
    const ids = this.#random.shuffle(this.#cluster.nodes.map(({ memberId }) => memberId));
    const voters = ids.slice(0, 1 + this.#random.below(ids.length)).sort();
    const learners = ids.filter((id) => !voters.includes(id)).sort();
    leader.process?.deliver(() => {
      const raft = this.#cluster.inside(leader)?.raft;
      if (raft === undefined) return;
      if (raft.proposeConfiguration({ voters, learners, members: raft.configuration.members }) !== undefined) return;
      this.counts.membership = (this.counts.membership ?? 0) + 1;
      this.#cluster.scheduler.note(`voters ${voters.length}`);
    });
  }
}
