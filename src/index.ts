/** d-engine: an embeddable, distributed coordination engine. */
import type { Engine as EngineInterface } from "./client/engine.ts";
import type { EngineOptions } from "./client/engine-options.ts";
import { openEngine } from "./client/open-engine.ts";

export type Engine = EngineInterface;
export const Engine: { open(options: EngineOptions): Promise<EngineInterface> } = { open: openEngine };

export type { EngineState, LeaderInfo } from "./client/engine.ts";
export type { EngineOptions, LogRecord, PeerOptions, TlsOptions } from "./client/engine-options.ts";
export type {
  Bytes,
  CallOptions,
  Client,
  ClusterId,
  Consistency,
  DeleteOptions,
  DeleteResult,
  Key,
  KeyMeta,
  KeyRange,
  KeyValue,
  LeaseId,
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
  Target,
  Value,
  Watch,
  WatchBatch,
  WatchEvent,
  WatchOptions,
} from "./client/client.ts";
export { EngineError } from "./errors.ts";
export type { AnyEngineError, ErrorCode, ErrorDetails } from "./errors.ts";
