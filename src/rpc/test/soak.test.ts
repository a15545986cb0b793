/** A short soak: the whole one, a million calls and 10,000 connections, is bench/soak. RPC_SOAK=1 runs it here. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

test("Memory is flat after many calls and connections", async () => {
  const size = process.env["RPC_SOAK"] === "1" ? ["1000000", "10000"] : ["40000", "1000"];
  const program = fileURLToPath(new URL("../bench/soak.js", import.meta.url));
  const { output, code } = await new Promise<{ output: string; code: unknown }>((resolve) => {
    execFile(process.execPath, ["--expose-gc", program, ...size], (error, stdout, stderr) =>
      resolve({ output: stdout + stderr, code: error?.code ?? 0 }),
    );
  });
  assert.equal(code, 0, output);
});
