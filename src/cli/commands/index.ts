/** All commands, in the order in which the help lists them. */
import type { Command } from "../command.ts";
import { checkPerf } from "./check-perf.ts";
import { compact, endpointHashKv, endpointHealth, endpointStatus, memberCommands, moveLeader, status } from "./cluster.ts";
import { completionOf } from "./completion.ts";
import { configCheck, configPrint } from "./config.ts";
import { del } from "./del.ts";
import { devOf } from "./dev.ts";
import { elect } from "./elect.ts";
import { get } from "./get.ts";
import { leaseGrant, leaseKeepAlive, leaseList, leaseRevoke, leaseTimeToLive } from "./lease.ts";
import { lock } from "./lock.ts";
import { locks, tree } from "./look.ts";
import { put } from "./put.ts";
import { serve } from "./serve.ts";
import { snapshotSave } from "./snapshot.ts";
import { snapshotRestore, snapshotStatus } from "./snapshot-restore.ts";
import { txn } from "./txn.ts";
import { version } from "./version.ts";
import { watch } from "./watch.ts";

export const commands: readonly Command[] = [
  serve,
  put,
  get,
  del,
  watch,
  txn,
  leaseGrant,
  leaseRevoke,
  leaseTimeToLive,
  leaseList,
  leaseKeepAlive,
  lock,
  elect,
  status,
  tree,
  locks,
  ...memberCommands,
  endpointStatus,
  endpointHealth,
  endpointHashKv,
  moveLeader,
  snapshotSave,
  snapshotStatus,
  snapshotRestore,
  compact,
  checkPerf,
  devOf(() => commands),
  configPrint,
  configCheck,
  version,
  completionOf(() => commands),
];
