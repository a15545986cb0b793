/**
 * A lease that this process keeps alive for as long as it holds something under it: a lock, an election. It is given up for lost a tenth of its time
 * before the servers can have given it to another, counted from when its last renewal was asked for.
 */
import { RpcError, Status } from "../rpc/index.ts";
import type { OptionSpec } from "./command-line.ts";
import type { World } from "./command.ts";
import { EXIT, ExitError, usageError } from "./exit.ts";
import { pause } from "./pause.ts";
import type { Remote } from "./remote.ts";

/** What commands that hold something take. */
export const TTL_OPTION: OptionSpec = {
  name: "ttl",
  kind: "number",
  value: "SECONDS",
  help: "How soon others may enter after this process dies. Default: 10",
};

const TTL_SECONDS = 10;
const RETRY_MS = 200;
const LOST_MS = 500;
const KEPT_SHARE = 0.9;

/** See above. Ends by release(), by a signal, or by being lost. */
export class Holding {
  readonly lease: string;
  /** Aborts at a signal, or when the lease can no longer be relied on. */
  readonly signal: AbortSignal;
  /** Resolves then. */
  readonly ended: Promise<void>;
  readonly #remote: Remote;
  readonly #controller = new AbortController();
  readonly #released = new AbortController();
  #isLost = false;
  #expiresAt: number;
  #ttlMs: number;

  private constructor(remote: Remote, lease: string, grantedAt: number, ttlMs: number) {
    this.lease = lease;
    this.signal = this.#controller.signal;
    this.#remote = remote;
    this.#ttlMs = ttlMs;
    this.#expiresAt = grantedAt + ttlMs;
    this.ended = new Promise((resolve) => this.signal.addEventListener("abort", () => resolve(), { once: true }));
  }

  /** Throws ExitError (usage) for a time to live that cannot be, rejects as LeaseGrant does. */
  static async begin(remote: Remote, world: World, seconds: number = TTL_SECONDS): Promise<Holding> {
    if (seconds < 1) throw usageError("--ttl is a whole number of seconds, at least 1");
    const { ID, TTL, grantedAt } = await grant(remote, seconds, world.signal);
    const holding = new Holding(remote, ID, grantedAt, TTL * 1000);
    if (world.signal.aborted) holding.#controller.abort();
    else world.signal.addEventListener("abort", () => holding.#controller.abort(), { once: true });
    void holding.#keep();
    return holding;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Until others may hold it, in milliseconds. */
  get remainingMs(): number {
    return Math.max(0, this.#expiresAt - performance.now());
  }

  /** Until it is given up for lost; none: it is. */
  get #keptMs(): number {
    return Math.max(0, this.#expiresAt - (1 - KEPT_SHARE) * this.#ttlMs - performance.now());
  }

  /** Asks until it is answered: a server that goes away is not the end while the lease lives. Calls under one lease may be repeated. */
  async ask<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (this.signal.aborted || !RpcError.is(error) || error.code !== Status.UNAVAILABLE) throw error;
        await pause(RETRY_MS, this.signal);
      }
    }
  }

  /** Gives up what was held. Never rejects: the lease ends by itself if it cannot be told. */
  async release(): Promise<void> {
    this.#released.abort();
    // Nobody who could be told answered while there was time: whoever waits for this process does not wait for that once more.
    const timeoutMs = this.#isLost ? LOST_MS : this.#remote.timeoutMs;
    await this.#remote.call("etcdserverpb.Lease", "LeaseRevoke", { ID: this.lease }, { signal: null, timeoutMs }).catch(() => undefined);
  }

  async #keep(): Promise<void> {
    let isAnswered = true;
    while (!this.#released.signal.aborted) {
      await pause(Math.min(this.#keptMs, isAnswered ? this.#ttlMs / 3 : RETRY_MS), this.#released.signal);
      if (this.#released.signal.aborted) return;
      const askedAt = performance.now();
      const timeoutMs = Math.min(this.#keptMs, this.#ttlMs / 3);
      if (timeoutMs <= 0) return this.#lose();
      const ttl = await renew(this.#remote, this.lease, timeoutMs, this.#released.signal).catch(() => undefined);
      isAnswered = ttl !== undefined;
      if (ttl === undefined) continue;
      if (ttl <= 0) return this.#lose();
      this.#ttlMs = ttl * 1000;
      this.#expiresAt = askedAt + this.#ttlMs;
    }
  }

  #lose(): void {
    this.#isLost = true;
    this.#controller.abort();
  }
}

/** Where a server goes away with its answer, another is asked: a lease that nobody knows of ends by itself. */
async function grant(
  remote: Remote,
  seconds: number,
  signal: AbortSignal,
): Promise<{ readonly ID: string; readonly TTL: number; readonly grantedAt: number }> {
  const until = performance.now() + remote.timeoutMs;
  let hasBegun = false;
  for (;;) {
    const grantedAt = performance.now();
    try {
      const { ID, TTL } = await remote.call("etcdserverpb.Lease", "LeaseGrant", { TTL: seconds });
      return { ID, TTL, grantedAt };
    } catch (error) {
      // Where nobody was there to begin with, that is told at once.
      hasBegun ||= RpcError.is(error) && error.mayHaveRun;
      if (!RpcError.is(error) || error.code !== Status.UNAVAILABLE || !hasBegun || performance.now() > until) throw error;
      await pause(RETRY_MS, signal);
    }
  }
}

/** Renews a lease once and resolves with its time to live in seconds; 0: it is gone. Rejects if that is not answered in time. */
export async function renew(remote: Remote, lease: string, timeoutMs: number, signal: AbortSignal): Promise<number> {
  const call = remote.talk("etcdserverpb.Lease", "LeaseKeepAlive", {
    signal: AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, Math.ceil(timeoutMs)))]),
  });
  call.send({ ID: lease });
  for await (const { TTL } of call) return TTL;
  throw new ExitError(EXIT.unavailable, "the server ended the stream");
}
