/** What a node is told when it is opened: validated, plain, and so able to cross into a thread. */
import type { Consistency } from "./boundary.ts";

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
  readonly historyRevisionsMax: number;
  readonly historyBytesMax: number;
  readonly requestBytesMax: number;
  readonly watchersMax: number;
  /** A snapshot is made when the log behind the last one exceeds the greater of this and that snapshot's own size. */
  readonly snapshotLogBytesMin: number;
  readonly logSegmentBytes: number;
  /** The text of the hosts file, read before the node's thread starts: names in it are never asked of a name server. */
  readonly hosts: string;
  /** What is tried behind a peer's name that has no dot. */
  readonly searchDomains: readonly string[];
}
