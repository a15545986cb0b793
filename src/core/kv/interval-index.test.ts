import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareBytes, contains, keyAfter, mapKey } from "./bytes.ts";
import { IntervalIndex, isSingleKey } from "./interval-index.ts";
import type { KeyInterval } from "./table.ts";

const bytes = fc.uint8Array({ max: 3, maxLength: 3 });
const interval: fc.Arbitrary<KeyInterval> = fc.oneof(
  bytes.map((start) => ({ start, end: keyAfter(start) })),
  fc.record({ start: bytes, end: fc.option(bytes, { nil: undefined }) }),
);

const nameOf = ({ start, end }: KeyInterval): string => `${mapKey(start)}|${end === undefined ? "" : `${mapKey(end)}.`}`;

test("exactly the intervals that hold a key are found", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ interval, remove: fc.boolean() }), { maxLength: 60 }), fc.array(bytes), (steps, keys) => {
      const index = new IntervalIndex<string>();
      const model = new Map<string, KeyInterval>();
      for (const step of steps) {
        const name = nameOf(step.interval);
        assert.equal(index.get(step.interval), model.has(name) ? name : undefined);
        if (model.has(name)) {
          if (!step.remove) continue;
          index.remove(step.interval);
          model.delete(name);
        } else {
          index.add(step.interval, name);
          model.set(name, step.interval);
        }
        assert.equal(index.size, model.size);
      }
      for (const key of keys) {
        const found: string[] = [];
        index.collect(key, found);
        const expected = [...model].filter(([, held]) => contains(held, key)).map(([name]) => name);
        assert.deepEqual(found.sort(), expected.sort());
      }
    }),
    { numRuns: 500 },
  );
});

test("a single key is one whose end is the key right behind it", () => {
  assert.equal(isSingleKey({ start: Uint8Array.of(1), end: Uint8Array.of(1, 0) }), true);
  assert.equal(isSingleKey({ start: Uint8Array.of(1), end: Uint8Array.of(1, 1) }), false);
  assert.equal(isSingleKey({ start: Uint8Array.of(1), end: Uint8Array.of(2, 0) }), false);
  assert.equal(isSingleKey({ start: Uint8Array.of(1), end: undefined }), false);
  assert.equal(compareBytes(Uint8Array.of(1), Uint8Array.of(1, 0)) < 0, true);
});
