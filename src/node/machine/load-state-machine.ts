/** A user's state machine, opened: by the module that is named, in the node's thread, or by a function in the caller's. */
import { EngineError, invalidArgument } from "../../errors.ts";
import type { OpenStateMachine, StateMachine } from "./state-machine.ts";

/** A module and what its default export is called with, as they cross into a thread. */
export interface StateMachineModule {
  /** A URL that import() takes. */
  readonly module: string;
  readonly options: unknown;
}

/** Rejects with INVALID_ARGUMENT where the module cannot be loaded, exports no function, or that does not make a state machine. */
export async function loadStateMachine({ module, options }: StateMachineModule, dataDir: string): Promise<StateMachine> {
  let loaded: { readonly default?: unknown };
  try {
    loaded = (await import(module)) as { readonly default?: unknown };
  } catch (cause) {
    throw refused(`${module} cannot be loaded: ${String(cause)}`, cause);
  }
  if (typeof loaded.default !== "function") throw refused(`${module} has no function as its default export`);
  return openStateMachine(loaded.default as OpenStateMachine, { name: module, options, dataDir });
}

/** Calls what opens a machine. Rejects with INVALID_ARGUMENT where that throws, or makes none. */
export async function openStateMachine<Options>(
  open: OpenStateMachine<Options>,
  { name, options, dataDir }: { readonly name: string; readonly options: Options; readonly dataDir: string },
): Promise<StateMachine> {
  let machine: Partial<StateMachine> | undefined;
  try {
    machine = await open(options, { dataDir });
  } catch (cause) {
    throw refused(`${name} does not open: ${String(cause)}`, cause);
  }
  for (const method of ["apply", "read", "snapshot", "restore"] as const) {
    if (typeof machine?.[method] !== "function") throw refused(`${name} has made something without ${method}()`);
  }
  return machine as StateMachine;
}

function refused(reason: string, cause?: unknown): EngineError<"INVALID_ARGUMENT"> {
  const { message, details } = invalidArgument("stateMachine", reason);
  return new EngineError("INVALID_ARGUMENT", message, details, cause === undefined ? {} : { cause });
}
