/**
 * What the calls of one engine share: its settings and defaults, how options are checked, how a signal ends a call, and how a command gets
 * into the tick's batch. Knows no particular call.
 */
import type { CommandBatch } from "../core/kv/command.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import { forgetAbort, onAbortOf } from "./abort-listeners.ts";
import { checkChoice, checkNumber, checkOptions, checkSignal, checkTimeout } from "./arguments.ts";
import { packingError, type Calls, type WriteWaiter } from "./calls.ts";
import type { Consistency, ReadOptions } from "./client.ts";
import type { EngineSettings } from "./engine-options.ts";

/** Options that every call knows. */
export const CALL_OPTIONS: readonly string[] = ["signal", "timeoutMs"];
/** Options that every read knows. */
export const READ_OPTIONS: readonly string[] = [...CALL_OPTIONS, "consistency", "revision", "minRevision", "stalenessMsMax"];

/** Options of a read with their defaults filled in. */
export interface CheckedRead {
  readonly consistency: Consistency;
  readonly minRevision: number;
  readonly stalenessMsMax: number | undefined;
  readonly timeoutMs: number;
}

/** One for each engine. */
export class CallContext {
  readonly calls: Calls;
  readonly clock: Clock;
  readonly settings: EngineSettings;
  /** Closing, closed, or its node is gone: nothing may be answered from here any more. */
  ended = false;

  constructor(parts: { readonly calls: Calls; readonly clock: Clock; readonly settings: EngineSettings }) {
    this.calls = parts.calls;
    this.clock = parts.clock;
    this.settings = parts.settings;
  }

  /** The call's time, in milliseconds. Throws where it is none, and where the signal has aborted already. */
  timeout(timeoutMs: number | undefined, signal: AbortSignal | undefined): number {
    checkTimeout(timeoutMs);
    checkSignal(signal);
    if (signal?.aborted === true) throw aborted(signal, false);
    const chosen = timeoutMs ?? this.settings.timeoutMs;
    return chosen === Number.POSITIVE_INFINITY ? Number.MAX_SAFE_INTEGER : chosen;
  }

  /** Throws INVALID_ARGUMENT at options that `known` lacks, and at values that cannot be. */
  checkRead(options: ReadOptions, known: ReadonlySet<string>): CheckedRead {
    checkOptions(options, known, "options");
    const { consistency, revision, minRevision, stalenessMsMax, timeoutMs, signal } = options;
    const { settings } = this;
    checkChoice(consistency, "consistency", ["linearizable", "lease", "eventual"]);
    if (consistency !== undefined && consistency !== settings.consistency && !settings.allowConsistencyOverride) {
      throw invalidArgument(
        "consistency",
        `this engine answers every read as "${settings.consistency}" (allowConsistencyOverride is false)`,
      );
    }
    checkNumber(revision, "revision", { min: 1 });
    checkNumber(minRevision, "minRevision", { min: 0 });
    checkNumber(stalenessMsMax, "stalenessMsMax", { min: 0, integer: false });
    return {
      consistency: consistency ?? settings.consistency,
      minRevision: minRevision ?? 0,
      stalenessMsMax,
      timeoutMs: this.timeout(timeoutMs, signal),
    };
  }

  /** Packs one command into the tick's batch. Throws what the caller's promise is to reject with. */
  write(timeoutMs: number, add: (batch: CommandBatch) => void, waiter: WriteWaiter): void {
    try {
      add(this.calls.writes(timeoutMs));
    } catch (error) {
      throw packingError(error);
    }
    this.calls.wrote(waiter);
  }

  /** A promise that its signal rejects. The call goes on in its batch; its answer is not heard. */
  abortable<T>(
    signal: AbortSignal | undefined,
    isWrite: boolean,
    start: (resolve: (value: T) => void, reject: (error: EngineError) => void) => void,
  ): Promise<T> {
    if (signal === undefined) return new Promise<T>(start);
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => reject(aborted(signal, isWrite));
      const settle = (): void => forgetAbort(signal, onAbort);
      start(
        (value) => {
          settle();
          resolve(value);
        },
        (error) => {
          settle();
          reject(error);
        },
      );
      onAbortOf(signal, onAbort);
    });
  }

  /** The same for a call with an id of its own, which the node is told to give up. */
  cancellable<T>(signal: AbortSignal | undefined, call: number, reply: Promise<T>, isWrite = false): Promise<T> {
    if (signal === undefined) return reply;
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => {
        this.calls.cancel(call);
        reject(aborted(signal, isWrite));
      };
      const settle = (): void => forgetAbort(signal, onAbort);
      reply.then(resolve, reject).finally(settle);
      onAbortOf(signal, onAbort);
    });
  }
}

/** What a call rejects with when its signal aborts it. */
export function aborted(signal: AbortSignal, mayHaveApplied: boolean): EngineError {
  const reason: unknown = signal.reason;
  return new EngineError(
    "ABORTED",
    mayHaveApplied ? "aborted by its signal: the write may have been applied" : "aborted by its signal",
    { reason },
    { mayHaveApplied, cause: reason },
  );
}
