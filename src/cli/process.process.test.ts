/** The program's own process: pipes that break, signals, terminals, a whole cluster in one process. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { EXIT } from "./exit.ts";
import { Program, startServer } from "./test/processes.ts";
import { run } from "./test/world.ts";

const MAIN = fileURLToPath(new URL("main.js", import.meta.url));

test("a reader that goes away early is no error: get --all | head -1", { timeout: 60_000 }, async (context) => {
  const { address } = await startServer(context);
  const value = "v".repeat(20_000);
  for (let i = 0; i < 20; i += 1)
    // oxlint-disable-next-line no-await-in-loop -- few, and in order
    await run(["put", `k${i}`, value, "--endpoints", address]);
  const script = `"$0" "$1" get --all --endpoints ${address} | head -1; echo "codes \${PIPESTATUS[0]}"`;
  const piped = spawnSync("bash", ["-c", script, process.execPath, MAIN], { encoding: "utf8", timeout: 30_000 });
  assert.deepEqual([piped.stdout, piped.stderr], ["k0\ncodes 0\n", ""]);
  const full = spawnSync("bash", ["-c", `"$0" "$1" get --all --endpoints ${address} > /dev/full`, process.execPath, MAIN], {
    encoding: "utf8",
    timeout: 30_000,
  });
  if (process.platform === "linux") {
    assert.equal(full.status, EXIT.refused);
    assert.match(full.stderr, /the output cannot be written: ENOSPC/);
  }
});

test("a lock whose output nobody reads is given back all the same", { timeout: 60_000 }, async (context) => {
  const { address } = await startServer(context);
  const holder = new Program(context, ["lock", "n", "--endpoints", address]);
  holder.child.stdout?.destroy();
  await holder.ended;
  assert.equal((await run(["lease", "list", "--endpoints", address])).stdout, "");
});

test("a watch ends well at the first signal, and a command of its own with it", { timeout: 60_000 }, async (context) => {
  const { address } = await startServer(context);
  await run(["put", "a", "1", "--endpoints", address]);
  const watching = new Program(context, [
    "watch",
    "a",
    "--rev",
    "1",
    "--endpoints",
    address,
    "--",
    "sh",
    "-c",
    "echo begun; while :; do sleep 0.05; done",
  ]);
  await watching.said(/begun/);
  watching.child.kill("SIGINT");
  assert.equal(await watching.ended, EXIT.done);
});

test("large output reaches a slow reader whole", { timeout: 60_000 }, async (context) => {
  const { address } = await startServer(context);
  const value = "v".repeat(1_000_000);
  for (let i = 0; i < 5; i += 1)
    // oxlint-disable-next-line no-await-in-loop -- few, and in order
    await run(["put", `k${i}`, "-", "--endpoints", address], { stdin: value });
  const reading = new Program(context, ["get", "--all", "--endpoints", address]);
  assert.equal(await reading.ended, EXIT.done);
  assert.equal(reading.stdout, Array.from({ length: 5 }, (_, i) => `k${i}\n${value}\n`).join(""));
});

test(
  "dev: three nodes in one process, with a prompt that takes every command, and nothing left at the end",
  { timeout: 120_000 },
  async (context) => {
    const left = (): readonly string[] => readdirSync(tmpdir()).filter((name) => name.startsWith("d-engine-dev-"));
    const before = left();
    const dev = new Program(context, ["dev", "--nodes", "3"]);
    await dev.said(/3 nodes: n1 at 127\.0\.0\.1:\d+, n2 at .*, n3 at /);
    const type = (line: string): void => void dev.child.stdin?.write(`${line}\n`);
    type('put "a key" value');
    await dev.said(/revision 2\n/);
    type("get 'a key'");
    await dev.said(/a key\nvalue\n/);
    type("nodes");
    const [, leader = ""] = await dev.said(/(n\d) {2}\S+ {2}leader\n/);
    type(`stop ${leader}`);
    type("put after failover");
    await dev.said(/revision 3\n/);
    type(`start ${leader}`);
    type(`start ${leader}`);
    await dev.said(/runs already/);
    for (const [line, answer] of [
      ["nonsense", /no command "nonsense"; help lists them/],
      ["put", /KEY is missing/],
      ["put in", /standard input is the prompt's own/],
      ["stop n9", /stop wants one of n1, n2, n3/],
      ["serve", /no command "serve"/],
      ["help", /check perf\n/],
      ['get "unclosed', /./],
    ] as const) {
      type(line);
      await dev.said(answer);
    }
    type("get after");
    await dev.said(/after\nfailover\n/);
    type("exit");
    assert.equal(await dev.ended, EXIT.done);
    assert.deepEqual(left(), before);
  },
);

test("dev ends at a signal, and at the end of its input", { timeout: 120_000 }, async (context) => {
  const first = new Program(context, ["dev", "--nodes", "1"]);
  await first.said(/one node: /);
  first.child.kill("SIGINT");
  assert.equal(await first.ended, EXIT.done);
  const second = new Program(context, ["dev", "--nodes", "1"]);
  second.child.stdin?.end("put a b\n");
  assert.equal(await second.ended, EXIT.done);
  assert.match(second.stdout, /^revision 2\n$/);
});
