import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Configuration } from "./configuration.ts";
import { isWellFormed, MEMBERS_MAX } from "./configuration-codec.ts";
import { changeConfiguration, ConfigurationHistory, decodeConfiguration, encodeConfiguration, isJoint, leaveJoint } from "./membership.ts";
import { configurationOfLetters, idOf, recordOf } from "./test/cluster.ts";
import { changeTo } from "./test/stories.ts";

const letters = fc.subarray(["A", "B", "C", "D", "E", "F"]).map((list) => list.join(""));
const changes = fc
  .array(fc.constantFrom("voter", "learner", "none"), { minLength: 6, maxLength: 6 })
  .map((roles) => {
    const of = (role: string): string => [..."ABCDEF"].filter((_, i) => roles[i] === role).join("");
    return { voters: of("voter"), learners: of("learner") };
  })
  .filter(({ voters }) => voters !== "");

test("a configuration survives encoding, whatever its texts hold", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  const property = fc.property(
    letters,
    text,
    fc.array(text, { maxLength: 3 }),
    fc.boolean(),
    (voters, name, clientAddresses, promotable) => {
      const plain = configurationOfLetters({ voters });
      const members = plain.members.map((member) => ({ ...member, name, clientAddresses, promotable }));
      const configuration: Configuration = { ...plain, members };
      assert.deepEqual(decodeConfiguration(encodeConfiguration(configuration)), configuration);
    },
  );
  fc.assert(property, { numRuns: 200 });
});

test("decoding answers undefined for bytes that were cut, lengthened or changed, and never throws", () => {
  const bytes = encodeConfiguration(configurationOfLetters({ voters: "ABC", outgoing: "BCD", learners: "E", learnersNext: "D" }));
  for (let length = 0; length < bytes.byteLength; length++) assert.equal(decodeConfiguration(bytes.subarray(0, length)), undefined);
  assert.equal(decodeConfiguration(new Uint8Array([...bytes, 0])), undefined);
  for (let at = 0; at < bytes.byteLength; at++) {
    for (const flip of [1, 0x80, 0xff]) {
      const changed = bytes.slice();
      changed[at] = (changed[at] as number) ^ flip;
      const decoded = decodeConfiguration(changed);
      if (decoded !== undefined) assert.ok(isWellFormed(decoded));
    }
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => void decodeConfiguration(garbage)));
});

test("lists that overlap, repeat, are out of order or lack a record are not well-formed", () => {
  const good = configurationOfLetters({ voters: "ABC", learners: "D" });
  assert.ok(isWellFormed(good));
  assert.ok(!isWellFormed({ ...good, incoming: good.incoming.toReversed() }));
  assert.ok(!isWellFormed({ ...good, learners: [idOf("C")] }));
  assert.ok(!isWellFormed({ ...good, members: good.members.slice(1) }));
  assert.ok(!isWellFormed({ ...good, learnersNext: [idOf("A")] }));
  assert.ok(!isWellFormed({ ...good, incoming: ["A"] }));
});

test("a change of voters is joint, ends at what was asked for, and anything else takes one step", () => {
  const property = fc.property(changes, changes, (before, after) => {
    const current = configurationOfLetters(before);
    const next = changeConfiguration(current, changeTo(after.voters, after.learners));
    assert.ok(typeof next !== "string");
    assert.ok(isWellFormed(next));
    assert.equal(isJoint(next), before.voters !== after.voters);
    if (isJoint(next)) assert.deepEqual(next.outgoing, current.incoming);
    const last = isJoint(next) ? leaveJoint(next) : next;
    assert.deepEqual(last, configurationOfLetters(after));
  });
  fc.assert(property, { numRuns: 300 });
});

test("changes that make no sense are refused with a reason", () => {
  const current = configurationOfLetters({ voters: "ABC" });
  const refused = (change: Parameters<typeof changeConfiguration>[1]): string => {
    const next = changeConfiguration(current, change);
    assert.ok(typeof next === "string");
    return next;
  };
  assert.match(refused(changeTo("")), /needs a voter/);
  assert.match(refused(changeTo("ABB")), /twice/);
  assert.match(refused(changeTo("AB", "B")), /twice/);
  assert.match(refused({ ...changeTo("AB"), members: [] }), /do not match/);
  assert.match(refused({ ...changeTo("AB"), voters: ["x", idOf("B")] }), /hex/);
  assert.match(refused({ ...changeTo("AB"), members: [recordOf("A", "2"), recordOf("B")] }), /incarnation/);
  assert.match(refused({ ...changeTo("A"), members: [{ ...recordOf("A"), name: "x".repeat(2_000) }] }), /too long/);
  const many = Array.from({ length: MEMBERS_MAX + 1 }, (_, i) => ({ ...recordOf("A"), id: (i + 100).toString(16).padStart(16, "0") }));
  assert.match(refused({ voters: many.map(({ id }) => id), learners: [], members: many }), /more than/);
  const joint = configurationOfLetters({ voters: "AB", outgoing: "ABC" });
  assert.equal(changeConfiguration(joint, changeTo("A")), "a change of membership is under way");
});

test("the history answers for every index what was in force there, through truncation and discarding", () => {
  const [base, second, third] = ["A", "AB", "ABC"].map((voters) => configurationOfLetters({ voters })) as [
    Configuration,
    Configuration,
    Configuration,
  ];
  const history = new ConfigurationHistory({ index: 1, configuration: base });
  history.append(5, second);
  history.append(9, third);
  assert.deepEqual(
    [1, 4, 5, 8, 9, 100].map((index) => history.at(index).incoming.length),
    [1, 1, 2, 2, 3, 3],
  );
  history.truncate(9);
  assert.deepEqual([history.latestIndex, history.latest, history.previous], [5, second, base]);
  history.append(9, third);
  history.discard(8);
  assert.deepEqual([history.at(8), history.previous], [second, second]);
  history.discard(9);
  assert.deepEqual([history.at(9), history.previous], [third, undefined]);
});
