/**
 * One seed of a cluster whose clients are far away: each has a session of its own, asks any node, loses replies, asks again and elsewhere with
 * the same numbers until it is answered, and sends some things twice from the start. They all increment one counter by transactions, so that
 * its value at the end is the number of increments that were answered, and an answer that comes twice is the same both times.
 */
import { openLocalEngine } from "../../client/local-engine.ts";
import { resolveOptions } from "../../client/engine-options.ts";
import type { Engine } from "../../client/engine.ts";
import { CommandBatch } from "../../core/kv/command.ts";
import { ResultReader } from "../../core/kv/result.ts";
import { stampSession } from "../../core/kv/session-stamp.ts";
import { packTxn } from "../../core/kv/txn-codec.ts";
import type { FromNode, NodePort } from "../../node/boundary.ts";
import { CheckFailure } from "../history.ts";
import { Nemesis } from "../nemesis.ts";
import { SimCluster, type SimFront, type SimNode } from "../sim-cluster.ts";
import type { SimRandom } from "../sim-random.ts";
import { LivenessFailure } from "../simulation.ts";
import { drawPlan, type SwarmPlan, type SwarmProfile } from "../swarm.ts";

export interface SessionSimulationOptions {
  readonly seed: number;
  readonly profile?: SwarmProfile;
}

export interface SessionSimulationResult {
  readonly traceHash: number;
  readonly increments: number;
  /** Requests beyond the first for one number. */
  readonly retries: number;
  /** Answers that came when there was one already. */
  readonly repeated: number;
}

export type SimulateSessions = (options: SessionSimulationOptions) => Promise<SessionSimulationResult>;

interface Told {
  increments: number;
  retries: number;
  repeated: number;
}

const CLIENTS = 3;
const LANES = 2;
const WINDOW = 4;
const LIFE_MS = 120_000;
const STEP_MS = 50;
const HEAL_MS = 30_000;
const RETRY_MS = 150;
const COUNTER = new TextEncoder().encode("counter");
/** The engine's own calls have lower ids. */
const FIRST_CALL = 2 ** 40;

/** Runs one seed. Rejects with CheckFailure, LivenessFailure, or whatever else the code under test threw. */
export const simulate: SimulateSessions = (options) => new SessionSimulation(options).run();

/** An engine, and writes past it whose numbers their caller gives. */
class Front implements SimFront {
  readonly engine: Engine;
  readonly #port: NodePort;
  readonly #waiting: Map<number, (results: Uint8Array) => void>;
  #next = FIRST_CALL;

  private constructor(engine: Engine, port: NodePort, waiting: Map<number, (results: Uint8Array) => void>) {
    this.engine = engine;
    this.#port = port;
    this.#waiting = waiting;
  }

  static async open(port: NodePort, open: (port: NodePort) => Promise<Engine>): Promise<Front> {
    const waiting = new Map<number, (results: Uint8Array) => void>();
    const isOwn = (message: FromNode): boolean => "call" in message && message.call >= FIRST_CALL;
    const engine = await open({
      post: (messages) => port.post(messages),
      onMessages: (receive) =>
        port.onMessages((messages) => {
          for (const message of messages) if (isOwn(message) && message.kind === "written") waiting.get(message.call)?.(message.results);
          receive(messages.filter((message) => !isOwn(message)));
        }),
      onGone: (gone) => port.onGone(gone),
      ref: () => port.ref(),
      unref: () => port.unref(),
      terminate: () => port.terminate(),
    });
    return new Front(engine, port, waiting);
  }

  get state(): Engine["state"] {
    return this.engine.state;
  }

  isLeader(): boolean {
    return this.engine.isLeader();
  }

  close(): Promise<void> {
    return this.engine.close();
  }

  write(record: Uint8Array, answered: (results: Uint8Array) => void): void {
    const call = this.#next++;
    this.#waiting.set(call, answered);
    this.#port.post([{ kind: "write", call, record, commands: 1, timeoutMs: 5_000, inSessions: true }]);
  }
}

/** One client, on a machine that never fails. */
class RemoteClient {
  readonly #cluster: SimCluster<Front>;
  readonly #random: SimRandom;
  readonly #told: Told;
  readonly #fail: (error: Error) => void;
  #session: { readonly high: number; readonly low: number } | undefined;
  #next = 1;
  readonly #open = new Set<number>();
  isStopped = false;

  constructor(options: { cluster: SimCluster<Front>; random: SimRandom; told: Told; fail: (error: Error) => void }) {
    this.#cluster = options.cluster;
    this.#random = options.random;
    this.#told = options.told;
    this.#fail = options.fail;
    this.#begin();
  }

  /** Nothing is under way. */
  get isIdle(): boolean {
    return this.isStopped && this.#open.size === 0;
  }

  /** A session of which the client does not hear is one that nobody uses. */
  #begin(): void {
    if (this.#session !== undefined || this.isStopped) return;
    const batch = new CommandBatch(64);
    batch.openSession({ window: WINDOW, lifeMs: LIFE_MS });
    this.#send(batch.finish(), (results) => {
      const reader = new ResultReader(results);
      if (this.#session !== undefined || !reader.next() || reader.session === undefined) return;
      this.#session = reader.session;
      for (let lane = 0; lane < LANES; lane++) this.#increment(0);
    });
    this.#cluster.scheduler.after(RETRY_MS, () => this.#begin());
  }

  /** One more than `value`, if that is what it is. */
  #increment(value: number): void {
    if (this.isStopped) return;
    // A client keeps to its window: one that ran ahead of what it waits for would be refused.
    if (this.#next >= Math.min(...this.#open) + WINDOW) {
      this.#cluster.scheduler.after(20, () => this.#increment(value));
      return;
    }
    const text = (number: number): Uint8Array => new TextEncoder().encode(String(number));
    const batch = new CommandBatch(256, 4_096, true);
    batch.txn(
      packTxn({
        compare: [
          value === 0
            ? { where: COUNTER, target: "version", result: "equal", number: 0, value: new Uint8Array(0), lease: undefined }
            : { where: COUNTER, target: "value", result: "equal", number: 0, value: text(value), lease: undefined },
        ],
        success: [
          {
            kind: "put",
            key: COUNTER,
            value: text(value + 1),
            lease: undefined,
            ttlMs: undefined,
            ignoreValue: false,
            ignoreLease: false,
            prevKv: false,
          },
        ],
        failure: [{ kind: "get", key: COUNTER }],
      }),
    );
    const sequence = this.#next++;
    this.#open.add(sequence);
    let answer: Buffer | undefined;
    this.#request(
      { batch: batch.finish(), sequence, acked: Math.min(...this.#open) - 1 },
      () => answer !== undefined,
      (results) => {
        const came = Buffer.from(results);
        if (answer !== undefined) {
          // Late, and perhaps acknowledged meanwhile: then it is refused. What is no refusal is the first answer.
          this.#told.repeated++;
          if (came[4] === 0 && !came.equals(answer)) this.#fail(new CheckFailure("exactly once", `two answers to number ${sequence}`));
          return;
        }
        const reader = new ResultReader(results);
        if (!reader.next() || reader.refusal !== undefined) {
          this.#fail(new CheckFailure("exactly once", `number ${sequence} was refused as ${reader.refusal?.code}`));
          return;
        }
        answer = came;
        this.#open.delete(sequence);
        if (reader.succeeded) this.#told.increments++;
        const answers = reader.succeeded ? undefined : reader.answers();
        answers?.next();
        const found = answers === undefined ? value + 1 : Number(Buffer.from(answers.kv()?.value ?? Buffer.from("0")).toString());
        this.#cluster.scheduler.after(this.#random.below(30), () => this.#increment(found));
      },
    );
  }

  /** Asks until there is an answer, with the same numbers each time. */
  #request(
    { batch, sequence, acked }: { readonly batch: Uint8Array; readonly sequence: number; readonly acked: number },
    isAnswered: () => boolean,
    answered: (results: Uint8Array) => void,
  ): void {
    const record = batch.slice();
    stampSession(record, 1, { ...this.#session!, sequence, acked });
    let asked = 0;
    const ask = (): void => {
      if (isAnswered()) return;
      if (asked++ > 0) this.#told.retries++;
      for (let times = this.#random.chance(0.2) ? 2 : 1; times > 0; times--) {
        this.#send(record.slice(), (results) => {
          // Some replies are lost.
          if (!this.#random.chance(0.2)) answered(results);
        });
      }
      this.#cluster.scheduler.after(RETRY_MS + this.#random.below(RETRY_MS), ask);
    };
    ask();
  }

  #send(record: Uint8Array, answered: (results: Uint8Array) => void): void {
    const front = this.#random.pick(this.#cluster.nodes).engine;
    if (front === undefined) return;
    const { scheduler } = this.#cluster;
    scheduler.after(this.#random.below(5), () => {
      front.write(record, (results) => scheduler.after(this.#random.below(5), () => answered(results)));
    });
  }
}

class SessionSimulation {
  readonly #cluster: SimCluster<Front>;
  readonly #nemesis: Nemesis<Front>;
  readonly #plan: SwarmPlan;
  readonly #told: Told = { increments: 0, retries: 0, repeated: 0 };
  #found: Error | undefined;

  constructor({ seed, profile }: SessionSimulationOptions) {
    const plan = drawPlan(new SimCluster({ seed, nodes: 0 }).random.split("plan"), profile);
    this.#plan = plan;
    const { electionTimeoutMs, heartbeatMs, snapshotLogBytesMin, segmentBytes, clockDrift, nodes, store } = plan;
    this.#cluster = new SimCluster<Front>({
      seed,
      nodes,
      clockDrift,
      segmentBytes,
      engine: { electionTimeoutMs, heartbeatMs },
      node: { snapshotLogBytesMin, store },
      kind: {
        state: undefined,
        resolve: resolveOptions,
        open: (port, clock, settings, ids) => Front.open(port, (own) => openLocalEngine(own, clock, settings, ids)),
      },
    });
    this.#nemesis = new Nemesis<Front>(this.#cluster, plan);
  }

  async run(): Promise<SessionSimulationResult> {
    const { scheduler, nodes, random } = this.#cluster;
    const look = scheduler.afterEvent;
    scheduler.afterEvent = () => {
      look?.();
      if (this.#found !== undefined) throw this.#found;
    };
    for (const node of nodes) scheduler.after(random.below(200), () => this.#cluster.start(node));
    await this.#until("the cluster is founded", () => nodes.every((node) => node.engine?.state.kind === "ready"));
    const fail = (error: Error): void => void (this.#found ??= error);
    const clients = Array.from(
      { length: CLIENTS },
      (_, at) => new RemoteClient({ cluster: this.#cluster, random: random.split(`client ${at}`), told: this.#told, fail }),
    );
    this.#nemesis.begin();
    await scheduler.advance(this.#plan.faultsMs);
    this.#nemesis.end();
    await this.#until("all members are ready", () => nodes.every((node) => this.#isLost(node) || node.engine?.state.kind === "ready"));
    await scheduler.advance(1_000);
    for (const client of clients) client.isStopped = true;
    await this.#until("every number is answered", () => clients.every((client) => client.isIdle));
    const value = await this.#counter();
    if (value !== this.#told.increments)
      throw new CheckFailure("exactly once", `${this.#told.increments} were counted, the counter is at ${value}`);
    return { traceHash: scheduler.traceHash, ...this.#told };
  }

  #isLost(node: SimNode<Front>): boolean {
    return this.#nemesis.wiped.has(node.name) || this.#nemesis.corrupted.has(node.name);
  }

  async #counter(): Promise<number> {
    let value: number | undefined;
    const front = this.#cluster.nodes.find((node) => node.engine?.state.kind === "ready")?.engine;
    front?.engine.get("counter").then(
      (kv) => (value = Number(kv?.text() ?? "0")),
      (error: Error) => (this.#found ??= error),
    );
    await this.#until("the counter is read", () => value !== undefined);
    return value!;
  }

  async #until(what: string, holds: () => boolean): Promise<void> {
    const { scheduler } = this.#cluster;
    const deadline = scheduler.now + HEAL_MS;
    while (!holds()) {
      if (scheduler.now > deadline) throw new LivenessFailure(`${what}: not within ${HEAL_MS} ms`);
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await scheduler.advance(STEP_MS);
    }
  }
}
