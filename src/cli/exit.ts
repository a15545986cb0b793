/** How the program ends: the exit codes, and the error that carries one. */
import { EngineError } from "../errors.ts";
import { RpcError, Status } from "../rpc/index.ts";

export const EXIT = {
  done: 0,
  /** The answer is no: no such key, a comparison that failed, a lock that another holds. */
  no: 1,
  /** The command line or the configuration makes no sense. */
  usage: 2,
  /** Nobody answers, or not in time. Nothing was changed. */
  unavailable: 3,
  /** The server will not do it. */
  refused: 4,
  /** The connection ended before the answer came: it may have been done. */
  mayHaveApplied: 5,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Ends a command with a code and a line on standard error. */
export class ExitError extends Error {
  readonly code: ExitCode;

  constructor(code: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ExitError";
    this.code = code;
  }
}

export function usageError(message: string): ExitError {
  return new ExitError(EXIT.usage, message);
}

/** What to say of an error, and the code to end with. `isWrite`: the call may have changed something. */
export function exitOf(error: unknown, isWrite: boolean): ExitError {
  if (error instanceof ExitError) return error;
  if (error instanceof RpcError) {
    const isUnanswered = error.code === Status.UNAVAILABLE || error.code === Status.DEADLINE_EXCEEDED || error.code === Status.CANCELLED;
    // What went wrong within the server, or on the way back, says nothing of what was done.
    const isUnclear = error.code === Status.INTERNAL || error.code === Status.UNKNOWN || error.code === Status.DATA_LOSS;
    if (!isUnanswered && !(isUnclear && isWrite && error.mayHaveRun)) return new ExitError(EXIT.refused, error.message, { cause: error });
    if (error.code === Status.CANCELLED && !(isWrite && error.mayHaveRun))
      return new ExitError(EXIT.unavailable, "interrupted", { cause: error });
    const code = isWrite && error.mayHaveRun ? EXIT.mayHaveApplied : EXIT.unavailable;
    const message = withRemedy(error.message);
    return new ExitError(code, code === EXIT.mayHaveApplied ? `${message} (it may have been done)` : message, { cause: error });
  }
  if (EngineError.is(error)) {
    if (error.mayHaveApplied) return new ExitError(EXIT.mayHaveApplied, `${error.message} (it may have been done)`, { cause: error });
    const isUnanswered = error.code === "UNAVAILABLE" || error.code === "TIMEOUT" || error.code === "CLOSED" || error.code === "ABORTED";
    const code = error.code === "INVALID_ARGUMENT" ? EXIT.usage : isUnanswered ? EXIT.unavailable : EXIT.refused;
    return new ExitError(code, error.message, { cause: error });
  }
  return new ExitError(EXIT.refused, error instanceof Error ? error.message : String(error), { cause: error });
}

/** What the TLS library says of certificates, with the option that mends it; all in one line. */
function withRemedy(message: string): string {
  if (/alert certificate required/.test(message)) return "no endpoint can be reached: it wants a client's certificate (--cert, --key)";
  const line = message.trim().replaceAll(/\s*\n\s*/g, " ");
  return /self-signed certificate|unable to (get|verify)/.test(line) ? `${line} (--cacert says who signs servers' certificates)` : line;
}
