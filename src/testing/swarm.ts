/**
 * What a seed does to its cluster: each seed draws which faults are on at all, and how often. A run in which everything fails at once
 * finds little, since little gets done between the faults; many runs with a few kinds each find what happens between those.
 */
import type { SimRandom } from "./sim-random.ts";
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
  readonly historyRevisionsMax: number;
  /** Members change between voters and learners. */
  readonly membershipEveryMs: number | undefined;
  readonly workload: WorkloadOptions;
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
  };
  return { ...plan, ...profile, workload: { ...plan.workload, ...profile.workload } };
}
