/**
 * What holders of leases do in a simulation: take one, attach a few keys, then keep it, renew it by hand, revoke it, or leave it to its
 * time; and then take the next. All is noted for the checks (lease-history.ts).
 */
import type { Client } from "../client/client.ts";
import { EngineError } from "../errors.ts";
import type { Operation } from "./history.ts";
import { LEASE_PREFIX, type LeaseHistory, type LeaseRecord } from "./lease-history.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";
import type { Workload } from "./workload.ts";

export interface LeasePlan {
  /** Holders beside each node. */
  readonly holdersPerNode: number;
  readonly ttlMsMin: number;
  readonly ttlMsMax: number;
  /** The share of leases that the node renews. */
  readonly keptShare: number;
  /** The shares of those that are not kept: renewed by hand for a while, revoked. The rest is left to its time. */
  readonly renewedShare: number;
  readonly revokedShare: number;
}

interface HolderNode {
  readonly name: string;
  readonly boot: number;
  readonly process: SimProcess;
  readonly client: Client;
}

export class LeaseWorkload {
  readonly #workload: Workload;
  readonly #history: LeaseHistory;
  readonly #plan: LeasePlan;
  readonly #random: SimRandom;
  #labels = 0;

  constructor(options: {
    readonly workload: Workload;
    readonly history: LeaseHistory;
    readonly plan: LeasePlan;
    readonly random: SimRandom;
  }) {
    this.#workload = options.workload;
    this.#history = options.history;
    this.#plan = options.plan;
    this.#random = options.random;
  }

  /** Holders beside a node, for as long as its process lives. */
  attach(node: HolderNode): void {
    for (let count = 0; count < this.#plan.holdersPerNode; count++) this.#goOn(node);
  }

  /** Nobody renews anything any more: what is held runs out. */
  stop(): void {
    for (const record of this.#history.records) {
      record.isAbandoned = true;
      if (record.process.alive) record.held?.abandon();
    }
  }

  #goOn(node: HolderNode): void {
    const pauseMs = 20 + this.#random.below(300);
    node.process.applicationClock.setTimer(pauseMs, () => {
      if (this.#workload.isStopped) return;
      this.#hold(node).then(
        () => this.#goOn(node),
        (error: unknown) => {
          // The call failed, as calls do under faults; what no call may say is a finding.
          if (!EngineError.is(error) || error.code === "INVALID_ARGUMENT" || error.code === "INTERNAL")
            this.#workload.unexpected.push(error as Error);
          this.#goOn(node);
        },
      );
    });
  }

  async #hold(node: HolderNode): Promise<void> {
    const random = this.#random;
    const { ttlMsMin, ttlMsMax, keptShare, renewedShare, revokedShare } = this.#plan;
    const { process, client } = node;
    const ttlMs = ttlMsMin + random.below(ttlMsMax - ttlMsMin + 1);
    const { machine } = process;
    const record: LeaseRecord = {
      label: `${LEASE_PREFIX}l${++this.#labels}`,
      ttlMs,
      isKept: random.chance(keptShare),
      process,
      calledAt: this.#workload.now(),
      answeredAt: undefined,
      held: undefined,
      renewals: [],
      isRenewedPerhaps: false,
      revokeCalledAt: undefined,
      attachedAt: undefined,
      isAbandoned: false,
      sleeps: machine.sleeps,
      wallOffsetMs: machine.wallOffsetMs,
      endedAt: undefined,
    };
    const { timeoutMs } = this.#workload.options;
    const draw = random.fraction();
    const keys = 1 + random.below(3);
    this.#history.add(record);
    record.held = await client.lease({ ttlMs, keepAlive: record.isKept, timeoutMs });
    record.answeredAt = this.#workload.now();
    await Promise.all(Array.from({ length: keys }, (_, key) => this.#put(node, record, key)));
    if (record.isKept) {
      await this.#sleep(node, random.below(4 * ttlMs));
      if (this.#workload.isStopped) return;
      if (random.chance(0.3)) {
        record.isAbandoned = true;
        record.held.abandon();
      } else await this.#revoke(record);
      return;
    }
    if (draw < renewedShare) {
      for (let times = 1 + random.below(4); times > 0; times--) {
        // oxlint-disable-next-line no-await-in-loop -- one renewal after the other
        await this.#sleep(node, random.below(ttlMs));
        // oxlint-disable-next-line no-await-in-loop
        if (!(await this.#renew(record, client))) break;
      }
    } else if (draw < renewedShare + revokedShare) {
      await this.#sleep(node, random.below(ttlMs));
      await this.#revoke(record);
    } else if (random.chance(0.5)) {
      // Whoever comes too late must not find it alive again.
      await this.#sleep(node, 2 * ttlMs);
      await this.#renew(record, client);
    }
  }

  #put(node: HolderNode, record: LeaseRecord, number: number): Promise<void> {
    const { held, label } = record;
    const key = `${label}/${number}`;
    const value = this.#workload.uniqueValue(`holder@${node.name}`);
    const operation: Operation = {
      client: `holder@${node.name}`,
      node: `${node.name}#${node.boot}`,
      call: this.#workload.now(),
      body: { kind: "put", key, value, ttlMs: undefined, lease: held!.id },
      consistency: "linearizable",
      outcome: "unknown",
      end: Number.POSITIVE_INFINITY,
      revision: undefined,
    };
    return this.#workload.record(operation, async () => {
      const { revision } = await node.client.put(key, value, { lease: held!, timeoutMs: this.#workload.options.timeoutMs });
      record.attachedAt ??= this.#workload.now();
      return revision;
    });
  }

  async #renew(record: LeaseRecord, client: Client): Promise<boolean> {
    const calledAt = this.#workload.now();
    try {
      await client.leases.renew(record.held!.id, { timeoutMs: this.#workload.options.timeoutMs });
      record.renewals.push(calledAt);
      return true;
    } catch (error) {
      if (EngineError.is(error, "NOT_FOUND")) return false;
      record.isRenewedPerhaps = true;
      throw error;
    }
  }

  async #revoke(record: LeaseRecord): Promise<void> {
    record.revokeCalledAt = this.#workload.now();
    await record.held!.revoke({ timeoutMs: this.#workload.options.timeoutMs });
  }

  #sleep(node: HolderNode, ms: number): Promise<void> {
    return new Promise((resolve) => void node.process.applicationClock.setTimer(ms, resolve));
  }
}
