/**
 * A node in a thread of its own, so that a blocked application costs neither leadership nor leases. The thread starts with no
 * execArgv and an empty environment: the application's agents and loaders stay out of it.
 */
import { MessageChannel, Worker } from "node:worker_threads";
import { buffersOfCalls } from "./attached-port.ts";
import type { FromNode, NodePort, ToNode } from "./boundary.ts";
import type { NodeOptions } from "./node-options.ts";
import type { AttachOrder, WorkerStart } from "./worker.ts";

export function openNodeThread(options: NodeOptions, workerUrl: string | URL | undefined): NodePort {
  const start: WorkerStart = {
    options,
    diskWorkerUrl: workerUrl === undefined ? undefined : new URL("./disk-worker.js", workerUrl).href,
  };
  const worker = new Worker(workerUrl === undefined ? new URL("./worker.js", import.meta.url) : new URL(workerUrl), {
    workerData: start,
    execArgv: [],
    env: {},
    name: "d-engine",
  });
  let gone: ((reason: string | undefined) => void) | undefined;
  let reason: string | undefined;
  worker.on("error", (error) => {
    reason = String(error);
  });
  worker.on("exit", () => gone?.(reason));
  return {
    post: (messages: readonly ToNode[]) => {
      worker.postMessage(messages, buffersOfCalls(messages));
    },
    onMessages: (receive) => {
      worker.on("message", (messages: readonly FromNode[]) => receive(messages));
    },
    onGone: (callback) => {
      gone = callback;
    },
    ref: () => worker.ref(),
    unref: () => worker.unref(),
    terminate: async () => {
      await worker.terminate();
    },
    attach: () => {
      const { port1, port2 } = new MessageChannel();
      const attaching: AttachOrder = { attach: port1 };
      worker.postMessage(attaching, [port1]);
      return port2;
    },
  };
}
