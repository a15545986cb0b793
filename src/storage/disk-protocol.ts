/**
 * What a node asks of its disk thread, and the answers: plain data, so that it crosses a thread or a simulated delay. Requests of the log
 * are answered in order and before all others.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { Vote } from "../core/raft/ready.ts";
import type { WireError } from "../errors.ts";
import type { StoreRequestBody } from "./records/disk-stores.ts";
import type { StoredSnapshot } from "./snapshot-store.ts";

/** Recovers the directory. The first request, once. */
export interface OpenRequest {
  readonly id: number;
  readonly kind: "open";
  readonly tailBytesMax: number;
}

/** Records with room for a group's header in front. The disk reads and writes the bytes until it has answered. */
export interface AppendRequest {
  readonly id: number;
  readonly kind: "append";
  readonly records: Uint8Array;
}

export type LogRequest =
  | OpenRequest
  | AppendRequest
  | { readonly id: number; readonly kind: "found"; readonly meta: SnapshotMeta }
  | { readonly id: number; readonly kind: "nameSnapshot"; readonly meta: SnapshotMeta; readonly file: string; readonly resetLog: boolean };

export type OtherRequest =
  | { readonly id: number; readonly kind: "read"; readonly from: number; readonly through: number; readonly bytesMax: number }
  | { readonly id: number; readonly kind: "discard"; readonly through: number }
  | { readonly id: number; readonly kind: "saveIdentity"; readonly bytes: Uint8Array }
  | { readonly id: number; readonly kind: "createSnapshot"; readonly meta: SnapshotMeta }
  | { readonly id: number; readonly kind: "writeSnapshot"; readonly writer: number; readonly bytes: Uint8Array }
  | { readonly id: number; readonly kind: "finishSnapshot"; readonly writer: number }
  | { readonly id: number; readonly kind: "abandonSnapshot"; readonly writer: number }
  | { readonly id: number; readonly kind: "readSnapshot"; readonly file: string; readonly offset: number; readonly bytesMax: number }
  | { readonly id: number; readonly kind: "removeSnapshot"; readonly file: string }
  /** On a full disk: try for a slice of room. Answered 1 if there was some and more is to be tried for at once, else 0. */
  | { readonly id: number; readonly kind: "makeRoom" }
  /** On a full disk: the log lets go of some of its room, and begins a segment. */
  | { readonly id: number; readonly kind: "giveRoom" }
  | StoreRequest
  | { readonly id: number; readonly kind: "close" };

/** Of the record stores. */
export type StoreRequest = { readonly id: number } & StoreRequestBody;

export type DiskRequest = LogRequest | OtherRequest;

export function isLogRequest(request: DiskRequest): request is LogRequest {
  const { kind } = request;
  return kind === "append" || kind === "open" || kind === "found" || kind === "nameSnapshot";
}

export interface RecoveredWire {
  readonly identity: Uint8Array | undefined;
  readonly log:
    | {
        readonly vote: Vote;
        readonly base: SnapshotMeta;
        readonly firstIndex: number;
        readonly lastIndex: number;
        readonly terms: readonly { readonly index: number; readonly term: number }[];
        /** Encoded entries, one behind the other in each buffer. */
        readonly configurationEntries: readonly Uint8Array[];
        readonly tail: readonly Uint8Array[];
      }
    | undefined;
  readonly snapshot: StoredSnapshot | undefined;
  /** The record store that the log names, yet to be opened. */
  readonly store: string | undefined;
}

/** open: RecoveredWire. read, readSnapshot, openStore, readStore: Uint8Array. createSnapshot: the writer. finishSnapshot: StoredSnapshot. createStore: its name. */
export type DiskValue = RecoveredWire | Uint8Array | number | string | StoredSnapshot | undefined;

export interface DiskGauges {
  readonly firstIndex: number;
  readonly logBytes: number;
  readonly diskBytes: number;
  readonly syncMs: number;
  /** Since it was opened: syncs of the log, batches for the store, and the time that they took. */
  readonly times: { readonly syncs: number; readonly syncMs: number; readonly commits: number; readonly commitMs: number };
  /** The disk has no room but what was kept for such a time, and that is so much. */
  readonly full: boolean;
  readonly reserveBytes: number;
}

export interface DiskReply {
  /** The request's; 0 for news that nobody asked for: progress, a disk found full, or the end of the thread. */
  readonly id: number;
  readonly value?: DiskValue;
  readonly error?: WireError;
  /** The error ends the storage: nothing works after it. */
  readonly fatal?: boolean;
  readonly gauges?: DiskGauges;
  readonly progress?: DiskProgress;
}

/** How far recovery is. */
export interface DiskProgress {
  readonly bytes: number;
  readonly bytesMax: number;
}

/** The way to a disk server, wherever it runs. */
export interface DiskPort {
  post(request: DiskRequest): void;
  /** Called once, before the first post. Replies come one at a time, never from inside post(). */
  onReply(callback: (reply: DiskReply) => void): void;
  /** Ends the server's thread, if it has one, and lets go of the directory. Settles whatever state the server is in. */
  close(): Promise<void>;
  /** Whether an idle disk keeps the process alive; it does until told otherwise. */
  ref?(): void;
  unref?(): void;
}
