/**
 * The session of this node: numbers what its callers write, so that a batch whose fate is not known can be proposed once more and is applied
 * once (core/kv/session-table.ts). Opened with the first write, and anew when it was not used for long; what is written meanwhile, or beyond
 * its window, goes without numbers, and is proposed again only where it can never have been applied.
 */
import { writeBatchSession } from "../core/batch.ts";
import { CommandBatch, REFUSALS } from "../core/kv/command.ts";
import { ResultReader } from "../core/kv/result.ts";
import type { EngineError } from "../errors.ts";
import type { OwnWrite } from "./own-writes.ts";

/** Writes under way from one node that have numbers. The sessions of 256 nodes find room. */
export const NODE_SESSION_WINDOW = 16_384;
/** How long the session of a node that has ended takes up room. */
export const NODE_SESSION_LIFE_MS = 120_000;
/** When a session could not be opened, the next try is this much later at the earliest. */
const RETRY_MS = 1_000;
const OPEN_TIMEOUT_MS = 10_000;
const GONE: number = REFUSALS.indexOf("sessionGone") + 1;

/** The numbers of a batch's commands. */
export interface Stamp {
  readonly session: { readonly high: number; readonly low: number };
  readonly first: number;
  readonly count: number;
  readonly sentAt: number;
  isSettled: boolean;
}

export interface NodeSessionOptions {
  now(): number;
  write(write: OwnWrite): void;
}

/** One for each opening of a node. */
export class NodeSession {
  readonly #options: NodeSessionOptions;
  #session: Stamp["session"] | undefined;
  #next = 1;
  #acked = 0;
  /** In the order of their numbers, from `#head` on. */
  #stamps: Stamp[] = [];
  #head = 0;
  /** The members may have ended it when it was not used for longer. */
  #goodUntil = 0;
  #isOpening = false;
  #retryAt = Number.NEGATIVE_INFINITY;

  constructor(options: NodeSessionOptions) {
    this.#options = options;
  }

  /** Something is about to be proposed: sees to it that there is a session, for this or for what comes later. */
  prepare(now: number): void {
    if (this.#session !== undefined && now >= this.#goodUntil) this.#drop();
    if (this.#session !== undefined || this.#isOpening || now < this.#retryAt) return;
    this.#isOpening = true;
    const batch = new CommandBatch(64);
    batch.openSession({ window: NODE_SESSION_WINDOW, lifeMs: NODE_SESSION_LIFE_MS });
    this.#options.write({
      record: batch.finish(),
      commands: 1,
      timeoutMs: OPEN_TIMEOUT_MS,
      done: (results) => this.#onOpened(now, results),
      failed: (error) => this.#onFailed(error),
    });
  }

  /** Gives the batch's commands the next numbers. undefined: they go without. */
  stamp(record: Uint8Array, commands: number, now: number): Stamp | undefined {
    const session = this.#session;
    if (session === undefined || this.#next + commands - 1 > this.#acked + NODE_SESSION_WINDOW) return undefined;
    const first = this.#next;
    writeBatchSession(record, { high: session.high, low: session.low, sequence: first, acked: this.#acked });
    this.#next += commands;
    const stamp = { session, first, count: commands, sentAt: now, isSettled: false };
    this.#stamps.push(stamp);
    return stamp;
  }

  /** Whether the members still know the session of these numbers, as far as this node can tell. */
  holds(stamp: Stamp): boolean {
    return stamp.session === this.#session;
  }

  /** Takes the numbers out of the record again. */
  unstamp(record: Uint8Array, stamp: Stamp): void {
    writeBatchSession(record, undefined);
    this.settle(stamp);
  }

  /** Nobody waits for these answers any more. */
  settle(stamp: Stamp): void {
    stamp.isSettled = true;
    if (stamp.session !== this.#session) return;
    while (this.#head < this.#stamps.length && this.#stamps[this.#head]!.isSettled) {
      const { first, count } = this.#stamps[this.#head++]!;
      this.#acked = first + count - 1;
    }
    if (this.#head < 1_024 && this.#head < this.#stamps.length) return;
    this.#stamps = this.#stamps.slice(this.#head);
    this.#head = 0;
  }

  /** The batch was answered. True: by nothing but that its session has ended; then a batch proposed once was not applied. */
  isGone(stamp: Stamp, results: Uint8Array): boolean {
    if (results.length > 4 && results[4] === GONE) {
      if (this.holds(stamp)) this.#drop();
      return true;
    }
    if (this.holds(stamp)) this.#goodUntil = Math.max(this.#goodUntil, stamp.sentAt + NODE_SESSION_LIFE_MS / 2);
    return false;
  }

  #onOpened(sentAt: number, results: Uint8Array): void {
    this.#isOpening = false;
    const reader = new ResultReader(results);
    const session = reader.next() ? reader.session : undefined;
    if (session === undefined) this.#retryAt = this.#options.now() + RETRY_MS;
    else {
      this.#session = session;
      this.#goodUntil = sentAt + NODE_SESSION_LIFE_MS / 2;
    }
  }

  #onFailed(_error: EngineError): void {
    this.#isOpening = false;
    this.#retryAt = this.#options.now() + RETRY_MS;
  }

  #drop(): void {
    this.#session = undefined;
    this.#next = 1;
    this.#acked = 0;
    this.#stamps = [];
    this.#head = 0;
  }
}
