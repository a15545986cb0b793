import assert from "node:assert/strict";
import { test } from "node:test";
import type { Txn } from "../client/transaction.ts";
import { DataModel } from "./history.ts";
import { dataAt, hasChanged, rangeOf, runTxn } from "./txn-model.ts";

/** a is of revision 2, b of 3, a again of 4. */
function filled(): DataModel {
  const model = new DataModel();
  for (const [key, value] of [
    ["a", "1"],
    ["b", "2"],
    ["a", "3"],
  ] as const)
    model.apply({ revision: model.revision + 1, events: [{ kind: "put", key, value, cause: undefined }] });
  return model;
}

test("operations see what those before them have written; comparisons, nested ones too, what was there before", () => {
  const txn: Txn = {
    compare: [
      { key: "a", modRevision: 4 },
      { range: { prefix: "" }, version: { lessThan: 3 } },
    ],
    success: [
      { put: "c", value: "4" },
      { delete: { start: "a", end: "c" }, prevKv: true },
      { txn: { compare: [{ key: "c", exists: false }], success: [{ range: { prefix: "" } }] } },
      { range: { prefix: "" }, revision: 3, keysOnly: true, order: "descending" },
    ],
  };
  const { answer, events } = runTxn(filled(), "", 4, txn);
  const c = { key: "c", value: "4", modRevision: 5, createRevision: 5, version: 1 };
  const a = { key: "a", value: "3", modRevision: 4, createRevision: 2, version: 2 };
  const b = { key: "b", value: "2", modRevision: 3, createRevision: 3, version: 1 };
  assert.deepEqual(answer, {
    succeeded: true,
    revision: 5,
    results: [
      { kind: "put", before: undefined, revision: 5 },
      { kind: "delete", deleted: 2, before: [a, b], revision: 5 },
      {
        kind: "txn",
        answer: { succeeded: true, revision: 5, results: [{ kind: "range", found: { values: [c], count: 1, more: false }, revision: 5 }] },
      },
      {
        kind: "range",
        found: {
          values: [
            { ...b, value: "" },
            { ...a, value: "", modRevision: 2, version: 1 },
          ],
          count: 2,
          more: false,
        },
        revision: 5,
      },
    ],
  });
  assert.deepEqual(
    events.map(({ kind, key }) => `${kind} ${key}`),
    ["put c", "delete a", "delete b"],
  );
  assert.equal(hasChanged(answer), true);
});

test("what compares with a missing key compares with zeros, and never with a value", () => {
  const holds = (compare: NonNullable<Txn["compare"]>[number]): boolean => runTxn(filled(), "", 4, { compare: [compare] }).answer.succeeded;
  assert.deepEqual(
    [
      holds({ key: "x", version: 0 }),
      holds({ key: "x", value: { not: "1" } }),
      holds({ range: { prefix: "x" }, exists: false }),
      holds({ range: { prefix: "" }, value: { greaterThan: "1" } }),
      holds({ range: { prefix: "" }, value: { greaterThan: "2" } }),
    ],
    [true, false, true, true, false],
  );
});

test("a range is filtered, sorted and cut, and counts what is there", () => {
  const data = dataAt(filled(), "", 4);
  const keys = (wish: Parameters<typeof rangeOf>[2]): string => {
    const { values, count, more } = rangeOf(data, { prefix: "" }, wish);
    return `${values.map(({ key }) => key).join("")} ${count} ${more}`;
  };
  assert.equal(keys({}), "ab 2 false");
  assert.equal(keys({ sortBy: "modRevision", limit: 1 }), "b 2 true");
  assert.equal(keys({ sortBy: "version", order: "descending" }), "ab 2 false");
  assert.equal(keys({ minModRevision: 4 }), "a 2 false");
  assert.equal(keys({ maxCreateRevision: 0 }), " 2 false");
});
