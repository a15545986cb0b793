/**
 * Links between members, as a node sees them. A link is two connections in one direction of use: one for consensus, with heartbeats and
 * votes ahead of bulk, and one for snapshots. Frames that cannot be sent now are dropped, not kept: Raft sends again.
 */
import type { MemberId } from "../core/raft/configuration.ts";

/** What each side tells the other before anything else. */
export interface Hello {
  readonly clusterId: string;
  readonly memberId: MemberId;
  readonly incarnation: string;
  readonly name: string;
  /** Random for each opening of the node. */
  readonly bootId: number;
  /** The versions of the protocol between members that are spoken, and what the member's state can express. */
  readonly protocolMin: number;
  readonly protocolMax: number;
  readonly featureLevel: number;
  /** For how long the member keeps to a leader that it has heard from: what leader leases may count on. */
  readonly electionTimeoutMs: number;
}

export interface PeerAddress {
  readonly id: MemberId;
  /** "host:port". */
  readonly address: string;
}

/** "urgent" overtakes "bulk" where both wait; "snapshot" has a connection of its own. */
export type Lane = "urgent" | "bulk" | "snapshot";

export interface TransportEvents {
  /** Decides on the other side's hello, incoming and outgoing; a text refuses it, and the other side is told. */
  judge(hello: Hello): string | undefined;
  /** The frame is the receiver's own from now on: nobody writes to it again. */
  onFrame(from: MemberId, lane: Lane, frame: Uint8Array): void;
  onUp(peer: MemberId, hello: Hello): void;
  onDown(peer: MemberId, reason: string): void;
  /** The other side refused our hello. */
  onRefused(peer: MemberId, reason: string): void;
}

export interface Transport {
  /** Whom to keep links to. Removing a peer closes its links. */
  setPeers(peers: readonly PeerAddress[]): void;
  /** false: dropped, since the link is down or its bound is reached. The bytes must not change until `written` was called (which it always is, once, and never within send()). */
  send(to: MemberId, lane: Lane, frame: readonly Uint8Array[], written?: () => void): boolean;
  /** What was sent to other members leaves within this call. Without it, it leaves after the code that is running, each peer's in one write. */
  flush(): void;
  /** Bytes that wait on the lane. */
  pendingBytes(to: MemberId, lane: Lane): number;
  /** "host:port" that is listened on; undefined if nothing is. */
  readonly listening: string | undefined;
  close(): Promise<void>;
}
