/** What a node is told when it is opened: validated, plain, and so able to cross into a thread. */
import type { Consistency } from "./boundary.ts";
import type { ModuleRef } from "../storage/records/record-store.ts";
import type { StateMachineModule } from "./machine/load-state-machine.ts";

export interface PeerListener {
  readonly listen: string;
  readonly advertise: string;
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string; readonly serverName?: string } | undefined;
}

export interface NodeOptions {
  /** Absolute path, or undefined for memory alone. */
  readonly directory: string | undefined;
  /** Empty: the name that the directory has, or defaultName for a new one. */
  readonly name: string;
  readonly defaultName: string;
  readonly peer: PeerListener | undefined;
  /** Names and peer addresses of all founding members, this one included; undefined: a cluster of this node alone. */
  readonly bootstrap: Readonly<Record<string, string>> | undefined;
  readonly unsafeNoFsync: boolean;
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly consistency: Consistency;
  /** History as this node wants it kept while it leads: see HistoryRules. */
  readonly historyMs: number;
  readonly historyRevisionsMin: number;
  readonly historyRevisionsMax: number;
  readonly historyBytesMax: number;
  /** The quota that this node holds what it proposes against: logical bytes, history included, and keys. */
  readonly dataBytesMax: number;
  readonly keysMax: number;
  /** Entries of the log kept in memory, and those of a leader that are not settled yet: see RaftLimits. */
  readonly logMemoryBytesMax: number;
  /** Of writes that wait or are under way. */
  readonly pendingBytesMax: number;
  readonly requestBytesMax: number;
  readonly watchersMax: number;
  /** A snapshot is made when the log behind the last one exceeds the greater of this and that snapshot's own size. */
  readonly snapshotLogBytesMin: number;
  readonly logSegmentBytes: number;
  /** So many records are applied in one turn, and read in one, whatever time is left: for simulations, where none passes within a turn. */
  readonly turnRecordsMax?: number;
  /** Watches are told a revision whole up to so many events, if fewer than by default: for simulations, where revisions are small. */
  readonly watchPartEvents?: number;
  /** Where the key-value data lie: in this package's own record store, in that of a module, or in memory and snapshots. */
  readonly store: "segments" | "memory" | (ModuleRef & { readonly module: string });
  /** A user's own state machine in the place of the key-value data; its module is "" where the environment brings a function. */
  readonly stateMachine: StateMachineModule | undefined;
  /** The text of the hosts file, read before the node's thread starts: names in it are never asked of a name server. */
  readonly hosts: string;
  /** What is tried behind a peer's name that has no dot. */
  readonly searchDomains: readonly string[];
}
