/** Engine.open: a node in its own thread, or in this one, and the engine in front of it. */
import { asEngineError, invalidArgument } from "../errors.ts";
import { createNodeClock } from "../host/node-clock.ts";
import type { NodePort } from "../node/boundary.ts";
import { openInlineNode } from "../node/inline-port.ts";
import type { NodeOptions } from "../node/node-options.ts";
import { createEnvironment } from "../node/real-environment.ts";
import { openNodeThread } from "../node/thread-port.ts";
import type { Engine } from "./engine.ts";
import { openLocalEngine } from "./local-engine.ts";
import { resolveOptions, type EngineOptions } from "./engine-options.ts";

/**
 * Resolves once the data directory is locked and recovered and the node takes part; does not wait for a majority, so that three may be
 * opened one after another. Rejects with INVALID_ARGUMENT, IN_USE (directory or port), CORRUPT, INCOMPATIBLE, NO_SPACE or DISK_FAILED.
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { node, settings, thread, workerUrl } = resolveOptions(options);
  const clock = createNodeClock();
  if (thread === "inline") {
    try {
      const port = await openInlineNode(createEnvironment(node, { thread: "inline", diskWorkerUrl: undefined }), node);
      return await openLocalEngine(port, clock, settings);
    } catch (error) {
      throw asEngineError(error);
    }
  }
  return openLocalEngine(openThread(node, workerUrl), clock, settings);
}

/** A node in a thread of its own. Throws INVALID_ARGUMENT where none can be started. */
export function openThread(node: NodeOptions, workerUrl: URL | undefined): NodePort {
  try {
    return openNodeThread(node, workerUrl);
  } catch (cause) {
    throw invalidArgument("workerUrl", `no thread can be started from it: ${String(cause)}`);
  }
}
