/** What elections remember between messages (Raft 5.2): deadlines, whom this member heard from, the votes of the present campaign. */
import type { MemberId } from "./configuration.ts";

export class ElectionState {
  /** A follower or candidate campaigns when this has passed. */
  deadline = 0;
  /** T to 2T, drawn anew for each role and leader. */
  timeoutMs = 0;
  /**
   * No vote and no pre-vote is granted before: a leader was heard from, or this member has just started and may have heard from one
   * (Raft 6, thesis 4.2.3). It is a promise that leader leases rest on, so it is never shortened.
   */
  stickyUntil: number;
  /** Answers to the present campaign. Only voters are noted. */
  readonly votes: Map<MemberId, boolean> = new Map();
  /** The present campaign was asked for by the leader. */
  transfer = false;

  constructor(stickyUntil: number) {
    this.stickyUntil = stickyUntil;
  }
}
