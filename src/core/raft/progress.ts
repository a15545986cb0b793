/**
 * What the leader knows of one other member's log (Raft 5.3), and how much it has under way to it.
 *
 *   probe      one message at a time, until the place where the logs agree is found
 *   replicate  messages are pipelined: nextIndex runs ahead of matchIndex, bounded in messages and bytes
 *   snapshot   nothing is sent, until the snapshot has been
 *
 *   0 <= matchIndex < nextIndex <= the leader's lastIndex + 1
 */
import type { MemberId } from "./configuration.ts";

export type ProgressState = "probe" | "replicate" | "snapshot";

/** One line of Raft.progress(), for status and tests. */
export interface MemberProgress {
  readonly id: MemberId;
  readonly matchIndex: number;
  readonly nextIndex: number;
  readonly state: ProgressState;
  /** Heard from within the last election timeout. */
  readonly active: boolean;
}

export class Progress {
  readonly id: MemberId;
  state: ProgressState = "probe";
  matchIndex = 0;
  nextIndex: number;
  /** probe: a message is under way, or the last attempt failed; nothing more before the answer or the next heartbeat. */
  paused = false;
  /** When this member was last heard from, and the latest round that it has confirmed. */
  heardAt: number;
  roundConfirmed = 0;
  /** The commit index that an append last told it. */
  commitIndexSent = 0;
  /** When it is told what else is committed, unless an append does so before; Infinity: nothing else is. */
  commitDue: number = Number.POSITIVE_INFINITY;
  /** It waits to hear that this index is committed: somebody asked it for that. */
  commitAwaited = 0;
  /** When matchIndex last grew, or replication began. */
  advancedAt: number;
  /** nextIndex of the entries asked from the disk; 0 while none are. */
  logReadFrom = 0;
  /** A snapshot is on its way, whatever the state: a second one waits until the caller has said how that ended. */
  snapshotUnderWay = false;
  readonly inflight: Inflight;

  constructor(options: { readonly id: MemberId; readonly nextIndex: number; readonly now: number; readonly inflight: Inflight }) {
    this.id = options.id;
    this.nextIndex = options.nextIndex;
    this.heardAt = options.now;
    this.advancedAt = options.now;
    this.inflight = options.inflight;
  }

  becomeProbe(nextIndex: number): void {
    this.state = "probe";
    this.nextIndex = Math.max(nextIndex, this.matchIndex + 1);
    this.paused = false;
    this.logReadFrom = 0;
    this.inflight.clear();
  }

  becomeReplicate(): void {
    this.state = "replicate";
    this.nextIndex = this.matchIndex + 1;
    this.paused = false;
    this.logReadFrom = 0;
    this.inflight.clear();
  }

  becomeSnapshot(): void {
    this.state = "snapshot";
    this.paused = false;
    this.logReadFrom = 0;
    this.inflight.clear();
  }
}

/** Appends that are under way and not acknowledged: a ring of their last indexes and sizes. */
export class Inflight {
  readonly #bytesMax: number;
  readonly #lastIndexes: Float64Array;
  readonly #sizes: Float64Array;
  #first = 0;
  #messages = 0;
  #bytes = 0;

  constructor(limits: { readonly messagesMax: number; readonly bytesMax: number }) {
    this.#bytesMax = limits.bytesMax;
    this.#lastIndexes = new Float64Array(limits.messagesMax);
    this.#sizes = new Float64Array(limits.messagesMax);
  }

  get messages(): number {
    return this.#messages;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** One message may pass the bound in bytes, so that an entry larger than the bound gets through. */
  get full(): boolean {
    return this.#messages >= this.#lastIndexes.length || this.#bytes >= this.#bytesMax;
  }

  add(lastIndex: number, bytes: number): void {
    const place = (this.#first + this.#messages) % this.#lastIndexes.length;
    this.#lastIndexes[place] = lastIndex;
    this.#sizes[place] = bytes;
    this.#messages++;
    this.#bytes += bytes;
  }

  /** Everything up to this index has arrived. */
  acknowledge(index: number): void {
    while (this.#messages > 0 && (this.#lastIndexes[this.#first] as number) <= index) {
      this.#bytes -= this.#sizes[this.#first] as number;
      this.#messages--;
      this.#first = (this.#first + 1) % this.#lastIndexes.length;
    }
  }

  clear(): void {
    this.#messages = 0;
    this.#bytes = 0;
  }
}
