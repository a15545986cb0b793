/**
 * Leases of the embedded engine: calls on all of them, and those that this engine's application holds. The node renews what is kept; here
 * the application's thread shows that it runs, and looks at its deadlines.
 */
import { leaseFromWords } from "../core/kv/lease-id.ts";
import { unpackLeaseKeys } from "../core/kv/lease-reading.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import type { Timer } from "../host/clock.ts";
import type { Random } from "../host/random.ts";
import { AppPulse } from "../node/app-pulse.ts";
import { HeldSlot, momentOf, type Moment } from "../node/held-slot.ts";
import { checkFlag, checkNumber, checkOptions, leaseIdOf } from "./arguments.ts";
import { CALL_OPTIONS, type CallContext } from "./call-context.ts";
import type { CallOptions, Lease, LeaseId, LeaseInfo, LeaseOptions, Leases } from "./client.ts";
import { LocalLease } from "./local-lease.ts";

const KNOWN_CALL: ReadonlySet<string> = new Set(CALL_OPTIONS);
const KNOWN_GET: ReadonlySet<string> = new Set([...CALL_OPTIONS, "keys"]);
const KNOWN_LEASE: ReadonlySet<string> = new Set([...CALL_OPTIONS, "ttlMs", "id", "keepAlive", "appLagMsMax"]);

/** Leases that one engine keeps alive, at most. */
export const KEPT_LEASES_MAX = 100_000;
const APP_LAG_MS_MAX = 30_000;
const APP_LAG_MS_MIN = 10;
/** The application's thread shows itself this often, or four times within the shortest lag that a holder allows. */
const PULSE_MS_MAX = 1_000;
/** Ids that are drawn are taken with a chance of one in billions of billions. */
const DRAWS_MAX = 4;

/** Calls on leases and what they cost: one for each engine. */
export class LocalLeases implements Leases {
  readonly #context: CallContext;
  readonly #random: Random;
  readonly #pulse = new AppPulse();
  readonly #kept = new Map<number, LocalLease>();
  #pulseTimer: Timer | undefined;
  #pulseMs = PULSE_MS_MAX;

  constructor(context: CallContext, random: Random) {
    this.#context = context;
    this.#random = random;
  }

  // ------------------------------------------------------------------------------------------------------------- holding

  async lease(options: LeaseOptions): Promise<Lease> {
    checkOptions(options, KNOWN_LEASE, "options");
    const { ttlMs, keepAlive = true, appLagMsMax = APP_LAG_MS_MAX, signal } = options;
    const chosen = options.id === undefined ? undefined : leaseIdOf(options.id);
    const { clock, settings } = this.#context;
    checkFlag(keepAlive, "keepAlive");
    checkNumber(appLagMsMax, "appLagMsMax", { min: APP_LAG_MS_MIN, integer: false });
    if (ttlMs === undefined) throw invalidArgument("ttlMs", "a lease has a time to live");
    checkNumber(ttlMs, "ttlMs", { min: 1 });
    if (keepAlive && ttlMs < settings.keptTtlMsMin)
      throw invalidArgument(
        "ttlMs",
        `a lease that is kept alive has at least ${settings.keptTtlMsMin} (three times heartbeatMs), not ${ttlMs}`,
      );
    if (keepAlive && this.#kept.size >= KEPT_LEASES_MAX) {
      throw new EngineError("OVERLOADED", `this engine keeps ${KEPT_LEASES_MAX} leases already`, {
        limit: "keptLeases",
        max: KEPT_LEASES_MAX,
        retryAfterMs: 1_000,
      });
    }
    const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
    const until = clock.now() + timeoutMs;
    const slot = new HeldSlot();
    const granted = await this.#grant(chosen, ttlMs, until, signal);
    slot.raise(granted.sent, ttlMs);
    let { sent } = granted;
    if (slot.remainingMs(momentOf(clock)) < ttlMs / 3) {
      // The answer took its time, through a failover perhaps: what nobody has relied on yet begins anew.
      sent = momentOf(clock);
      await this.#renew(granted.id, Math.max(1, until - clock.now()), signal);
      slot.raise(sent, ttlMs);
    }
    return this.#hold({ id: granted.id, ttlMs, slot, sent, keepAlive, appLagMsMax });
  }

  async #grant(
    chosen: LeaseId | undefined,
    ttlMs: number,
    until: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly id: LeaseId; readonly sent: Moment }> {
    const { clock } = this.#context;
    for (let draw = 1; ; draw++) {
      const id = chosen ?? drawId(this.#random);
      const sent = momentOf(clock);
      try {
        // oxlint-disable-next-line no-await-in-loop -- another id only once this one is refused
        await this.#context.abortable<void>(signal, true, (resolve, reject) => {
          this.#context.write(Math.max(1, until - sent.now), (batch) => batch.grantLease(id, ttlMs), { take: () => resolve(), reject });
        });
        return { id, sent };
      } catch (error) {
        if (chosen !== undefined || draw === DRAWS_MAX || !EngineError.is(error, "ALREADY_EXISTS")) throw error;
      }
    }
  }

  #hold(lease: {
    readonly id: LeaseId;
    readonly ttlMs: number;
    readonly slot: HeldSlot;
    readonly sent: Moment;
    readonly keepAlive: boolean;
    readonly appLagMsMax: number;
  }): Lease {
    const { id, ttlMs, slot, sent, keepAlive, appLagMsMax } = lease;
    const { calls, clock } = this.#context;
    const keep = keepAlive && !this.#context.ended ? calls.newId() : undefined;
    const held = new LocalLease({
      id,
      ttlMs,
      slot,
      clock,
      renew: (options) => this.renewSent(id, options),
      revoke: (options) => this.revoke(id, options),
      letGo: () => {
        if (keep === undefined || !this.#kept.delete(keep)) return;
        calls.tell({ kind: "unkeep", keep });
        if (this.#kept.size === 0) this.#stopPulse();
      },
    });
    if (keep === undefined) return held;
    this.#kept.set(keep, held);
    this.#pulse.stamp(clock.now());
    this.#pulseMs = Math.min(this.#pulseMs, appLagMsMax / 4);
    this.#startPulse();
    const { buffer } = this.#pulse;
    calls.tell({ kind: "keep", keep, lease: id, ttlMs, sentAt: sent.now, appLagMsMax, slot: slot.buffer, pulse: buffer });
    return held;
  }

  /** A message leaves: this thread runs. */
  onPost(): void {
    if (this.#kept.size > 0) this.#pulse.stamp(this.#context.clock.now());
  }

  onLost(keep: number): void {
    const held = this.#kept.get(keep);
    this.#kept.delete(keep);
    if (this.#kept.size === 0) this.#stopPulse();
    held?.onLost();
  }

  /** The engine is closed: nothing renews them any more, and nobody can ask for them. */
  end(): void {
    this.#stopPulse();
    const kept = [...this.#kept.values()];
    this.#kept.clear();
    for (const held of kept) held.onEngineClosed();
  }

  #startPulse(): void {
    this.#pulseTimer ??= this.#setPulse();
  }

  #setPulse(): Timer {
    const timer = this.#context.clock.setTimer(this.#pulseMs, () => {
      this.#pulse.stamp(this.#context.clock.now());
      // After a suspension of the machine no timer fires for what the wall clock alone has seen.
      for (const held of this.#kept.values()) held.checkIfShort(2 * PULSE_MS_MAX);
      this.#pulseTimer = this.#kept.size > 0 ? this.#setPulse() : undefined;
    });
    timer.unref?.();
    return timer;
  }

  #stopPulse(): void {
    this.#pulseTimer?.cancel();
    this.#pulseTimer = undefined;
    this.#pulseMs = PULSE_MS_MAX;
  }

  // ----------------------------------------------------------------------------------------------------------- all of them

  async list(options: CallOptions = {}): Promise<readonly LeaseId[]> {
    checkOptions(options, KNOWN_CALL, "options");
    const timeoutMs = this.#context.timeout(options.timeoutMs, options.signal);
    const { call, reply } = this.#context.calls.leases(timeoutMs);
    const { count, idHigh, idLow, dueMs } = await this.#context.cancellable(options.signal, call, reply);
    const order = Array.from({ length: count }, (_, at) => at);
    order.sort((one, other) => dueMs[one]! - dueMs[other]! || idHigh[one]! - idHigh[other]! || idLow[one]! - idLow[other]!);
    return order.map((at) => leaseFromWords(idHigh[at]!, idLow[at]!)!);
  }

  async get(id: LeaseId, options: CallOptions & { readonly keys?: boolean } = {}): Promise<LeaseInfo | undefined> {
    checkOptions(options, KNOWN_GET, "options");
    const { keys = false, signal } = options;
    checkFlag(keys, "keys");
    const lease = leaseIdOf(id);
    const { call, reply } = this.#context.calls.lease(lease, keys, this.#context.timeout(options.timeoutMs, signal));
    const { found } = await this.#context.cancellable(signal, call, reply);
    if (found === undefined) return undefined;
    const { ttlMs, remainingMs } = found;
    return { id: lease, ttlMs, remainingMs, keys: unpackLeaseKeys(found.keys, found.count).map((key) => new Uint8Array(key)) };
  }

  async renew(id: LeaseId, options: CallOptions = {}): Promise<{ readonly ttlMs: number }> {
    const { ttlMs } = await this.renewSent(leaseIdOf(id), options);
    return { ttlMs };
  }

  /** The same, with the moment at which the renewal left. */
  async renewSent(id: LeaseId, options: CallOptions): Promise<{ readonly ttlMs: number; readonly sent: Moment }> {
    checkOptions(options, KNOWN_CALL, "options");
    const { signal } = options;
    const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
    const sent = momentOf(this.#context.clock);
    return { ttlMs: await this.#renew(id, timeoutMs, signal), sent };
  }

  async #renew(id: LeaseId, timeoutMs: number, signal: AbortSignal | undefined): Promise<number> {
    const ttlMs = await this.#context.abortable<number>(signal, true, (resolve, reject) => {
      this.#context.write(timeoutMs, (batch) => batch.renewLeases([id]), { take: (reader) => resolve(reader.renewedTtlMs(0)), reject });
    });
    if (ttlMs === 0) throw new EngineError("NOT_FOUND", `there is no lease ${id}`, { what: "lease", id });
    return ttlMs;
  }

  async revoke(id: LeaseId, options: CallOptions = {}): Promise<void> {
    checkOptions(options, KNOWN_CALL, "options");
    const { signal } = options;
    const lease = leaseIdOf(id);
    const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
    await this.#context.abortable<void>(signal, true, (resolve, reject) => {
      this.#context.write(timeoutMs, (batch) => batch.revokeLease(lease), { take: () => resolve(), reject });
    });
  }
}

/** A positive id of 63 bits, as etcd's clients expect of one that they did not choose. */
function drawId(random: Random): LeaseId {
  for (;;) {
    const id = leaseFromWords(random.uint32() & 0x7fff_ffff, random.uint32());
    if (id !== undefined) return id;
  }
}
