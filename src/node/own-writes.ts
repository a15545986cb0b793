/** Writes of the node's own, which go the way of all writes and are told to whoever made them instead of to a caller. */
import type { EngineError } from "../errors.ts";
import type { CallId } from "./boundary.ts";

export interface OwnWrite {
  /** A command batch with its prefix free. */
  readonly record: Uint8Array;
  readonly commands: number;
  readonly timeoutMs: number;
  done(results: Uint8Array): void;
  failed(error: EngineError): void;
}

/** Their ids are negative: callers' are not. */
export class OwnWrites {
  readonly #writes = new Map<CallId, OwnWrite>();
  #next: CallId = -1;

  add(write: OwnWrite): CallId {
    const call = this.#next--;
    this.#writes.set(call, write);
    return call;
  }

  /** Whether the call is one of these. */
  done(call: CallId, results: Uint8Array): boolean {
    this.#take(call)?.done(results);
    return call < 0;
  }

  failed(call: CallId, error: EngineError): boolean {
    this.#take(call)?.failed(error);
    return call < 0;
  }

  #take(call: CallId): OwnWrite | undefined {
    const write = call < 0 ? this.#writes.get(call) : undefined;
    if (write !== undefined) this.#writes.delete(call);
    return write;
  }
}
