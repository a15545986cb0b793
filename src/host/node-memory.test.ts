import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { totalmem } from "node:os";
import { test } from "node:test";
import { memoryLimit } from "./node-memory.ts";

const MIB = 2 ** 20;

test("what the process may use is bounded by the machine, and by the heap's limit where that is less", () => {
  assert.ok(memoryLimit() > 16 * MIB && memoryLimit() <= totalmem());
  const module = new URL("node-memory.js", import.meta.url).href;
  const script = `import { memoryLimit } from ${JSON.stringify(module)}; console.log(memoryLimit());`;
  const told = execFileSync(process.execPath, ["--max-old-space-size=200", "--input-type=module", "-e", script], { encoding: "utf8" });
  assert.ok(Number(told) < 300 * MIB, told);
});
