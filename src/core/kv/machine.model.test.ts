import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Table } from "./table.ts";
import { createTable } from "./table/packed-table.ts";
import { CANARIES } from "./test/canaries.ts";
import { createSimpleTable } from "./test/simple-table.ts";
import { action, history, World, type Action } from "./test/world.ts";

const actions: fc.Arbitrary<Action[]> = fc.array(action, { minLength: 1, maxLength: 60, size: "max" });

const TABLES: readonly { readonly name: string; readonly createTable: () => Table; readonly runs: number }[] = [
  { name: "simple", createTable: createSimpleTable, runs: 1_500 },
  { name: "packed", createTable: () => createTable({ hashSeed: { low: 1, high: 2 } }), runs: 500 },
];

for (const { name, createTable: create, runs } of TABLES) {
  test(`whatever is done, machine, ranges, watches and snapshots agree with the model, on a ${name} table`, () => {
    fc.assert(
      fc.property(history, actions, (limits, done) => {
        new World({ createTable: create, history: limits }).run(done);
      }),
      { numRuns: runs },
    );
  });
}

describe("the property rejects a machine in which", () => {
  for (const canary of CANARIES) {
    test(canary.name, () => {
      const { createTable: create = createSimpleTable, spoil = () => undefined, actions: directed } = canary;
      if (directed !== undefined) {
        const limits = { revisionsMax: 1_000, bytesMax: 1_000_000 };
        new World({ createTable: create, history: limits }).run(directed);
        assert.throws(() => new World({ createTable: create, spoil, history: limits }).run(directed));
        return;
      }
      const outcome = fc.check(
        fc.property(history, actions, (limits, done) => {
          new World({ createTable: create, spoil, history: limits }).run(done);
        }),
        { numRuns: 2_500, seed: 1, endOnFailure: true },
      );
      assert.ok(outcome.failed, "it passed for sound");
    });
  }
});
