import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Configuration, MemberId } from "./configuration.ts";
import { agreedValue, isSoleVoter, isTransferTarget, isVoter, tally, voters } from "./quorum.ts";
import { configurationOfLetters, idOf } from "./test/cluster.ts";

/** All subsets, smallest first. */
function subsets<T>(items: readonly T[]): readonly (readonly T[])[] {
  return items.reduce<(readonly T[])[]>((all, item) => [...all, ...all.map((subset) => [...subset, item])], [[]]);
}

function isQuorum(configuration: Configuration, members: readonly MemberId[]): boolean {
  const majorityOf = (half: readonly MemberId[]): boolean => half.filter((id) => members.includes(id)).length * 2 > half.length;
  return majorityOf(configuration.incoming) && (configuration.outgoing.length === 0 || majorityOf(configuration.outgoing));
}

const half = fc.subarray(["A", "B", "C", "D", "E", "F", "G"], { minLength: 1 }).map((letters) => letters.join(""));
const configurations = fc
  .record({ incoming: half, outgoing: fc.oneof(fc.constant(""), half) })
  .map(({ incoming, outgoing }) => configurationOfLetters({ voters: incoming, outgoing }));
const numbers = fc.array(fc.nat({ max: 6 }), { minLength: 7, maxLength: 7 });

function valueOf(values: readonly number[]): (id: MemberId) => number {
  return (id) => values[Number.parseInt(id, 16) - 10] ?? 0;
}

test("the agreed value is the largest that some quorum has reached, every subset tried", () => {
  const property = fc.property(configurations, numbers, (configuration, values) => {
    let best = Number.NEGATIVE_INFINITY;
    for (const members of subsets(voters(configuration))) {
      if (isQuorum(configuration, members)) best = Math.max(best, Math.min(...members.map(valueOf(values))));
    }
    assert.equal(agreedValue(configuration, valueOf(values)), best);
  });
  fc.assert(property, { numRuns: 300 });
});

test("an election is won when those who granted are a quorum, and lost when all who might still grant are none", () => {
  const votes = fc.array(fc.constantFrom(true, false, undefined), { minLength: 7, maxLength: 7 });
  const property = fc.property(configurations, votes, (configuration, answers) => {
    const voteOf = (id: MemberId): boolean | undefined => answers[Number.parseInt(id, 16) - 10];
    const all = voters(configuration);
    const granted = isQuorum(
      configuration,
      all.filter((id) => voteOf(id) === true),
    );
    const possible = isQuorum(
      configuration,
      all.filter((id) => voteOf(id) !== false),
    );
    assert.equal(tally(configuration, voteOf), granted ? "won" : possible ? "open" : "lost");
  });
  fc.assert(property, { numRuns: 500 });
});

test("any two quorums of a configuration share a member", () => {
  const property = fc.property(configurations, (configuration) => {
    const quorums = subsets(voters(configuration)).filter((members) => isQuorum(configuration, members));
    for (const one of quorums) for (const other of quorums) assert.ok(one.some((id) => other.includes(id)));
  });
  fc.assert(property, { numRuns: 20 });
});

test("where nobody votes, nothing is agreed and nobody wins", () => {
  const nobody = configurationOfLetters({ voters: "" });
  assert.equal(
    agreedValue(nobody, () => 5),
    Number.NEGATIVE_INFINITY,
  );
  assert.equal(
    tally(nobody, () => true),
    "lost",
  );
});

test("learners and strangers vote for nothing", () => {
  const configuration = configurationOfLetters({ voters: "AB", outgoing: "BC", learners: "D", learnersNext: "C" });
  assert.deepEqual(
    ["A", "B", "C", "D", "E"].map((letter) => isVoter(configuration, idOf(letter))),
    [true, true, true, false, false],
  );
  assert.deepEqual(
    ["A", "B", "C", "D"].map((letter) => isTransferTarget(configuration, idOf(letter))),
    [true, true, false, false],
  );
  assert.equal(isSoleVoter(configurationOfLetters({ voters: "A" }), idOf("A")), true);
  assert.equal(isSoleVoter(configurationOfLetters({ voters: "A", outgoing: "AB" }), idOf("A")), false);
  assert.equal(isSoleVoter(configurationOfLetters({ voters: "A" }), idOf("B")), false);
});
