import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { CANARIES } from "./test/canaries.ts";
import { createSimpleTable } from "./test/simple-table.ts";
import { action, history, World, type Action } from "./test/world.ts";

const actions: fc.Arbitrary<Action[]> = fc.array(action, { minLength: 1, maxLength: 60 });

test("whatever is done, machine, ranges, watches and snapshots agree with the model", () => {
  fc.assert(
    fc.property(history, actions, (limits, done) => {
      new World({ createTable: createSimpleTable, history: limits }).run(done);
    }),
    { numRuns: 1_000 },
  );
});

describe("the property rejects a machine in which", () => {
  for (const canary of CANARIES) {
    test(canary.name, () => {
      const { createTable = createSimpleTable, spoil = () => undefined } = canary;
      const outcome = fc.check(
        fc.property(history, actions, (limits, done) => {
          new World({ createTable, spoil, history: limits }).run(done);
        }),
        { numRuns: 2_000, seed: 1, endOnFailure: true },
      );
      assert.ok(outcome.failed, "it passed for sound");
    });
  }
});
