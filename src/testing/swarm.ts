/**
 * What a seed does to its cluster: each seed draws which faults are on at all, and how often. A run in which everything fails at once
 * finds little, since little gets done between the faults; many runs with a few kinds each find what happens between those.
 */
import type { SimRandom } from "./sim-random.ts";
import type { LeasePromises } from "./lease-history.ts";
import type { LeasePlan } from "./lease-workload.ts";
import type { TxnPlan } from "./txn-workload.ts";
import type { WorkloadOptions } from "./workload.ts";

/** Faults of the network that are on all the time, in shares of frames. */
export interface NetworkPlan {
  readonly lossRate: number;
  readonly duplicateRate: number;
  readonly reorderRate: number;
  readonly delayMaxMs: number;
}

/** Faults that come and go. */
export const FAULT_KINDS = [
  "partition",
  "oneWay",
  "isolateLeader",
  "reset",
  "crash",
  "crashLeader",
  "crashAll",
  "kill",
  "close",
  "pause",
  "pauseLeader",
  "suspend",
  "suspendLeader",
  "strandLeader",
  "stallLeader",
  "forgetfulVoter",
  "lateHandover",
  "wallJump",
  "slowDisk",
  "hungDisk",
  "failedSync",
  "fullDisk",
  "bitFlip",
  "wipe",
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

export interface SwarmPlan {
  readonly nodes: number;
  /** How long faults go on, in virtual time. */
  readonly faultsMs: number;
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly clockDrift: number;
  readonly network: NetworkPlan;
  /** How long a request of a disk takes at most, while faults go on. */
  readonly diskMaxMs: number;
  /** The kinds that are on, with their weights. */
  readonly faults: Partial<Record<FaultKind, number>>;
  /** Between two faults, on average. */
  readonly faultEveryMs: number;
  /** How long a fault that has an end goes on, at most. */
  readonly faultMsMax: number;
  /** Faults begin before the cluster has been founded. */
  readonly isEarly: boolean;
  readonly segmentBytes: number;
  readonly snapshotLogBytesMin: number;
  /** Of all members. */
  readonly store: "segments" | "memory";
  readonly historyRevisionsMax: number;
  /** What is younger is kept, and so many revisions however old. */
  readonly historyMs: number;
  readonly historyRevisionsMin: number;
  /** Small: history is compacted early all the time, and bursts of writes are refused. What is alive always fits. */
  readonly dataBytesMax: number;
  /** Members change between voters and learners. */
  readonly membershipEveryMs: number | undefined;
  /** Members serve clients elsewhere, and another is told to lead. */
  readonly operatorEveryMs: number | undefined;
  readonly workload: WorkloadOptions;
  /** With little, readers that are slow have the node read history for them. */
  readonly watchCreditBytes: number;
  /** Few: watches are told transactions in parts. */
  readonly watchPartEvents: number;
  readonly leases: LeasePlan;
  readonly leasePromises: LeasePromises;
  readonly transactions: TxnPlan;
  /** Few: commands and reads are done in parts, with other work in between. */
  readonly turnRecordsMax: number;
  /** Little: scans are read in many pages. */
  readonly scanPageBytes: number;
}

/** Fixes parts of the plan, for canaries and for looking closer. */
export type SwarmProfile = Partial<SwarmPlan>;

const WEIGHTS: Readonly<Record<FaultKind, number>> = {
  partition: 3,
  oneWay: 2,
  isolateLeader: 2,
  reset: 2,
  crash: 3,
  crashLeader: 3,
  crashAll: 0.5,
  kill: 1,
  close: 1,
  pause: 2,
  pauseLeader: 3,
  suspend: 1,
  suspendLeader: 1,
  strandLeader: 1,
  stallLeader: 1,
  forgetfulVoter: 1,
  lateHandover: 1,
  wallJump: 0.5,
  slowDisk: 1,
  hungDisk: 1,
  failedSync: 1,
  fullDisk: 0.5,
  bitFlip: 0.5,
  wipe: 0.5,
};

export function drawPlan(random: SimRandom, profile: SwarmProfile = {}): SwarmPlan {
  const faults: Partial<Record<FaultKind, number>> = {};
  for (const kind of FAULT_KINDS) {
    // Drawn for all kinds alike, so that a new one does not shift what is drawn for the others behind it.
    const isOn = random.chance(0.4);
    const weight = random.between(0.5, 2) * WEIGHTS[kind];
    if (isOn) faults[kind] = weight;
  }
  const electionTimeoutMs = random.pick([300, 1_000]);
  const plan: SwarmPlan = {
    nodes: random.chance(0.7) ? 3 : 5,
    faultsMs: 5_000 + random.below(15_000),
    electionTimeoutMs,
    heartbeatMs: electionTimeoutMs / 10,
    clockDrift: random.chance(0.5) ? random.fraction() * 0.02 : 0,
    network: {
      lossRate: random.chance(0.4) ? random.fraction() * 0.1 : 0,
      duplicateRate: random.chance(0.4) ? random.fraction() * 0.1 : 0,
      reorderRate: random.chance(0.4) ? random.fraction() * 0.2 : 0,
      delayMaxMs: random.pick([0.6, 0.6, 5, 50]),
    },
    faults,
    faultEveryMs: random.pick([200, 600, 2_000]),
    faultMsMax: random.pick([500, 2_000, 5_000]),
    isEarly: random.chance(0.2),
    segmentBytes: random.pick([8, 16, 64]) << 10,
    snapshotLogBytesMin: random.pick([8 << 10, 32 << 10, 1 << 20]),
    historyRevisionsMax: random.pick([200, 1_000, 100_000]),
    membershipEveryMs: random.chance(0.3) ? random.pick([500, 2_000]) : undefined,
    workload: {
      clientsPerNode: 1 + random.below(3),
      thinkMs: random.pick([5, 20, 50]),
      keys: 1 + random.below(6),
      writeShare: random.between(0.3, 0.7),
      ttlShare: random.chance(0.5) ? 0.2 : 0,
      leaseReadShare: random.chance(0.6) ? 0.4 : 0,
      eventualReadShare: random.chance(0.6) ? 0.2 : 0,
      bigShare: random.chance(0.3) ? 0.2 : 0,
      bigBytes: 2_000,
      timeoutMs: random.pick([500, 5_000]),
      watchesPerNode: random.below(3),
    },
    diskMaxMs: random.pick([0.5, 0.5, 0.5, 10]),
    leases: {
      holdersPerNode: random.below(3),
      // At least what a kept lease needs: three heartbeats.
      ttlMsMin: random.pick([300, 300, 1_000]),
      ttlMsMax: random.pick([1_000, 3_000]),
      keptShare: random.between(0.2, 0.8),
      renewedShare: 0.3,
      revokedShare: 0.3,
    },
    leasePromises: { lateMsMax: undefined, keptLive: false },
    watchCreditBytes: random.pick([256, 2_048, 256 << 10]),
    dataBytesMax: random.pick([40_000, 1 << 30, 1 << 30]),
    store: random.chance(0.8) ? "segments" : "memory",
    historyMs: random.pick([500, 3_000, 3_600_000]),
    historyRevisionsMin: random.pick([10, 100]),
    transactions: {
      clientsPerNode: random.chance(0.6) ? 1 + random.below(2) : 0,
      thinkMs: random.pick([20, 50]),
      keys: 2 + random.below(6),
      accounts: 2 + random.below(3),
      transferShare: 0.25,
      txnShare: 0.25,
      updateShare: 0.05,
      plainShare: 0.1,
      compactShare: random.pick([0, 0.003, 0.02]),
      pastShare: 0.4,
      eventualShare: 0.3,
      leaseShare: 0.3,
      watchesPerNode: random.below(2),
    },
    turnRecordsMax: random.pick([3, 1 << 30, 1 << 30]),
    scanPageBytes: random.pick([1, 200, 256 << 10]),
    operatorEveryMs: random.chance(0.3) ? random.pick([200, 2_000]) : undefined,
    watchPartEvents: random.pick([1, 2, 1 << 30, 1 << 30]),
  };
  return {
    ...plan,
    ...profile,
    workload: { ...plan.workload, ...profile.workload },
    leases: { ...plan.leases, ...profile.leases },
    transactions: { ...plan.transactions, ...profile.transactions },
  };
}
