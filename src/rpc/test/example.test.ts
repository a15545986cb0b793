/** The example in the documentation of the index runs as it stands. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { transformSync } from "esbuild";

test("The example of the index runs", async () => {
  const source = readFileSync(new URL("../../../src/rpc/index.ts", import.meta.url), "utf8");
  const lines = source.slice(0, source.indexOf("*/")).split("\n");
  const code = lines.filter((line) => line.startsWith(" *     ")).map((line) => line.slice(7));
  assert.ok(code.length > 10);
  const index = new URL("../index.js", import.meta.url).href;
  const program = [
    `import { RpcClient, RpcError, RpcServer, Status } from ${JSON.stringify(index)};`,
    "export const spoken: string[] = [];",
    ...code,
  ].join("\n");
  const runnable = transformSync(program, { loader: "ts" })
    .code.replace("console.log(letter)", "spoken.push(letter)")
    .replace("50051", "0")
    .replace("await server.listen", "const { port } = await server.listen")
    .replace('"127.0.0.1:50051"', '"127.0.0.1:" + port');
  const { spoken } = (await import(`data:text/javascript,${encodeURIComponent(runnable)}`)) as { readonly spoken: string[] };
  assert.deepEqual(spoken, ["A", "d", "a"]);
});
