/**
 * The boundary between an application's thread and its node's, under virtual time: messages take a moment, in order, several at once. The
 * process may be stopped in between.
 */
import type { FromNode, NodePort, ToNode } from "../node/boundary.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";

const DELAY_MS_MAX = 0.1;

/** A port whose messages are delayed both ways; as many as wait arrive together. */
export function delayPort(port: NodePort, process: SimProcess, random: SimRandom): NodePort {
  const { scheduler } = process.machine;
  const lane = <T>(arrive: (messages: readonly T[]) => void): ((messages: readonly T[]) => void) => {
    let waiting: T[] = [];
    return (messages) => {
      const isFirst = waiting.length === 0;
      waiting.push(...messages);
      if (!isFirst) return;
      scheduler.after(random.fraction() * DELAY_MS_MAX, () => {
        process.deliver(() => {
          const arrived = waiting;
          waiting = [];
          arrive(arrived);
        });
      });
    };
  };
  const toNode = lane<ToNode>((messages) => port.post(messages));
  return {
    post: toNode,
    onMessages: (receive) => port.onMessages(lane<FromNode>(receive)),
    onGone: (gone) => port.onGone((reason) => scheduler.after(DELAY_MS_MAX, () => process.deliver(() => gone(reason)))),
    ref: () => port.ref(),
    unref: () => port.unref(),
    terminate: () => port.terminate(),
  };
}
