/** Why `serve` did not start, in the words of whoever started it: the engine speaks of its options, and here they are settings. */
import { EngineError } from "../errors.ts";
import { EXIT, ExitError, exitOf } from "./exit.ts";

const SETTING_OF: readonly (readonly [option: RegExp, setting: string])[] = [
  [/`bootstrap`( list)?/g, "initial-cluster"],
  [/`peer`/g, "listen-peer-urls"],
  [/\bdataDir\b/g, "data-dir"],
  [/\bheartbeatMs\b/g, "heartbeat-interval"],
  [/\belectionTimeoutMs\b/g, "election-timeout"],
  [/\btls\.cert\b/g, "cert-file"],
  [/\btls\.key\b/g, "key-file"],
  [/\btls\.ca\b/g, "trusted-ca-file"],
];

/** A sentence of the engine's, with settings where it has options. */
export function inSettings(text: string): string {
  return SETTING_OF.reduce((so, [option, setting]) => so.replace(option, setting), text);
}

/** The same error, as the program ends with it. Nothing was asked of the engine yet, so nothing may have been done. */
export function startError(error: unknown): unknown {
  if (!EngineError.is(error)) return error;
  return new ExitError(error.mayHaveApplied ? EXIT.refused : exitOf(error, false).code, inSettings(error.message), { cause: error });
}
