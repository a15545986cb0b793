import { mkdtempSync, rmSync } from "node:fs";
import { once } from "node:events";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseCommandLine } from "../command-line.ts";
import type { Command, World } from "../command.ts";
import { EXIT, exitOf, usageError } from "../exit.ts";
import type { Engine } from "../../index.ts";
import type { Server } from "../../server/index.ts";

const NODES_MAX = 7;

interface DevNode {
  readonly name: string;
  readonly client: string;
  running: { readonly engine: Engine; readonly server: Server } | undefined;
}

/** `all` is called when a line is typed, since this command is one of them. */
export const devOf = (all: () => readonly Command[]): Command => ({
  spec: {
    name: "dev",
    summary: "Runs a whole cluster in this process, with a prompt that takes every command. Its data go when it ends.",
    words: [],
    options: [{ name: "nodes", kind: "number", help: "Default: 3" }],
    notes: ["At the prompt: any command of this program, and nodes, stop NAME, start NAME, exit."],
  },
  run: async (line, world) => {
    const count = line.number("nodes") ?? 3;
    if (count < 1 || count > NODES_MAX) throw usageError(`--nodes is from 1 to ${NODES_MAX}`);
    // Loaded only here, so that other commands begin sooner.
    const [{ Engine }, { serve: startServer }] = await Promise.all([import("../../index.ts"), import("../../server/index.ts")]);
    const directory = mkdtempSync(path.join(os.tmpdir(), "d-engine-dev-"));
    const ports = await freePorts(count * 2);
    const nodes = Array.from({ length: count }, (_, i): DevNode => ({
      name: `n${i + 1}`,
      client: `127.0.0.1:${ports[i]}`,
      running: undefined,
    }));
    const bootstrap = Object.fromEntries(nodes.map(({ name }, i) => [name, `127.0.0.1:${ports[count + i]}`]));
    const start = async (node: DevNode): Promise<void> => {
      const engine = await Engine.open({
        dataDir: path.join(directory, node.name),
        name: node.name,
        ...(count === 1 ? {} : { bootstrap, peer: { listen: bootstrap[node.name] ?? "" } }),
      });
      try {
        node.running = { engine, server: await startServer(engine, { listen: node.client, frontEnds: 1 }) };
      } catch (error) {
        await engine.close();
        throw error;
      }
    };
    const stop = async (node: DevNode): Promise<void> => {
      const { running } = node;
      node.running = undefined;
      await running?.server.close({ timeoutMs: 0 });
      await running?.engine.close();
    };
    try {
      // All of them, so that none is still on its way up when one cannot and all are stopped.
      const started = await Promise.allSettled(nodes.map(start));
      for (const each of started) if (each.status === "rejected") throw each.reason;
      await nodes[0]?.running?.engine.waitReady({ signal: world.signal });
      world.say(`${count === 1 ? "one node" : `${count} nodes`}: ${nodes.map(({ name, client }) => `${name} at ${client}`).join(", ")}`);
      world.say('try: put greeting hello; get greeting; status; stop n1; nodes; exit ("help" lists all)');
      await prompt({ nodes, start, stop, commands: all() }, world);
      return EXIT.done;
    } catch (error) {
      if (world.signal.aborted) return EXIT.done;
      throw error;
    } finally {
      await Promise.all(nodes.map(stop));
      rmSync(directory, { recursive: true, force: true });
    }
  },
});

interface Dev {
  readonly nodes: readonly DevNode[];
  start(node: DevNode): Promise<void>;
  stop(node: DevNode): Promise<void>;
  readonly commands: readonly Command[];
}

async function prompt(dev: Dev, world: World): Promise<void> {
  const isTerminal = world.isTerminal.stdout;
  const lines = createInterface({
    input: world.stdin,
    output: isTerminal ? process.stdout : undefined,
    prompt: "d-engine> ",
    terminal: isTerminal,
  });
  const end = (): void => lines.close();
  world.signal.addEventListener("abort", end, { once: true });
  // On a terminal Ctrl-C comes here: it ends the command that runs, or else the prompt.
  let running: AbortController | undefined;
  lines.on("SIGINT", () => (running === undefined ? lines.close() : running.abort()));
  if (isTerminal) lines.prompt();
  for await (const typed of lines) {
    const words = [...typed.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, plain]) => double ?? single ?? plain ?? "");
    if (words[0] === "exit" || words[0] === "quit") break;
    running = new AbortController();
    const signal = AbortSignal.any([world.signal, running.signal]);
    await runLine(words, dev, { ...world, signal }).catch((error: unknown) => world.say(exitOf(error, true).message));
    running = undefined;
    if (isTerminal) lines.prompt();
  }
  world.signal.removeEventListener("abort", end);
  lines.close();
}

async function runLine(words: readonly string[], dev: Dev, world: World): Promise<void> {
  const [first, second] = words;
  if (first === undefined) return;
  if (first === "nodes") {
    for (const { name, client, running } of dev.nodes)
      await world.print(
        `${name}  ${client}  ${running === undefined ? "stopped" : running.engine.isLeader() ? "leader" : running.engine.state.kind}\n`,
      );
    return;
  }
  if (first === "stop" || first === "start") {
    const node = dev.nodes.find(({ name }) => name === second);
    if (node === undefined) throw usageError(`${first} wants one of ${dev.nodes.map(({ name }) => name).join(", ")}`);
    if ((first === "start") === (node.running !== undefined))
      throw usageError(`${node.name} ${first === "start" ? "runs already" : "is stopped already"}`);
    return first === "start" ? dev.start(node) : dev.stop(node);
  }
  const known = dev.commands.filter(
    ({ spec }) => !["dev", "serve", "start", "completion", "config print", "config check"].includes(spec.name),
  );
  if (first === "help") return world.print(`${known.map(({ spec }) => `${spec.name}\n`).join("")}nodes\nstop NAME\nstart NAME\nexit\n`);
  const command = known.find(({ spec }) => spec.name === words.slice(0, 2).join(" ")) ?? known.find(({ spec }) => spec.name === first);
  if (command === undefined) throw usageError(`no command ${JSON.stringify(first)}; help lists them`);
  const endpoints = dev.nodes.filter(({ running }) => running !== undefined).map(({ client }) => client);
  const environment = { ...world.environment, D_ENGINE_ENDPOINTS: endpoints.join(",") };
  const inner: World = {
    ...world,
    environment,
    get stdin(): never {
      throw usageError("standard input is the prompt's own: give it as a word, or use another terminal with --endpoints");
    },
  };
  await command.run(parseCommandLine(command.spec, words.slice(command.spec.name.split(" ").length)), inner);
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
