import assert from "node:assert/strict";
import { test } from "node:test";
import { createNodeRandom } from "./node-random.ts";
import { randomId } from "./random.ts";

test("words are whole numbers below 2^32, spread over the range", () => {
  const random = createNodeRandom();
  let ones = 0;
  const words = 4096;
  for (let i = 0; i < words; i += 1) {
    const word = random.uint32();
    assert.ok(Number.isInteger(word) && word >= 0 && word < 2 ** 32);
    for (let bit = word; bit !== 0; bit &= bit - 1) ones += 1;
  }
  // 131,072 fair bits: 60 standard deviations of slack, so that only a broken source fails.
  assert.ok(Math.abs(ones - words * 16) < 60 * 181, `${ones} of ${words * 32} bits are set`);
});

test("ids are 16 hex digits and do not repeat across refills and sources", () => {
  const sources = [createNodeRandom(), createNodeRandom()];
  const seen = new Set<string>();
  for (let i = 0; i < 1000; i += 1) {
    for (const source of sources) {
      const id = randomId(source);
      assert.match(id, /^[0-9a-f]{16}$/);
      seen.add(id);
    }
  }
  assert.equal(seen.size, 2000);
});
