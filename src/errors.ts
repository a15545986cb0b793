/**
 * The one error class, its closed set of codes, and the bit that matters: may the write have happened? Errors cross threads and wires
 * as plain objects (`toWire`) and are built again from their code on the caller's side. Causes and cures: docs/errors.md.
 */

export interface ErrorDetails {
  /** The call can never work as it is. */
  INVALID_ARGUMENT: { readonly argument: string; readonly reason: string };
  UNAVAILABLE: {
    readonly reason: "noLeader" | "noQuorum" | "noEndpoint" | "starting" | "failed" | "removed";
    readonly leader?: string;
  };
  TIMEOUT: {
    readonly timeoutMs: number;
    readonly waitedFor: "leader" | "quorum" | "queue" | "lock" | "connection";
    readonly holder?: string;
  };
  ABORTED: { readonly reason: unknown };
  CLOSED: Record<never, never>;
  /** Refused at once, nothing done. */
  OVERLOADED: { readonly limit: string; readonly max: number; readonly retryAfterMs: number };
  NO_SPACE: { readonly of: "quota" | "disk" | "keys"; readonly used: number; readonly max: number };
  DISK_FAILED: { readonly operation: string; readonly path: string; readonly errno: string };
  CORRUPT: { readonly path: string; readonly offset: number; readonly expected: string; readonly found: string };
  COMPACTED: { readonly compactRevision: number };
  FUTURE_REVISION: { readonly currentRevision: number };
  NOT_FOUND: { readonly what: "key" | "lease" | "member" | "user" | "role" | "permission"; readonly id: string };
  ALREADY_EXISTS: { readonly what: "lease" | "member" | "user" | "role"; readonly id: string };
  /** The cluster will not do this now (would lose its majority, learner has not caught up, ...). */
  REFUSED: { readonly reason: string };
  LOST: { readonly what: "lease" | "lock" | "leadership"; readonly name: string; readonly token?: number };
  UNAUTHENTICATED: { readonly reason: string };
  PERMISSION_DENIED: { readonly access: "read" | "write" | "admin"; readonly target?: string };
  /** The data directory or the port. */
  IN_USE: { readonly what: "dataDir" | "port"; readonly at: string; readonly pid?: number };
  /** Another cluster's or another member's data, a newer format, a version that cannot be mixed. */
  INCOMPATIBLE: { readonly what: string; readonly found: string; readonly supported: string };
  UNSUPPORTED: { readonly feature: string; readonly server: string };
  /** A broken invariant: the node has stopped, the process has not. Please report it. */
  INTERNAL: { readonly invariant: string };
}

export type ErrorCode = keyof ErrorDetails;

/** Narrow with `switch (error.code)`. */
export type AnyEngineError = { [C in ErrorCode]: EngineError<C> }[ErrorCode];

/** An error as it crosses a thread or a wire: plain data. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly mayHaveApplied: boolean;
  readonly details: object;
}

const BRAND = Symbol.for("d-engine.EngineError");

export class EngineError<C extends ErrorCode = ErrorCode> extends Error {
  /** "AbortError" for ABORTED, "TimeoutError" for TIMEOUT, else "EngineError". */
  override readonly name: "EngineError" | "AbortError" | "TimeoutError";
  readonly code: C;
  /** false is a promise: nothing was changed and nothing will be. Always false for reads. */
  readonly mayHaveApplied: boolean;
  readonly details: ErrorDetails[C];

  constructor(
    code: C,
    message: string,
    details: ErrorDetails[C],
    options?: { readonly mayHaveApplied?: boolean; readonly cause?: unknown },
  ) {
    super(message, options !== undefined && "cause" in options ? { cause: options.cause } : undefined);
    this.name = code === "ABORTED" ? "AbortError" : code === "TIMEOUT" ? "TimeoutError" : "EngineError";
    this.code = code;
    this.mayHaveApplied = options?.mayHaveApplied ?? false;
    this.details = details;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** Works across copies of the package. */
  static is(error: unknown): error is AnyEngineError;
  static is<C extends ErrorCode>(error: unknown, code: C): error is EngineError<C>;
  static is(error: unknown, code?: ErrorCode): boolean {
    if (typeof error !== "object" || error === null || !(BRAND in error)) return false;
    return code === undefined || (error as { code?: unknown }).code === code;
  }
}

export function toWire(error: EngineError): WireError {
  return { code: error.code, message: error.message, mayHaveApplied: error.mayHaveApplied, details: error.details };
}

export function fromWire(wire: WireError): EngineError {
  return new EngineError(wire.code, wire.message, wire.details as ErrorDetails[ErrorCode], {
    mayHaveApplied: wire.mayHaveApplied,
  });
}

/** What was thrown, as one of ours: anything else is a bug, and is reported as such. */
export function asEngineError(error: unknown): EngineError {
  return EngineError.is(error)
    ? error
    : new EngineError("INTERNAL", `stopped by a bug: ${String(error)}`, { invariant: String(error) }, { cause: error });
}

/** Growth that is refused for now. Nothing was changed. */
export function noSpace(of: "quota" | "disk" | "keys", used: number, max: number): EngineError<"NO_SPACE"> {
  const what = of === "disk" ? "the disk has no room" : of === "keys" ? "keys, of at most" : "bytes of data and history, of at most";
  const message = of === "disk" ? `${what} for more than the ${used} bytes of this node's files` : `there are ${used} ${what} ${max}`;
  return new EngineError("NO_SPACE", `${message}: deletions, compaction and leases go on, what makes the data grow is refused`, {
    of,
    used,
    max,
  });
}

export function invalidArgument(argument: string, reason: string): EngineError<"INVALID_ARGUMENT"> {
  return new EngineError("INVALID_ARGUMENT", `${argument}: ${reason}`, { argument, reason });
}

/** An invariant of the program: false here is a bug of ours. Stops the node, never the process. */
export function assert(holds: boolean, invariant: string): asserts holds {
  if (!holds) throw new EngineError("INTERNAL", `broken invariant: ${invariant}`, { invariant });
}
