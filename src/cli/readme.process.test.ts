/** What the README shows of the program is what it prints. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { EXIT } from "./exit.ts";
import { Program, startServer } from "./test/processes.ts";

const README = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

interface Shown {
  readonly command: string;
  readonly output: string;
}

const shown: readonly Shown[] = [...README.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap(([, text = ""]) =>
  [...text.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, command = "", output = ""]) => ({ command, output })),
);

test("the README's commands, one after the other on a new server, print what it shows", { timeout: 60_000 }, async (context) => {
  assert.ok(shown.some(({ command }) => command.startsWith("d-engine put")));
  const { address } = await startServer(context);
  for (const { command, output } of shown) {
    const [program, ...words] = command.split(" ");
    if (program === "curl") {
      const response = await fetch((words[0] ?? "").replace("127.0.0.1:2379", address));
      assert.equal((await response.text()).trimEnd(), output.trimEnd(), command);
      continue;
    }
    assert.equal(program, "d-engine", "there is nothing here to run anything else");
    const ran = new Program(context, words, { environment: { D_ENGINE_ENDPOINTS: address } });
    assert.equal(await ran.ended, EXIT.done, `${command}: ${ran.stderr}`);
    assert.equal(ran.stdout, output, command);
  }
});
