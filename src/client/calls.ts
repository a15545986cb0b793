/**
 * Calls under way, and what crosses to the node for them: the writes of a tick go as one batch, its point reads as another, the rest one by
 * one. Answers come back by batch; every promise settles once, whatever the node does.
 */
import { CommandBatch, CommandError, COMMANDS_MAX, type Refusal } from "../core/kv/command.ts";
import { AnswerReader, ReadBatch, READS_MAX } from "../core/kv/read.ts";
import { ResultReader, type UnpackedKv } from "../core/kv/result.ts";
import { EngineError, fromWire, invalidArgument, noSpace } from "../errors.ts";
import type { Clock, Timer } from "../host/clock.ts";
import type { CallId, Consistency, FromNode, MembersState, ToNode } from "../node/boundary.ts";
import { sessionError } from "./session-errors.ts";

export type RangeReply = FromNode & { readonly kind: "range" };

/** A call under way, and its answer. */
export interface Asked<K extends FromNode["kind"]> {
  readonly call: CallId;
  readonly reply: Promise<FromNode & { readonly kind: K }>;
}

/** One write's promise. `take` reads its own result, on which the reader stands. */
export interface WriteWaiter {
  take(reader: ResultReader): void;
  reject(error: EngineError): void;
}

export interface ReadWaiter {
  take(answer: UnpackedKv | undefined, revision: number): void;
  reject(error: EngineError): void;
}

interface Call {
  readonly isWrite: boolean;
  readonly timeoutMs: number;
  /** When the node should long have answered, in time in which this thread was there to hear it. */
  readonly giveUpAt: number;
  fail(error: EngineError): void;
  succeed(message: FromNode): void;
}

export interface CallsOptions {
  readonly clock: Clock;
  readonly pendingCallsMax: number;
  readonly requestBytesMax: number;
  /** Where ids begin, if several threads call one node. Default 1. */
  readonly firstCall?: CallId | undefined;
  post(messages: readonly ToNode[]): void;
}

interface OpenWrites {
  readonly batch: CommandBatch;
  readonly waiters: WriteWaiter[];
  readonly timeoutMs: number;
}

interface OpenReads {
  readonly batch: ReadBatch;
  readonly waiters: ReadWaiter[];
  readonly consistency: Consistency;
  readonly minRevision: number;
  readonly stalenessMsMax: number | undefined;
  readonly timeoutMs: number;
}

/** How fresh an answer is wanted, and how soon. */
export interface Freshness {
  readonly consistency: Consistency;
  readonly minRevision: number;
  readonly stalenessMsMax?: number | undefined;
  readonly timeoutMs: number;
}

/** A batch is closed behind this many bytes, so that one entry does not hold up a link or a disk for long. */
const BATCH_BYTES_MAX = 1 << 20;
/** The node answers every call by its deadline; this much later it is taken to be gone. */
const GRACE_MS = 2_000;
const SWEEP_MS = 500;

export class Calls {
  readonly #options: CallsOptions;
  readonly #calls = new Map<CallId, Call>();
  #outbox: ToNode[] = [];
  #writes: OpenWrites | undefined;
  #reads: OpenReads | undefined;
  #scheduled = false;
  #nextCall: CallId;
  #pending = 0;
  #sweep: Timer | undefined;
  #sweptAt = 0;
  /**
   * Time as this thread has lived it: where it was blocked, one sweep counts as two at most. The answers that came meanwhile are read
   * behind the timer, which would take them for missing.
   */
  #livedMs = 0;
  #ended: EngineError | undefined;
  #refusal: EngineError | undefined;

  constructor(options: CallsOptions) {
    this.#options = options;
    this.#nextCall = options.firstCall ?? 1;
  }

  /** The tick's batch, into which the caller packs one command; then wrote(). Throws what the caller's promise is to reject with. */
  writes(timeoutMs: number): CommandBatch {
    this.#admit();
    let writes = this.#writes;
    if (
      writes === undefined ||
      writes.timeoutMs !== timeoutMs ||
      writes.batch.bytes > BATCH_BYTES_MAX ||
      writes.waiters.length >= COMMANDS_MAX
    ) {
      this.#closeWrites();
      writes = { batch: new CommandBatch(4_096, this.#options.requestBytesMax), waiters: [], timeoutMs };
      this.#writes = writes;
    }
    return writes.batch;
  }

  /** The command is in the batch that writes() has just answered. */
  wrote(waiter: WriteWaiter): void {
    this.#writes!.waiters.push(waiter);
    this.#pending++;
    this.#schedule();
  }

  read(key: Uint8Array, options: Freshness, waiter: ReadWaiter): void {
    this.#admit();
    const { consistency, minRevision, stalenessMsMax, timeoutMs } = options;
    let reads = this.#reads;
    if (
      reads === undefined ||
      reads.consistency !== consistency ||
      reads.timeoutMs !== timeoutMs ||
      reads.minRevision !== minRevision ||
      reads.stalenessMsMax !== stalenessMsMax ||
      reads.batch.bytes > BATCH_BYTES_MAX ||
      reads.waiters.length >= READS_MAX
    ) {
      this.#closeReads();
      reads = { batch: new ReadBatch(), waiters: [], consistency, minRevision, stalenessMsMax, timeoutMs };
      this.#reads = reads;
    }
    reads.batch.get(key);
    reads.waiters.push(waiter);
    this.#pending++;
    this.#schedule();
  }

  /** Many keys, answered as of one revision, a past one or (0) the present: a batch of its own. */
  readMany(
    keys: readonly Uint8Array[],
    revision: number,
    options: Freshness,
  ): { readonly call: CallId; readonly answers: Promise<readonly (UnpackedKv | undefined)[]> } {
    this.#admit();
    if (keys.length > READS_MAX) throw invalidArgument("keys", `at most ${READS_MAX} keys can be read as of one revision`);
    const batch = new ReadBatch();
    for (const key of keys) batch.get(key);
    const call = this.#nextCall++;
    const answers = new Promise<readonly (UnpackedKv | undefined)[]>((resolve, reject) => {
      this.#add(call, options.timeoutMs, {
        isWrite: false,
        fail: reject,
        succeed: (message) => {
          const reader = new AnswerReader((message as FromNode & { readonly kind: "read" }).answers);
          const kvs: (UnpackedKv | undefined)[] = [];
          for (let i = 0; i < keys.length; i++) {
            const answer = reader.next();
            if (answer === "leftOut") return reject(tooMuch());
            kvs.push(answer);
          }
          resolve(kvs);
        },
      });
    });
    this.#post({ kind: "read", call, reads: batch.finish(), count: keys.length, revision, ...options });
    return { call, answers };
  }

  range(request: Omit<ToNode & { readonly kind: "range" }, "kind" | "call">): {
    readonly call: CallId;
    readonly reply: Promise<RangeReply>;
  } {
    this.#admit();
    const call = this.#nextCall++;
    const reply = new Promise<RangeReply>((resolve, reject) => {
      this.#add(call, request.timeoutMs, { isWrite: false, fail: reject, succeed: (message) => resolve(message as RangeReply) });
    });
    this.#post({ kind: "range", call, ...request });
    return { call, reply };
  }

  /** A transaction that only reads, packed: the bytes belong to the node from now on. */
  readTxn(txn: Uint8Array, options: Freshness): Asked<"written"> {
    return this.#ask(options.timeoutMs, (call) => ({ kind: "readTxn", call, txn, ...options }));
  }

  members(timeoutMs: number): { readonly call: CallId; readonly reply: Promise<MembersState> } {
    this.#admit();
    const call = this.#nextCall++;
    const reply = new Promise<MembersState>((resolve, reject) => {
      this.#add(call, timeoutMs, {
        isWrite: false,
        fail: reject,
        succeed: (message) => resolve((message as FromNode & { readonly kind: "members" }).members),
      });
    });
    this.#post({ kind: "members", call, timeoutMs });
    return { call, reply };
  }

  leases(timeoutMs: number): Asked<"leases"> {
    return this.#ask(timeoutMs, (call) => ({ kind: "leases", call, consistency: "linearizable", minRevision: 0, timeoutMs }));
  }

  lease(lease: string, keys: boolean, timeoutMs: number): Asked<"lease"> {
    return this.#ask(timeoutMs, (call) => ({ kind: "lease", call, lease, keys, consistency: "linearizable", minRevision: 0, timeoutMs }));
  }

  /** `to` undefined: whoever is furthest. */
  moveLeader(to: string | undefined, timeoutMs: number): Asked<"moved"> {
    return this.#ask(timeoutMs, (call) => ({ kind: "moveLeader", call, to, timeoutMs }), true);
  }

  inspect(timeoutMs: number): Asked<"inspect"> {
    return this.#ask(timeoutMs, (call) => ({ kind: "inspect", call, timeoutMs }));
  }

  /** `revision` 0: the newest that this node has applied. */
  hash(revision: number, timeoutMs: number): Asked<"hash"> {
    return this.#ask(timeoutMs, (call) => ({ kind: "hash", call, revision, timeoutMs }));
  }

  /** The next piece of a backup; `backup` 0 begins one, which the call's id names. */
  backup(backup: CallId, timeoutMs: number): Asked<"backup"> {
    return this.#ask(timeoutMs, (call) => ({ kind: "backup", call, backup, timeoutMs }));
  }

  /** A read that goes by itself, and whose answer is of its own kind. */
  #ask<K extends "leases" | "lease" | "written" | "inspect" | "hash" | "backup" | "moved">(
    timeoutMs: number,
    question: (call: CallId) => ToNode,
    isWrite = false,
  ): Asked<K> {
    this.#admit();
    const call = this.#nextCall++;
    const reply = new Promise<FromNode & { readonly kind: K }>((resolve, reject) => {
      const succeed = (message: FromNode): void => resolve(message as FromNode & { readonly kind: K });
      this.#add(call, timeoutMs, { isWrite, fail: reject, succeed });
    });
    this.#post(question(call));
    return { call, reply };
  }

  /** From now on calls are refused with this; those under way go on. */
  refuse(refusal: EngineError): void {
    this.#refusal ??= refusal;
  }

  /** Something that is not answered, or not here. Leaves with the tick, in order. */
  tell(message: ToNode): void {
    if (this.#ended === undefined) this.#post(message);
  }

  cancel(call: CallId): void {
    if (this.#remove(call) === undefined) return;
    this.#pending--;
    this.tell({ kind: "cancel", call });
  }

  newId(): number {
    return this.#nextCall++;
  }

  /** Answers that belong to calls; false for anything else. */
  receive(message: FromNode): boolean {
    if (message.kind === "failed") {
      const call = this.#remove(message.call);
      if (call === undefined) return false;
      call.fail(fromWire(message.error));
      return true;
    }
    if (!("call" in message)) return false;
    this.#remove(message.call)?.succeed(message);
    return true;
  }

  /** The client or its node has ended: everything under way fails, everything later is refused. */
  end(make: (mayHaveApplied: boolean) => EngineError): void {
    if (this.#ended !== undefined) return;
    this.flush();
    this.#ended = make(false);
    this.#refusal ??= this.#ended;
    this.#sweep?.cancel();
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.fail(make(call.isWrite));
    this.#pending = 0;
  }

  /** Asked once for each flush for one message more, which leaves behind the others. */
  onFlush: (() => ToNode | undefined) | undefined;

  /** The tick ends with a flush, if only for what onFlush has to say. */
  flushSoon(): void {
    this.#schedule();
  }

  /** Asked at the beginning of each flush for the batches that others have gathered in this tick (sendBatch). */
  gather: (() => void) | undefined;

  /** One caller more waits, for a batch that is gathered elsewhere. Throws what it is to be rejected with. */
  admit(): void {
    this.#admit();
    this.#pending++;
    this.#schedule();
  }

  /** Within gather(): so many admitted callers wait for the one answer to `message`. */
  sendBatch(batch: {
    readonly timeoutMs: number;
    readonly count: number;
    readonly isWrite: boolean;
    readonly message: (call: CallId) => ToNode;
    /** Called once: each caller wants an error of its own (copyOf). */
    readonly fail: (error: EngineError) => void;
    readonly succeed: (message: FromNode) => void;
  }): void {
    const call = this.#nextCall++;
    this.#addBatch(call, batch.timeoutMs, batch.count, batch);
    this.#outbox.push(batch.message(call));
  }

  flush(): void {
    this.gather?.();
    this.#closeWrites();
    this.#closeReads();
    const last = this.#ended === undefined ? this.onFlush?.() : undefined;
    if (last !== undefined) this.#outbox.push(last);
    if (this.#outbox.length === 0) return;
    const messages = this.#outbox;
    this.#outbox = [];
    this.#options.post(messages);
  }

  #admit(): void {
    if (this.#refusal !== undefined) throw copyOf(this.#refusal);
    const { pendingCallsMax } = this.#options;
    if (this.#pending >= pendingCallsMax) {
      throw new EngineError("OVERLOADED", `${pendingCallsMax} calls are waiting for answers already`, {
        limit: "pendingCallsMax",
        max: pendingCallsMax,
        retryAfterMs: 50,
      });
    }
  }

  #post(message: ToNode): void {
    // Order is kept: what was packed before leaves before.
    this.#closeWrites();
    this.#closeReads();
    this.#outbox.push(message);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#options.clock.defer(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  #closeWrites(): void {
    const writes = this.#writes;
    if (writes === undefined) return;
    this.#writes = undefined;
    const { batch, waiters, timeoutMs } = writes;
    if (waiters.length === 0) return;
    const call = this.#nextCall++;
    this.#addBatch(call, timeoutMs, waiters.length, {
      isWrite: true,
      fail: (error) => {
        for (const waiter of waiters) waiter.reject(waiters.length === 1 ? error : copyOf(error));
      },
      succeed: (message) => {
        const reader = new ResultReader((message as FromNode & { readonly kind: "written" }).results);
        for (const waiter of waiters) {
          if (!reader.next())
            waiter.reject(
              new EngineError("INTERNAL", "a command was not understood by the members", {
                invariant: "every command of a batch has a result",
              }),
            );
          else if (reader.refusal !== undefined) waiter.reject(refusalError(reader.refusal));
          else waiter.take(reader);
        }
      },
    });
    this.#outbox.push({ kind: "write", call, record: batch.finish(), commands: waiters.length, timeoutMs });
  }

  #closeReads(): void {
    const reads = this.#reads;
    if (reads === undefined) return;
    this.#reads = undefined;
    const { batch, waiters, consistency, minRevision, stalenessMsMax, timeoutMs } = reads;
    if (waiters.length === 0) return;
    const call = this.#nextCall++;
    const count = waiters.length;
    this.#addBatch(call, timeoutMs, count, {
      isWrite: false,
      fail: (error) => {
        for (const waiter of waiters) waiter.reject(count === 1 ? error : copyOf(error));
      },
      succeed: (message) => {
        const reader = new AnswerReader((message as FromNode & { readonly kind: "read" }).answers);
        for (const waiter of waiters) {
          const answer = reader.next();
          if (answer === "leftOut") waiter.reject(tooMuch());
          else waiter.take(answer, reader.revision);
        }
      },
    });
    this.#outbox.push({
      kind: "read",
      call,
      reads: batch.finish(),
      count,
      revision: 0,
      consistency,
      minRevision,
      stalenessMsMax,
      timeoutMs,
    });
  }

  #addBatch(call: CallId, timeoutMs: number, count: number, handlers: Pick<Call, "isWrite" | "fail" | "succeed">): void {
    const { fail, succeed } = handlers;
    this.#register(call, timeoutMs, {
      isWrite: handlers.isWrite,
      fail: (error) => {
        this.#pending -= count;
        fail(error);
      },
      succeed: (message) => {
        this.#pending -= count;
        succeed(message);
      },
    });
  }

  #add(call: CallId, timeoutMs: number, handlers: Pick<Call, "isWrite" | "fail" | "succeed">): void {
    this.#pending++;
    this.#addBatch(call, timeoutMs, 1, handlers);
  }

  #register(call: CallId, timeoutMs: number, handlers: Pick<Call, "isWrite" | "fail" | "succeed">): void {
    const { isWrite, fail, succeed } = handlers;
    if (this.#sweep === undefined) this.#armSweep();
    this.#calls.set(call, { isWrite, fail, succeed, timeoutMs, giveUpAt: this.#livedMs + timeoutMs + GRACE_MS });
  }

  #armSweep(): void {
    this.#sweptAt = this.#options.clock.now();
    this.#sweep = this.#options.clock.setTimer(SWEEP_MS, () => this.#giveUp());
  }

  #remove(id: CallId): Call | undefined {
    const call = this.#calls.get(id);
    if (call !== undefined) this.#calls.delete(id);
    return call;
  }

  /** The node answers by the deadline; where it does not, its thread hangs, and the caller is not made to wait for that. */
  #giveUp(): void {
    this.#sweep = undefined;
    this.#livedMs += Math.min(this.#options.clock.now() - this.#sweptAt, 2 * SWEEP_MS);
    for (const [id, call] of this.#calls) {
      if (call.giveUpAt > this.#livedMs) continue;
      this.#calls.delete(id);
      const { timeoutMs, isWrite } = call;
      call.fail(
        new EngineError(
          "TIMEOUT",
          `the node did not answer within ${timeoutMs} ms`,
          { timeoutMs, waitedFor: "queue" },
          { mayHaveApplied: isWrite },
        ),
      );
    }
    if (this.#calls.size > 0) this.#armSweep();
  }
}

/** Each of several callers gets an error of its own, with a stack that it may change. */
export function copyOf(error: EngineError): EngineError {
  const { code, message, details, mayHaveApplied, cause } = error;
  return new EngineError(code, message, details, cause === undefined ? { mayHaveApplied } : { mayHaveApplied, cause });
}

/** What a batch threw at a command, as its caller meets it. */
export function packingError(error: unknown): unknown {
  return error instanceof CommandError ? refusalError(error.refusal) : error;
}

function tooMuch(): EngineError {
  return new EngineError("OVERLOADED", "the answers of this batch exceed what one may hold: read fewer or smaller values at a time", {
    limit: "answerBytes",
    max: 64 << 20,
    retryAfterMs: 0,
  });
}

/** What a refused command means to its caller. Nothing was changed, but where a session may have known the command before. */
export function refusalError(refusal: Refusal): EngineError {
  const { code, max, lease } = refusal;
  switch (code) {
    case "keyBytes":
      return invalidArgument("key", `a key has 1 to ${max} bytes`);
    case "requestBytes":
      return invalidArgument("value", `a request has at most ${max} bytes, key and value together (limits.requestBytesMax)`);
    case "ttlMs":
      return invalidArgument("ttlMs", `an integer from 1 to ${max} is wanted`);
    case "leaseAndTtl":
      return invalidArgument("ttlMs", "a key has a lease or a time to live of its own, not both");
    case "leaseId":
      return invalidArgument("lease", "1 to 16 lower-case hex digits, not all zero, are wanted");
    case "leaseNotFound":
      return new EngineError("NOT_FOUND", `there is no lease ${lease}`, { what: "lease", id: lease ?? "" });
    case "leaseExists":
      return new EngineError("ALREADY_EXISTS", `there is a lease ${lease} already`, { what: "lease", id: lease ?? "" });
    case "leasesMax":
      return new EngineError("OVERLOADED", `there are ${max} leases already`, { limit: "leasesMax", max, retryAfterMs: 1_000 });
    case "keysMax":
      return new EngineError("NO_SPACE", `there are ${max} keys already: delete some first`, { of: "keys", used: max, max });
    case "dataBytesMax":
      return new EngineError("NO_SPACE", `keys and values would take more than ${max} bytes: delete some first`, {
        of: "quota",
        used: max,
        max,
      });
    case "keptBytes":
      return new EngineError("OVERLOADED", `writes of one moment keep values of more than ${max} bytes together: write fewer at a time`, {
        limit: "keptBytes",
        max,
        retryAfterMs: 100,
      });
    case "keyNotFound":
      return new EngineError("NOT_FOUND", "there is no such key: nothing can be kept of it", { what: "key", id: "" });
    case "txnOps":
      return invalidArgument("txn", `a transaction has at most ${max} comparisons, and as many operations in a branch (limits.txnOpsMax)`);
    case "txnDepth":
      return invalidArgument("txn", `transactions are nested at most ${max} deep`);
    case "duplicateKey":
      return invalidArgument("txn", "a key is written twice: a transaction writes each key at most once");
    case "quotaFull":
      return noSpace("quota", refusal.used ?? max, max);
    case "keysFull":
      return noSpace("keys", refusal.used ?? max, max);
    case "diskFull":
      return noSpace("disk", refusal.used ?? max, max);
    case "compacted":
      return compacted(max);
    case "future":
      return new EngineError("FUTURE_REVISION", `the revision has not been reached: the data is at ${max}`, { currentRevision: max });
    case "sessionGone":
    case "sessionWindow":
    case "answerNotKept":
    case "sessionsMax":
    case "sessionSlotsMax":
      return sessionError(code, max);
    case "malformed":
    case "unsupported":
      return new EngineError("UNSUPPORTED", `the members refuse the command as ${code}`, { feature: code, server: "member" });
  }
}

/** `compactRevision` is the first revision that can be read. */
function compacted(compactRevision: number): EngineError {
  return new EngineError("COMPACTED", `the revision is gone: history begins at ${compactRevision}`, { compactRevision });
}
