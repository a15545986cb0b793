/**
 * A node with a bank for a state machine (examples/bank/machine.ts), in a process of its own, for tests that kill it.
 *
 *   node raft-process.js OPTIONS        the options of RaftNode.open but for the machine, as JSON
 */
import { EngineError } from "d-engine";
import { RaftNode } from "d-engine/raft";
import type { Order } from "./orders.ts";

const stateMachine = { module: new URL("../../examples/dist/bank/machine.js", import.meta.url) };
const options = JSON.parse(process.argv[2] ?? "{}") as { readonly dataDir: string };
process.on("disconnect", () => process.exit(0));

const node = await RaftNode.open({ ...options, stateMachine });

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes));

async function carryOut(order: Order): Promise<unknown> {
  switch (order.kind) {
    case "propose":
      return decode((await node.propose(encode(order.command))).answer);
    case "query":
      return decode(await node.read(encode(order.query)));
    case "waitReady":
      return { term: (await node.waitReady({ timeoutMs: order.timeoutMs })).term };
    case "status":
      return {
        isLeader: node.isLeader(),
        leader: node.leader()?.id,
        term: node.leader()?.term,
        memberId: node.memberId,
        state: node.state.kind,
      };
    case "close":
      return node.close();
    default:
      throw new RangeError(`${order.kind} is asked of key-value data`);
  }
}

const send = (message: object): void => {
  process.send?.(message, undefined, undefined, () => {});
};

process.on("message", (message) => {
  const { id, order } = message as { readonly id: number; readonly order: Order };
  carryOut(order).then(
    (result) => send({ id, result }),
    (error: unknown) => {
      const failure = EngineError.is(error)
        ? { code: error.code, mayHaveApplied: error.mayHaveApplied, message: error.message }
        : { code: "INTERNAL", mayHaveApplied: true, message: String(error instanceof Error ? error.stack : error) };
      send({ id, failure });
    },
  );
});

send({ opened: node.memberId });
