/** Transactions of the embedded engine, and what is built on them: each becomes one command of the tick's batch, or one read. */
import { packTxn } from "../core/kv/txn-codec.ts";
import { isReadOnly, type TxnCommand, type TxnOp } from "../core/kv/txn-command.ts";
import type { TxnAnswerReader } from "../core/kv/txn-result.ts";
import { ResultReader } from "../core/kv/result.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import { checkFlag, checkOptions, describe, leaseIdOf, toBytes } from "./arguments.ts";
import { aborted, CALL_OPTIONS, type CallContext } from "./call-context.ts";
import { packingError, type WriteWaiter } from "./calls.ts";
import type { CallOptions, Key, KeyMeta, KeyValue, PutOptions, PutResult, Value } from "./client.ts";
import { createKeyMeta, createKeyValue } from "./key-value.ts";
import { toTxnCommand } from "./txn-arguments.ts";

const KNOWN_CALL: ReadonlySet<string> = new Set(CALL_OPTIONS);
const KNOWN_UPDATE: ReadonlySet<string> = new Set([...CALL_OPTIONS, "lease", "ttlMs", "ignoreLease", "prevKv"]);
const NOTHING = new Uint8Array(0);

/** What a transaction answered, whose literal's type says more. */
interface AnyTxnResult {
  readonly succeeded: boolean;
  readonly revision: number;
  readonly results: readonly unknown[];
}

/** One for each engine. */
export class LocalTransactions {
  readonly #context: CallContext;

  constructor(context: CallContext) {
    this.#context = context;
  }

  /** `txn` is of the public type, or claims to be. */
  txn(txn: unknown, options?: CallOptions): Promise<AnyTxnResult> {
    try {
      if (options === undefined) return this.#run(toTxnCommand(txn), this.#context.settings.timeoutMs, undefined);
      checkOptions(options, KNOWN_CALL, "options");
      const { signal } = options;
      const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
      return this.#run(toTxnCommand(txn), timeoutMs, signal);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  #run(txn: TxnCommand, timeoutMs: number, signal: AbortSignal | undefined): Promise<AnyTxnResult> {
    try {
      return this.#send(txn, timeoutMs, signal);
    } catch (error) {
      throw packingError(error);
    }
  }

  #send(txn: TxnCommand, timeoutMs: number, signal: AbortSignal | undefined): Promise<AnyTxnResult> {
    const { settings, calls } = this.#context;
    const packed = packTxn(txn, settings.txnOpsMax);
    if (isReadOnly(txn)) {
      const { call, reply } = calls.readTxn(packed.slice(), { consistency: "linearizable", minRevision: 0, timeoutMs });
      return this.#context.cancellable(signal, call, reply).then(({ results }) => {
        const reader = new ResultReader(results);
        reader.next();
        return resultOf(txn, reader);
      });
    }
    if (signal === undefined) {
      const waiter = new TxnWaiter(txn);
      calls.writes(timeoutMs).txn(packed);
      calls.wrote(waiter);
      return waiter.promise;
    }
    return this.#context.abortable(signal, true, (resolve, reject) => {
      this.#context.write(timeoutMs, (batch) => batch.txn(packed), {
        take: (reader) => {
          if (reader.cut) reject(tooMuch(reader.revision));
          else resolve(resultOf(txn, reader));
        },
        reject,
      });
    });
  }

  async update(
    key: Key,
    change: (current: KeyValue | undefined) => Value | undefined | Promise<Value | undefined>,
    options: PutOptions = {},
  ): Promise<PutResult | undefined> {
    checkOptions(options, KNOWN_UPDATE, "options");
    if (typeof change !== "function") throw invalidArgument("change", `a function is wanted, not ${describe(change)}`);
    const { ttlMs, prevKv = false, ignoreLease = false, signal } = options;
    checkFlag(prevKv, "prevKv");
    checkFlag(ignoreLease, "ignoreLease");
    const lease = leaseIdOf(options.lease);
    const { clock } = this.#context;
    const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
    const until = clock.now() + timeoutMs;
    // The caller's bytes may change while it is waited for.
    const keyBytes = new Uint8Array(toBytes(key, "key"));
    const get: TxnOp = { kind: "get", key: keyBytes };
    let now = await this.#run({ compare: [], success: [get], failure: [] }, timeoutMs, signal);
    for (;;) {
      const current = now.results[0] as KeyValue | undefined;
      const answer = change(current);
      const wanted = isPromise(answer) ? await this.#answerOf(answer, { until, timeoutMs, signal }) : answer;
      if (wanted === undefined) return undefined;
      const value = new Uint8Array(toBytes(wanted, "value"));
      const leftMs = until - clock.now();
      if (leftMs <= 0) throw notUpdated(timeoutMs);
      // What is not there has no lease to stay on.
      const keepsLease = ignoreLease && current !== undefined;
      now = await this.#run(
        {
          compare: [
            {
              where: keyBytes,
              target: "modRevision",
              result: "equal",
              number: current?.modRevision ?? 0,
              value: NOTHING,
              lease: undefined,
            },
          ],
          success: [{ kind: "put", key: keyBytes, value, lease, ttlMs, ignoreValue: false, ignoreLease: keepsLease, prevKv }],
          failure: [get],
        },
        this.#context.timeout(leftMs, signal),
        signal,
      );
      if (now.succeeded) return now.results[0] as PutResult;
    }
  }

  /** What the caller's own function promised, for as long as the call may take: it may never answer. */
  #answerOf<T>(
    answer: PromiseLike<T>,
    { until, timeoutMs, signal }: { readonly until: number; readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<T> {
    const { clock } = this.#context;
    return this.#context.abortable(signal, false, (resolve, reject) => {
      if (signal?.aborted === true) reject(aborted(signal, false));
      const leftMs = Math.max(0, until - clock.now());
      const timer = leftMs > TIMER_MS_MAX ? undefined : clock.setTimer(leftMs, () => reject(notUpdated(timeoutMs)));
      const settle = (): void => timer?.cancel();
      answer.then(resolve, reject).then(settle, settle);
    });
  }
}

/** Of this realm or another, or what behaves as one. */
function isPromise(answer: Value | undefined | Promise<Value | undefined>): answer is Promise<Value | undefined> {
  return typeof (answer as Partial<PromiseLike<unknown>> | undefined)?.then === "function";
}

/** Longer than any timer runs: such a call waits for ever. */
const TIMER_MS_MAX = 2 ** 31 - 1;

function notUpdated(timeoutMs: number): EngineError {
  return new EngineError("TIMEOUT", `the key was not updated within ${timeoutMs} ms: nothing was changed`, {
    timeoutMs,
    waitedFor: "queue",
  });
}

/** One transaction's promise, made without a function of its own. */
class TxnWaiter implements WriteWaiter {
  readonly promise: Promise<AnyTxnResult> = new Promise<AnyTxnResult>(capture);
  private readonly resolve: (result: AnyTxnResult) => void = capturedResolve;
  readonly reject: (error: EngineError) => void = capturedReject;
  private readonly txn: TxnCommand;

  constructor(txn: TxnCommand) {
    this.txn = txn;
  }

  take(reader: ResultReader): void {
    if (reader.cut) this.reject(tooMuch(reader.revision));
    else this.resolve(resultOf(this.txn, reader));
  }
}

let capturedResolve!: (result: AnyTxnResult) => void;
let capturedReject!: (error: EngineError) => void;
const capture = (resolve: (result: AnyTxnResult) => void, reject: (error: EngineError) => void): void => {
  capturedResolve = resolve;
  capturedReject = reject;
};

function tooMuch(revision: number): EngineError {
  return new EngineError(
    "OVERLOADED",
    `the transaction was done at revision ${revision}, but what it read exceeds what one answer may hold`,
    { limit: "answerBytes", max: 64 << 20, retryAfterMs: 0 },
    { mayHaveApplied: true },
  );
}

function resultOf(txn: TxnCommand, reader: ResultReader): AnyTxnResult {
  const { succeeded, revision } = reader;
  const answers = reader.answers();
  return { succeeded, revision, results: resultsOf(succeeded ? txn.success : txn.failure, answers) };
}

function resultsOf(ops: readonly TxnOp[], answers: TxnAnswerReader): readonly unknown[] {
  return ops.map((op) => {
    answers.next();
    const { revision } = answers;
    switch (op.kind) {
      case "get": {
        const kv = answers.kv();
        return kv === undefined ? undefined : createKeyValue(kv);
      }
      case "put": {
        const prevKv = answers.kv();
        return { revision, prevKv: prevKv === undefined ? undefined : createKeyValue(prevKv) };
      }
      case "delete":
        return { deleted: answers.number, revision, prevKvs: answers.kvs().map(createKeyValue) };
      case "range": {
        const make: (kv: Parameters<typeof createKeyValue>[0]) => KeyMeta = op.request.keysOnly ? createKeyMeta : createKeyValue;
        return { kvs: answers.kvs().map(make), more: answers.more, count: answers.number, revision };
      }
      case "txn": {
        const { succeeded } = answers;
        return { succeeded, revision, results: resultsOf(succeeded ? op.txn.success : op.txn.failure, answers) };
      }
    }
  });
}
