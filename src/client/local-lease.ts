/** One lease as its holder has it. Who renews it, and how, is its maker's business (local-leases.ts). */
import { EngineError } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import type { HeldSlot, Moment } from "../node/held-slot.ts";
import type { CallOptions, Lease, LeaseId } from "./client.ts";
import { Holding } from "./held.ts";

export interface LocalLeaseParts {
  readonly id: LeaseId;
  readonly ttlMs: number;
  /** Raised already. */
  readonly slot: HeldSlot;
  readonly clock: Clock;
  renew(options: CallOptions): Promise<{ readonly ttlMs: number; readonly sent: Moment }>;
  revoke(options: CallOptions): Promise<void>;
  /** Nobody is to renew it from now on. */
  letGo(): void;
}

export class LocalLease implements Lease {
  readonly id: LeaseId;
  readonly ttlMs: number;
  readonly #parts: LocalLeaseParts;
  readonly #holding: Holding;
  #closing: Promise<void> | undefined;

  constructor(parts: LocalLeaseParts) {
    const { id, ttlMs, slot, clock } = parts;
    this.id = id;
    this.ttlMs = ttlMs;
    this.#parts = parts;
    this.#holding = new Holding({ slot, clock, details: { what: "lease", name: id } });
  }

  get signal(): AbortSignal {
    return this.#holding.signal;
  }

  /** For what is built on this lease. */
  get holding(): Holding {
    return this.#holding;
  }

  remainingMs(): number {
    return this.#holding.remainingMs();
  }

  throwIfLost(): void {
    this.#holding.throwIfLost();
  }

  async renew(options: CallOptions = {}): Promise<{ readonly ttlMs: number }> {
    this.throwIfLost();
    try {
      const { ttlMs, sent } = await this.#parts.renew(options);
      this.#parts.slot.raise(sent, ttlMs);
      this.#holding.check();
      this.throwIfLost();
      return { ttlMs };
    } catch (error) {
      if (!EngineError.is(error, "NOT_FOUND")) throw error;
      this.onLost();
      throw this.#holding.lostError("the members have it no more");
    }
  }

  async revoke(options: CallOptions = {}): Promise<void> {
    // Another may be let in from the moment on at which this leaves.
    this.#parts.letGo();
    this.#holding.end("it was revoked by its holder");
    try {
      await this.#parts.revoke(options);
    } catch (error) {
      if (!EngineError.is(error, "NOT_FOUND")) throw error;
    }
  }

  abandon(): void {
    this.#parts.letGo();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    try {
      await this.revoke();
    } catch (error) {
      if (!EngineError.is(error, "CLOSED")) throw error;
    }
  }

  /** The members have it no more, or its deadline has passed in the node. */
  onLost(): void {
    this.#parts.letGo();
    this.#holding.end("it has expired, or was revoked");
  }

  onEngineClosed(): void {
    this.#holding.end("the engine was closed");
  }

  /** Looks at the deadline if it is that near. */
  checkIfShort(ms: number): void {
    if (this.#holding.remainingMs() <= ms) this.#holding.check();
  }
}
