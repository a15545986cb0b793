import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import type { World } from "./command.ts";
import { createServerLog } from "./server-log.ts";

function logged(
  format: "text" | "json" | undefined,
  isTerminal: boolean,
  level: "debug" | "info" | "warn" | "error" = "info",
): readonly string[] {
  const lines: string[] = [];
  const world: World = {
    environment: {},
    stdin: Readable.from([]),
    isTerminal: { stdin: false, stdout: false, stderr: isTerminal },
    signal: new AbortController().signal,
    onHangup() {},
    print: () => Promise.resolve(),
    say: (text) => void lines.push(text),
  };
  const log = createServerLog(world, { logLevel: level, logFormat: format });
  log.write("debug", "unseen");
  log.write("info", "opened", { name: "n1", term: 3 });
  log.write("warn", "odd", { name: 'a b\n2026 error "forged"', ok: true });
  return lines;
}

test("on a terminal the log is text, elsewhere JSON, unless it is told", () => {
  for (const lines of [logged(undefined, true), logged("text", false)]) {
    assert.equal(lines.length, 2);
    assert.match(lines[0] ?? "", /^\d{4}-\d\d-\d\dT[\d:.]+Z info {2}opened name=n1 term=3$/);
  }
  for (const lines of [logged(undefined, false), logged("json", true)]) {
    const [first = {}, second = {}] = lines.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
    assert.deepEqual([first["level"], first["message"], first["name"], first["term"]], ["info", "opened", "n1", 3]);
    assert.equal(second["level"], "warn");
  }
});

test("nothing below the level is said", () => {
  assert.equal(logged("text", false, "debug").length, 3);
  assert.equal(logged("json", false, "debug").length, 3);
  assert.equal(logged("json", false, "warn").length, 1);
  assert.equal(logged("text", false, "error").length, 0);
});

test("what a field holds cannot look like a line or a field of its own", () => {
  const [, odd = ""] = logged("text", false);
  assert.ok(odd.endsWith(String.raw`odd name="a b\n2026 error \"forged\"" ok=true`), odd);
});
