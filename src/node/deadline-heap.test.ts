import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DeadlineHeap, type Timed } from "./deadline-heap.ts";

test("whatever is added and removed, the earliest is first", () => {
  const step = fc.record({ deadline: fc.nat(50), remove: fc.option(fc.nat(20), { nil: undefined }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const heap = new DeadlineHeap<Timed>();
      const held: Timed[] = [];
      for (const { deadline, remove } of steps) {
        const removed = remove === undefined ? undefined : held[remove];
        if (removed === undefined) {
          const timed = { deadline, heapAt: -1 };
          heap.add(timed);
          held.push(timed);
        } else {
          heap.remove(removed);
          heap.remove(removed);
          held.splice(held.indexOf(removed), 1);
          assert.equal(removed.heapAt, -1);
        }
        assert.equal(heap.size, held.length);
        assert.equal(heap.first?.deadline, held.length === 0 ? undefined : Math.min(...held.map((timed) => timed.deadline)));
      }
    }),
  );
});
