/**
 * What the holders of leases in a simulation did, and what must hold of it. Looked at whenever a member is the first to apply a change:
 *
 *   never early    a lease ends by itself no sooner than its time to live after the call of its last renewal that was answered;
 *   told first     whoever holds a lease no longer relies on it when the members end it;
 *   as a whole     all keys of a lease go at one revision, and a revocation was asked for.
 *
 * Where a plan promises it (no faults but those whose cost is known), a lease that nobody renews must also end in time, and one that is
 * kept must not end. Keys begin with the label of their lease; labels are unique.
 */
import type { Lease } from "../client/client.ts";
import { CheckFailure, type DataChange, type DataModel } from "./history.ts";
import type { SimProcess } from "./sim-process.ts";

export const LEASE_PREFIX = "lease/";

export interface LeaseRecord {
  readonly label: string;
  readonly ttlMs: number;
  readonly isKept: boolean;
  readonly process: SimProcess;
  /** When the grant was called and answered. */
  readonly calledAt: number;
  answeredAt: number | undefined;
  held: Lease | undefined;
  /** Calls of renewals by hand that were answered with a time to live. */
  readonly renewals: number[];
  /** A renewal was tried whose answer did not come: how long it lives is open. */
  isRenewedPerhaps: boolean;
  revokeCalledAt: number | undefined;
  /** When the first put of a key of it was answered. */
  attachedAt: number | undefined;
  isAbandoned: boolean;
  /** The machine's suspensions and its wall clock's jumps when the lease was asked for: together they can hide time from it. */
  readonly sleeps: number;
  readonly wallOffsetMs: number;
  endedAt: number | undefined;
}

/** What may be promised beyond safety. */
export interface LeasePromises {
  /** A lease that nobody renews ends this much after its time to live, at the latest. */
  readonly lateMsMax: number | undefined;
  /** A lease that is kept and not given up does not end. */
  readonly keptLive: boolean;
}

/** Clocks count in whole milliseconds at two places on the way. */
const ROUNDING_MS = 3;

export class LeaseHistory {
  readonly records: LeaseRecord[] = [];
  readonly #byLabel = new Map<string, LeaseRecord>();
  readonly #model: DataModel;
  /** By how much the rates of any two clocks differ, at most. */
  readonly #drift: number;
  readonly #promises: LeasePromises;

  constructor(options: { readonly model: DataModel; readonly clockDrift: number; readonly promises: LeasePromises }) {
    this.#model = options.model;
    // Of two machines, each off by as much either way.
    this.#drift = 2 * options.clockDrift + options.clockDrift ** 2;
    this.#promises = options.promises;
  }

  add(record: LeaseRecord): void {
    this.records.push(record);
    this.#byLabel.set(record.label, record);
  }

  /** A member is the first to have applied this change, now. */
  onChange(change: DataChange, now: number): void {
    for (const event of change.events) {
      if (event.kind !== "delete" || event.cause === "request" || !event.key.startsWith(LEASE_PREFIX)) continue;
      const record = this.#byLabel.get(labelOf(event.key));
      if (record === undefined || record.endedAt === now) continue;
      if (record.endedAt !== undefined) this.#fail(record, `ended twice, at ${record.endedAt} and at ${now}`);
      record.endedAt = now;
      this.#onEnd(record, event.cause, change.revision);
    }
  }

  #onEnd(record: LeaseRecord, cause: "expiry" | "revocation" | undefined, revision: number): void {
    const left = this.#model.range(`${record.label}/`, revision);
    if (left.length > 0) this.#fail(record, `ended at revision ${revision}, but ${left[0]?.key} is still there`);
    if (cause === "revocation") {
      if (record.revokeCalledAt === undefined) this.#fail(record, `was revoked at revision ${revision}, and nobody asked for it`);
    } else {
      this.#checkNotEarly(record);
      const isHeld = record.held !== undefined && !record.isAbandoned && record.revokeCalledAt === undefined && record.process.alive;
      if (this.#promises.keptLive && record.isKept && isHeld) this.#fail(record, `expired at revision ${revision} though it was kept`);
    }
    const { held, process } = record;
    if (held === undefined || !process.alive) return;
    const { machine } = process;
    const isBlind = machine.sleeps !== record.sleeps && machine.wallOffsetMs !== record.wallOffsetMs;
    const remainingMs = held.remainingMs();
    if (remainingMs > 0 && !isBlind)
      this.#fail(record, `ended at revision ${revision} while its holder relied on it for another ${remainingMs} ms`);
  }

  #checkNotEarly(record: LeaseRecord): void {
    const { endedAt, revokeCalledAt, ttlMs, calledAt, answeredAt, renewals } = record;
    if (endedAt === undefined || revokeCalledAt !== undefined) return;
    const calls = answeredAt === undefined ? renewals : [calledAt, ...renewals];
    for (const call of calls) {
      const earliest = call + ttlMs / (1 + this.#drift) - ROUNDING_MS;
      if (endedAt < earliest) this.#fail(record, `ended at ${endedAt}, ${earliest - endedAt} ms before its time after the call at ${call}`);
    }
  }

  /** At the end, when all answers are in. */
  finish(now: number): void {
    for (const record of this.records) {
      this.#checkNotEarly(record);
      this.#checkNotLate(record, now);
    }
  }

  #checkNotLate(record: LeaseRecord, now: number): void {
    const { lateMsMax } = this.#promises;
    const { answeredAt, attachedAt, isKept, revokeCalledAt, renewals, isRenewedPerhaps, ttlMs } = record;
    if (lateMsMax === undefined || isKept || isRenewedPerhaps) return;
    if (answeredAt === undefined || attachedAt === undefined || revokeCalledAt !== undefined) return;
    const last = Math.max(answeredAt, ...renewals.map((call) => call + lateMsMax));
    const latest = last + ttlMs * (1 + this.#drift) + lateMsMax;
    const endedAt = record.endedAt ?? now;
    if (endedAt > latest) this.#fail(record, `lived until ${endedAt}, ${endedAt - latest} ms beyond its time and what is allowed`);
  }

  #fail(record: LeaseRecord, finding: string): never {
    const { held, process, ...told } = record;
    throw new CheckFailure(
      "leases",
      `${record.label} (${held?.id ?? "no id"} on ${process.machine.name}) ${finding}\n  ${JSON.stringify(told)}`,
    );
  }
}

function labelOf(key: string): string {
  return key.slice(0, key.lastIndexOf("/"));
}
