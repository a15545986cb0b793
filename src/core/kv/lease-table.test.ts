import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LEASE_GRANTED, LEASE_OF_PUT, LeaseTable } from "./lease-table.ts";

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
          table.add({ id, ttlMs: 1, dueMs, kind: LEASE_OF_PUT });
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
        const [first] = table.end(id).refs;
        ended.push([id, first!]);
      }
      assert.deepEqual(
        ended,
        expected.map(([id, { ref }]) => [id, ref]),
      );
    }),
  );
});

test("a lease that a put made ends with its last key, a granted one does not", () => {
  for (const kind of [LEASE_OF_PUT, LEASE_GRANTED]) {
    const table = new LeaseTable();
    const id = idOf(1);
    table.add({ id, ttlMs: 1, dueMs: 1, kind });
    assert.equal(table.settle(), kind === LEASE_GRANTED, "no state has a lease of a put without a key");
    for (const ref of [7, 5, 9]) table.attach(id, ref);
    table.detach(id, 5);
    table.detach(id, 5);
    table.attach(id, 4);
    assert.equal(table.settle(), true);
    const { count, refs } = table.refs(id);
    assert.equal(count, 3);
    assert.deepEqual([...refs].sort(), [4, 7, 9]);
    for (const ref of [4, 7, 9]) table.detach(id, ref);
    assert.equal(table.has(id), kind === LEASE_GRANTED);
    assert.equal(table.refs(id).count, 0);
  }
});

test("while a state is restored no lease ends on the way", () => {
  const table = new LeaseTable();
  table.restore();
  table.add({ id: idOf(1), ttlMs: 1, dueMs: 1, kind: LEASE_OF_PUT });
  table.attach(idOf(1), 7);
  table.detach(idOf(1), 7);
  table.attach(idOf(1), 9);
  assert.equal(table.settle(), true);
  table.detach(idOf(1), 9);
  assert.equal(table.has(idOf(1)), false);
});

test("a renewed lease has its whole time again, one that is due has none, and the order of falling due follows", () => {
  const ids = Array.from({ length: 50 }, (_, at) => idOf(at));
  const renewal = fc.record({ id: fc.constantFrom(...ids), passMs: fc.nat(3) });
  fc.assert(
    fc.property(fc.array(renewal, { maxLength: 200 }), (renewals) => {
      const table = new LeaseTable();
      const due = new Map<string, number>();
      for (const [at, id] of ids.entries()) {
        table.add({ id, ttlMs: 5 + (at % 7), dueMs: 5 + (at % 7), kind: LEASE_GRANTED });
        due.set(id, 5 + (at % 7));
      }
      let clockMs = 0;
      for (const { id, passMs } of renewals) {
        clockMs += passMs;
        const ttlMs = 5 + (ids.indexOf(id) % 7);
        const isLive = due.get(id)! > clockMs;
        assert.equal(table.isLive(id, clockMs), isLive);
        assert.equal(table.renew(id, clockMs), isLive ? ttlMs : 0);
        if (isLive) due.set(id, clockMs + ttlMs);
        assert.equal(table.dueOf(id), due.get(id));
        assert.equal(table.nextDue, Math.min(...due.values()));
      }
      const expected = [...due].sort(([left, a], [right, b]) => a - b || (left < right ? -1 : 1)).map(([id]) => id);
      const found: string[] = [];
      for (let id = table.due(1_000_000); id !== undefined; id = table.due(1_000_000)) {
        table.end(id);
        found.push(id);
      }
      assert.deepEqual(found, expected);
    }),
    { numRuns: 50 },
  );
});

test("a lease holds more keys than one set takes without a pause, and finds each again", () => {
  const table = new LeaseTable();
  const id = idOf(1);
  table.add({ id, ttlMs: 1, dueMs: 1, kind: LEASE_GRANTED });
  const count = 40_000;
  for (let at = 1; at <= count; at++) table.attach(id, at * 8);
  for (let at = 1; at <= count; at += 2) table.detach(id, at * 8);
  const { count: left, refs } = table.end(id);
  assert.equal(left, count / 2);
  const found = [...refs].sort((one, other) => one - other);
  assert.deepEqual([found.length, found[0], found.at(-1)], [count / 2, 16, count * 8]);
});
