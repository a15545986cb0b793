/** Completion scripts, read by the shells that there are on this machine. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { commands } from "./commands/index.ts";
import { EXIT } from "./exit.ts";
import { run } from "./test/world.ts";

const missing = (shell: string): string | false =>
  spawnSync(shell, ["-c", "true"]).status === 0 ? false : `there is no ${shell} on this machine`;

async function script(shell: string): Promise<string> {
  const { code, stdout } = await run(["completion", shell]);
  assert.equal(code, EXIT.done);
  return stdout;
}

/** What is offered for the last of the words. */
function offered(source: string, words: readonly string[]): readonly string[] {
  const quoted = words.map((word) => `'${word}'`).join(" ");
  const ask = `COMP_WORDS=(d-engine ${quoted}); COMP_CWORD=${words.length}; _d_engine; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = spawnSync("bash", ["--norc", "-c", `${source}\n${ask}`], { encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
  return stdout.split("\n").filter((line) => line !== "");
}

test("bash completes commands, their second words and their options", { skip: missing("bash") }, async () => {
  const source = await script("bash");
  assert.deepEqual(offered(source, ["pu"]), ["put"]);
  assert.deepEqual(offered(source, [""]).toSorted(), [...new Set(commands.map(({ spec }) => spec.name.split(" ")[0]))].toSorted());
  assert.deepEqual(offered(source, ["lease", "t"]), ["timetolive"]);
  assert.deepEqual(offered(source, ["lease", "timetolive", "--k"]), ["--keys", "--key"]);
  assert.deepEqual(offered(source, ["put", "--le"]), ["--lease"]);
  assert.deepEqual(offered(source, ["get", "a", "--pre"]), ["--prefix"]);
  assert.deepEqual(offered(source, ["serve", "--snapshot"]), [], "nothing without effect is offered");
});

test("zsh loads its script", { skip: missing("zsh") }, async () => {
  const { status, stderr } = spawnSync("zsh", ["-f", "-c", `autoload -U compinit; compinit -u -D; ${await script("zsh")}`], {
    encoding: "utf8",
  });
  assert.deepEqual([status, stderr], [0, ""]);
});

test("fish loads its script and completes", { skip: missing("fish") }, async () => {
  const source = await script("fish");
  const { status, stdout, stderr } = spawnSync("fish", ["--no-config", "-c", `${source}\ncomplete -C 'd-engine pu'`], { encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
  assert.match(stdout, /^put\t/m);
});

test("each script speaks of each command, and other shells are refused", async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const source = await script(shell);
    for (const { spec } of commands) for (const word of spec.name.split(" ")) assert.ok(source.includes(word), `${shell}: ${word}`);
  }
  assert.equal((await run(["completion", "tcsh"])).code, EXIT.usage);
});
