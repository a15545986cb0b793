/** `npm start`: a server of its own that says where it listens and how to talk to it, and closes in order however it is told to. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { EXIT } from "./exit.ts";
import { temporaryDirectory } from "./test/processes.ts";
import { run } from "./test/world.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

interface Started {
  readonly pid: number;
  readonly address: string;
  /** All that was said, once it has ended, and how it did. */
  readonly ended: Promise<{ readonly said: string; readonly code: number | null }>;
}

/** In a process group of its own, as a terminal and a supervisor keep one. */
async function start(context: TestContext, command: string, args: readonly string[]): Promise<Started> {
  const directory = temporaryDirectory(context);
  const options = ["--data-dir", path.join(directory, "data"), "--listen-client-urls", "http://127.0.0.1:0"];
  const child = spawn(command, [...args, ...options], { cwd: ROOT, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const pid = child.pid ?? 0;
  let said = "";
  const ended = once(child, "close").then(([code]) => ({ said, code: code as number | null }));
  context.after(async () => {
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended.
    }
    await ended;
  });
  child.stdout.resume();
  await new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.stderr.on("data", (bytes: Buffer) => {
      said += String(bytes);
      if (said.includes("ready to serve client requests")) resolve();
    });
  });
  const [, address = ""] = /clients +http:\/\/(\S+)/.exec(said) ?? [];
  assert.match(said, /try:\n {2}node dist\/cli\/main\.js put /, said);
  return { pid, address, ended };
}

test("the runner hands on the signal of whoever started it", { timeout: 120_000 }, async (context) => {
  const { pid, address, ended } = await start(context, process.execPath, [path.join(ROOT, "scripts/run.mjs"), "start"]);
  assert.equal((await run(["put", "a", "b", "--endpoints", address])).code, EXIT.done);
  process.kill(pid, "SIGTERM");
  const { said, code } = await ended;
  assert.match(said, /"closed"/);
  assert.equal(code, EXIT.done);
});

const NO_NPM = spawnSync("npm", ["--version"]).status === 0 ? false : "there is no npm on this machine";

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`npm start closes in order when its whole process group is sent ${signal}`, { timeout: 120_000, skip: NO_NPM }, async (context) => {
    const { pid, ended } = await start(context, "npm", ["start", "--"]);
    process.kill(-pid, signal);
    const { said } = await ended;
    assert.match(said, /"closing: calls under way end, then leadership is handed over/);
    assert.match(said, /"closed"/);
  });
}
