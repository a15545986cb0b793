import assert from "node:assert/strict";
import { test } from "node:test";
import { ExitError } from "../exit.ts";
import { parseTxn } from "./txn.ts";

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
/** Bytes as text, so that what differs can be read. */
const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("latin1");
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
};

test("three groups of lines are what is compared, what is done if it holds, and what if not", () => {
  const request = parseTxn(
    `value("a") = "1"\nver(b) > 2\ncreate("c d") < 3\nmod(e) != 4\nlease(f) = 12ab\n\nput a 2\nget a z\ndel --prefix b\n\nget --prefix b\n`,
  );
  assert.deepEqual(plain(request), {
    compare: [
      { key: "a", target: 3, result: 0, value: "1" },
      { key: "b", target: 0, result: 1, version: 2 },
      { key: "c d", target: 1, result: 2, create_revision: 3 },
      { key: "e", target: 2, result: 3, mod_revision: 4 },
      { key: "f", target: 4, result: 0, lease: "00000000000012ab" },
    ],
    success: [
      { request_put: { key: "a", value: "2" } },
      { request_range: { key: "a", range_end: "z" } },
      { request_delete_range: { key: "b", range_end: "c" } },
    ],
    failure: [{ request_range: { key: "b", range_end: "c" } }],
  });
});

test("groups may be empty, and lines may end as on Windows", () => {
  assert.deepEqual(plain(parseTxn("\r\nput a b\r\n")), { compare: [], success: [{ request_put: { key: "a", value: "b" } }], failure: [] });
  assert.deepEqual(plain(parseTxn("")), { compare: [], success: [], failure: [] });
  assert.deepEqual(parseTxn("\n\nput a b").failure?.length, 1);
});

test("within quotes a word may hold anything, bytes that are no text among it", () => {
  const { success = [] } = parseTxn(String.raw`
put "a\xff\x00" "q\"\\ \n\té"
put "--prefix" ""`);
  assert.deepEqual([...(success[0]?.request_put?.key ?? [])], [97, 255, 0]);
  assert.deepEqual([...(success[0]?.request_put?.value ?? [])], [...bytes('q"\\ \n\té')]);
  assert.deepEqual(plain(success[1]), { request_put: { key: "--prefix", value: "" } });
});

test("what makes no sense is refused with its line", () => {
  for (const [text, message] of [
    ["value(a)", /line 1: "value\(a\)" is no comparison/],
    ["size(a) = 1", /is no comparison/],
    ["ver(a) = x", /line 1: ver\(\) is compared with a whole number, not "x"/],
    ["ver(a) = -1", /whole number/],
    ["value() = 1", /the key is missing/],
    ["value(a) = 1 2", /more than one word/],
    ["value(a b) = 1", /more than one word/],
    ["lease(a) = xyz", /lease's ID/],
    ["\nput a", /line 2: put wants a key and a value/],
    ["\nput", /the key is missing/],
    ["\nput a b c", /a word too many/],
    ["\nget a b c", /a word too many/],
    ["\nget --prefix a b", /a word too many/],
    ["\nput --prefix a b", /put has no option --prefix/],
    ["\nget --limit a", /get has no option --limit/],
    ["\nfly a", /"fly" is none of put, get, del/],
    ['\nput "a b', /a quote is not closed/],
    ["x\n".repeat(10_001), /at most 10000 lines/],
  ] as const)
    assert.throws(
      () => parseTxn(text),
      (error: unknown) => error instanceof ExitError && message.test(error.message),
      text.slice(0, 40),
    );
});
