import assert from "node:assert/strict";
import { test } from "node:test";
import { CANARIES, type Canary } from "./test/canaries.ts";
import { buildSimulator, replaceOnce } from "./test/canary-bundle.ts";

/** How many seeds it took; undefined: it was not found. */
async function seedsUntilFound({
  edits,
  profile,
  seedsMax,
}: Canary): Promise<{ readonly seeds: number; readonly finding: string } | undefined> {
  const { simulate, close } = await buildSimulator(edits);
  try {
    for (let seed = 1; seed <= seedsMax; seed++) {
      try {
        // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
        await simulate({ seed, profile });
      } catch (error) {
        return { seeds: seed, finding: String(error).split("\n", 1)[0] ?? "" };
      }
    }
    return undefined;
  } finally {
    await close();
  }
}

for (const canary of CANARIES) {
  test(`the simulator finds the planted bug: ${canary.name}`, async (context) => {
    const found = await seedsUntilFound(canary);
    assert.ok(found !== undefined, `not found in ${canary.seedsMax} seeds`);
    context.diagnostic(`seed ${found.seeds}: ${found.finding}`);
  });
}

test("a canary whose text is gone, or is there twice, fails loudly", () => {
  assert.throws(() => replaceOnce("abc", { file: "f", find: "x", replace: "" }), /0 times/);
  assert.throws(() => replaceOnce("abab", { file: "f", find: "ab", replace: "" }), /2 times/);
});
