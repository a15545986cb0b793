/** The entry of a node's own thread: real clock, disk thread and links, and the other ends of the boundaries to the threads that call it. */
import { parentPort, workerData, type MessagePort } from "node:worker_threads";
import { asEngineError, toWire } from "../errors.ts";
import { Attachments, type AttachmentPort } from "./attachments.ts";
import type { FromNode, ToNode } from "./boundary.ts";
import type { NodeOptions } from "./node-options.ts";
import { Node } from "./node.ts";
import { createEnvironment } from "./real-environment.ts";

/** What the thread is started with. */
export interface WorkerStart {
  readonly options: NodeOptions;
  readonly diskWorkerUrl: string | undefined;
}

/** One thread more, behind this port; all else that is posted here is calls. */
export interface AttachOrder {
  readonly attach: MessagePort;
}

const port = parentPort;
if (port !== null) {
  const { options, diskWorkerUrl } = workerData as WorkerStart;
  let node: Node | undefined;
  const attachments = new Attachments({ first: portTo(port), receive: (messages) => node?.receive(messages) });
  const deliver = (messages: readonly FromNode[]): void => {
    attachments.deliver(messages);
    if (messages.some(({ kind }) => kind === "closed")) port.close();
  };
  const environment = createEnvironment(options, { thread: "worker", diskWorkerUrl });
  Node.open(environment, options, deliver).then(
    (opened) => {
      node = opened;
      port.on("message", (message: readonly ToNode[] | AttachOrder) => {
        if ("attach" in message) attach(attachments, message.attach);
        else opened.receive(message);
      });
    },
    (error: unknown) => deliver([{ kind: "openFailed", error: toWire(asEngineError(error)) }, { kind: "closed" }]),
  );
}

function attach(attachments: Attachments, attached: MessagePort): void {
  const attachment = attachments.attach(portTo(attached));
  attached.on("message", (messages: readonly ToNode[]) => attachment?.receive(messages));
  // Its thread has ended, in whatever way.
  attached.once("close", () => attachment?.detach());
}

function portTo(to: MessagePort): AttachmentPort {
  return {
    post: (messages, own, takers) => {
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
        if (!isOwn || !(bytes.buffer instanceof ArrayBuffer)) continue;
        const taker = takers.get(bytes.buffer);
        if (taker === undefined || taker === own) transfer.add(bytes.buffer);
      }
      to.postMessage(messages, [...transfer]);
    },
    close: () => to.close(),
  };
}
