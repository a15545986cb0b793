/** The demo that runs by itself: three nodes, writes, a watch, the leader killed, who took over, nothing missing. */
import { NodeError, type DemoCluster, type DemoNode } from "./cluster.ts";

type Print = (line: string) => void;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;

/** Writes one key after the other through whichever node runs, until told to stop. Remembers what was acknowledged. */
class Writer {
  readonly acknowledged = new Map<string, string>();
  /** Writes whose outcome is not known: the node that was asked died, or could not say. */
  readonly unknown = new Set<string>();
  longestMs = 0;
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(cluster: DemoCluster) {
    this.#done = this.#run(cluster);
  }

  async #run(cluster: DemoCluster): Promise<void> {
    let last = performance.now();
    for (let i = 1; !this.#stopped; i += 1) {
      const key = `tour/count/${String(i).padStart(6, "0")}`;
      const nodes = cluster.running;
      const node = nodes[i % nodes.length];
      if (node === undefined) return;
      try {
        await node.ask<"put">({ kind: "put", key, value: String(i) });
        this.acknowledged.set(key, String(i));
        const now = performance.now();
        this.longestMs = Math.max(this.longestMs, now - last);
        last = now;
      } catch (error) {
        if (!(error instanceof NodeError)) throw error;
        this.unknown.add(key);
      }
    }
  }

  async until(count: number): Promise<void> {
    while (this.acknowledged.size < count && !this.#stopped) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }
}

async function missingOn(node: DemoNode, acknowledged: ReadonlyMap<string, string>): Promise<number> {
  const { kvs } = await node.ask<"range">({ kind: "range", prefix: "tour/count/" });
  const found = new Map(kvs.map(({ key, value }) => [key, value]));
  let missing = 0;
  for (const [key, value] of acknowledged) if (found.get(key) !== value) missing += 1;
  return missing;
}

/** true if nothing was missing. */
export async function tour(cluster: DemoCluster, print: Print): Promise<boolean> {
  const first = await cluster.leader();
  print(`${first.node.name} was elected leader, in term ${first.term}.`);
  print("");

  const watcher = cluster.nodes.find((node) => node !== first.node) ?? first.node;
  print(`A watch on ${watcher.name} follows all keys that begin with "config/". Writes through each of the nodes:`);
  await watcher.ask<"watch">({ kind: "watch", prefix: "config/" });
  for (const [i, node] of cluster.nodes.entries()) {
    await node.ask<"put">({ kind: "put", key: `config/${["color", "limit", "mode"][i]}`, value: ["blue", "100", "safe"][i] ?? "" });
  }
  const won = await watcher.ask<"compareAndSwap">({ kind: "compareAndSwap", key: "config/limit", expected: "100", value: "200" });
  const lost = await watcher.ask<"compareAndSwap">({ kind: "compareAndSwap", key: "config/limit", expected: "100", value: "300" });
  await first.node.ask<"delete">({ kind: "delete", key: "config/mode" });
  await new Promise((resolve) => setTimeout(resolve, 100));
  print(`Two wanted to change config/limit from 100: the first ${won ? "did" : "failed"}, the second ${lost ? "did too" : "was refused"}.`);
  print("");

  print("Now a writer writes one key after the other, through all nodes in turn. In the middle of it the leader is killed (kill -9).");
  const writer = new Writer(cluster);
  await writer.until(150);
  const before = writer.acknowledged.size;
  const killed = first.node;
  const started = performance.now();
  await killed.kill();
  print(`${killed.name} is dead, after ${before} acknowledged writes. The other two wait for its heartbeats, in vain, and vote:`);
  const next = await cluster.leader();
  print(`${next.node.name} took over, in term ${next.term}, ${seconds(performance.now() - started)} after the kill.`);
  await writer.until(before + 150);
  print(`Writing goes on; the longest wait between two acknowledgements was ${seconds(writer.longestMs)}.`);
  print("");

  print(`${killed.name} starts again on the directory it left behind, and catches up.`);
  await killed.start();
  await writer.until(writer.acknowledged.size + 150);
  await writer.stop();

  let missing = 0;
  for (const node of cluster.nodes) missing += await missingOn(node, writer.acknowledged);
  const unknown =
    writer.unknown.size === 0 ? "" : ` (of ${writer.unknown.size} more the outcome was not told: the one that was asked had died)`;
  print(
    `${writer.acknowledged.size} writes were acknowledged${unknown}. Read back from each of the three nodes: ${missing === 0 ? "nothing is missing" : `${missing} ARE MISSING`}.`,
  );
  return missing === 0;
}
