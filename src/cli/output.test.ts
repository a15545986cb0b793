import assert from "node:assert/strict";
import { test } from "node:test";
import { asText, jsonBytes, shown, shownOnTerminal, size, table } from "./output.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("text stays text, and other bytes are marked", () => {
  for (const text of ["", "a", "größe ✓", "\uFEFFmarked", "\0", "\uFFFD"]) {
    assert.equal(asText(bytes(text)), text);
    assert.equal(jsonBytes(bytes(text)), text);
  }
  for (const other of [Uint8Array.of(0xff), Uint8Array.of(0xc0, 0x80), Uint8Array.of(0xed, 0xa0, 0x80)]) {
    assert.equal(asText(other), undefined);
    assert.equal(shown(other), `0x${Buffer.from(other).toString("hex")}`);
    assert.deepEqual(jsonBytes(other), { base64: Buffer.from(other).toString("base64") });
  }
});

test("a terminal is shown control characters and obeys none of them", () => {
  assert.equal(shownOnTerminal("a\u001B]0;title\u0007\u009Bx\r\n\tb\u007F"), "a\\x1b]0;title\\x07\\x9bx\\x0d\n\tb\\x7f");
});

test("sizes and tables are for people", () => {
  assert.deepEqual([0, 1_023, 1_024, 1_572_864, 5 * 2 ** 30].map(size), ["0 B", "1023 B", "1.00 KiB", "1.50 MiB", "5.00 GiB"]);
  assert.equal(
    table([
      ["name", "x"],
      ["a", "bb"],
      ["longer", ""],
    ]),
    "name    x\na       bb\nlonger\n",
  );
});
