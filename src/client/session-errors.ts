/** What it means to a caller that a command was refused because of its session. */
import { ANSWER_BYTES_KEPT_MAX } from "../core/kv/session-bounds.ts";
import { EngineError } from "../errors.ts";

export function sessionError(
  code: "sessionGone" | "sessionWindow" | "answerNotKept" | "sessionsMax" | "sessionSlotsMax",
  max: number,
): EngineError {
  switch (code) {
    case "sessionGone":
      return unsettled(code, "the session of this write has ended: it is not applied now, but may have been before");
    case "sessionWindow":
      return unsettled(code, "the write is outside of its session's window: it is not applied now, but may have been before");
    case "answerNotKept":
      return new EngineError(
        "OVERLOADED",
        `the write was applied at revision ${max}, but its answer was too large to be kept`,
        { limit: "answerBytes", max: ANSWER_BYTES_KEPT_MAX, retryAfterMs: 0 },
        { mayHaveApplied: true },
      );
    case "sessionsMax":
    case "sessionSlotsMax":
      return new EngineError("OVERLOADED", `the sessions there are have used up ${code}, ${max}`, {
        limit: code,
        max,
        retryAfterMs: 1_000,
      });
  }
}

function unsettled(reason: string, message: string): EngineError<"REFUSED"> {
  return new EngineError("REFUSED", message, { reason }, { mayHaveApplied: true });
}
