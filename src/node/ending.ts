/** What callers of a node that ends are told, and what its state is given for its own end. */
import { EngineError } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import type { CallId, ToNode } from "./boundary.ts";
import type { ReplicatedState } from "./replicated-state.ts";

/** What a user's state machine has for its end. */
const STATE_CLOSE_MS_MAX = 2_000;

/** The id under which a call waits for an answer; undefined: it waits for none. */
export function answeredCall(call: ToNode): CallId | undefined {
  switch (call.kind) {
    case "cancel":
    case "unwatch":
    case "watchCredit":
    case "watchProgress":
    case "unpin":
    case "keep":
    case "unkeep":
    case "endBackup":
    case "announce":
    case "close":
      return undefined;
    case "watch":
      return call.watch;
    default:
      return call.call;
  }
}

/** `failure`: what the node failed with; undefined: it was closed. */
export function endError(failure: EngineError | undefined, mayHaveApplied: boolean): EngineError {
  if (failure !== undefined) {
    const message = `this node has failed: ${failure.message}`;
    return new EngineError("UNAVAILABLE", message, { reason: "failed" }, { mayHaveApplied, cause: failure });
  }
  return new EngineError(
    "CLOSED",
    mayHaveApplied ? "closed while the write was under way: it may have been applied" : "the engine is closed",
    {},
    { mayHaveApplied },
  );
}

/** A user's state machine may take its time, but not for ever, and what it throws is nobody's any more. */
export function closeWithin(state: ReplicatedState, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(STATE_CLOSE_MS_MAX, resolve);
    const end = (): void => {
      timer.cancel();
      resolve();
    };
    state.close().then(end, end);
  });
}
