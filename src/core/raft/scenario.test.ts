/** The scenario files: interactions worth reading. RAFT_SCENARIOS=write writes what they lead to now, to be read before it is kept. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runScenario } from "./test/scenario.ts";

/** The texts lie in the source tree only. */
function scenarioDirectory(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, "package.json"))) directory = dirname(directory);
  return join(directory, "src/core/raft/test/scenarios");
}

const directory: string = scenarioDirectory();

for (const name of readdirSync(directory).sort()) {
  if (!name.endsWith(".txt")) continue;
  test(`scenario ${name.slice(0, -4)}`, () => {
    const path = join(directory, name);
    const text = readFileSync(path, "utf8");
    const outcome = runScenario(text);
    if (process.env["RAFT_SCENARIOS"] === "write") writeFileSync(path, outcome);
    else assert.equal(outcome, text);
  });
}
