/** The commands of the demo: one line each, answered with a line or a few. */
import { NodeError, type DemoCluster, type DemoNode } from "./cluster.ts";
import type { PlainKeyValue } from "./protocol.ts";
import { tour } from "./tour.ts";

type Print = (line: string) => void;

export const help: readonly string[] = [
  "put KEY VALUE         write a key",
  "get KEY               read it",
  "del KEY               delete it",
  "cas KEY OLD NEW       write NEW if the value is OLD (- for: if the key is absent)",
  "range [PREFIX]        all keys, or those that begin with PREFIX",
  "watch PREFIX          print changes as they happen",
  "members               who takes part, who leads",
  "kill [NAME]           kill -9 a node, the leader if none is named",
  "start NAME            start a killed node again",
  "tour                  watch the whole thing happen",
  "help, quit",
];

const show = (kv: PlainKeyValue): string => `${kv.key} = ${kv.value}   (revision ${kv.revision}, version ${kv.version})`;

/** Splits at spaces; double quotes hold a word together. */
function words(line: string): readonly string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? "");
}

export class Commands {
  readonly #cluster: DemoCluster;
  readonly #print: Print;
  #turn = 0;
  /** How many watches each node serves: they end with it. */
  readonly #watches = new Map<string, number>();

  constructor(cluster: DemoCluster, print: Print) {
    this.#cluster = cluster;
    this.#print = print;
  }

  /** Any node will do: each serves every call. They take turns, to show it. */
  #node(): DemoNode {
    const { running } = this.#cluster;
    const node = running[(this.#turn += 1) % running.length];
    if (node === undefined) throw new NodeError("UNAVAILABLE", "no node is running; start one");
    return node;
  }

  /** Carries out one line. false: the user wants to leave. */
  async run(line: string): Promise<boolean> {
    const [command = "", ...rest] = words(line);
    try {
      return await this.#carryOut(command, rest);
    } catch (error) {
      if (!(error instanceof NodeError)) throw error;
      this.#print(`${error.code}: ${error.message}`);
      return true;
    }
  }

  async #carryOut(command: string, [first, second, third]: readonly string[]): Promise<boolean> {
    const print = this.#print;
    switch (command) {
      case "":
        break;
      case "put": {
        if (first === undefined || second === undefined) return this.#usage("put KEY VALUE");
        print(`ok, revision ${(await this.#node().ask<"put">({ kind: "put", key: first, value: second })).revision}`);
        break;
      }
      case "get": {
        if (first === undefined) return this.#usage("get KEY");
        const kv = await this.#node().ask<"get">({ kind: "get", key: first });
        print(kv === undefined ? "(no such key)" : show(kv));
        break;
      }
      case "del": {
        if (first === undefined) return this.#usage("del KEY");
        const { deleted, revision } = await this.#node().ask<"delete">({ kind: "delete", key: first });
        print(deleted === 0 ? "(no such key)" : `deleted, revision ${revision}`);
        break;
      }
      case "cas": {
        if (first === undefined || second === undefined || third === undefined) return this.#usage("cas KEY OLD NEW");
        const expected = second === "-" ? undefined : second;
        print(
          (await this.#node().ask<"compareAndSwap">({ kind: "compareAndSwap", key: first, expected, value: third }))
            ? "swapped"
            : "refused: the value is another",
        );
        break;
      }
      case "range": {
        const { kvs, revision } = await this.#node().ask<"range">({ kind: "range", prefix: first });
        for (const kv of kvs) print(show(kv));
        print(`${kvs.length} keys, as of revision ${revision}`);
        break;
      }
      case "watch": {
        if (first === undefined) return this.#usage("watch PREFIX");
        const node = this.#node();
        const { revision } = await node.ask<"watch">({ kind: "watch", prefix: first });
        this.#watches.set(node.name, (this.#watches.get(node.name) ?? 0) + 1);
        print(`watching from revision ${revision + 1}, on ${node.name}`);
        break;
      }
      case "members": {
        for (const member of await this.#node().ask<"members">({ kind: "members" })) {
          const node = this.#cluster.find(member.name);
          const state = node?.isRunning === true ? `pid ${node.pid}${member.isLeader ? ", leader" : ""}` : "not running";
          print(`${member.name}  ${member.address}  ${state}`);
        }
        break;
      }
      case "kill": {
        const node = first === undefined ? (await this.#cluster.leader()).node : this.#cluster.find(first);
        if (node?.isRunning !== true) return this.#usage("kill [n1 | n2 | n3], one that runs");
        await node.kill();
        const running = this.#cluster.running.map(({ name }) => name);
        print(`${node.name} is dead; ${running.join(" and ") || "nobody"} still ${running.length > 1 ? "run" : "runs"}`);
        const watches = this.#watches.get(node.name) ?? 0;
        if (watches > 0)
          print(`${watches === 1 ? "its watch has" : `its ${watches} watches have`} ended with it: watch again, on one that runs`);
        this.#watches.delete(node.name);
        if (this.#cluster.running.length >= 2) {
          const { node: leader, term } = await this.#cluster.leader();
          print(`${leader.name} leads, in term ${term}`);
        } else print("one of three is no majority: writes wait until another one starts");
        break;
      }
      case "start": {
        const node = first === undefined ? undefined : this.#cluster.find(first);
        if (node === undefined || node.isRunning) return this.#usage("start [n1 | n2 | n3], one that does not run");
        await node.start();
        print(`${node.name} runs, pid ${node.pid}`);
        break;
      }
      case "tour":
      case "demo":
        if (this.#cluster.running.length < 3) print("the tour wants all three nodes: start those that are dead");
        else await tour(this.#cluster, print);
        break;
      case "help":
        for (const each of help) print(each);
        break;
      case "quit":
      case "exit":
        return false;
      default:
        print(`unknown command ${command}; help tells which there are`);
    }
    return true;
  }

  #usage(text: string): true {
    this.#print(`usage: ${text}`);
    return true;
  }
}
