import assert from "node:assert/strict";
import { test } from "node:test";
import { PROFILES } from "./profiles.ts";
import { REGRESSIONS } from "./regressions.ts";
import { simulate } from "./simulation.ts";

/** Seeds of the whole swarm, and of each profile. A campaign runs more: npm run sim -- --seeds N. */
const SEEDS = 12;
const PROFILE_SEEDS = 2;

for (let seed = 1; seed <= SEEDS; seed++) {
  test(`seed ${seed} keeps every invariant, comes back, and has linearizable histories`, async () => {
    await simulate({ seed });
  });
}

for (const [name, profile] of Object.entries(PROFILES)) {
  test(`the profile ${name}, which canaries are looked for in, finds nothing in the code as it is`, async () => {
    for (let seed = 1; seed <= PROFILE_SEEDS; seed++) {
      // oxlint-disable-next-line no-await-in-loop -- seeds run one after the other
      const result = await simulate({ seed, profile });
      assert.ok(result.operations.answered > 50, `only ${result.operations.answered} answers`);
    }
  });
}

for (const { seed, profile, found } of REGRESSIONS) {
  test(`seed ${seed} once found that ${found}`, async () => {
    await simulate(profile === undefined ? { seed } : { seed, profile });
  });
}

test("a seed runs the same twice", async () => {
  const first = await simulate({ seed: 3 });
  const second = await simulate({ seed: 3 });
  assert.equal(first.traceHash, second.traceHash);
  assert.deepEqual(first, second);
});
