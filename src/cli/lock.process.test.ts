/** Locks and elections held by processes: who waits, who is told, and that a lock that is lost takes its command with it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { EXIT } from "./exit.ts";
import { Program, startServer, temporaryDirectory } from "./test/processes.ts";
import { run, type Ran } from "./test/world.ts";

const at = (address: string, ...args: readonly string[]): Promise<Ran> => run([...args, "--endpoints", address]);

test(
  "a command runs while the lock is held, with its key and token, and its code is the program's",
  { timeout: 60_000 },
  async (context) => {
    const { address } = await startServer(context);
    const program = new Program(context, [
      "lock",
      "--endpoints",
      address,
      "jobs/n",
      "--",
      "sh",
      "-c",
      'echo "$D_ENGINE_LOCK_KEY $D_ENGINE_LOCK_TOKEN"; exit 7',
    ]);
    assert.equal(await program.ended, 7);
    assert.match(program.stdout, /^jobs\/n\/[0-9a-f]+ \d+\n$/);
    assert.equal((await at(address, "locks")).code, EXIT.no, "it was given back");
    assert.equal((await at(address, "lease", "list")).stdout, "");
    const absent = new Program(context, ["lock", "--endpoints", address, "n", "no-such-command"]);
    assert.equal(await absent.ended, EXIT.usage);
    assert.match(absent.stderr, /no-such-command/);
  },
);

test("one holds, others wait in order; a signal gives it to the next", { timeout: 60_000 }, async (context) => {
  const { address } = await startServer(context);
  const first = new Program(context, ["lock", "--endpoints", address, "n"]);
  await first.said(/^n\/[0-9a-f]+\n/);
  const second = new Program(context, ["lock", "--endpoints", address, "n", "--output", "json"]);
  while (!(await at(address, "locks", "-o", "json")).stdout.includes('"waiting":1'));
  assert.equal(second.stdout, "");
  const third = new Program(context, ["lock", "--endpoints", address, "n"]);
  while (!(await at(address, "locks", "-o", "json")).stdout.includes('"waiting":2'));
  third.child.kill("SIGINT");
  assert.equal(await third.ended, EXIT.no, "it gave up waiting");
  first.child.kill("SIGTERM");
  assert.equal(await first.ended, EXIT.done);
  await second.said(/"token":\d+/);
  assert.deepEqual(Object.keys(JSON.parse(second.stdout) as object), ["key", "token"]);
  second.child.kill("SIGTERM");
  assert.equal(await second.ended, EXIT.done);
  assert.equal((await at(address, "locks")).code, EXIT.no);
});

test("a signal ends the command, and its code is told", { timeout: 60_000 }, async (context) => {
  const { address } = await startServer(context);
  const program = new Program(context, [
    "lock",
    "--endpoints",
    address,
    "n",
    "sh",
    "-c",
    'trap "echo ending; exit 3" TERM; echo held; while :; do sleep 0.05; done',
  ]);
  await program.said(/held/);
  program.child.kill("SIGTERM");
  assert.equal(await program.ended, 3);
  assert.equal(program.stdout, "held\nending\n");
});

test(
  "a lock that cannot be renewed is lost: its command is told, then killed before another can hold it",
  { timeout: 60_000 },
  async (context) => {
    const { address, program: server } = await startServer(context);
    const file = path.join(temporaryDirectory(context), "pids");
    // It does not obey SIGTERM.
    const script = `trap "echo told" TERM; echo $$ > ${file}; echo held; while :; do sleep 0.05; done`;
    const stubborn = new Program(context, ["lock", "--ttl", "2", "--endpoints", address, "n", "--", "sh", "-c", script]);
    const plain = new Program(context, ["lock", "--ttl", "2", "--endpoints", address, "m"]);
    await Promise.all([stubborn.said(/held/), plain.said(/^m\//)]);
    server.child.kill("SIGSTOP");
    context.after(() => server.child.kill("SIGCONT"));
    const [ended] = await Promise.all([stubborn.ended, plain.ended]);
    assert.deepEqual([ended, await plain.ended], [EXIT.refused, EXIT.refused]);
    assert.match(stubborn.stdout, /^held\ntold\n/);
    assert.match(stubborn.stderr, /n was lost: its lease could not be renewed in time/);
    const pid = Number(readFileSync(file, "utf8"));
    assert.throws(() => process.kill(pid, 0), { code: "ESRCH" }, "the command is gone");
  },
);

test("a server that restarts within the time to live costs no lock", { timeout: 60_000 }, async (context) => {
  const { address, directory, program: server } = await startServer(context);
  const holder = new Program(context, ["lock", "--ttl", "20", "--endpoints", address, "n"]);
  await holder.said(/^n\//);
  const waiter = new Program(context, ["lock", "--ttl", "20", "--endpoints", address, "n"]);
  while (!(await at(address, "locks", "-o", "json")).stdout.includes('"waiting":1'));
  server.child.kill("SIGKILL");
  await server.ended;
  await startServer(context, ["--listen-client-urls", `http://${address}`], directory);
  holder.child.kill("SIGTERM");
  assert.equal(await holder.ended, EXIT.done);
  await waiter.said(/^n\//);
  waiter.child.kill("SIGTERM");
  assert.equal(await waiter.ended, EXIT.done);
});

test("an election: the winner says so and leads until a signal; others listen", { timeout: 60_000 }, async (context) => {
  const { address } = await startServer(context);
  const first = new Program(context, ["elect", "--endpoints", address, "e", "one"]);
  await first.said(/^e\/[0-9a-f]+\none\n/);
  const listener = new Program(context, ["elect", "--endpoints", address, "--listen", "e", "-o", "json"]);
  await listener.said(/"value":"one"/);
  const second = new Program(context, ["elect", "--endpoints", address, "e", "two"]);
  while (!(await at(address, "locks", "-o", "json")).stdout.includes('"waiting":1'));
  first.child.kill("SIGTERM");
  assert.equal(await first.ended, EXIT.done);
  await second.said(/\ntwo\n/);
  await listener.said(/"value":"two"/);
  for (const program of [second, listener]) {
    program.child.kill("SIGTERM");
    assert.equal(await program.ended, EXIT.done);
  }
  for (const args of [
    ["elect", "e"],
    ["elect", "--listen", "e", "v"],
    ["elect", "", "v"],
    ["lock", "--ttl", "0", "n"],
    ["lock", ""],
  ])
    assert.equal((await at(address, ...args)).code, EXIT.usage, args.join(" "));
});
