/** Named parts of plans: what a simulation concentrates on. Canaries name the one that finds them soon. */
import type { NetworkPlan, SwarmProfile } from "./swarm.ts";
import type { WorkloadOptions } from "./workload.ts";

const CALM: NetworkPlan = { lossRate: 0, duplicateRate: 0, reorderRate: 0, delayMaxMs: 0.6 };

/** Many calls on few keys. */
export const CROWDED: WorkloadOptions = {
  clientsPerNode: 2,
  thinkMs: 10,
  keys: 3,
  writeShare: 0.4,
  ttlShare: 0,
  leaseReadShare: 0.3,
  eventualReadShare: 0.1,
  bigShare: 0,
  bigBytes: 0,
  timeoutMs: 500,
  watchesPerNode: 0,
};

const SHORT: SwarmProfile = {
  nodes: 3,
  faultsMs: 5_000,
  electionTimeoutMs: 300,
  heartbeatMs: 30,
  clockDrift: 0,
  diskMaxMs: 0.5,
  network: CALM,
  faultEveryMs: 200,
  faultMsMax: 600,
  isEarly: false,
  membershipEveryMs: undefined,
  workload: CROWDED,
};

/** Leaders come and go. */
export const ELECTIONS: SwarmProfile = {
  ...SHORT,
  network: { ...CALM, lossRate: 0.05, delayMaxMs: 20 },
  faults: { crashLeader: 2, crash: 1, isolateLeader: 3, partition: 2, pauseLeader: 1, slowDisk: 1 },
};

/** Disks are slow and lose power. */
export const DISKS: SwarmProfile = {
  ...SHORT,
  segmentBytes: 8 << 10,
  faults: { slowDisk: 3, crash: 2, crashLeader: 2, crashAll: 1, isolateLeader: 1 },
};

/** The network loses, repeats and reorders. */
export const LOSSY: SwarmProfile = {
  ...SHORT,
  network: { lossRate: 0.1, duplicateRate: 0.1, reorderRate: 0.2, delayMaxMs: 5 },
  faults: { reset: 1, oneWay: 1 },
};

/** Leases are held, lost and read from. */
export const LEASES: SwarmProfile = {
  ...SHORT,
  faults: { isolateLeader: 3, crash: 2, kill: 2, oneWay: 3, pauseLeader: 1, close: 1 },
  workload: { ...CROWDED, writeShare: 0.1, leaseReadShare: 0.8 },
};

/** A leader that was stopped, and does not hear what it has missed. */
export const STRANDED: SwarmProfile = {
  ...SHORT,
  faultEveryMs: 400,
  faultMsMax: 2_000,
  faults: { strandLeader: 1, stallLeader: 1 },
  workload: { ...CROWDED, clientsPerNode: 4, thinkMs: 15, writeShare: 0.2, leaseReadShare: 0.5 },
};

/** Votes that a lease must outlive. Few writes, so that no log is ahead of another. */
export const FORGETFUL: SwarmProfile = {
  ...SHORT,
  faultEveryMs: 1_500,
  faults: { forgetfulVoter: 1, oneWay: 0.5 },
  workload: { ...CROWDED, writeShare: 0.0005, thinkMs: 20 },
};

/** Leadership is handed over, and the message that says so is late. */
export const HANDOVERS: SwarmProfile = { ...FORGETFUL, faults: { lateHandover: 1 } };

/** Voters become learners, and voters again. */
export const MEMBERSHIP: SwarmProfile = {
  ...SHORT,
  nodes: 5,
  membershipEveryMs: 200,
  network: { ...CALM, delayMaxMs: 10 },
  faults: { isolateLeader: 2, partition: 2, crashLeader: 1, slowDisk: 1 },
};

/** Disks are lost, from the founding on. */
export const FOUNDINGS: SwarmProfile = { ...SHORT, isEarly: true, faults: { wipe: 2, crash: 1 } };

/** By name, for the command line. */
export const PROFILES: Readonly<Record<string, SwarmProfile>> = {
  calm: { ...SHORT, faults: {} },
  elections: ELECTIONS,
  disks: DISKS,
  lossy: LOSSY,
  leases: LEASES,
  stranded: STRANDED,
  forgetful: FORGETFUL,
  handovers: HANDOVERS,
  membership: MEMBERSHIP,
  foundings: FOUNDINGS,
};
