import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LeaseTable } from "./lease-table.ts";

const idOf = (number: number): string => (number + 1).toString(16).padStart(16, "0");

test("leases fall due in the order of their readings and ids, whatever was added and removed", () => {
  const step = fc.record({ id: fc.nat(30), dueMs: fc.nat(10), remove: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const table = new LeaseTable();
      const model = new Map<string, { dueMs: number; ref: number }>();
      let refs = 0;
      for (const { id: number, dueMs, remove } of steps) {
        const id = idOf(number);
        const held = model.get(id);
        assert.equal(table.has(id), held !== undefined);
        if (held !== undefined && remove) {
          table.detach(id, held.ref);
          model.delete(id);
        } else if (held === undefined) {
          const ref = ++refs;
          table.add({ id, ttlMs: 1, dueMs });
          table.attach(id, ref);
          model.set(id, { dueMs, ref });
        }
        assert.equal(table.count, model.size);
        assert.equal(table.nextDue, model.size === 0 ? undefined : Math.min(...[...model.values()].map((lease) => lease.dueMs)));
        assert.equal(table.copyColumns().count, model.size);
      }
      const expected = [...model].sort(([left, { dueMs: a }], [right, { dueMs: b }]) => a - b || (left < right ? -1 : 1));
      const ended: [string, number][] = [];
      for (let id = table.due(10); id !== undefined; id = table.due(10)) {
        const first = table.end(id).next();
        ended.push([id, first.value as number]);
      }
      assert.deepEqual(
        ended,
        expected.map(([id, { ref }]) => [id, ref]),
      );
    }),
  );
});

test("a lease keeps its keys in the order in which they came, and ends with the last", () => {
  const table = new LeaseTable();
  const id = idOf(1);
  table.add({ id, ttlMs: 1, dueMs: 1 });
  for (const ref of [7, 5, 9]) table.attach(id, ref);
  table.detach(id, 5);
  table.attach(id, 4);
  assert.equal(
    table.settle((ref) => ref),
    true,
  );
  assert.deepEqual([...({ [Symbol.iterator]: () => table.end(id) } as Iterable<number>)], [4, 7, 9]);
  assert.equal(table.count, 0);
  table.add({ id, ttlMs: 1, dueMs: 1 });
  assert.equal(
    table.settle((ref) => ref),
    false,
    "no state has a lease without a key",
  );
  table.attach(id, 1);
  table.attach(id, 2);
  table.detach(id, 1);
  table.detach(id, 2);
  assert.equal(table.has(id), false);
});
