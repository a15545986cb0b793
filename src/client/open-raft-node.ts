/** RaftNode.open: a node with its user's own state machine, in its own thread or in this one, and the client in front of it. */
import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import { asEngineError, invalidArgument } from "../errors.ts";
import { createNodeClock } from "../host/node-clock.ts";
import { openInlineNode } from "../node/inline-port.ts";
import type { StateMachineModule } from "../node/machine/load-state-machine.ts";
import type { OpenStateMachine } from "../node/machine/state-machine.ts";
import type { NodeOptions } from "../node/node-options.ts";
import { createEnvironment } from "../node/real-environment.ts";
import { checkOptions, describe } from "./arguments.ts";
import { resolveOptions, type ResolvedOptions } from "./engine-options.ts";
import { openLocalRaftNode } from "./local-raft-node.ts";
import { openThread } from "./open-engine.ts";
import type { RaftNode, RaftNodeOptions } from "./raft-node.ts";

const KNOWN_MODULE: ReadonlySet<string> = new Set(["module", "options"]);
const KNOWN_LIMITS: ReadonlySet<string> = new Set(["requestBytesMax", "pendingCallsMax"]);

/**
 * Resolves once the data directory is locked and recovered, the machine restored, and the node takes part; does not wait for a majority. Rejects as
 * Engine.open does; with INVALID_ARGUMENT where the machine cannot be opened, and with INTERNAL where it does not restore its snapshot.
 */
export async function openRaftNode(options: RaftNodeOptions): Promise<RaftNode> {
  const { node, settings, thread, workerUrl, openMachine } = resolveRaftOptions(options);
  const clock = createNodeClock();
  if (thread === "worker") return openLocalRaftNode(openThread(node, workerUrl), clock, settings);
  try {
    const port = await openInlineNode(createEnvironment(node, { thread: "inline", diskWorkerUrl: undefined }, openMachine), node);
    return await openLocalRaftNode(port, clock, settings);
  } catch (error) {
    throw asEngineError(error);
  }
}

/** What RaftNode.open does with its options. Throws INVALID_ARGUMENT. */
export function resolveRaftOptions(given: RaftNodeOptions): ResolvedOptions & { readonly openMachine: OpenStateMachine<void> | undefined } {
  if (typeof given !== "object" || given === null) throw invalidArgument("options", "an object with dataDir and stateMachine is wanted");
  const { stateMachine, ...options } = given;
  checkOptions(options.limits, KNOWN_LIMITS, "limits");
  const resolved = resolveOptions(options);
  const isFunction = typeof stateMachine === "function";
  if (isFunction && resolved.thread !== "inline")
    throw invalidArgument("stateMachine", 'a function cannot cross into a thread: name a module, or use thread: "inline"');
  const node: NodeOptions = {
    ...resolved.node,
    stateMachine: isFunction ? { module: "", options: undefined } : resolveModule(stateMachine),
    // What a machine holds is its own affair.
    dataBytesMax: Number.MAX_SAFE_INTEGER,
    keysMax: Number.MAX_SAFE_INTEGER,
  };
  return { ...resolved, node, openMachine: isFunction ? stateMachine : undefined };
}

function resolveModule(stateMachine: unknown): StateMachineModule {
  if (typeof stateMachine !== "object" || stateMachine === null)
    throw invalidArgument("stateMachine", `{ module, options } is wanted, not ${describe(stateMachine)}`);
  checkOptions(stateMachine, KNOWN_MODULE, "stateMachine");
  const { module, options } = stateMachine as { readonly module?: unknown; readonly options?: unknown };
  try {
    return { module: resolveUrl(module), options: structuredClone(options) };
  } catch (cause) {
    if (!(cause instanceof DOMException)) throw cause;
    throw invalidArgument("stateMachine.options", `they must survive structuredClone: ${cause.message}`);
  }
}

function resolveUrl(module: unknown): string {
  if (module instanceof URL) return module.href;
  if (typeof module === "string" && /^(?:file|data|node):/.test(module)) return module;
  if (typeof module === "string" && isAbsolute(module)) return pathToFileURL(module).href;
  throw invalidArgument(
    "stateMachine.module",
    `a file: URL or an absolute path is wanted, as new URL("./machine.js", import.meta.url), not ${describe(module)}`,
  );
}
