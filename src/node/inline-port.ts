/** A node in the caller's own thread: for tests, simulation and bundles. The boundary is then two function calls. */
import type { FromNode, NodePort, ToNode } from "./boundary.ts";
import type { Environment } from "./environment.ts";
import type { NodeOptions } from "./node-options.ts";
import { Node } from "./node.ts";

/** Rejects as Engine.open does. */
export async function openInlineNode(environment: Environment, options: NodeOptions): Promise<NodePort> {
  let receive: ((messages: readonly FromNode[]) => void) | undefined;
  let gone: ((reason: string | undefined) => void) | undefined;
  let early: FromNode[] = [];
  const deliver = (messages: readonly FromNode[]): void => {
    if (receive === undefined) early.push(...messages);
    else receive(messages);
    if (messages.some(({ kind }) => kind === "closed")) gone?.(undefined);
  };
  const node = await Node.open(environment, options, deliver);
  return {
    post: (messages: readonly ToNode[]) => node.receive(messages),
    onMessages: (callback) => {
      receive = callback;
      const messages = early;
      early = [];
      if (messages.length > 0) callback(messages);
    },
    onGone: (callback) => {
      gone = callback;
    },
    ref: () => {},
    unref: () => {},
    terminate: () => {
      node.kill();
      return Promise.resolve();
    },
  };
}
