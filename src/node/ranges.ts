/**
 * Ranges and read-only transactions of this node's callers, read a slice at a time by turns, so that neither a large one nor many at once make a turn long; and
 * the revisions that their scans have pinned. When a range may be answered is decided before it comes here (reads.ts).
 */
import type { KvMachine, Pin } from "../core/kv/machine.ts";
import { ANSWER_BYTES_MAX, type RangeReading, type ReadRefused } from "../core/kv/read.ts";
import type { TxnReading } from "../core/kv/txn-reading.ts";
import { EngineError, toWire } from "../errors.ts";
import type { CallId, FromNode, ToNode } from "./boundary.ts";

/** What one range gets before it is another's turn. */
const SLICE_RECORDS = 500;
/** What all of them get in one turn of the node, whichever comes first: some milliseconds. */
const TURN_RECORDS = 10_000;
const TURN_MS_MAX = 4;
const PINS_MAX = 10_000;
/** A scan that is not read for this long loses its pin, and ends with COMPACTED if history moves past it. */
const PIN_IDLE_MS = 60_000;

type RangeCall = ToNode & { readonly kind: "range" };
type TxnCall = ToNode & { readonly kind: "readTxn" };

interface Reading {
  readonly call: RangeCall | TxnCall;
  readonly deadline: number;
  /** undefined until its first slice: those that wait hold nothing. */
  reading: RangeReading | TxnReading | undefined;
}

interface HeldPin {
  readonly pin: Pin;
  usedAt: number;
}

export class Ranges {
  readonly #post: (message: FromNode) => void;
  #machine: KvMachine;
  /** At most as many as callers may have calls pending. */
  #queue: Reading[] = [];
  readonly #pins = new Map<CallId, HeldPin>();
  readonly #turnRecords: number;
  readonly #sliceRecords: number;
  #expireAt = Number.POSITIVE_INFINITY;

  /** `turnRecordsMax`: what is read in one turn, if less than by default. */
  constructor(machine: KvMachine, post: (message: FromNode) => void, turnRecordsMax: number = TURN_RECORDS) {
    this.#machine = machine;
    this.#post = post;
    this.#turnRecords = Math.min(TURN_RECORDS, turnRecordsMax);
    this.#sliceRecords = Math.min(SLICE_RECORDS, turnRecordsMax);
  }

  get pinned(): number {
    return this.#pins.size;
  }

  /** When expire() will next have something to do, as of the last look. */
  get expireAt(): number {
    return this.#expireAt;
  }

  /** The state may be read now: this call is answered as of a revision at or behind the present one. */
  add(call: RangeCall | TxnCall, now: number): void {
    if (call.kind === "range" && call.pin && this.#pins.size >= PINS_MAX) {
      this.#fail(
        call.call,
        new EngineError("OVERLOADED", `this node already serves ${PINS_MAX} scans`, { limit: "scans", max: PINS_MAX, retryAfterMs: 1_000 }),
      );
      return;
    }
    const pinned = call.kind === "range" ? this.#pins.get(call.pinned) : undefined;
    if (pinned !== undefined) pinned.usedAt = now;
    const deadline = now + call.timeoutMs;
    this.#expireAt = Math.min(this.#expireAt, deadline);
    this.#queue.push({ call, deadline, reading: undefined });
  }

  /** Reads on for about a turn's share. True if there is more to do at once. */
  step(now: () => number): boolean {
    if (this.#queue.length === 0) return false;
    const until = now() + TURN_MS_MAX;
    let records = this.#turnRecords;
    const rest: Reading[] = [];
    let at = 0;
    while (at < this.#queue.length && records > 0) {
      const one = this.#queue[at++]!;
      one.reading ??= this.#begin(one.call);
      if (one.reading !== undefined) {
        if (one.reading.step(this.#sliceRecords)) this.#finish(one.call, one.reading, until - TURN_MS_MAX);
        else rest.push(one);
      }
      records -= this.#sliceRecords;
      if (now() >= until) break;
    }
    // Those that were not reached come first next time.
    this.#queue = this.#queue.slice(at).concat(rest);
    return this.#queue.length > 0;
  }

  /** undefined: it makes no sense, and its caller was told. */
  #begin(call: RangeCall | TxnCall): RangeReading | TxnReading | undefined {
    if (call.kind === "range") {
      const pinned = this.#pins.has(call.pinned);
      return this.#machine.range(call.request, call.bytesMax === 0 ? { pinned } : { bytesMax: call.bytesMax, pinned });
    }
    const reading = this.#machine.readTxn(call.txn);
    if (typeof reading !== "string") return reading;
    this.#fail(
      call.call,
      new EngineError("UNSUPPORTED", `the node refuses the transaction as ${reading}`, { feature: reading, server: "member" }),
    );
    return undefined;
  }

  #finish(call: RangeCall | TxnCall, reading: RangeReading | TxnReading, now: number): void {
    const result = reading.result();
    if ("refused" in result) {
      this.#fail(call.call, readRefusal(result, call.kind === "range" ? call.request.revision : undefined));
      return;
    }
    if (call.kind === "readTxn" || result instanceof Uint8Array) {
      this.#post({ kind: "written", call: call.call, results: result as Uint8Array });
      return;
    }
    const { kvs, returned, count, more, revision } = result;
    if (call.pin) {
      const pin = this.#machine.pin(revision);
      if (pin !== undefined) {
        this.#pins.set(call.call, { pin, usedAt: now });
        this.#expireAt = Math.min(this.#expireAt, now + PIN_IDLE_MS);
      }
    }
    this.#post({ kind: "range", call: call.call, kvs, returned, count, more, revision });
  }

  unpin(call: CallId): void {
    this.#pins.get(call)?.pin.release();
    this.#pins.delete(call);
  }

  /** See held-history.ts. Its scan is told COMPACTED. */
  giveUpOldest(): boolean {
    for (const call of this.#pins.keys()) {
      this.unpin(call);
      return true;
    }
    return false;
  }

  /** The caller no longer waits, and so will not let go of a pin either. */
  cancel(call: CallId): void {
    const at = this.#queue.findIndex((one) => one.call.call === call);
    if (at >= 0) this.#queue.splice(at, 1)[0]!.reading?.cancel();
    this.unpin(call);
  }

  /** A snapshot took the state's place: what was under way begins anew, and pins of the old one hold nothing any more. */
  replace(machine: KvMachine): void {
    for (const one of this.#queue) {
      one.reading?.cancel();
      one.reading = undefined;
    }
    for (const { pin } of this.#pins.values()) pin.release();
    this.#pins.clear();
    this.#machine = machine;
  }

  /** Fails what takes too long, lets go of pins that nobody uses. Answers when to look again. */
  expire(now: number): number {
    if (now < this.#expireAt) return this.#expireAt;
    let next = Number.POSITIVE_INFINITY;
    this.#queue = this.#queue.filter((one) => {
      if (one.deadline > now) {
        next = Math.min(next, one.deadline);
        return true;
      }
      one.reading?.cancel();
      const { timeoutMs } = one.call;
      this.#fail(
        one.call.call,
        new EngineError("TIMEOUT", `what was asked for was not read within ${timeoutMs} ms`, { timeoutMs, waitedFor: "queue" }),
      );
      return false;
    });
    for (const [call, { usedAt }] of this.#pins) {
      const idleAt = usedAt + PIN_IDLE_MS;
      if (idleAt <= now) this.unpin(call);
      else next = Math.min(next, idleAt);
    }
    this.#expireAt = next;
    return next;
  }

  failAll(make: () => EngineError): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { call, reading } of queue) {
      reading?.cancel();
      this.#fail(call.call, make());
    }
    for (const call of [...this.#pins.keys()]) this.unpin(call);
  }

  #fail(call: CallId, error: EngineError): void {
    this.#post({ kind: "failed", call, error: toWire(error) });
  }
}

/** Why a read as of `asked` has no answer; undefined: as of now, or of several revisions. */
export function readRefusal({ refused, revision }: ReadRefused, asked: number | undefined): EngineError {
  const what = asked === undefined ? "the revision" : `revision ${asked}`;
  switch (refused) {
    case "compacted":
      return new EngineError("COMPACTED", `${what} is gone: history begins at ${revision}`, { compactRevision: revision });
    case "future":
      return new EngineError("FUTURE_REVISION", `${what} has not been reached: this node is at ${revision}`, {
        currentRevision: revision,
      });
    case "tooLarge":
      return new EngineError("OVERLOADED", "the answer exceeds what one may hold: set a limit, or use scan()", {
        limit: "rangeBytes",
        max: ANSWER_BYTES_MAX,
        retryAfterMs: 0,
      });
    case "pins":
      return new EngineError("OVERLOADED", "too many long reads are under way on this node", {
        limit: "pins",
        max: PINS_MAX,
        retryAfterMs: 100,
      });
  }
}
