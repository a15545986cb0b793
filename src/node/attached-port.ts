/**
 * The end of a boundary in a further thread of the process: a message port to the node's thread, which may be handed on to the thread that is to have it.
 * Closing it ends what that thread has at the node, and nothing else.
 */
// oxlint-disable-next-line no-restricted-imports -- a type alone
import type { MessagePort } from "node:worker_threads";
import type { FromNode, NodePort, ToNode } from "./boundary.ts";

/** What NodePort.attach answered, here where it is used. */
export function openAttachedPort(port: MessagePort): NodePort {
  let receiver: ((messages: readonly FromNode[]) => void) | undefined;
  return {
    post: (messages: readonly ToNode[]) => port.postMessage(messages, buffersOfCalls(messages)),
    onMessages: (receive) => {
      receiver = receive;
      port.on("message", (messages: readonly FromNode[]) => receive(messages));
    },
    onGone: (gone) => {
      port.once("close", () => {
        // A thread that ends takes with it what it has posted last: that the node had closed, mostly.
        receiver?.([{ kind: "closed" }]);
        gone("its port was closed");
      });
    },
    ref: () => port.ref(),
    unref: () => port.unref(),
    terminate: () => {
      port.close();
      return Promise.resolve();
    },
  };
}

/** The buffers of packed calls: they go with them. */
export function buffersOfCalls(messages: readonly ToNode[]): ArrayBuffer[] {
  const transfer: ArrayBuffer[] = [];
  for (const message of messages) {
    const bytes =
      message.kind === "write"
        ? message.record
        : message.kind === "read"
          ? message.reads
          : message.kind === "query"
            ? message.queries
            : undefined;
    if (bytes !== undefined && bytes.buffer instanceof ArrayBuffer) transfer.push(bytes.buffer);
  }
  return transfer;
}
