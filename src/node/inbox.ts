/** What has arrived at a node since its last turn. A turn takes a bounded share; the rest waits for the next. */
import type { MemberId } from "../core/raft/configuration.ts";
import type { Lane } from "../transport/transport.ts";
import type { ToNode } from "./boundary.ts";

/** Of one kind, taken by one turn. */
const TURN_INPUTS_MAX = 10_000;

export interface Frame {
  readonly from: MemberId;
  readonly lane: Lane;
  readonly bytes: Uint8Array;
}

export class Inbox {
  #frames: Frame[] = [];
  #calls: ToNode[] = [];
  /** The calls of this turn, and how many of them have been taken up: where a turn breaks off the rest is still told. */
  #turnCalls: readonly ToNode[] = [];
  #turnCallsTaken = 0;

  addFrame(frame: Frame): void {
    this.#frames.push(frame);
  }

  addCalls(calls: readonly ToNode[]): void {
    for (const call of calls) this.#calls.push(call);
  }

  /** Something waits for the next turn. */
  get hasMore(): boolean {
    return this.#frames.length > 0 || this.#calls.length > 0;
  }

  /** Takes this turn's share: frames are handed over, calls are to be taken up one by one. */
  gather(): readonly Frame[] {
    const calls = this.#calls.length > TURN_INPUTS_MAX ? this.#calls.splice(0, TURN_INPUTS_MAX) : this.#calls;
    if (calls === this.#calls) this.#calls = [];
    this.#turnCalls = calls;
    this.#turnCallsTaken = 0;
    const frames = this.#frames.length > TURN_INPUTS_MAX ? this.#frames.splice(0, TURN_INPUTS_MAX) : this.#frames;
    if (frames === this.#frames) this.#frames = [];
    return frames;
  }

  /** The next call of this turn that was not taken up yet. */
  nextCall(): ToNode | undefined {
    return this.#turnCalls[this.#turnCallsTaken++];
  }
}
