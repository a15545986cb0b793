/** Named parts of plans: what a simulation concentrates on. Canaries name the one that finds them soon. */
import type { LeasePlan } from "./lease-workload.ts";
import type { NetworkPlan, SwarmProfile } from "./swarm.ts";
import type { TxnPlan } from "./txn-workload.ts";
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

const NO_LEASES: LeasePlan = { holdersPerNode: 0, ttlMsMin: 300, ttlMsMax: 1_000, keptShare: 0.5, renewedShare: 0.3, revokedShare: 0.3 };

const NO_TRANSACTIONS: TxnPlan = {
  clientsPerNode: 0,
  thinkMs: 15,
  keys: 4,
  accounts: 3,
  transferShare: 0.25,
  txnShare: 0.25,
  updateShare: 0.05,
  plainShare: 0.1,
  compactShare: 0,
  pastShare: 0.4,
  eventualShare: 0.3,
  leaseShare: 0.3,
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
  operatorEveryMs: undefined,
  historyMs: 3_600_000,
  historyRevisionsMin: 10,
  workload: CROWDED,
  leases: NO_LEASES,
  transactions: NO_TRANSACTIONS,
  turnRecordsMax: 1 << 30,
  watchPartEvents: 1 << 30,
  scanPageBytes: 256 << 10,
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

/** Record stores are written and named all the time, in small segments, and power is lost. */
export const STORES: SwarmProfile = {
  ...SHORT,
  store: "segments",
  segmentBytes: 4 << 10,
  snapshotLogBytesMin: 2 << 10,
  historyRevisionsMax: 200,
  faults: { slowDisk: 3, crash: 3, crashLeader: 2, crashAll: 2, isolateLeader: 2, kill: 1 },
};

/** Disks fill up and are given room again, of all members at times; members are lost meanwhile. */
export const FULL_DISKS: SwarmProfile = {
  ...SHORT,
  faultsMs: 8_000,
  segmentBytes: 16 << 10,
  faultMsMax: 3_000,
  faults: { fullDisk: 4, slowDisk: 1, hungDisk: 1, crash: 1, kill: 1, crashLeader: 1, isolateLeader: 1 },
  workload: { ...CROWDED, thinkMs: 5, writeShare: 0.7, bigShare: 0.1, bigBytes: 4_000 },
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

/** Leases of clients are granted, kept, renewed, revoked and left, while leaders come and go and members are cut off. */
export const HOLDERS: SwarmProfile = {
  ...SHORT,
  faultsMs: 8_000,
  faults: { isolateLeader: 2, oneWay: 2, partition: 2, crash: 1, kill: 1, pause: 1, pauseLeader: 2, suspend: 1, close: 0.5 },
  workload: { ...CROWDED, clientsPerNode: 1, thinkMs: 40, leaseReadShare: 0.2 },
  leases: { ...NO_LEASES, holdersPerNode: 4, ttlMsMax: 1_500 },
};

/** Members are cut off and let back in all the time, so that what was applied long ago is heard of late. */
export const LATE_ANSWERS: SwarmProfile = {
  ...HOLDERS,
  faultsMs: 10_000,
  faultEveryMs: 150,
  faultMsMax: 900,
  faults: { oneWay: 3, partition: 3, slowDisk: 1 },
  leases: { ...NO_LEASES, holdersPerNode: 6, ttlMsMin: 600, ttlMsMax: 900, keptShare: 1 },
};

/**
 * A leader is lost each second, for a few hundred milliseconds, and members do nothing else wrong: a lease that nobody renews ends within
 * the time that a failover takes, and one that is kept does not end.
 */
export const FAILOVERS: SwarmProfile = {
  ...SHORT,
  faultsMs: 20_000,
  faultEveryMs: 1_000,
  faultMsMax: 400,
  faults: { isolateLeader: 2, pauseLeader: 1 },
  workload: { ...CROWDED, clientsPerNode: 1, thinkMs: 100, timeoutMs: 5_000 },
  leases: { ...NO_LEASES, holdersPerNode: 3, ttlMsMin: 5_000, ttlMsMax: 5_000 },
  leasePromises: { lateMsMax: 1_000, keptLive: true },
};

/** A leader that was stopped, and does not hear what it has missed. */
export const STRANDED: SwarmProfile = {
  ...SHORT,
  faultEveryMs: 400,
  faultMsMax: 2_000,
  faults: { strandLeader: 1, stallLeader: 1 },
  workload: { ...CROWDED, clientsPerNode: 4, thinkMs: 15, writeShare: 0.2, leaseReadShare: 0.5 },
};

/** Many watches that begin in the past, lag, and are overtaken by compaction and by snapshots. */
export const WATCHES: SwarmProfile = {
  ...SHORT,
  historyRevisionsMax: 100,
  snapshotLogBytesMin: 8 << 10,
  segmentBytes: 8 << 10,
  watchCreditBytes: 256,
  faultMsMax: 2_000,
  faults: { isolateLeader: 1, partition: 3, pause: 2, crash: 2, kill: 1 },
  workload: { ...CROWDED, writeShare: 0.8, ttlShare: 0.1, watchesPerNode: 6 },
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

/** Members serve clients elsewhere, another is told to lead, and voters change, all the time. */
export const OPERATED: SwarmProfile = {
  ...MEMBERSHIP,
  operatorEveryMs: 60,
  faults: { isolateLeader: 2, partition: 1, crashLeader: 1, kill: 1 },
};

/** Only the workload of transactions. */
const QUIET: WorkloadOptions = { ...CROWDED, clientsPerNode: 0 };

/** Transactions, transfers and reads of the past, while leaders come and go and power is lost. */
export const TRANSACTIONS: SwarmProfile = {
  ...SHORT,
  store: "segments",
  segmentBytes: 8 << 10,
  snapshotLogBytesMin: 8 << 10,
  historyRevisionsMax: 100_000,
  faults: { isolateLeader: 2, partition: 1, crash: 1, crashLeader: 1, kill: 1, pauseLeader: 1 },
  workload: QUIET,
  transactions: { ...NO_TRANSACTIONS, clientsPerNode: 3, watchesPerNode: 1 },
  turnRecordsMax: 3,
  scanPageBytes: 200,
};

/** Transactions that watches are told in parts, while they lag and snapshots come. */
export const PARTS: SwarmProfile = {
  ...TRANSACTIONS,
  historyRevisionsMax: 100,
  watchCreditBytes: 256,
  watchPartEvents: 1,
  faultMsMax: 2_000,
  faults: { isolateLeader: 1, partition: 3, pause: 2, crash: 1, kill: 1 },
  transactions: { ...NO_TRANSACTIONS, clientsPerNode: 3, watchesPerNode: 6 },
};

/** The past is read, and compacted by hand, by age and by number all the time. */
export const PASTS: SwarmProfile = {
  ...TRANSACTIONS,
  historyRevisionsMax: 300,
  historyMs: 1_000,
  historyRevisionsMin: 20,
  faults: { isolateLeader: 1, partition: 1, kill: 1, pause: 1 },
  transactions: {
    ...NO_TRANSACTIONS,
    clientsPerNode: 3,
    watchesPerNode: 1,
    compactShare: 0.01,
    pastShare: 0.7,
    transferShare: 0.3,
    txnShare: 0.15,
  },
};

/** Members are cut off, and asked for what is not too old. */
export const STALE: SwarmProfile = {
  ...TRANSACTIONS,
  faultMsMax: 1_500,
  faults: { isolateLeader: 1, partition: 2, oneWay: 2, pause: 1 },
  transactions: {
    ...NO_TRANSACTIONS,
    clientsPerNode: 3,
    eventualShare: 0.8,
    leaseShare: 0.1,
    pastShare: 0.1,
    transferShare: 0.2,
    txnShare: 0.1,
  },
};

/** Disks are lost, from the founding on. */
export const FOUNDINGS: SwarmProfile = { ...SHORT, isEarly: true, faults: { wipe: 2, crash: 1 } };

/** By name, for the command line. */
export const PROFILES: Readonly<Record<string, SwarmProfile>> = {
  watches: WATCHES,
  parts: PARTS,
  calm: { ...SHORT, faults: {} },
  elections: ELECTIONS,
  disks: DISKS,
  stores: STORES,
  fullDisks: FULL_DISKS,
  lossy: LOSSY,
  leases: LEASES,
  holders: HOLDERS,
  failovers: FAILOVERS,
  lateAnswers: LATE_ANSWERS,
  stranded: STRANDED,
  forgetful: FORGETFUL,
  handovers: HANDOVERS,
  membership: MEMBERSHIP,
  operated: OPERATED,
  foundings: FOUNDINGS,
  transactions: TRANSACTIONS,
  pasts: PASTS,
  stale: STALE,
};
