/** Every example runs and ends well, and so does the demo, in each of the ways in which it can be started. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const examples = path.join(root, "examples/dist");

interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly ms: number;
}

/** Runs a program in a directory of its own. Its standard input: nothing, an open pipe that says nothing, or these lines. */
function run(
  file: string,
  args: readonly string[],
  input: { readonly kind: "none" } | { readonly kind: "silent" } | { readonly kind: "lines"; readonly text: string },
  cwd: string,
): Promise<Ended> {
  const started = performance.now();
  const child = spawn(process.execPath, [file, ...args], { cwd, stdio: [input.kind === "none" ? "ignore" : "pipe", "pipe", "pipe"] });
  let output = "";
  child.stdout?.on("data", (bytes: Buffer) => (output += String(bytes)));
  child.stderr?.on("data", (bytes: Buffer) => (output += String(bytes)));
  if (input.kind === "lines") child.stdin?.end(input.text);
  return new Promise((resolve) => {
    child.on("close", (code) => {
      child.stdin?.destroy();
      resolve({ code, output, ms: performance.now() - started });
    });
  });
}

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), "d-engine-example-"));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const said: Readonly<Record<string, RegExp>> = {
  "single-node.js": /^started 1 times, revision 2\nsession\/ann \{ page: '\/' \}\n$/,
  "three-nodes.js": /^a leader was elected true\nhello\nhello\n\[ 'n1 voter', 'n2 voter', 'n3 voter' \]\nstill here\n$/,
  "watch-config.js": /revision 5: \{ 'config\/log-level': 'debug' \}\n$/,
  "counter.js": /^raised by 20\n$/,
  "bank.js": /^opened \d+ and \d+\nthe leader is closed\nfive transfers, one refused\nin all 150\n$/,
  "errors.js": /^refused: prefix\nin use: dataDir\nAbortError did not happen\n$/,
};

test("every example has an expectation here", () => {
  assert.deepEqual(
    readdirSync(examples).filter((name) => name.endsWith(".js")),
    Object.keys(said).toSorted(),
  );
});

for (const [name, expected] of Object.entries(said)) {
  test(`the example ${name} runs, and runs again on what it left`, { timeout: 60_000 }, async () => {
    await inDirectory(async (directory) => {
      const first = await run(path.join(examples, name), [], { kind: "none" }, directory);
      assert.match(first.output, expected);
      assert.equal(first.code, 0, first.output);
      const second = await run(path.join(examples, name), [], { kind: "none" }, directory);
      assert.equal(second.code, 0, second.output);
    });
  });
}

test("the bundle example builds and runs", { timeout: 60_000 }, async () => {
  await inDirectory(async (directory) => {
    const built = await run(path.join(examples, "bundle/build.js"), [directory], { kind: "none" }, root);
    assert.equal(built.code, 0, built.output);
    const ran = await run(path.join(directory, "application.js"), [], { kind: "none" }, directory);
    assert.equal(ran.output, "bundled: yes\n");
    assert.equal(ran.code, 0);
  });
});

const demo = path.join(examples, "demo/main.js");
/** What the demo makes lies in the system's temporary directory. */
const leftovers = (): readonly string[] => readdirSync(tmpdir()).filter((name) => name.startsWith("d-engine-demo-"));

for (const kind of ["none", "silent"] as const) {
  test(
    `the demo without commands (${kind === "none" ? "no input" : "a silent pipe"}): the leader is killed, nothing is missing, it ends by itself`,
    { timeout: 60_000 },
    async () => {
      const before = leftovers();
      const { code, output, ms } = await run(demo, [], { kind }, root);
      assert.match(output, /n\d is dead, after \d+ acknowledged writes/);
      assert.match(output, /n\d took over, in term \d+/);
      assert.match(output, /watch on n\d: put config\/limit = 200/);
      assert.match(output, /nothing is missing/);
      assert.equal(code, 0, output);
      assert.ok(ms < 20_000, `it took ${ms.toFixed(0)} ms`);
      assert.deepEqual(leftovers(), before);
    },
  );
}

test("the demo takes commands from a pipe", { timeout: 60_000 }, async () => {
  const commands = [
    "put a 1",
    "get a",
    "cas a 1 2",
    "cas a 1 3",
    // One on each node: the one that is killed has one of them.
    "watch b",
    "watch b",
    "watch b",
    "put b/x y",
    "range",
    "del a",
    "get a",
    "members",
    "kill",
    "put c after",
    "get c",
    "nonsense",
    "put",
    "quit",
  ];
  const { code, output } = await run(demo, [], { kind: "lines", text: `${commands.join("\n")}\n` }, root);
  const expected = [
    /ok, revision 2\n/,
    /a = 1 +\(revision 2, version 1\)\n/,
    /swapped\n/,
    /refused: the value is another\n/,
    /watch on n\d: put b\/x = y/,
    /2 keys, as of revision 4\n/,
    /deleted, revision 5\n/,
    /\(no such key\)\n/,
    /, leader\n/,
    /n\d is dead; n\d and n\d still run\n/,
    /its watch has ended with it: watch again/,
    /n\d leads, in term \d+\n/,
    /c = after/,
    /unknown command nonsense/,
    /usage: put KEY VALUE/,
  ];
  for (const each of expected) assert.match(output, each);
  assert.equal(code, 0, output);
});
