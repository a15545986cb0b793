/**
 * A leader whose own disk does not keep up hands leadership over. Commitment does not need its disk, so nothing else would stop it from
 * leading with an ever longer tail that only the others have (it is bounded, and then nobody could write); and a full one refuses what others
 * have room for. It asks the voter that is furthest, again and ever more rarely while nothing comes of it: the others may be no better.
 */
import type { Raft } from "../core/raft/raft.ts";
import type { NodeContext } from "./node-context.ts";
import type { RaftOutput } from "./raft-output.ts";

/** Pauses between two attempts, in election timeouts, double from the first to the second. */
const PAUSE_MIN = 2;
const PAUSE_MAX = 64;

export class LeaderRelief {
  readonly #context: NodeContext;
  readonly #output: RaftOutput;
  #nextAt = 0;
  #pause = PAUSE_MIN;

  constructor(context: NodeContext, output: RaftOutput) {
    this.#context = context;
    this.#output = output;
  }

  /** Once a turn. */
  poll(raft: Raft, now: number): void {
    const { options, storage, phase } = this.#context;
    const { electionTimeoutMs } = options;
    // As deadline() reckons, to the last bit: else a timer would find nothing to do, again and again.
    const isSlow = now >= this.#output.writingSince + electionTimeoutMs;
    if (!isSlow && !storage.full) {
      // Well again for long enough: the next time is a first time.
      if (this.#pause > PAUSE_MIN && now >= this.#nextAt + PAUSE_MAX * electionTimeoutMs) this.#pause = PAUSE_MIN;
      return;
    }
    if (raft.role !== "leader" || phase !== "open" || now < this.#nextAt) return;
    if (raft.transferLeadership(undefined) !== undefined) {
      this.#nextAt = now + electionTimeoutMs; // Nobody is there to take it.
      return;
    }
    this.#nextAt = now + this.#pause * electionTimeoutMs;
    this.#pause = Math.min(PAUSE_MAX, this.#pause * 2);
  }

  /** When poll() has something to do at the latest. */
  deadline(raft: Raft): number {
    if (raft.role !== "leader") return Number.POSITIVE_INFINITY;
    const slowAt = this.#output.writingSince + this.#context.options.electionTimeoutMs;
    return Math.max(this.#context.storage.full ? 0 : slowAt, this.#nextAt);
  }
}
