/**
 * Reads of leases by this node's callers: all ids, or one lease with its keys, a slice at a time and between entries. When one may be
 * answered is decided before it comes here (reads.ts). The time that a lease has left is told by this member's reading of the lease
 * clock, which is behind the leader's by the message that brought it.
 */
import type { KvMachine } from "../core/kv/machine.ts";
import type { LeaseReading } from "../core/kv/lease-reading.ts";
import { ANSWER_BYTES_MAX } from "../core/kv/read.ts";
import { EngineError, toWire } from "../errors.ts";
import type { CallId, FromNode, ToNode } from "./boundary.ts";

const SLICE_RECORDS = 500;
const TURN_MS_MAX = 2;

export type LeaseCall = ToNode & { readonly kind: "lease" | "leases" };

interface Waiting {
  readonly call: LeaseCall;
  readonly deadline: number;
  reading: LeaseReading | undefined;
}

export interface LeaseReadsOptions {
  readonly machine: KvMachine;
  now(): number;
  /** The lease clock as this member knows it. */
  clockMs(): number;
  post(message: FromNode): void;
}

export class LeaseReads {
  readonly #options: LeaseReadsOptions;
  #machine: KvMachine;
  /** At most as many as callers may have calls pending. */
  #queue: Waiting[] = [];

  constructor(options: LeaseReadsOptions) {
    this.#options = options;
    this.#machine = options.machine;
  }

  /** The state may be read now. */
  add(call: LeaseCall, now: number): void {
    this.#queue.push({ call, deadline: now + call.timeoutMs, reading: undefined });
  }

  /** True if there is more to do at once. While an entry is being applied nothing is begun, and the turns go on for that. */
  step(): boolean {
    if (this.#queue.length === 0) return false;
    const now = this.#options.now();
    let taken = 0;
    while (taken < this.#queue.length) {
      const waiting = this.#queue[taken]!;
      if (now >= waiting.deadline) this.#timeOut(waiting);
      else if (!this.#answer(waiting)) break;
      taken++;
      if (this.#options.now() - now >= TURN_MS_MAX) break;
    }
    this.#queue.splice(0, taken);
    return this.#queue.length > 0 && !this.#machine.applying;
  }

  /** True once it is answered. */
  #answer(waiting: Waiting): boolean {
    const { call } = waiting;
    const machine = this.#machine;
    if (waiting.reading === undefined) {
      if (machine.applying) return false;
      if (call.kind === "leases") {
        const { count, idHigh, idLow, dueMs } = machine.leaseColumns();
        this.#options.post({ kind: "leases", call: call.call, count, idHigh, idLow, dueMs });
        return true;
      }
      waiting.reading = machine.lease(call.lease, call.keys);
      if (waiting.reading === undefined) {
        this.#options.post({ kind: "lease", call: call.call, found: undefined });
        return true;
      }
    }
    if (!waiting.reading.step(SLICE_RECORDS)) return false;
    const answer = waiting.reading.result();
    if (answer === "tooLarge") {
      this.#fail(
        call.call,
        new EngineError("OVERLOADED", "the keys of the lease exceed what one answer may hold: read it without them", {
          limit: "answerBytes",
          max: ANSWER_BYTES_MAX,
          retryAfterMs: 0,
        }),
      );
      return true;
    }
    const { ttlMs, dueMs, keys, count } = answer;
    const remainingMs = Math.min(ttlMs, Math.max(0, dueMs - this.#options.clockMs()));
    this.#options.post({ kind: "lease", call: call.call, found: { ttlMs, remainingMs, keys, count } });
    return true;
  }

  cancel(call: CallId): void {
    const at = this.#queue.findIndex((one) => one.call.call === call);
    if (at >= 0) this.#queue.splice(at, 1)[0]!.reading?.cancel();
  }

  /** A snapshot took the state's place: what was under way begins anew. */
  replace(machine: KvMachine): void {
    for (const waiting of this.#queue) {
      waiting.reading?.cancel();
      waiting.reading = undefined;
    }
    this.#machine = machine;
  }

  failAll(make: () => EngineError): void {
    for (const { call, reading } of this.#queue.splice(0)) {
      reading?.cancel();
      this.#fail(call.call, make());
    }
  }

  #timeOut({ call, reading }: Waiting): void {
    reading?.cancel();
    const { timeoutMs } = call;
    this.#fail(call.call, new EngineError("TIMEOUT", `the lease was not read within ${timeoutMs} ms`, { timeoutMs, waitedFor: "queue" }));
  }

  #fail(call: CallId, error: EngineError): void {
    this.#options.post({ kind: "failed", call, error: toWire(error) });
  }
}
