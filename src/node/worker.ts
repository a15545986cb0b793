/** The entry of a node's own thread: real clock, disk thread and links, and the other end of the boundary. */
import { parentPort, workerData } from "node:worker_threads";
import { asEngineError, toWire } from "../errors.ts";
import type { FromNode, ToNode } from "./boundary.ts";
import type { NodeOptions } from "./node-options.ts";
import { Node } from "./node.ts";
import { createEnvironment } from "./real-environment.ts";

/** What the thread is started with. */
export interface WorkerStart {
  readonly options: NodeOptions;
  readonly diskWorkerUrl: string | undefined;
}

const port = parentPort;
if (port !== null) {
  const { options, diskWorkerUrl } = workerData as WorkerStart;
  const deliver = (messages: readonly FromNode[]): void => {
    const transfer = new Set<ArrayBuffer>();
    for (const message of messages) {
      const bytes =
        message.kind === "written"
          ? message.results
          : message.kind === "read"
            ? message.answers
            : message.kind === "range"
              ? message.kvs
              : message.kind === "watched"
                ? message.bytes
                : message.kind === "answers"
                  ? message.answers
                  : message.kind === "backup"
                    ? message.bytes
                    : undefined;
      // Only buffers that are the message's own may leave this thread. Those of watches are, though several may be views of one.
      const isOwn = bytes !== undefined && bytes.byteLength > 0 && (bytes.byteOffset === 0 || message.kind === "watched");
      if (isOwn && bytes.buffer instanceof ArrayBuffer) transfer.add(bytes.buffer);
    }
    port.postMessage(messages, [...transfer]);
    if (messages.some(({ kind }) => kind === "closed")) port.close();
  };
  const environment = createEnvironment(options, { thread: "worker", diskWorkerUrl });
  Node.open(environment, options, deliver).then(
    (node) => port.on("message", (messages: readonly ToNode[]) => node.receive(messages)),
    (error: unknown) => deliver([{ kind: "openFailed", error: toWire(asEngineError(error)) }, { kind: "closed" }]),
  );
}
