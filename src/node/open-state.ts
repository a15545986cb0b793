/** The state that a node begins with, of either kind: the key-value data, or a user's own state machine. */
import type { RecoveredLog } from "../core/raft/ready.ts";
import { assert } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import type { Environment } from "./environment.ts";
import { KvState } from "./kv-state.ts";
import { historyRules } from "./history-keeper.ts";
import { UserMachine } from "./machine/user-machine.ts";
import { UserState } from "./machine/user-state.ts";
import { restoreMachine } from "./node-machine.ts";
import type { NodeOptions } from "./node-options.ts";
import type { ReplicatedState, StateHost } from "./replicated-state.ts";

/** What an empty state stands for: the founding configuration. */
const FOUNDED = { index: 1, clockMs: 0 };

export interface OpenedState {
  readonly state: ReplicatedState;
  /** What checks between turns look at. */
  readonly kv: KvState | undefined;
}

export interface OpenStateOptions {
  readonly environment: Environment;
  readonly options: NodeOptions;
  readonly storage: Storage;
  /** undefined: there is no snapshot. One that is yet to be founded has one where it begins with a backup. */
  readonly log: RecoveredLog | undefined;
  /** How much of the data is built, from 0 to 1. */
  onProgress(done: number): void;
}

/** Answers what makes the state for its node. Rejects with CORRUPT, INCOMPATIBLE, or what a user's machine is refused with. */
export function openState(parts: OpenStateOptions): Promise<(host: StateHost) => OpenedState> {
  return parts.options.stateMachine === undefined ? openKvState(parts) : openUserState(parts);
}

async function openKvState({
  environment,
  options,
  storage,
  log,
  onProgress,
}: OpenStateOptions): Promise<(host: StateHost) => OpenedState> {
  const { clock, random } = environment;
  const { watchersMax } = options;
  const machine = await restoreMachine(storage, options, random, log, onProgress);
  return (host) => {
    const kv = new KvState({
      machine,
      host,
      clock,
      random,
      watchersMax,
      history: historyRules(options),
      turnRecordsMax: options.turnRecordsMax,
      watchPartEvents: options.watchPartEvents,
    });
    return { state: kv, kv };
  };
}

async function openUserState({ environment, options, storage, log }: OpenStateOptions): Promise<(host: StateHost) => OpenedState> {
  const { clock } = environment;
  assert(environment.openStateMachine !== undefined, "an environment opens the state machine that its options name");
  const { module } = options.stateMachine!;
  const opened = await environment.openStateMachine();
  const machine = new UserMachine({ machine: opened, name: module === "" ? "given as a function" : module, clock });
  const file = log === undefined ? undefined : storage.openSnapshot();
  const applied = file === undefined ? FOUNDED : { index: file.meta.lastIncludedIndex, clockMs: file.meta.clockMs };
  try {
    if (file !== undefined) await machine.restore(file);
  } catch (error) {
    await machine.close().catch(() => {}); // The first error is the one to tell.
    throw error;
  }
  return (host) => ({ state: new UserState({ machine, host, clock, applied, openSnapshot: () => storage.openSnapshot() }), kv: undefined });
}
