/** Single-key and range writes of the embedded engine: each becomes one command of the tick's batch. */
import { TTL_MS_MAX } from "../core/kv/command.ts";
import type { ResultReader } from "../core/kv/result.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import { checkFlag, checkNumber, checkOptions, isKey, leaseIdOf, toBytes, toInterval, toKey, toValue } from "./arguments.ts";
import { CALL_OPTIONS, type CallContext } from "./call-context.ts";
import { packingError, type WriteWaiter } from "./calls.ts";
import type { DeleteOptions, DeleteResult, Key, PutOptions, PutResult, Target, Value } from "./client.ts";
import { createKeyValue } from "./key-value.ts";

const KNOWN_PUT: ReadonlySet<string> = new Set([...CALL_OPTIONS, "lease", "ttlMs", "ignoreLease", "ignoreValue", "prevKv"]);
const KNOWN_DELETE: ReadonlySet<string> = new Set([...CALL_OPTIONS, "prevKv"]);
const KNOWN_SWAP: ReadonlySet<string> = new Set([...CALL_OPTIONS, "lease", "ttlMs"]);

const NOTHING = new Uint8Array(0);

/** One for each engine. */
export class LocalWrites {
  readonly #context: CallContext;

  constructor(context: CallContext) {
    this.#context = context;
  }

  put(key: Key, value: Value | undefined, options?: PutOptions & { readonly ignoreValue?: true }): Promise<PutResult> {
    try {
      if (options !== undefined) return this.#putWith(key, value, options);
      const { calls, settings } = this.#context;
      const keyBytes = toKey(key);
      const valueBytes = toValue(value!);
      calls.writes(settings.timeoutMs).put(keyBytes, valueBytes);
      const waiter = new PutWaiter();
      calls.wrote(waiter);
      return waiter.promise;
    } catch (error) {
      return Promise.reject(packingError(error) as Error);
    }
  }

  #putWith(key: Key, value: Value | undefined, options: PutOptions & { readonly ignoreValue?: true }): Promise<PutResult> {
    try {
      checkOptions(options, KNOWN_PUT, "options");
      // Read once, and before the key: a property may be a function that calls this engine.
      const { ttlMs, prevKv, ignoreLease, ignoreValue, signal } = options;
      checkNumber(ttlMs, "ttlMs", { min: 1, max: TTL_MS_MAX });
      checkFlag(prevKv, "prevKv");
      checkFlag(ignoreLease, "ignoreLease");
      checkFlag(ignoreValue, "ignoreValue");
      if (ignoreValue === true && value !== undefined)
        throw invalidArgument("value", "with ignoreValue there is none: the key keeps its own");
      const lease = leaseIdOf(options.lease);
      const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
      const keyBytes = toKey(key);
      const valueBytes = ignoreValue === true ? NOTHING : toValue(value!);
      return this.#context.abortable(signal, true, (resolve, reject) => {
        this.#context.write(timeoutMs, (batch) => batch.put(keyBytes, valueBytes, { ttlMs, prevKv, lease, ignoreLease, ignoreValue }), {
          take: (reader) => resolve(putResult(reader)),
          reject: (error) => reject(ofKey(error, key)),
        });
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  delete(target: Target, options: DeleteOptions = {}): Promise<DeleteResult> {
    try {
      checkOptions(options, KNOWN_DELETE, "options");
      const { prevKv, signal } = options;
      checkFlag(prevKv, "prevKv");
      const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
      const interval = isKey(target) ? undefined : toInterval(target);
      const key = isKey(target) ? toKey(target) : undefined;
      return this.#context.abortable(signal, true, (resolve, reject) => {
        this.#context.write(
          timeoutMs,
          (batch) => {
            if (key !== undefined) batch.deleteKey(key, { prevKv });
            else batch.deleteRange(interval!, { prevKv });
          },
          {
            take: (reader) => {
              const { deleted, revision } = reader;
              if (reader.cut) {
                reject(
                  new EngineError(
                    "OVERLOADED",
                    `${deleted} keys were deleted at revision ${revision}, but their previous values exceed what one answer may hold`,
                    { limit: "answerBytes", max: 64 << 20, retryAfterMs: 0 },
                    { mayHaveApplied: true },
                  ),
                );
              } else resolve({ deleted, revision, prevKvs: reader.prevKvs().map(createKeyValue) });
            },
            reject,
          },
        );
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  compareAndSwap(
    key: Key,
    expected: Value | undefined,
    value: Value,
    options: Pick<PutOptions, "lease" | "ttlMs" | "signal" | "timeoutMs"> = {},
  ): Promise<boolean> {
    try {
      checkOptions(options, KNOWN_SWAP, "options");
      const { ttlMs, signal } = options;
      checkNumber(ttlMs, "ttlMs", { min: 1, max: TTL_MS_MAX });
      const lease = leaseIdOf(options.lease);
      const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
      const keyBytes = toKey(key);
      const expectedBytes = expected === undefined ? undefined : toBytes(expected, "expected");
      const valueBytes = toValue(value);
      return this.#context.abortable(signal, true, (resolve, reject) => {
        this.#context.write(timeoutMs, (batch) => batch.compareAndSwap(keyBytes, expectedBytes, valueBytes, { ttlMs, lease }), {
          take: (reader) => resolve(reader.succeeded),
          reject,
        });
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }
}

/** One put's promise, made without a function of its own: a process makes a million of them. */
class PutWaiter implements WriteWaiter {
  readonly promise: Promise<PutResult> = new Promise<PutResult>(capture);
  private readonly resolve: (result: PutResult) => void = capturedResolve;
  readonly reject: (error: EngineError) => void = capturedReject;

  take(reader: ResultReader): void {
    this.resolve(putResult(reader));
  }
}

let capturedResolve!: (result: PutResult) => void;
let capturedReject!: (error: EngineError) => void;
const capture = (resolve: (result: PutResult) => void, reject: (error: EngineError) => void): void => {
  capturedResolve = resolve;
  capturedReject = reject;
};

/** Members refuse without a name: there is only one key that it can be. */
function ofKey(error: EngineError, key: Key): EngineError {
  if (!EngineError.is(error, "NOT_FOUND") || error.details.what !== "key") return error;
  const id = typeof key === "string" ? key : Buffer.from(key).toString("hex");
  return new EngineError("NOT_FOUND", `there is no key ${id} of which anything could be kept`, { what: "key", id });
}

function putResult(reader: ResultReader): PutResult {
  const prevKv = reader.prevKv();
  return { revision: reader.revision, prevKv: prevKv === undefined ? undefined : createKeyValue(prevKv) };
}
