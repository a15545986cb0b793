/**
 * Renews the leases that this node's application holds, in the node's thread, so that an application that is busy keeps them. All that
 * are about due go as one command through the log, like any write, and so through failovers. A lease is given up at its holder's own
 * deadline, when the members say that it is gone, and while the application's thread has not run for longer than its holder allows.
 */
import { CommandBatch } from "../core/kv/command.ts";
import { RENEWED_LEASES_MAX } from "../core/kv/lease-commands.ts";
import { ResultReader } from "../core/kv/result.ts";
import type { Clock } from "../host/clock.ts";
import { AppPulse } from "./app-pulse.ts";
import type { FromNode, ToNode } from "./boundary.ts";
import { HeldSlot, momentOf, type Moment } from "./held-slot.ts";
import type { OwnWrite } from "./own-writes.ts";

/** A lease is renewed when this much of its time to live has passed since the last renewal left; */
const RENEW_AT = 1 / 3;
/** along with every other that has passed this much, so that leases of one age come to be renewed together. */
const JOIN_AT = 1 / 6;
/** When it could not be, it is tried again after this much. */
const RETRY_AFTER = 1 / 12;

export type KeepCall = ToNode & { readonly kind: "keep" };

interface Kept {
  readonly keep: number;
  readonly lease: string;
  readonly ttlMs: number;
  readonly appLagMsMax: number;
  readonly slot: HeldSlot;
  readonly pulse: AppPulse;
  dueAt: number;
  isUnderWay: boolean;
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

  keep({ keep, lease, ttlMs, sentAt, appLagMsMax, slot, pulse }: KeepCall): void {
    if (this.#isStopped) return;
    const dueAt = sentAt + ttlMs * RENEW_AT;
    this.#kept.set(keep, {
      keep,
      lease,
      ttlMs,
      appLagMsMax,
      slot: new HeldSlot(slot),
      pulse: new AppPulse(pulse),
      dueAt,
      isUnderWay: false,
    });
    this.#nextAt = Math.min(this.#nextAt, dueAt);
  }

  /** Nobody is to renew it from now on; what is under way may still do so once. */
  release(keep: number): void {
    this.#kept.delete(keep);
  }

  /** The node ends: nothing is renewed any more, and the holders' deadlines run out. */
  stop(): void {
    this.#isStopped = true;
    this.#kept.clear();
    this.#nextAt = Number.POSITIVE_INFINITY;
  }

  /** Renews what is due. True if something is to be sent. */
  pump(now: number): boolean {
    if (now < this.#nextAt) return false;
    const moment = { now, wallNow: this.#options.clock.wallNow() };
    let hasDue = false;
    let shortestMs = Number.POSITIVE_INFINITY;
    for (const kept of this.#kept.values()) {
      if (kept.slot.remainingMs(moment) === 0) this.#lose(kept);
      else {
        shortestMs = Math.min(shortestMs, kept.ttlMs);
        hasDue ||= !kept.isUnderWay && kept.dueAt <= now && isAlive(kept, now);
      }
    }
    if (hasDue) this.#renew(now);
    this.#nextAt = this.#looksAgainAt(moment);
    // However their times fall, all are looked at no more often than this.
    if (this.#kept.size > 0) this.#nextAt = Math.max(this.#nextAt, now + Math.min(20, shortestMs / 32));
    return hasDue;
  }

  #looksAgainAt(moment: Moment): number {
    const { now } = moment;
    let nextAt = Number.POSITIVE_INFINITY;
    for (const kept of this.#kept.values()) {
      const deadline = now + kept.slot.remainingMs(moment);
      // One whose application does not run is due, and looked at until it does.
      const dueAt = kept.isUnderWay ? deadline : Math.max(kept.dueAt, kept.dueAt <= now ? now + kept.ttlMs * RETRY_AFTER : 0);
      nextAt = Math.min(nextAt, deadline, dueAt);
    }
    return nextAt;
  }

  #renew(now: number): void {
    const renewed: Kept[] = [];
    const sent: Moment = { now, wallNow: this.#options.clock.wallNow() };
    let timeoutMs = Number.POSITIVE_INFINITY;
    for (const kept of this.#kept.values()) {
      const joins = !kept.isUnderWay && kept.dueAt - kept.ttlMs * (RENEW_AT - JOIN_AT) <= now && isAlive(kept, now);
      if (!joins) continue;
      kept.isUnderWay = true;
      timeoutMs = Math.min(timeoutMs, kept.slot.remainingMs(sent));
      renewed.push(kept);
      if (renewed.length === RENEWED_LEASES_MAX) break;
    }
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
      kept.isUnderWay = false;
      if (this.#kept.get(kept.keep) !== kept) continue;
      const ttlMs = reader.renewedTtlMs(place);
      if (ttlMs === 0) {
        this.#lose(kept);
        continue;
      }
      kept.slot.raise(sent, ttlMs);
      kept.dueAt = sent.now + ttlMs * RENEW_AT;
      this.#nextAt = Math.min(this.#nextAt, kept.dueAt);
    }
  }

  /** Not for good: a node without a leader, or with too much to do. Tried again until the deadline. */
  #onFailed(renewed: readonly Kept[]): void {
    if (this.#isStopped) return;
    const { now } = momentOf(this.#options.clock);
    for (const kept of renewed) {
      kept.isUnderWay = false;
      kept.dueAt = now + kept.ttlMs * RETRY_AFTER;
      this.#nextAt = Math.min(this.#nextAt, kept.dueAt);
    }
  }

  #lose(kept: Kept): void {
    kept.slot.lose();
    this.#kept.delete(kept.keep);
    this.#options.post({ kind: "lost", keep: kept.keep });
  }
}

function isAlive(kept: Kept, now: number): boolean {
  return kept.pulse.lagMs(now) <= kept.appLagMsMax;
}
