/** The same property as in machine.model.test.ts, over actions that are mostly about watches: many of them, of few keys, that come and lag. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { CANARIES, PART_CANARIES } from "./test/canaries.ts";
import { createSimpleTable } from "./test/simple-table.ts";
import { World, type Action } from "./test/world.ts";

const key = fc.constantFrom("a", "b", "ab", "c", "ba", "d");
const watched = fc.oneof(
  key.map((start) => ({ start, end: `${start}\0` })),
  fc.constantFrom({ start: "a", end: "b" }, { start: "", end: undefined }, { start: "ab", end: undefined }),
);
const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant("put" as const), key, value: fc.constantFrom("1", "22") }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("deleteKey" as const), key }) },
  { weight: 1, arbitrary: watched.map((range) => ({ op: "deleteRange" as const, ...range })) },
);
const commands = fc.array(command, { maxLength: 5 });
const nth = fc.nat(30);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("apply" as const),
      commands,
      passMs: fc.constant(0),
      slices: fc.constantFrom([1], [2, 5], [50]),
      peek: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc
      .tuple(
        watched,
        fc.record({
          back: fc.option(fc.integer({ min: -3, max: 30 }), { nil: undefined, freq: 2 }),
          prevKv: fc.boolean(),
          only: fc.constantFrom(undefined, undefined, "puts" as const, "deletes" as const),
          initial: fc.constantFrom(false, false, true),
          onGap: fc.constantFrom("throw" as const, "reset" as const),
        }),
      )
      .map(([range, rest]) => ({ do: "watch" as const, ...range, ...rest })),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("credit" as const), watch: nth, bytes: fc.constantFrom(1, 120, 400, 100_000) }) },
  { weight: 7, arbitrary: fc.record({ do: fc.constant("pump" as const), records: fc.constantFrom(1, 2, 3, 8, 40) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("progress" as const, "unwatch" as const), watch: nth }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("maintain" as const), records: fc.constantFrom(1, 1_000) }) },
  { weight: 1, arbitrary: fc.constant({ do: "snapshot" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "readSnapshot" as const, bytes: 5_000 }) },
  { weight: 1, arbitrary: commands.map((list) => ({ do: "install" as const, commands: list })) },
);
const actions = fc.array(action, { minLength: 1, maxLength: 100, size: "max" });
const history = fc.record({ revisionsMax: fc.constantFrom(2, 6, 15, 1_000), bytesMax: fc.constant(1_000_000) });
/** Small ones, so that transactions and deletions of a few keys are told in parts. */
const parts = fc.constantFrom(
  { events: 1, bytes: 1_000, copiesBytes: 10_000 },
  { events: 2, bytes: 1_000, copiesBytes: 10_000 },
  { events: 100, bytes: 150, copiesBytes: 10_000 },
  { events: 100, bytes: 150, copiesBytes: 100 },
  { events: 100, bytes: 1_000_000, copiesBytes: 10_000_000 },
);

test("whatever watches begin, lag and are overtaken, each is told exactly what is its own, or of the gap", () => {
  fc.assert(
    fc.property(history, parts, actions, (limits, bounds, done) => {
      new World({ createTable: createSimpleTable, history: limits, parts: bounds }).run(done);
    }),
    { numRuns: 1_500 },
  );
});

const OF_WATCHES = /watch|told|joins|progress|reset/;

describe("the property rejects a hub in which", () => {
  const ofWatches = CANARIES.filter((canary) => OF_WATCHES.test(canary.name));
  for (const { name, spoil = () => undefined, createTable = createSimpleTable, actions: directed } of [...ofWatches, ...PART_CANARIES]) {
    test(name, () => {
      if (directed !== undefined) {
        const rest = {
          createTable,
          history: { revisionsMax: 1_000, bytesMax: 1_000_000 },
          parts: { events: 1, bytes: 1_000, copiesBytes: 10_000 },
        };
        new World(rest).run(directed);
        assert.throws(() => new World({ ...rest, spoil }).run(directed));
        return;
      }
      const outcome = fc.check(
        fc.property(history, parts, actions, (limits, bounds, done) => {
          new World({ createTable, spoil, history: limits, parts: bounds }).run(done);
        }),
        { numRuns: 500, seed: 1, endOnFailure: true },
      );
      assert.ok(outcome.failed, "it passed for sound");
    });
  }
});
