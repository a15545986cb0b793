/** The watches of this node's callers: the hub finds their events; this adds periodic progress, and tells the callers. */
import type { KvMachine } from "../core/kv/machine.ts";
import { REVISION_PART_EVENTS } from "../core/kv/watch-hub.ts";
import type { FromNode, ToNode } from "./boundary.ts";
import { DeadlineHeap } from "./deadline-heap.ts";

const PUMP_RECORDS = 2_000;
/** Progress is asked for this much late at most, so that thousands of watches cost a few looks. */
const PROGRESS_STEP_MS = 20;

/** A watch that wants to be told now and then that there is nothing to tell. */
interface Progress {
  readonly id: number;
  readonly intervalMs: number;
  deadline: number;
  heapAt: number;
}

export class Watching {
  readonly #post: (message: FromNode) => void;
  readonly #progress = new Map<number, Progress>();
  readonly #deadlines = new DeadlineHeap<Progress>();
  #machine: KvMachine;
  #askedAt = Number.NEGATIVE_INFINITY;

  /** `partEvents`: up to how many a revision is told whole, if fewer than by default. */
  constructor(machine: KvMachine, post: (message: FromNode) => void, partEvents: number = REVISION_PART_EVENTS) {
    this.#machine = machine;
    this.#post = post;
    const { partBounds } = machine.watches;
    partBounds.events = Math.min(partBounds.events, partEvents);
  }

  get count(): number {
    return this.#machine.watches.count;
  }

  add(message: ToNode & { readonly kind: "watch" }, now: number): void {
    const { watch: id, interval, fromRevision, initial, prevKv, only, onGap, progressMs, creditBytes } = message;
    const { revision } = this.#machine.watches.add({ id, interval, fromRevision, initial, prevKv, only, onGap });
    this.#machine.watches.credit(id, creditBytes);
    this.#post({ kind: "watching", watch: id, revision });
    if (progressMs === 0 || progressMs === Number.POSITIVE_INFINITY) return;
    const progress = { id, intervalMs: progressMs, deadline: now + progressMs, heapAt: -1 };
    this.#progress.set(id, progress);
    this.#deadlines.add(progress);
  }

  remove(id: number): void {
    this.#machine.watches.remove(id);
    this.#forget(id);
  }

  credit(ids: ArrayLike<number>, bytes: ArrayLike<number>): void {
    const { watches } = this.#machine;
    for (let i = 0; i < ids.length; i++) watches.credit(ids[i]!, bytes[i]!);
  }

  requestProgress(id: number): void {
    this.#machine.watches.requestProgress(id);
  }

  replace(machine: KvMachine): void {
    this.#machine.watches.rebase(machine);
    this.#machine = machine;
  }

  /** Hands on what is there. True if there may be more at once. */
  pump(now: number): boolean {
    const { watches } = this.#machine;
    if (watches.count === 0) return false;
    if (now >= this.deadline) this.#askProgress(now);
    for (const output of watches.pump(PUMP_RECORDS, now)) {
      if (output.kind === "ended") for (let i = 0; i < output.ids.length; i++) this.#forget(output.ids[i]!);
      this.#post({
        kind: "watched",
        watches: output.ids,
        what: output.kind,
        revision: output.revision,
        bytes: output.bytes,
        count: output.count,
        reason: output.reason,
        // What is gone, to the hub; what is still there, to callers.
        compactRevision: (output.compactRevision ?? 0) + 1,
        more: output.more,
      });
    }
    return this.#machine.watches.behind;
  }

  #askProgress(now: number): void {
    const { watches } = this.#machine;
    this.#askedAt = now;
    for (let due = this.#deadlines.first; due !== undefined && due.deadline <= now; due = this.#deadlines.first) {
      this.#deadlines.remove(due);
      const silentSince = Math.max(watches.toldAt(due.id), due.deadline - due.intervalMs);
      const isSilent = silentSince + due.intervalMs <= now;
      // Without credit nobody reads: what is told would pile up.
      if (isSilent && watches.hasCredit(due.id)) watches.requestProgress(due.id);
      due.deadline = (isSilent ? now : silentSince) + due.intervalMs;
      // An interval of next to nothing must not hold this loop.
      due.deadline = Math.max(due.deadline, now + 1);
      this.#deadlines.add(due);
    }
  }

  #forget(id: number): void {
    const progress = this.#progress.get(id);
    if (progress === undefined) return;
    this.#progress.delete(id);
    this.#deadlines.remove(progress);
  }

  /** When pump() must be called next at the latest. */
  get deadline(): number {
    const { first } = this.#deadlines;
    return first === undefined ? Number.POSITIVE_INFINITY : Math.max(first.deadline, this.#askedAt + PROGRESS_STEP_MS);
  }
}
