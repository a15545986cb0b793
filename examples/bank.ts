/**
 * A replicated state machine of one's own: a bank (bank/machine.ts), on three nodes. Here in one process to be short; in life each runs in a process
 * of its own. The machine is named by its module, since it runs in each node's own thread.
 */
import { RaftNode } from "d-engine/raft";
import { decode, encode, type Order, type Receipt } from "./bank/machine.ts";

const bootstrap = { n1: "127.0.0.1:23811", n2: "127.0.0.1:23812", n3: "127.0.0.1:23813" };
const stateMachine = { module: new URL("./bank/machine.js", import.meta.url) };

const nodes = await Promise.all(
  Object.entries(bootstrap).map(([name, listen]) =>
    RaftNode.open({ dataDir: `./${name}`, name, peer: { listen }, bootstrap, stateMachine }),
  ),
);
const [n1] = nodes as [RaftNode, RaftNode, RaftNode];

async function order(node: RaftNode, asked: Order): Promise<Receipt> {
  const { answer } = await node.propose(encode(asked));
  return decode(answer) as Receipt;
}

const balance = async (node: RaftNode, name: string): Promise<number> => decode(await node.read(encode(name))) as number;

// What an earlier run left is still there: this one begins from the same balances.
await order(n1, { kind: "deposit", to: "ann", amount: 100 });
await order(n1, { kind: "deposit", to: "bob", amount: 50 });
const before = await balance(n1, "");
console.log(`opened ${await balance(n1, "ann")} and ${await balance(n1, "bob")}`);

// The leader goes; the others go on, and a caller on them notices at most a pause.
const { id: leader } = await n1.waitReady();
const others = nodes.filter(({ memberId }) => memberId !== leader);
await nodes.find(({ memberId }) => memberId === leader)?.close();
console.log("the leader is closed");

const [one, other] = others as [RaftNode, RaftNode];
const receipts = await Promise.all([
  ...Array.from({ length: 5 }, (_, i) => order(i % 2 === 0 ? one : other, { kind: "transfer", from: "ann", to: "bob", amount: 10 })),
  order(one, { kind: "transfer", from: "nobody", to: "bob", amount: 10 }),
]);
const refused = receipts.filter(({ done }) => !done).length;
console.log(receipts.length - refused === 5 && refused === 1 ? "five transfers, one refused" : "the bank is broken");
// Nothing was made and nothing lost. The first run leaves 150 in all; each later one adds as much.
console.log("in all", (await balance(other, "")) - before + 150);

await Promise.all(others.map((node) => node.close()));
