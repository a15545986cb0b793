/**
 * An engine in one more thread of the process that has it open: the same client, over a boundary of its own to the same node. Its calls, watches and
 * kept leases are its own, and end with it; closing it leaves the node and every other thread as they are. When the node ends, so does it.
 * Not public: front ends of this package are made of it.
 */
// oxlint-disable-next-line no-restricted-imports -- a type alone
import type { MessagePort } from "node:worker_threads";
import { EngineError } from "../errors.ts";
import { createNodeClock } from "../host/node-clock.ts";
import { openAttachedPort } from "../node/attached-port.ts";
import type { Engine } from "./engine.ts";
import { internalsOf } from "./engine-internals.ts";
import type { EngineSettings } from "./engine-options.ts";
import { openLocalEngine } from "./local-engine.ts";

/** What another thread needs for attachEngine: plain data and one port, which is to be transferred. */
export interface EngineHandle {
  readonly port: MessagePort;
  readonly settings: Omit<EngineSettings, "log">;
}

/** Whether other threads can have this engine: not where its node runs in the thread that opened it, nor an engine that is attached itself. */
export function canAttach(engine: Engine): boolean {
  return internalsOf(engine)?.attach !== undefined;
}

/** For one other thread. Throws UNSUPPORTED where canAttach() is false, and CLOSED. */
export function createEngineHandle(engine: Engine): EngineHandle {
  const internals = internalsOf(engine);
  if (internals?.attach === undefined) {
    throw new EngineError("UNSUPPORTED", "only an engine whose node has a thread of its own can be had by other threads", {
      feature: "attach",
      server: "engine",
    });
  }
  if (internals.context.ended) throw new EngineError("CLOSED", "the engine is closed", {});
  // A function cannot cross: what the node has to say is said by the thread that opened it.
  const { log: _, ...settings } = internals.context.settings;
  return { port: internals.attach(), settings };
}

/** In the thread that is to have it. Rejects with OVERLOADED where 64 have it, with CLOSED or UNAVAILABLE where the node ends or has failed. */
export function attachEngine({ port, settings }: EngineHandle): Promise<Engine> {
  return openLocalEngine(openAttachedPort(port), createNodeClock(), { ...settings, log: undefined });
}
