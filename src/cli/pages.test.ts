/** Pages of an interval, where the values are larger than a page of so many keys may be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Engine } from "../index.ts";
import { serve } from "../server/index.ts";
import { EXIT } from "./exit.ts";
import { run } from "./test/world.ts";

test("get shows more than one answer holds, large values behind small ones", { timeout: 60_000 }, async (context) => {
  const engine = await Engine.open({ dataDir: "memory:" });
  const server = await serve(engine, { listen: "127.0.0.1:0" });
  context.after(async () => {
    await server.close();
    await engine.close();
  });
  const large = "v".repeat(1_500_000);
  for (let i = 0; i < 100; i += 1) await engine.put(`a${i}`, "small");
  for (let i = 0; i < 50; i += 1) await engine.put(`b${i}`, large);
  const endpoints = server.addresses.join(",");
  let characters = 0;
  const { code } = await run(["get", "--all", "--print-value-only", "--endpoints", endpoints], {
    onPrint: (text) => (characters += text.length),
  });
  assert.equal(code, EXIT.done);
  assert.equal(characters, 100 * 6 + 50 * (large.length + 1));
});
