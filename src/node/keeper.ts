/**
 * Renews the leases that this node's application holds, in the node's thread, so that an application that is busy keeps them. All that
 * are about due go as one command through the log, like any write, and so through failovers. A lease is given up at its holder's own
 * deadline, when the members say that it is gone, and while the application's thread has not run for longer than its holder allows.
 *
 * Each is looked at when something is due for it, and by a command that it can join: what a turn costs grows with those, not with all.
 */
import { CommandBatch } from "../core/kv/command.ts";
import { RENEWED_LEASES_MAX } from "../core/kv/lease-commands.ts";
import { ResultReader } from "../core/kv/result.ts";
import { SUSPENSION_MS } from "../core/raft/options.ts";
import type { Clock } from "../host/clock.ts";
import { AppPulse } from "./app-pulse.ts";
import type { FromNode, ToNode } from "./boundary.ts";
import { DeadlineHeap, type Timed } from "./deadline-heap.ts";
import { HeldSlot, momentOf, type Moment } from "./held-slot.ts";
import type { OwnWrite } from "./own-writes.ts";

/** A lease is renewed when this much of its time to live has passed since the last renewal left; */
const RENEW_AT = 1 / 3;
/** along with every other that has passed this much, so that leases of one age come to be renewed together. */
const JOIN_AT = 1 / 6;
/** When it could not be, it is tried again after this much. */
const RETRY_AFTER = 1 / 12;

export type KeepCall = ToNode & { readonly kind: "keep" };

/** However the times of leases fall, they are looked at no more often than this. */
const LOOKS_APART_MS = 20;

/** A place in one of the keeper's heaps. */
interface Place extends Timed {
  readonly kept: Kept;
}

class Kept {
  readonly keep: number;
  readonly lease: string;
  readonly ttlMs: number;
  readonly appLagMsMax: number;
  readonly slot: HeldSlot;
  readonly pulse: AppPulse;
  dueAt = 0;
  isUnderWay = false;
  /** When it is to be looked at, at the latest: due, or at its holder's deadline. */
  readonly look: Place;
  /** From when on it goes along with others; in no heap while it is under way. */
  readonly join: Place;

  constructor({ keep, lease, ttlMs, appLagMsMax, slot, pulse }: KeepCall) {
    this.keep = keep;
    this.lease = lease;
    this.ttlMs = ttlMs;
    this.appLagMsMax = appLagMsMax;
    this.slot = new HeldSlot(slot);
    this.pulse = new AppPulse(pulse);
    this.look = { kept: this, deadline: 0, heapAt: -1 };
    this.join = { kept: this, deadline: 0, heapAt: -1 };
  }
}

export interface KeeperOptions {
  readonly clock: Clock;
  write(write: OwnWrite): void;
  post(message: FromNode): void;
}

/** One for each node. As many leases as its callers keep. */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #kept = new Map<number, Kept>();
  readonly #looks = new DeadlineHeap<Place>();
  readonly #joins = new DeadlineHeap<Place>();
  /** The shortest time to live of those that have been kept since there was none. */
  #shortestMs = Number.POSITIVE_INFINITY;
  /** What the clocks stood apart at the last look: another distance means that the machine was suspended, or one of them set. */
  #wallOffset = 0;
  #nextAt = Number.POSITIVE_INFINITY;
  #isStopped = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#kept.size;
  }

  /** When pump() has something to do next. */
  get nextAt(): number {
    return this.#nextAt;
  }

  keep(call: KeepCall): void {
    if (this.#isStopped) return;
    const kept = new Kept(call);
    if (this.#kept.size === 0) {
      const { now, wallNow } = momentOf(this.#options.clock);
      this.#wallOffset = wallNow - now;
    }
    this.#kept.set(kept.keep, kept);
    this.#shortestMs = Math.min(this.#shortestMs, kept.ttlMs);
    this.#await(kept, call.sentAt + kept.ttlMs * RENEW_AT);
  }

  /** Nobody is to renew it from now on; what is under way may still do so once. */
  release(keep: number): void {
    const kept = this.#kept.get(keep);
    if (kept !== undefined) this.#forget(kept);
  }

  #forget(kept: Kept): void {
    this.#kept.delete(kept.keep);
    this.#looks.remove(kept.look);
    this.#joins.remove(kept.join);
    if (this.#kept.size === 0) this.#shortestMs = Number.POSITIVE_INFINITY;
  }

  /** The node ends: nothing is renewed any more, and the holders' deadlines run out. */
  stop(): void {
    this.#isStopped = true;
    for (const kept of this.#kept.values()) this.#forget(kept);
    this.#nextAt = Number.POSITIVE_INFINITY;
  }

  /** Renews what is due. True if something is to be sent. */
  pump(now: number): boolean {
    if (now < this.#nextAt) return false;
    const moment = { now, wallNow: this.#options.clock.wallNow() };
    this.#noteSuspension(moment);
    let hasDue = false;
    for (let look = this.#looks.first; look !== undefined && look.deadline <= now; look = this.#looks.first) {
      const { kept } = look;
      const remainingMs = kept.slot.remainingMs(moment);
      if (remainingMs === 0) {
        this.#lose(kept);
        continue;
      }
      const isDue = !kept.isUnderWay && kept.dueAt <= now;
      if (isDue && isAlive(kept, now)) {
        hasDue = true;
        // It may have been passed over while its application did not run.
        if (kept.join.deadline > now) this.#joinAt(kept, now);
      }
      // One whose application does not run is due, and looked at until it does.
      const dueMs = isDue ? kept.ttlMs * RETRY_AFTER : kept.dueAt - now;
      this.#lookAt(kept, now + Math.max(1, kept.isUnderWay ? remainingMs : Math.min(remainingMs, dueMs)));
    }
    if (hasDue) this.#renew(moment);
    const { first } = this.#looks;
    if (first === undefined) this.#nextAt = Number.POSITIVE_INFINITY;
    else this.#nextAt = Math.max(first.deadline, now + Math.min(LOOKS_APART_MS, this.#shortestMs / 32));
    return hasDue;
  }

  /** What the machine slept is taken off all deadlines. */
  #noteSuspension({ now, wallNow }: Moment): void {
    const offset = wallNow - now;
    if (Math.abs(offset - this.#wallOffset) <= SUSPENSION_MS) return;
    for (const kept of this.#kept.values()) this.#lookAt(kept, now);
    this.#wallOffset = offset;
  }

  #lookAt({ look }: Kept, at: number): void {
    this.#looks.remove(look);
    look.deadline = at;
    this.#looks.add(look);
  }

  /** Nothing is under way for it, and it is to be renewed then. */
  #await(kept: Kept, dueAt: number): void {
    kept.isUnderWay = false;
    kept.dueAt = dueAt;
    this.#lookAt(kept, dueAt);
    this.#joinAt(kept, dueAt - kept.ttlMs * (RENEW_AT - JOIN_AT));
    this.#nextAt = Math.min(this.#nextAt, dueAt);
  }

  #joinAt({ join }: Kept, at: number): void {
    this.#joins.remove(join);
    join.deadline = at;
    this.#joins.add(join);
  }

  #renew(sent: Moment): void {
    const { now } = sent;
    const renewed: Kept[] = [];
    let timeoutMs = Number.POSITIVE_INFINITY;
    for (let join = this.#joins.first; join !== undefined && join.deadline <= now; join = this.#joins.first) {
      const { kept } = join;
      if (!isAlive(kept, now)) {
        this.#joinAt(kept, now + Math.max(1, kept.ttlMs * RETRY_AFTER));
        continue;
      }
      this.#joins.remove(join);
      kept.isUnderWay = true;
      const remainingMs = kept.slot.remainingMs(sent);
      this.#lookAt(kept, now + Math.max(1, remainingMs));
      timeoutMs = Math.min(timeoutMs, remainingMs);
      renewed.push(kept);
      if (renewed.length === RENEWED_LEASES_MAX) break;
    }
    if (renewed.length === 0) return;
    const batch = new CommandBatch();
    batch.renewLeases(renewed.map(({ lease }) => lease));
    this.#options.write({
      record: batch.finish(),
      commands: 1,
      // Later nobody could rely on it any more.
      timeoutMs: Math.max(1, timeoutMs),
      done: (results) => this.#onRenewed(renewed, sent, results),
      failed: () => this.#onFailed(renewed),
    });
  }

  #onRenewed(renewed: readonly Kept[], sent: Moment, results: Uint8Array): void {
    const reader = new ResultReader(results);
    if (!reader.next() || reader.refusal !== undefined) return this.#onFailed(renewed);
    for (const [place, kept] of renewed.entries()) {
      if (this.#kept.get(kept.keep) !== kept) continue;
      const ttlMs = reader.renewedTtlMs(place);
      if (ttlMs === 0) {
        this.#lose(kept);
        continue;
      }
      kept.slot.raise(sent, ttlMs);
      this.#await(kept, sent.now + ttlMs * RENEW_AT);
    }
  }

  /** Not for good: a node without a leader, or with too much to do. Tried again until the deadline. */
  #onFailed(renewed: readonly Kept[]): void {
    if (this.#isStopped) return;
    const { now } = momentOf(this.#options.clock);
    for (const kept of renewed) {
      if (this.#kept.get(kept.keep) === kept) this.#await(kept, now + kept.ttlMs * RETRY_AFTER);
    }
  }

  #lose(kept: Kept): void {
    kept.slot.lose();
    this.#forget(kept);
    this.#options.post({ kind: "lost", keep: kept.keep });
  }
}

function isAlive(kept: Kept, now: number): boolean {
  return kept.pulse.lagMs(now) <= kept.appLagMsMax;
}
