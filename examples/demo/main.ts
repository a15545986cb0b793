/**
 * `npm run demo`: three nodes as processes on this machine, in a directory of their own that is removed in the end.
 *
 * With a terminal: the tour, then commands. With a pipe or a file as standard input: its commands; without any (nothing within two
 * seconds, or an empty one), the tour. With anything else, /dev/null among it: the tour. Exit code 0 if nothing was missing.
 */
import { fstatSync } from "node:fs";
import { createInterface } from "node:readline";
import { DemoCluster } from "./cluster.ts";
import { Commands, help } from "./commands.ts";
import { tour } from "./tour.ts";

const FIRST_COMMAND_WITHIN_MS = 2000;
/** Commands that came while another one ran. Beyond this the input waits. */
const COMMANDS_MAX = 1000;

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

type Input = "terminal" | "commands" | "none";

function inputKind(): Input {
  if (process.stdin.isTTY) return "terminal";
  try {
    const stat = fstatSync(0);
    return stat.isFIFO() || stat.isSocket() || (stat.isFile() && stat.size > 0) ? "commands" : "none";
  } catch {
    return "none";
  }
}

/** Lines of standard input, one at a time. */
class Lines {
  readonly #reader = createInterface({
    input: process.stdin,
    output: process.stdin.isTTY ? process.stdout : undefined,
    terminal: process.stdin.isTTY,
  });
  readonly #lines: string[] = [];
  #ended = false;
  #wake: (() => void) | undefined;

  constructor() {
    this.#reader.on("line", (line) => {
      this.#lines.push(line);
      if (this.#lines.length >= COMMANDS_MAX) this.#reader.pause();
      this.#wake?.();
    });
    // In a terminal that readline reads, Ctrl-C arrives here and not as a signal.
    this.#reader.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
    this.#reader.on("close", () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  /** undefined at the end of the input, or when none came in time. */
  async next(withinMs?: number): Promise<string | undefined> {
    if (this.#lines.length === 0 && !this.#ended) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (withinMs !== undefined) timer = setTimeout(resolve, withinMs);
      });
      clearTimeout(timer);
    }
    const line = this.#lines.shift();
    if (this.#lines.length < COMMANDS_MAX / 2 && !this.#ended) this.#reader.resume();
    return line;
  }

  prompt(): void {
    if (process.stdin.isTTY) process.stdout.write("> ");
  }

  close(): void {
    this.#reader.close();
    process.stdin.destroy();
  }
}

async function takeCommands(cluster: DemoCluster, lines: Lines, firstLine: string | undefined): Promise<void> {
  const commands = new Commands(cluster, print);
  let line = firstLine;
  for (;;) {
    if (line === undefined) {
      lines.prompt();
      line = await lines.next();
    }
    if (line === undefined || !(await commands.run(line.trim()))) return;
    line = undefined;
  }
}

async function main(): Promise<number> {
  const input = inputKind();
  print("d-engine: three nodes on this machine, each a process of its own.");
  const cluster = await DemoCluster.create((name, text) => print(`  watch on ${name}: ${text}`));
  let abandoned = false;
  const abandon = (): void => {
    abandoned = true;
    void cluster.close().finally(() => process.exit(130));
  };
  process.once("SIGINT", abandon).once("SIGTERM", abandon);
  const lines = input === "none" ? undefined : new Lines();
  try {
    await cluster.start();
    for (const node of cluster.nodes) print(`  ${node.name}  pid ${node.pid}, listens on ${node.address}`);
    const first = input === "commands" ? await lines?.next(FIRST_COMMAND_WITHIN_MS) : undefined;
    let complete = true;
    if (first === undefined) complete = await tour(cluster, print);
    if (lines !== undefined && (first !== undefined || input === "terminal")) {
      if (input === "terminal") {
        print("");
        print("The three still run, and are yours to try:");
        for (const line of help) print(`  ${line}`);
      } else {
        const { node, term } = await cluster.leader();
        print(`${node.name} leads, in term ${term}.`);
      }
      await takeCommands(cluster, lines, first);
    }
    return complete ? 0 : 1;
  } catch (error) {
    // What is under way fails when the nodes are closed under it.
    if (!abandoned) throw error;
    return 130;
  } finally {
    lines?.close();
    await cluster.close();
    print("All three are closed, and what they wrote is removed.");
  }
}

process.exitCode = await main();
