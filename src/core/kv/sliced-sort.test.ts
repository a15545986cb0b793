import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SlicedSort } from "./sliced-sort.ts";

test("the order is that of a stable sort, whatever the slices", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9), { maxLength: 70 }), fc.integer({ min: 1, max: 20 }), (values, slice) => {
      const sort = new SlicedSort(values.length, (left, right) => values[left]! - values[right]!);
      for (let steps = 0; !sort.step(slice); steps++) assert(steps < 1_000, "sorting ends");
      const expected = values.map((_, at) => at).sort((left, right) => values[left]! - values[right]! || left - right);
      assert.deepEqual([...sort.order], expected);
    }),
  );
});
