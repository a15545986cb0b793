/** d-engine: an embeddable, distributed coordination engine. */
import type { Engine as EngineInterface } from "./client/engine.ts";
import type { EngineOptions } from "./client/engine-options.ts";
import { openEngine } from "./client/open-engine.ts";
import { restoreEngine, type RestoreOptions, type RestoreResult } from "./client/restore.ts";

export type Engine = EngineInterface;
export const Engine: {
  open(options: EngineOptions): Promise<EngineInterface>;
  restore(options: RestoreOptions): Promise<RestoreResult>;
} = { open: openEngine, restore: restoreEngine };

export type {
  Comparison,
  DeleteOp,
  GetOp,
  Match,
  Op,
  OpResult,
  OpResults,
  PutOp,
  RangeOp,
  Txn,
  TxnOp,
  TxnResult,
} from "./client/transaction.ts";
export type { EngineState, LeaderInfo } from "./client/engine.ts";
export type { RestoreOptions, RestoreResult } from "./client/restore.ts";
export type { EngineOptions, HistoryOptions, LogRecord, PeerOptions, TlsOptions } from "./client/engine-options.ts";
export type { ModuleRef } from "./storage/records/record-store.ts";
export type {
  Bytes,
  CallOptions,
  Client,
  Cluster,
  ClusterId,
  Consistency,
  DeleteOptions,
  DeleteResult,
  HashResult,
  Held,
  Key,
  KeyMeta,
  KeyRange,
  KeyValue,
  Lease,
  LeaseId,
  LeaseInfo,
  LeaseOptions,
  Leases,
  Maintenance,
  Member,
  MemberId,
  Members,
  PutOptions,
  PutResult,
  RangeOptions,
  RangeResult,
  ReadOptions,
  Revision,
  Scan,
  Status,
  Target,
  Value,
  Watch,
  WatchBatch,
  WatchEvent,
  WatchOptions,
} from "./client/client.ts";
export { EngineError } from "./errors.ts";
export type { AnyEngineError, ErrorCode, ErrorDetails } from "./errors.ts";
